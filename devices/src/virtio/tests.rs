//! The devices, seen from a driver: register by register, ring by ring.

mod console_control;
mod console_ports;
mod disk_requests;
mod driver;
mod frame_headers;
mod frames;
mod frames_from_outside;
mod interface_commands;
mod mmio_registers;
mod net_driver;
mod random_requests;
mod ring_indices;
mod rings;
mod tcp_segments;
