//! The console that all VMs share: their lines on standard output, one keyboard, one terminal.

mod input;
mod output;
mod terminal;

pub use input::{Command, HELP, Keyboard};
pub use output::Output;
pub use terminal::RawTerminal;
