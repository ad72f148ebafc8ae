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

use std::os::unix::fs::MetadataExt;
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

/// A shell script run as root of a mount namespace of its own: what it mounts, only it sees.
pub fn with_mounts(run: Tandem, script: &str) -> Tandem {
    let is_root = std::fs::metadata("/proc/self").expect("Linux has /proc").uid() == 0;
    let user: &[&str] = if is_root { &[] } else { &["--map-root-user"] };
    let shell = ["sh", "-e", "-c", script, "sh"];
    run.started_by(["unshare", "--mount"].iter().chain(user).chain(&shell))
}
