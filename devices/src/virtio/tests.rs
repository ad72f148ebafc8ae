//! The devices, seen from a driver: register by register, ring by ring.

mod console_ports;
mod disk_requests;
mod driver;
mod frames;
mod mmio_registers;
mod random_requests;
mod rings;
