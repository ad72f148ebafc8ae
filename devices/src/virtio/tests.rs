//! The devices, seen from a driver: register by register, ring by ring.

mod disk_requests;
mod driver;
mod mmio_registers;
mod random_requests;
mod rings;
