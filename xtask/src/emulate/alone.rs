//! A guest in QEMU alone, with no hypervisor of ours: the control that its transcript is held
//! against.

use super::{Accelerator, Emulator, Keyboard, chunks, copy, qemu};
use crate::child::{self, Running};
use crate::scratch::Scratch;
use anyhow::{Context, Result, bail};
use std::fs;
use std::io;
use std::path::Path;
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

pub mod monitor;

/// The memory that a VM has if its config does not say.
const MEMORY: &str = "16M";
/// The machine that most guests run on, and its processor.
const Q35: (&str, &str) = ("q35,accel=tcg", "EPYC");
/// A machine whose virtio devices are memory-mapped, from pin 16 of its one I/O APIC on. It has no
/// port that powers it off.
const MICROVM: (&str, &str) = ("microvm,ioapic2=off,accel=tcg", "EPYC");
const MICROVM_ON_KVM: (&str, &str) = ("microvm,ioapic2=off,accel=kvm", "host");
/// Transports of version 2.
const MODERN: [&str; 2] = ["-global", "virtio-mmio.force-legacy=false"];
/// How often a start is looked after.
const POLL: Duration = Duration::from_millis(5);

/// A guest that has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alone {
    /// All that it printed on COM1.
    pub console: String,
    /// 0 after a power-off or a reset, else what was written to the exit port, as far as it has 7
    /// bits.
    pub status: i32,
}

/// A multiboot kernel and what it is to do.
#[derive(Clone, Copy, Debug)]
pub struct Kernel<'a> {
    /// The image.
    pub file: &'a Path,
    /// Its command line; QEMU puts the file's path before it.
    pub cmdline: &'a str,
}

/// Runs it to its end, on so many processors, each a package: QEMU's firmware lists only the first
/// one of a package in its MP table. The clock counts instructions: under load QEMU would lose
/// ticks by itself.
///
/// # Errors
/// QEMU is missing or fails, or the guest does not end in time.
pub fn run(kernel: Kernel<'_>, processors: u8, timeout: Duration) -> Result<Alone> {
    Emulator::Qemu.ensure()?;
    let topology = format!("{processors},sockets={processors}");
    let options = ["-smp", &topology, "-icount", qemu::COUNTED, "-rtc", "clock=vm"];
    boot(Q35, kernel, &options, Instant::now() + timeout)
}

/// Runs it on a machine with virtio disks behind memory-mapped transports, whose words it adds to
/// the command line: the first can be written, the second cannot. The image is not changed.
///
/// # Errors
/// As for [`run`].
pub fn with_disks(kernel: Kernel<'_>, image: &Path, timeout: Duration) -> Result<Alone> {
    Emulator::Qemu.ensure()?;
    let mut options: Vec<String> = Vec::new();
    let mut cmdline = kernel.cmdline.to_owned();
    for (number, access) in ["snapshot=on", "readonly=on"].into_iter().enumerate() {
        let (file, id) = (image.display(), format!("disk{number}"));
        let drive = format!("if=none,id={id},file={file},format=raw,{access}");
        // An identifier of less than 20 bytes leaves the rest of its buffer as it is there.
        let serial = format!("virtio-control-disk{number}");
        let bus = format!("virtio-mmio-bus.{number}");
        let device = format!("virtio-blk-device,drive={id},bus={bus},serial={serial}");
        options.extend(["-drive".into(), drive, "-device".into(), device]);
        let (address, pin) = (0xfeb0_0000 + 512 * number, 16 + number);
        cmdline += &format!(" virtio_mmio.device=512@{address:#x}:{pin}");
    }
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    let kernel = Kernel { cmdline: &cmdline, ..kernel };
    boot(MICROVM, kernel, &[&MODERN[..], &options].concat(), Instant::now() + timeout)
}

/// Runs it on a machine with a virtio console behind a memory-mapped transport; the text is what it
/// prints there.
///
/// # Errors
/// As for [`run`].
pub fn with_console(kernel: Kernel<'_>, timeout: Duration) -> Result<Alone> {
    Emulator::Qemu.ensure()?;
    let scratch = Scratch::new()?;
    let file = scratch.path().join("hvc");
    let output = format!("file,id=hvc,path={}", file.display());
    let options = [
        &MODERN[..],
        &["-chardev", &output, "-device", "virtio-serial-device,bus=virtio-mmio-bus.0"],
        &["-device", "virtconsole,chardev=hvc"],
    ];
    let alone = boot(MICROVM, kernel, &options.concat(), Instant::now() + timeout)?;
    let printed = fs::read(&file).context("cannot read what it printed")?;
    Ok(Alone { console: String::from_utf8_lossy(&printed).into_owned(), ..alone })
}

/// Runs two whose second serial ports are joined, by the usual clock.
///
/// # Errors
/// As for [`run`].
pub fn pair(kernels: [Kernel<'_>; 2], timeout: Duration) -> Result<[Alone; 2]> {
    Emulator::Qemu.ensure()?;
    let scratch = Scratch::new()?;
    let socket = scratch.path().join("link");
    let deadline = Instant::now() + timeout;
    let listens = format!("unix:{},server=on,wait=on", socket.display());
    let connects = format!("unix:{}", socket.display());
    thread::scope(|scope| {
        let one = scope.spawn(|| boot(Q35, kernels[0], &["-serial", &listens], deadline));
        while !socket.exists() && !one.is_finished() {
            thread::sleep(POLL);
        }
        let other = boot(Q35, kernels[1], &["-serial", &connects], deadline);
        let one = one.join().expect("it returns its errors");
        Ok([one?, other?])
    })
}

/// Runs two on machines as for [`with_disks`], each with a virtio network interface, joined by a
/// socket that carries frames.
///
/// # Errors
/// As for [`run`].
pub fn network(
    kernels: [Kernel<'_>; 2],
    accelerator: Accelerator,
    timeout: Duration,
) -> Result<[Alone; 2]> {
    Emulator::Qemu.ensure()?;
    let machine = match accelerator {
        Accelerator::Tcg => MICROVM,
        Accelerator::Kvm => MICROVM_ON_KVM,
    };
    let scratch = Scratch::new()?;
    let socket = scratch.path().join("network");
    let deadline = Instant::now() + timeout;
    let address = format!("addr.type=unix,addr.path={}", socket.display());
    let run = |end: usize, server: &str| {
        let netdev = format!("stream,id=lan,server={server},{address}");
        let mac = format!("mac=52:54:00:00:00:{:02x}", end + 1);
        let device = format!("virtio-net-device,netdev=lan,bus=virtio-mmio-bus.0,{mac}");
        let cmdline = format!("{} virtio_mmio.device=512@0xfeb00000:16", kernels[end].cmdline);
        let network = ["-netdev", &netdev, "-device", &device];
        let options = [&MODERN[..], &network[..]].concat();
        boot(machine, Kernel { cmdline: &cmdline, ..kernels[end] }, &options, deadline)
    };
    thread::scope(|scope| {
        let one = scope.spawn(|| run(0, "on"));
        while !socket.exists() && !one.is_finished() {
            thread::sleep(POLL);
        }
        let other = run(1, "off");
        let one = one.join().expect("it returns its errors");
        Ok([one?, other?])
    })
}

/// The exceptions and interrupts that QEMU's processor delivers to a kernel at 1 MiB or above, in
/// QEMU's words (`-d int`), until it resets, as after a triple fault, or until `timeout`.
///
/// # Errors
/// QEMU is missing or fails.
pub fn deliveries(kernel: Kernel<'_>, timeout: Duration) -> Result<Vec<String>> {
    Emulator::Qemu.ensure()?;
    let scratch = Scratch::new()?;
    let log = scratch.path().join("deliveries");
    let options = ["-d", "int", "-D", log.to_str().context("the folder's name is no text")?];
    // One that hangs has raised nothing, or it is in the log.
    let _ = boot(Q35, kernel, &options, Instant::now() + timeout);
    let text = fs::read_to_string(&log).context("QEMU's log")?;
    // The firmware's own lie below.
    let is_kernels = |line: &&str| {
        let pc = line.split_once(" pc=").and_then(|(_, rest)| rest.split(' ').next());
        let pc = pc.and_then(|digits| u64::from_str_radix(digits, 16).ok());
        pc.is_some_and(|pc| (0x10_0000..0xfff0_0000).contains(&pc))
    };
    let lines = text.lines().filter(|line| line.contains(": v=")).filter(is_kernels);
    Ok(lines.map(str::to_owned).collect())
}

fn boot(
    (machine, cpu): (&str, &str),
    kernel: Kernel<'_>,
    options: &[&str],
    deadline: Instant,
) -> Result<Alone> {
    boot_watched((machine, cpu), kernel, options, deadline, &mut io::sink())
}

/// The same, and `watcher` gets what it prints as it comes.
fn boot_watched(
    (machine, cpu): (&str, &str),
    kernel: Kernel<'_>,
    options: &[&str],
    deadline: Instant,
    watcher: &mut impl io::Write,
) -> Result<Alone> {
    let mut qemu = child::command("qemu-system-x86_64");
    qemu.args(["-machine", machine, "-cpu", cpu, "-m", MEMORY]);
    qemu.args(["-display", "none", "-nic", "none"]);
    qemu.args(["-no-reboot", "-nodefaults", "-serial", "stdio"]).args(options);
    qemu.args(["-device", "isa-debug-exit,iobase=0xf4,iosize=4"]);
    qemu.arg("-kernel").arg(kernel.file).args(["-append", kernel.cmdline]);
    qemu.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut running = Running(qemu.spawn().context("cannot run qemu-system-x86_64")?);
    let stdout = running.0.stdout.take().expect("it was asked for");
    let keyboard = Keyboard::new(&[], io::sink());
    let chunks = chunks(stdout);
    let (output, is_timed_out) = copy(&chunks, watcher, keyboard, None, Some(deadline))?;
    let console = String::from_utf8_lossy(&output).into_owned();
    if is_timed_out {
        bail!("it did not end in time; the console:\n{console}");
    }
    let code = running.0.wait().context("QEMU's end")?.code().context("QEMU was killed")?;
    Ok(Alone { console, status: code >> 1 })
}
