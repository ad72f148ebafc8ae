//! The console that all VMs share, as far as it is the same everywhere: their lines, one keyboard.

mod keyboard;
mod lines;

pub use keyboard::{Command, HELP, Keyboard};
pub use lines::Lines;
