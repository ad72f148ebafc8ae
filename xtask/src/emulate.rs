//! A kernel booted in an emulated machine: QEMU with AMD's virtualization, Bochs with Intel's or
//! AMD's.
//!
//! The guests' console is the machine's COM1. What is for programs to read, the exit code and the
//! receipt, comes by port 0xe9, which both emulators write down (`report.rs`). Where the kernel is
//! Linux, with our KVM target on it, it comes by COM2, among what Linux itself has to say.

use crate::scratch::Scratch;
use crate::terminal::RawTerminal;
use anyhow::{Context, Result, anyhow};
use std::fs;
use std::io::{self, IsTerminal, Read, Write};
use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};
use vmm_common::console::Ability;
use vmm_symbols::{Annotator, Names};

pub mod alone;
mod bochs;
pub mod gdb;
mod keyboard;
mod qemu;
mod report;

pub use bochs::INSTRUCTIONS_PER_SECOND;
pub use keyboard::{Keyboard, Typed};
pub use qemu::NS_PER_COUNTED_INSTRUCTION;
pub use report::{Memory, Report};

/// A program that is a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Emulator {
    /// Intel's virtualization (VMX), or with `--cpu ryzen` AMD's (SVM)
    Bochs,
    /// AMD's virtualization (SVM)
    Qemu,
    /// The KVM target on Debian's kernel, in QEMU
    Debian,
}

/// What runs QEMU's instructions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Accelerator {
    /// QEMU itself
    #[default]
    Tcg,
    /// The host's KVM, if it can nest
    Kvm,
}

/// An emulated machine.
#[derive(Clone, Debug)]
pub struct Machine {
    /// Who emulates it.
    pub emulator: Emulator,
    /// The CPU model, in the emulator's words; None: the one with most virtualization.
    pub cpu: Option<String>,
    /// For QEMU.
    pub accelerator: Accelerator,
    /// QEMU's board, in its words; None: a q35.
    pub board: Option<String>,
    /// MiB.
    pub memory_mib: u64,
    /// When it is switched off at the latest.
    pub timeout: Option<Duration>,
    /// COM1 receives this process's standard input, which is raw meanwhile if it is a terminal.
    pub has_keyboard: bool,
    /// What the console's terminal can do, if the console is on one, which shows prompts.
    pub terminal: Option<Ability>,
    /// QEMU's clock counts instructions, as Bochs's does: every run takes the same times, and
    /// the run does not wait while the machine idles.
    pub has_counted_clock: bool,
    /// VMs' translations are not tagged by VPID or ASID.
    pub is_untagged: bool,
    /// The port of this host that its second serial port, a debugger's, connects to.
    pub debugger: Option<u16>,
    /// More words for the kernel's command line.
    pub words: Vec<String>,
    /// For the addresses in the hypervisor's dumps.
    pub names: Names,
}

impl Emulator {
    /// The most memory that a machine of it may have, MiB: what the host has, and in Bochs 2 GiB.
    #[must_use]
    pub fn max_memory_mib(self) -> u64 {
        /// Bochs can keep what is more in a file, but not reliably.
        const BOCHS: u64 = 2048;
        let available = available_memory_mib().unwrap_or(BOCHS);
        match self {
            Self::Bochs => available.min(BOCHS),
            Self::Qemu | Self::Debian => available,
        }
    }

    /// Sees to it that it is installed.
    ///
    /// # Errors
    /// It is not, and cannot be.
    pub fn ensure(self) -> Result<()> {
        match self {
            Self::Bochs => {
                let needs = [crate::packages::BOCHS, crate::packages::GRUB].concat();
                crate::packages::ensure(&needs)
            }
            Self::Qemu | Self::Debian => crate::packages::ensure(crate::packages::QEMU),
        }
    }
}

/// Boots `kernel` with `pack` as its module, the packed plan or an initramfs, and copies COM1 to
/// `console` until the machine is off.
///
/// # Errors
/// The emulator is missing, cannot be run or refuses its arguments, or `console` cannot be written.
pub fn run(
    machine: &Machine,
    kernel: &Path,
    pack: &[u8],
    console: &mut dyn Write,
) -> Result<Report> {
    run_typing(machine, &[], kernel, pack, console)
}

/// As [`run`], and presses keys, in this order; without effect if the machine has a keyboard.
///
/// # Errors
/// As for [`run`].
pub fn run_typing(
    machine: &Machine,
    typed: &[Typed],
    kernel: &Path,
    pack: &[u8],
    console: &mut dyn Write,
) -> Result<Report> {
    machine.emulator.ensure()?;
    let scratch = Scratch::new()?;
    let is_raw = machine.has_keyboard && io::stdin().is_terminal();
    let _raw = is_raw.then(RawTerminal::new).transpose()?;
    match machine.emulator {
        Emulator::Bochs => bochs::run(machine, typed, kernel, pack, &scratch, console),
        Emulator::Qemu | Emulator::Debian => {
            qemu::run(machine, typed, kernel, pack, &scratch, console)
        }
    }
}

impl Machine {
    /// The kernel's command line.
    fn command_line(&self) -> String {
        // There is nothing to hide from anybody in there, and hiding it doubles the time of an
        // exit. Whether timer ticks come is asked against time that a loaded host may not give
        // QEMU.
        const LINUX: &str = "console=ttyS1 quiet panic=-1 mitigations=off no_timer_check";
        let is_linux = self.emulator == Emulator::Debian;
        let terminal = match self.terminal {
            None => "",
            Some(Ability::Colours) => "terminal",
            Some(Ability::Monochrome) => "terminal monochrome",
            Some(Ability::Dumb) => "terminal dumb",
        };
        let words =
            [(is_linux, LINUX), (!terminal.is_empty(), terminal), (self.is_untagged, "untagged")];
        let words = words.into_iter().filter_map(|(is_set, word)| is_set.then_some(word));
        let more = self.words.iter().map(String::as_str);
        words.chain(more).collect::<Vec<_>>().join(" ")
    }
}

/// What a reader gives until its end, read by a thread of its own.
pub(crate) fn chunks(mut reader: impl Read + Send + 'static) -> Receiver<Vec<u8>> {
    let (sender, receiver) = channel();
    thread::spawn(move || {
        let mut buffer = [0; 4096];
        // A pseudo-terminal ends with an error.
        while let Ok(len @ 1..) = reader.read(&mut buffer) {
            if sender.send(buffer[..len].to_vec()).is_err() {
                break;
            }
        }
    });
    receiver
}

/// Copies `chunks` to `console` until their end; all of them, and whether `deadline` passed first.
/// Then the hypervisor is asked to end the run, so that it tells the receipt, and has some time to
/// do it.
pub(crate) fn copy(
    chunks: &Receiver<Vec<u8>>,
    console: &mut dyn Write,
    mut keyboard: Keyboard<'_>,
    names: Option<&Names>,
    deadline: Option<Instant>,
) -> Result<(Vec<u8>, bool)> {
    /// As good as for ever.
    const LONG: Duration = Duration::from_secs(1 << 20);
    const TO_END: Duration = Duration::from_secs(20);
    let (mut all, mut deadline, mut is_timed_out) = (Vec::new(), deadline, false);
    let mut annotator = Annotator::new(names.cloned().unwrap_or_default());
    loop {
        let left = deadline.map_or(LONG, |at| at.saturating_duration_since(Instant::now()));
        match chunks.recv_timeout(left) {
            Ok(chunk) => {
                let chunk = annotator.annotate(&chunk);
                let written = console.write_all(&chunk).and_then(|()| console.flush());
                written.context("cannot write the console's output")?;
                all.extend(chunk);
                keyboard.look_at(&all);
            }
            Err(RecvTimeoutError::Disconnected) => {
                all.extend(annotator.finish());
                return Ok((all, is_timed_out));
            }
            Err(RecvTimeoutError::Timeout) if is_timed_out => return Ok((all, true)),
            Err(RecvTimeoutError::Timeout) => {
                is_timed_out = true;
                keyboard.time_is_up();
                deadline = Some(Instant::now() + TO_END);
            }
        }
    }
}

/// An error with the last lines of what an emulator said.
fn refused(emulator: &str, said: &str) -> anyhow::Error {
    const LINES: usize = 10;
    let lines: Vec<_> = said.lines().filter(|line| !line.trim().is_empty()).collect();
    let last = lines[lines.len().saturating_sub(LINES)..].join("\n");
    anyhow!("{emulator} ended before the machine ran:\n{last}")
}

fn available_memory_mib() -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib / 1024)
}
