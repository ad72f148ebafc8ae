//! A guest in QEMU alone with a VGA and a keyboard, which QEMU's monitor types on and whose text
//! screen it saves.

use super::{Alone, Kernel, Q35, boot_watched};
use crate::emulate::Emulator;
use crate::scratch::Scratch;
use anyhow::{Context, Result};
use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Where the text screen lies, and its length.
const SCREEN: &str = "0xb8000 4000";

/// Runs it to its end. Once it has printed `after`, these keys are pressed, in the words of the
/// monitor's `sendkey`.
///
/// # Errors
/// As for [`super::run`].
pub fn with_keys(
    kernel: Kernel<'_>,
    after: &str,
    keys: &[&str],
    timeout: Duration,
) -> Result<Alone> {
    let commands = keys.iter().map(|key| format!("sendkey {key} 20")).collect();
    run(kernel, after, commands, &Scratch::new()?, timeout)
}

/// Runs it until it has printed `after`; the bytes of its text screen at that moment.
///
/// # Errors
/// As for [`super::run`].
pub fn screen_of(kernel: Kernel<'_>, after: &str, timeout: Duration) -> Result<Vec<u8>> {
    let scratch = Scratch::new()?;
    let file = scratch.path().join("screen");
    let commands = vec![format!("pmemsave {SCREEN} \"{}\"", file.display()), "quit".into()];
    run(kernel, after, commands, &scratch, timeout)?;
    fs::read(&file).context("cannot read the screen that QEMU saved")
}

fn run(
    kernel: Kernel<'_>,
    after: &str,
    commands: Vec<String>,
    scratch: &Scratch,
    timeout: Duration,
) -> Result<Alone> {
    Emulator::Qemu.ensure()?;
    let socket = scratch.path().join("monitor");
    let monitor = format!("unix:{},server=on,wait=off", socket.display());
    let options = ["-device", "VGA", "-monitor", &monitor];
    let after = after.as_bytes().to_vec();
    let mut watcher = Watcher { after, printed: Vec::new(), commands, socket };
    boot_watched(Q35, kernel, &options, Instant::now() + timeout, &mut watcher)
}

/// Watches what a guest prints, and then gives the monitor its commands.
struct Watcher {
    after: Vec<u8>,
    printed: Vec<u8>,
    commands: Vec<String>,
    socket: PathBuf,
}

impl Write for Watcher {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.printed.extend_from_slice(bytes);
        if self.printed.windows(self.after.len()).any(|window| window == self.after) {
            for command in std::mem::take(&mut self.commands) {
                tell(&self.socket, &command)?;
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Gives the monitor a command, and waits until it is carried out: its prompt comes again, or its
/// end.
fn tell(socket: &Path, command: &str) -> io::Result<()> {
    const PROMPT: &[u8] = b"(qemu) ";
    let mut monitor = UnixStream::connect(socket)?;
    let wait_for_prompt = || -> io::Result<()> {
        let (mut said, mut piece) = (Vec::new(), [0; 256]);
        while !said.ends_with(PROMPT) {
            match (&monitor).read(&mut piece)? {
                0 => break,
                read => said.extend_from_slice(&piece[..read]),
            }
        }
        Ok(())
    };
    wait_for_prompt()?;
    (&monitor).write_all(format!("{command}\n").as_bytes())?;
    wait_for_prompt()?;
    monitor.flush()
}
