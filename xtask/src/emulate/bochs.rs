//! Bochs: a PC whose CPU has VMX or SVM, booted from an ISO.
//!
//! It draws its screen in a terminal and will not start without one, so it gets a pseudo-terminal;
//! what is written to port 0xe9 comes out among the drawing. COM1 is a socket that it connects to,
//! so that no port has to be guessed.

use super::{Keyboard, Machine, Report, Typed, chunks, copy, refused, report};
use crate::child::{self, Running};
use crate::scratch::Scratch;
use crate::{image, pseudo_terminal};
use anyhow::{Context, Result};
use std::io::{ErrorKind, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

/// Intel's, with unrestricted guests, EPT, VPID and the preemption timer.
const CPU: &str = "corei7_skylake_x";
/// Instructions in a second of Bochs's time, whose clock is its instruction counter. With fewer,
/// timers and serial ports take less of ours; with more, more is done between them, and a slice of
/// 200 us is still 4,000 instructions.
pub const INSTRUCTIONS_PER_SECOND: u64 = 20_000_000;
/// The debugger, which Debian's Bochs stops in at the start and at every triple fault: go on.
const DEBUGGER: &str = "c\n";
/// More stops than there can be: a triple fault for each VM.
const MAX_STOPS: usize = 100;
/// How often a start is looked after.
const POLL: Duration = Duration::from_millis(5);

pub(super) fn run(
    machine: &Machine,
    typed: &[Typed],
    kernel: &Path,
    pack: &[u8],
    scratch: &Scratch,
    console: &mut dyn Write,
) -> Result<Report> {
    image::write(kernel, &machine.command_line(), pack, &scratch.path().join("iso"))?;
    let listener = TcpListener::bind("127.0.0.1:0").context("cannot listen on 127.0.0.1")?;
    let port = listener.local_addr().context("cannot listen on 127.0.0.1")?.port();
    scratch.write("bochsrc", settings(machine, port).as_bytes())?;
    scratch.write("debugger", DEBUGGER.repeat(MAX_STOPS).as_bytes())?;
    let (screen, terminal) = pseudo_terminal::open()?;
    let copy_of_terminal = || terminal.try_clone().context("cannot copy a file");
    let mut command = child::command("setsid");
    command.args(["--ctty", "bochs", "-q", "-f", "bochsrc", "-rc", "debugger"]);
    command.current_dir(scratch.path()).env("TERM", "linux");
    command.stdin(Stdio::from(copy_of_terminal()?)).stdout(Stdio::from(copy_of_terminal()?));
    command.stderr(Stdio::from(terminal));
    let deadline = machine.timeout.map(|timeout| Instant::now() + timeout);
    let mut bochs = Running(command.spawn().context("cannot run bochs")?);
    // The child has its copies; with ours the screen would never end.
    drop(command);
    let screen = chunks(screen);

    let com1 = match accept(&listener, &mut bochs, deadline)? {
        Started::Connected(com1) => com1,
        Started::Ended => {
            let said: Vec<u8> = screen.iter().flatten().collect();
            return Err(refused("Bochs", &report::clean(&said)));
        }
        Started::TimedOut => return Ok(Report::new(Vec::new(), &[], true)),
    };
    let to_com1 = com1.try_clone().context("cannot copy a socket")?;
    let keyboard = Keyboard::of(machine, &bochs, typed, to_com1);
    let (output, is_timed_out) =
        copy(&chunks(com1), console, keyboard, Some(&machine.names), deadline)?;
    drop(bochs);
    let debug: Vec<u8> = screen.iter().flatten().collect();
    Ok(Report::new(output, &debug, is_timed_out))
}

/// What became of a start.
enum Started {
    /// COM1 is this.
    Connected(TcpStream),
    /// Bochs has ended by itself.
    Ended,
    /// The machine's time was up before.
    TimedOut,
}

/// Waits for the connection that Bochs makes when it starts.
fn accept(
    listener: &TcpListener,
    bochs: &mut Running,
    deadline: Option<Instant>,
) -> Result<Started> {
    listener.set_nonblocking(true).context("cannot wait for Bochs")?;
    loop {
        match listener.accept() {
            Ok((com1, _)) => {
                com1.set_nonblocking(false).context("cannot read from Bochs")?;
                return Ok(Started::Connected(com1));
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error).context("cannot wait for Bochs"),
        }
        if bochs.0.try_wait().context("cannot wait for Bochs")?.is_some() {
            return Ok(Started::Ended);
        }
        if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            return Ok(Started::TimedOut);
        }
        thread::sleep(POLL);
    }
}

fn settings(machine: &Machine, port: u16) -> String {
    let memory = machine.memory_mib;
    let cpu = machine.cpu.as_deref().unwrap_or(CPU);
    let com2 = machine.debugger.map_or_else(String::new, |port| {
        format!("com2: enabled=1, mode=socket-client, dev=127.0.0.1:{port}\n")
    });
    format!(
        "\
display_library: term
romimage: file=/usr/share/bochs/BIOS-bochs-latest
vgaromimage: file=/usr/share/bochs/VGABIOS-lgpl-latest
vga: extension=vbe, update_freq=1, realtime=0
memory: guest={memory}, host={memory}
cpu: model={cpu}, count=1, ips={INSTRUCTIONS_PER_SECOND}, reset_on_triple_fault=0
clock: sync=none, time0=utc, rtc_sync=0
ata0-master: type=cdrom, path=iso, status=inserted
boot: cdrom
com1: enabled=1, mode=socket-client, dev=127.0.0.1:{port}
{com2}port_e9_hack: enabled=1
speaker: enabled=0
sound: waveoutdrv=dummy
log: log
panic: action=fatal, cpu0=report
error: action=report
info: action=ignore
debug: action=ignore
"
    )
}
