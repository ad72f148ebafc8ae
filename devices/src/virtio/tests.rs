//! The devices, seen from a driver: register by register, ring by ring.

mod block;
mod driver;
mod entropy;
mod rings;
mod transport;
