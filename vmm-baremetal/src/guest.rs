//! A vCPU: what both vendors share of it.

pub mod confinement;
pub mod control_registers;
mod debug;
mod hypercall;
mod instruction;
mod registers;
pub mod vcpu;
pub mod vendor;
