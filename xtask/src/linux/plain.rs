//! The small Linux in QEMU alone, with no hypervisor of ours: how it is without us.

use super::Linux;
use crate::child::{self, Running};
use crate::emulate::{Emulator, Keyboard, chunks, copy};
use crate::scratch::Scratch;
use anyhow::{Context, Result, bail};
use std::io::{self, Write};
use std::path::Path;
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

/// Enough for kernel, initramfs and the data of a job.
const MEMORY: &str = "128M";
/// A console that only jobs write to, an end by a panic rather than none, and none because a loaded
/// host gave QEMU no time for timer ticks when they were looked for.
const QUIET: &str = "console=ttyS0 quiet panic=-1 no_timer_check";
/// Leads a job's exit status on the console.
const DONE: &str = "tandem-linux: done, status ";
/// How often a start is looked after.
const POLL: Duration = Duration::from_millis(5);

/// A job that is done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Done {
    /// All that was printed.
    pub console: String,
    /// The job's exit status.
    pub status: u8,
}

/// Boots it for `job`, and copies its console to `console`.
///
/// # Errors
/// QEMU is missing or fails, or the job is not done in time.
pub fn run(linux: &Linux, job: &str, timeout: Duration, console: &mut dyn Write) -> Result<Done> {
    run_on(linux, 1, job, timeout, console)
}

/// Boots it on so many processors.
///
/// # Errors
/// As for [`run`].
pub fn run_on(
    linux: &Linux,
    processors: u8,
    job: &str,
    timeout: Duration,
    console: &mut dyn Write,
) -> Result<Done> {
    Emulator::Qemu.ensure()?;
    let words = format!("job=\"{job}\"");
    let processors = processors.to_string();
    let options = [&["-smp", &processors][..], &serial_ports("null")].concat();
    boot(linux, &words, &options, Instant::now() + timeout, console)
}

/// Boots two whose second serial ports are joined, each for a job of its own and with data of its
/// own to send, and copies the first one's console to `console`.
///
/// # Errors
/// As for [`run`].
pub fn pair(
    linux: &Linux,
    jobs: [&str; 2],
    timeout: Duration,
    console: &mut dyn Write,
) -> Result<[Done; 2]> {
    Emulator::Qemu.ensure()?;
    let scratch = Scratch::new()?;
    let socket = scratch.path().join("link");
    let deadline = Instant::now() + timeout;
    let words = |end: usize| format!("seed={} job=\"{}\"", end + 1, jobs[end]);
    let listens = format!("unix:{},server=on,wait=off", socket.display());
    let connects = format!("unix:{},reconnect=1", socket.display());
    thread::scope(|scope| {
        let one = scope
            .spawn(|| boot(linux, &words(1), &serial_ports(&listens), deadline, &mut io::sink()));
        while !socket.exists() && !one.is_finished() {
            thread::sleep(POLL);
        }
        let other = boot(linux, &words(0), &serial_ports(&connects), deadline, console);
        let one = one.join().expect("it returns its errors");
        Ok([other?, one?])
    })
}

/// Boots two at one network, joined by a socket that carries frames, for the job `network` with so
/// many bytes, and copies the console of the one that fetches them to `console`.
///
/// # Errors
/// As for [`run`].
pub fn network(
    linux: &Linux,
    bytes: u64,
    timeout: Duration,
    console: &mut dyn Write,
) -> Result<[Done; 2]> {
    Emulator::Qemu.ensure()?;
    let scratch = Scratch::new()?;
    let socket = scratch.path().join("network");
    let deadline = Instant::now() + timeout;
    let boot_end = |end: usize, server: &str, console: &mut dyn Write| {
        let words = format!("job=\"network {end} {bytes}\"");
        let address = format!("addr.type=unix,addr.path={}", socket.display());
        let netdev = format!("stream,id=lan,server={server},{address}");
        let device = format!("virtio-net-pci,netdev=lan,mac=52:54:00:00:00:{end:02x}");
        let options = ["-m", "256M", "-serial", "stdio", "-netdev", &netdev, "-device", &device];
        boot(linux, &words, &options, deadline, console)
    };
    thread::scope(|scope| {
        let serves = scope.spawn(|| boot_end(2, "on", &mut io::sink()));
        while !socket.exists() && !serves.is_finished() {
            thread::sleep(POLL);
        }
        let fetches = boot_end(1, "off", console);
        let serves = serves.join().expect("it returns its errors");
        Ok([fetches?, serves?])
    })
}

/// The console, and what is at the other end of the second port.
fn serial_ports(end: &str) -> [&str; 4] {
    ["-serial", "stdio", "-serial", end]
}

fn boot(
    linux: &Linux,
    words: &str,
    options: &[&str],
    deadline: Instant,
    console: &mut dyn Write,
) -> Result<Done> {
    let mut qemu = child::command("qemu-system-x86_64");
    qemu.args(["-machine", "q35", "-accel", "tcg", "-m", MEMORY]);
    qemu.args(["-display", "none", "-monitor", "none", "-nic", "none"]);
    qemu.args(["-no-reboot", "-nodefaults"]);
    qemu.args([Path::new("-kernel"), &linux.kernel, Path::new("-initrd"), &linux.initramfs]);
    qemu.args(["-append", &format!("{QUIET} {words}")]);
    qemu.args(options);
    qemu.stdin(Stdio::null()).stdout(Stdio::piped());
    let mut running = Running(qemu.spawn().context("cannot run qemu-system-x86_64")?);
    let stdout = running.0.stdout.take().expect("it was asked for");
    let keyboard = Keyboard::new(&[], io::sink());
    let (output, is_timed_out) = copy(&chunks(stdout), console, keyboard, None, Some(deadline))?;
    let console = String::from_utf8_lossy(&output).into_owned();
    if is_timed_out {
        bail!("it is not done in time; the console:\n{console}");
    }
    let Some(status) = status(&console) else { bail!("it ended undone; the console:\n{console}") };
    Ok(Done { console, status })
}

fn status(console: &str) -> Option<u8> {
    let mut lines = console.lines().filter_map(|line| line.strip_prefix(DONE));
    lines.next()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::linux;

    const TIMEOUT: Duration = Duration::from_secs(300);

    #[test]
    fn the_status_is_the_jobs() {
        assert_eq!(status("up\r\ntandem-linux: done, status 3\r\noff"), Some(3));
        assert_eq!(status("Kernel panic\r\n"), None);
    }

    #[test]
    fn all_processors_are_found_and_kept_busy() {
        let linux = linux::ensure().expect("Debian's kernel is there");
        let done = run_on(&linux, 4, "busy 1", TIMEOUT, &mut io::sink()).expect("it is done");
        let lines: Vec<&str> = done.console.lines().map(str::trim_end).collect();
        assert!(lines.contains(&"busy: 4 processors"), "{}", done.console);
        let has_worked = |line: &&str| line.starts_with("busy: done, 4 workers, ");
        assert!(lines.iter().any(has_worked) && done.status == 0, "{}", done.console);
    }

    #[test]
    fn two_move_data_over_the_network_between_them() {
        let linux = linux::ensure().expect("Debian's kernel is there");
        let [fetches, serves] =
            network(&linux, 100_000, TIMEOUT, &mut io::sink()).expect("both are done");
        assert!(fetches.console.contains("network: 3 packets received, 0% packet loss"));
        let mut lines = serves.console.lines();
        let line = lines.find(|line| line.starts_with("network: sent 100000 bytes, sha256 "));
        assert!(line.is_some_and(|line| line.trim().ends_with(", equal")), "{}", serves.console);
        assert_eq!([fetches.status, serves.status], [0, 0]);
    }

    #[test]
    fn two_exchange_data_over_the_line_between_them() {
        let linux = linux::ensure().expect("Debian's kernel is there");
        let jobs = ["exchange 10000", "exchange 20000"];
        let [one, other] = pair(&linux, jobs, TIMEOUT, &mut io::sink()).expect("both are done");
        for (done, received) in [(&one, 20000), (&other, 10000)] {
            let mut lines = done.console.lines();
            let lead = format!("link: received {received} bytes");
            let line = lines.find(|line| line.starts_with(&lead));
            assert!(line.is_some_and(|line| line.trim().ends_with(" equal")), "{}", done.console);
            assert_eq!(done.status, 0);
        }
    }
}
