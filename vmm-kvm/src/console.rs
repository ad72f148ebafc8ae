//! The console that all VMs share: their lines on standard output, one keyboard, one terminal.

mod output;
mod terminal;

pub use output::Output;
pub use terminal::RawTerminal;
pub use vmm_common::console::{Command, HELP, Keyboard};
