//! A vCPU: what both vendors share of it.

pub mod confinement;
pub mod control_registers;
mod instruction;
pub mod vcpu;
pub mod vendor;
