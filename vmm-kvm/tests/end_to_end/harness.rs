//! What all tests share: a directory of one's own, the binary run in it, and what came of it.

mod finished;
mod pseudo_terminal;
mod running;
mod scratch;
mod tandem;
mod terminal_emulator;

pub use finished::{Finished, without_colours};
pub use pseudo_terminal::PseudoTerminal;
pub use running::Running;
pub use rustix::process::Signal;
pub use scratch::Scratch;
pub use tandem::Tandem;
pub use terminal_emulator::TerminalEmulator;

use std::path::PathBuf;

/// A config of the repository.
pub fn config(name: &str) -> PathBuf {
    repository().join("configs").join(name)
}

/// The repository's root.
pub fn repository() -> PathBuf {
    let package = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    package.parent().expect("the package lies in the repository").to_path_buf()
}
