//! The bare machine as the loop's host.

pub mod acpi;
pub mod calibration;
pub mod clock;
pub mod console;
pub mod disks;
pub mod emulator;
pub mod exceptions;
pub mod gdb;
pub mod multihit;
pub mod power;
pub mod random;
pub mod serial;
pub mod switch_barriers;
pub mod wall_clock;
