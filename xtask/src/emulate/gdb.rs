//! Between gdb and the second serial port of an emulated machine: gdb connects to a TCP port of
//! this host, the emulator to another one.
//!
//! A serial port does not tell that a connection has ended: for a gdb that goes without a word the
//! bridge stops the VM and detaches.

use anyhow::{Context, Result};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

/// Ctrl-C, and the packet by which gdb detaches.
const DETACHES: &[u8] = b"\x03$D#44";
/// The answer to a second gdb: an error of the remote protocol.
const IN_USE: &[u8] = b"+$E.another debugger has this VM#c0";

/// The ports of a bridge.
#[derive(Clone, Debug)]
pub struct Bridge {
    /// Where the emulator connects to.
    pub emulator: u16,
    /// Where gdb does.
    pub gdb: u16,
    ends: Arc<Mutex<Ends>>,
}

impl Bridge {
    /// Whether the hypervisor takes what gdb sends: before, it waits.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        with(&self.ends, |ends| ends.serial.is_some())
    }
}

/// Who is at the ends.
#[derive(Debug, Default)]
struct Ends {
    /// Once the hypervisor has greeted by a byte: what a port receives before it is programmed is
    /// lost.
    serial: Option<TcpStream>,
    /// What gdb has sent before.
    early: Vec<u8>,
    gdb: Option<TcpStream>,
    /// gdb's packets so far end with one by which it has left.
    has_left: bool,
}

/// Opens a bridge at the port `gdb` of this host, or any if it is 0.
///
/// # Errors
/// The port is taken.
pub fn open(gdb: u16) -> Result<Bridge> {
    let listen = |port| {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))
            .with_context(|| format!("cannot listen on port {port} of 127.0.0.1"))?;
        let port = listener.local_addr().context("a socket's address")?.port();
        Ok::<_, anyhow::Error>((listener, port))
    };
    let (emulators, emulator) = listen(0)?;
    let (gdbs, gdb) = listen(gdb)?;
    let ends = Arc::new(Mutex::new(Ends::default()));
    let (of_serial, of_gdb) = (Arc::clone(&ends), Arc::clone(&ends));
    thread::spawn(move || {
        if let Ok((serial, _)) = emulators.accept() {
            from_serial(serial, &of_serial);
        }
    });
    thread::spawn(move || {
        for gdb in gdbs.incoming().flatten() {
            take(gdb, &of_gdb);
        }
    });
    Ok(Bridge { emulator, gdb, ends })
}

fn with<T>(ends: &Mutex<Ends>, act: impl FnOnce(&mut Ends) -> T) -> T {
    // A thread that panicked with it has left it whole.
    act(&mut ends.lock().unwrap_or_else(std::sync::PoisonError::into_inner))
}

/// Passes on what the machine sends, until it is off.
fn from_serial(serial: TcpStream, ends: &Mutex<Ends>) {
    let _ = serial.set_nodelay(true);
    let Ok(mut reader) = serial.try_clone() else { return };
    let mut greeting = [0];
    if reader.read_exact(&mut greeting).is_ok() {
        with(ends, |ends| {
            let mut serial = serial;
            let _ = serial.write_all(&std::mem::take(&mut ends.early));
            ends.serial = Some(serial);
        });
    }
    let mut chunk = [0; 4096];
    while let Ok(len @ 1..) = reader.read(&mut chunk) {
        let gdb = with(ends, |ends| ends.gdb.as_ref().and_then(|gdb| gdb.try_clone().ok()));
        if let Some(mut gdb) = gdb {
            // One that is gone is noticed by who reads from it.
            let _ = gdb.write_all(&chunk[..len]);
        }
    }
    with(ends, |ends| {
        ends.serial = None;
        if let Some(gdb) = &ends.gdb {
            let _ = gdb.shutdown(Shutdown::Both);
        }
    });
}

/// Lets a gdb have the VM, or sends it away.
fn take(mut gdb: TcpStream, ends: &Arc<Mutex<Ends>>) {
    let is_free = with(ends, |ends| ends.gdb.is_none());
    if !is_free {
        eprintln!("xtask: a second gdb was refused");
        // Its questions get this answer until it goes.
        thread::spawn(move || {
            let mut chunk = [0; 4096];
            while let Ok(len @ 1..) = gdb.read(&mut chunk) {
                if chunk[..len].contains(&b'$') && gdb.write_all(IN_USE).is_err() {
                    break;
                }
            }
        });
        return;
    }
    let _ = gdb.set_nodelay(true);
    let Ok(reader) = gdb.try_clone() else { return };
    with(ends, |ends| (ends.gdb, ends.has_left) = (Some(gdb), false));
    let ends = Arc::clone(ends);
    thread::spawn(move || from_gdb(reader, &ends));
}

/// Passes on what gdb sends, until it goes.
fn from_gdb(mut gdb: TcpStream, ends: &Mutex<Ends>) {
    let mut chunk = [0; 4096];
    while let Ok(len @ 1..) = gdb.read(&mut chunk) {
        let bytes = &chunk[..len];
        with(ends, |ends| {
            if bytes.contains(&b'$') {
                let leaves: [&[u8]; 4] = [b"$D;1#b0", b"$D#44", b"$k#6b", b"$vKill;1#6e"];
                ends.has_left =
                    leaves.iter().any(|it| bytes.windows(it.len()).any(|bytes| bytes == *it));
            }
            match &mut ends.serial {
                Some(serial) => drop(serial.write_all(bytes)),
                None => ends.early.extend_from_slice(bytes),
            }
        });
    }
    with(ends, |ends| {
        match &mut ends.serial {
            Some(serial) if !ends.has_left => drop(serial.write_all(DETACHES)),
            Some(_) => {}
            None => ends.early.clear(),
        }
        ends.gdb = None;
    });
}
