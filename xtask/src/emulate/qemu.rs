//! QEMU: a q35 whose CPU has SVM with nested paging; it loads a multiboot kernel, or Linux, by
//! itself.

use super::{Accelerator, Emulator, Keyboard, Machine, Report, Typed, chunks, copy, refused};
use crate::child::{self, Running};
use crate::scratch::Scratch;
use anyhow::{Context, Result};
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::process::Stdio;
use std::time::Instant;

/// AMD's, since QEMU itself emulates only AMD's virtualization.
const CPU: &str = "EPYC,+svm,+npt";
/// 2^5 = 32 ns an instruction, and what sleeps is moved on at once.
pub(super) const COUNTED: &str = "shift=5,sleep=off";
/// What an instruction takes by that clock, ns.
pub const NS_PER_COUNTED_INSTRUCTION: u64 = 1 << 5;

pub(super) fn run(
    machine: &Machine,
    typed: &[Typed],
    kernel: &Path,
    pack: &[u8],
    scratch: &Scratch,
    console: &mut dyn Write,
) -> Result<Report> {
    let debug = scratch.path().join("debug");
    let log = scratch.path().join("log");
    scratch.write("plan", pack)?;
    fs::copy(kernel, scratch.path().join("tandem"))
        .with_context(|| format!("cannot copy {}", kernel.display()))?;
    let mut command = child::command("qemu-system-x86_64");
    // Names without a folder: QEMU takes commas and spaces apart.
    command.current_dir(scratch.path()).args(arguments(machine));
    // Never ours: a terminal's settings are not for QEMU to change.
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    command.stderr(File::create(&log).context("cannot make a file")?);
    let deadline = machine.timeout.map(|timeout| Instant::now() + timeout);
    let mut qemu = Running(command.spawn().context("cannot run qemu-system-x86_64")?);
    let stdout = qemu.0.stdout.take().expect("it was asked for");
    let stdin = qemu.0.stdin.take().expect("it was asked for");
    let keyboard = Keyboard::of(machine, &qemu, typed, stdin);
    let (output, is_timed_out) =
        copy(&chunks(stdout), console, keyboard, Some(&machine.names), deadline)?;
    if !is_timed_out {
        let status = qemu.0.wait().context("cannot wait for QEMU")?;
        let is_started = fs::metadata(&debug).is_ok_and(|debug| debug.len() > 0);
        if !status.success() && !is_started && output.is_empty() {
            let said = fs::read(&log).unwrap_or_default();
            return Err(refused("QEMU", &String::from_utf8_lossy(&said)));
        }
    }
    let debug = fs::read(&debug).unwrap_or_default();
    Ok(Report::new(output, &debug, is_timed_out))
}

fn arguments(machine: &Machine) -> Vec<String> {
    let (accelerator, default_cpu) = match machine.accelerator {
        Accelerator::Tcg => ("tcg", CPU),
        Accelerator::Kvm => ("kvm", "host"),
    };
    let cpu = machine.cpu.as_deref().unwrap_or(default_cpu);
    let memory = format!("{}M", machine.memory_mib);
    let command_line = machine.command_line();
    // A multiboot module has a name behind it, an initramfs must not.
    let (module, debug) = match machine.emulator {
        Emulator::Debian => ("plan", "-serial"),
        Emulator::Qemu | Emulator::Bochs => ("plan plan", "-debugcon"),
    };
    let is_counted = machine.has_counted_clock && machine.accelerator == Accelerator::Tcg;
    let pairs = [
        ("-machine", machine.board.as_deref().unwrap_or("q35")),
        ("-accel", accelerator),
        ("-cpu", cpu),
        ("-m", &memory),
        ("-kernel", "tandem"),
        ("-append", &command_line),
        ("-initrd", module),
        ("-display", "none"),
        ("-nic", "none"),
        ("-monitor", "none"),
        ("-serial", "stdio"),
        (debug, "file:debug"),
        ("-device", "isa-debug-exit,iobase=0xf4,iosize=4"),
    ];
    let clock = is_counted.then_some(("-icount", COUNTED));
    let second = machine.debugger.map(|port| format!("tcp:127.0.0.1:{port}"));
    let second = second.as_deref().map(|to| ("-serial", to));
    let pairs =
        pairs.into_iter().chain(clock).chain(second).flat_map(|(option, value)| [option, value]);
    pairs.chain(["-no-reboot", "-nodefaults"]).map(str::to_owned).collect()
}
