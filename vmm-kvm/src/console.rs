//! This process's side of the console that all VMs share: standard output, and the terminal.

mod output;
mod terminal;

pub use output::Output;
pub use terminal::{RawTerminal, restore as restore_terminal};
