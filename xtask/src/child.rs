//! Programs that must not outlive this process, however it ends: killed by a time limit, too.

use std::process::{Child, Command};

/// A command for `program`, which the kernel kills when the thread that started it ends.
/// (`setpriv` asks for that and becomes the program: to ask between fork and exec takes unsafe
/// code.)
#[must_use]
pub fn command(program: &str) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--", program]);
    command
}

/// A child that does not outlive this value.
#[derive(Debug)]
pub struct Running(pub Child);

impl Drop for Running {
    fn drop(&mut self) {
        // Fails if the child has ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
