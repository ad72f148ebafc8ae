//! Debuggers that do what users' do on bad days: come twice, send garbage, vanish, kill.

use crate::harness::{Running, Scratch, Tandem};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;
use xtask::gdb_session;

/// How often a socket is looked for.
const POLL: Duration = Duration::from_millis(10);
/// `?`, with its frame: why has it stopped?
const WHY: &[u8] = b"$?#3f";
/// The answer of a VM that gdb has stopped by coming.
const STOPPED: &str = "T05thread:01;";

/// A VM that counts for a while, with a debugger, and its neighbour.
fn debugged(more: &str) -> (Running, PathBuf) {
    let text = format!(
        "vms:\n  - {{name: left, kernel: spin, cmdline: 700, gdb: \"{more}unix:gdb\"}}\n  \
        - {{name: right, kernel: spin, cmdline: 700}}\n"
    );
    let run = Tandem::run_text(&text);
    let socket = run.scratch().path("gdb");
    (run.start(), socket)
}

fn connect(socket: &PathBuf) -> UnixStream {
    loop {
        match UnixStream::connect(socket) {
            Ok(gdb) => return gdb,
            Err(_) => thread::sleep(POLL),
        }
    }
}

/// Waits until the stub has said this.
fn hears(gdb: &mut UnixStream, text: &str) {
    let (mut said, mut byte) = (String::new(), [0]);
    while !said.contains(text) {
        let len = gdb.read(&mut byte).expect("a socket can be read");
        assert_eq!(len, 1, "it closed the connection after {said:?}");
        said.push(char::from(byte[0]));
    }
}

/// Both VMs end well, and `left` was held.
fn both_end_well(run: Running) {
    let run = run.finish().ended_with(0).adds_up();
    let held_ns = |vm: &str| run.vm(vm)["held_ns"].as_u64().expect("a number");
    assert!(held_ns("left") > 0, "{}", run.shown());
    assert_eq!(held_ns("right"), 0, "{}", run.shown());
}

#[test]
fn gdb_that_vanishes_lets_its_vm_go_on() {
    let (run, socket) = debugged("");
    let mut gdb = connect(&socket);
    gdb.write_all(WHY).expect("it listens");
    hears(&mut gdb, STOPPED);
    drop(gdb);
    both_end_well(run);
}

#[test]
fn garbage_ends_the_connection_and_nothing_else() {
    let (run, socket) = debugged("wait:");
    let mut gdb = connect(&socket);
    gdb.write_all(b"GET / HTTP/1.0\r\n$\xff\xfe\0#zz$nonsense#00").expect("it listens");
    let mut rest = Vec::new();
    // The end, or a reset where something was not read.
    let _ = gdb.read_to_end(&mut rest);
    both_end_well(run);
}

#[test]
fn ctrl_c_stops_a_vm_that_runs_and_detaching_lets_it_go() {
    let (run, socket) = debugged("wait:");
    let mut gdb = connect(&socket);
    gdb.write_all(WHY).expect("it listens");
    hears(&mut gdb, STOPPED);
    gdb.write_all(b"$c#63").expect("it listens");
    hears(&mut gdb, "+");
    gdb.write_all(b"\x03").expect("it listens");
    hears(&mut gdb, "T02thread:01;");
    gdb.write_all(b"$D#44").expect("it listens");
    hears(&mut gdb, "OK");
    both_end_well(run);
}

#[test]
fn a_vm_that_gdb_kills_has_ended_and_its_neighbour_has_not() {
    let (run, socket) = debugged("");
    let mut gdb = connect(&socket);
    gdb.write_all(WHY).expect("it listens");
    hears(&mut gdb, STOPPED);
    gdb.write_all(b"$k#6b").expect("it listens");
    let run = run.finish().ended_with(1);
    assert_eq!(run.vm("left")["ending"], "stopped: killed by its debugger");
    assert_eq!(run.vm("right")["ending"], "powered off, status 0");
}

#[test]
fn a_second_gdb_is_told_that_there_is_one() {
    let (run, socket) = debugged("wait:");
    let mut gdb = connect(&socket);
    gdb.write_all(WHY).expect("it listens");
    hears(&mut gdb, STOPPED);
    let elf = PathBuf::from(guests::BUILT).join("spin.elf");
    let address = socket.to_str().expect("a path in UTF-8");
    let said = gdb_session::run(&elf, address, &[]).expect("gdb can be had");
    assert!(said.contains("another debugger has this VM"), "{said}");
    // The first one still has it.
    gdb.write_all(WHY).expect("it listens");
    hears(&mut gdb, STOPPED);
    run.shows("[left: a second gdb was refused]");
    drop(gdb);
    both_end_well(run);
}

#[test]
fn an_address_that_cannot_be_had_refuses_the_run_with_a_message() {
    let scratch = Scratch::new();
    let file = scratch.file("taken", "");
    let text = format!("vms: [{{name: left, kernel: spin, gdb: 'unix:{}'}}]\n", file.display());
    let run = Tandem::run_text(&text).finish();
    run.ended_with(3).complains("VM left: gdb at ").complains("address in use");
    let run = Tandem::run_text("vms: [{name: left, kernel: spin}]\n");
    run.arg("--gdb=middle=1234")
        .finish()
        .ended_with(2)
        .complains("--gdb middle: no VM has this name; allowed: left");
}
