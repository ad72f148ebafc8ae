//! The control socket: requests of `vmm-kvm ctl` and of other programs, and clients that misbehave.

use crate::harness::{Finished, Running, Tandem};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

const TWO: &str = "vms: [{name: left, cmdline: ''}, {name: right, cmdline: ''}]";
/// Far beyond what a reply takes.
const HANGS_AFTER: Duration = Duration::from_secs(180);

/// A run with a control socket.
fn controlled(config: &str) -> (Running, PathBuf) {
    let run = Tandem::run_text(config);
    let socket = run.scratch().path("control");
    let run = run.arg("--control").arg(&socket).with_keyboard().start();
    run.shows("Tandem guest OS");
    (run, socket)
}

struct Client(BufReader<UnixStream>);

impl Client {
    fn new(socket: &Path) -> Self {
        let stream = UnixStream::connect(socket).expect("the run listens");
        stream.set_read_timeout(Some(HANGS_AFTER)).expect("it has a time limit");
        Self(BufReader::new(stream))
    }

    fn greeted(socket: &Path) -> Self {
        let mut client = Self::new(socket);
        assert_eq!(client.line().expect("a greeting")["protocol"], 1);
        client
    }

    /// The next line; None at the end.
    fn line(&mut self) -> Option<Value> {
        let mut line = String::new();
        match self.0.read_line(&mut line) {
            Ok(0) => None,
            Ok(_) => Some(serde_json::from_str(&line).expect("it is JSON")),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => None,
            Err(error) => panic!("{error}"),
        }
    }

    fn send(&mut self, bytes: &[u8]) {
        // The run may have closed its end.
        let _ = self.0.get_mut().write_all(bytes);
    }

    fn ask(&mut self, request: &Value) -> Value {
        self.send(format!("{request}\n").as_bytes());
        self.line().expect("a reply")
    }

    fn state_of(&mut self, vm: usize) -> String {
        let reply = self.ask(&json!({ "command": "list" }));
        reply["result"]["vms"][vm]["state"].as_str().expect("a state").to_string()
    }
}

/// What `ctl` printed.
fn ctl(socket: &Path, arguments: &[&str]) -> Finished {
    let run = Tandem::with(["ctl"]).arg(socket);
    arguments.iter().fold(run, |run, argument| run.arg(argument)).finish()
}

#[test]
fn a_vm_is_paused_resumed_restarted_and_stopped_by_ctl() {
    let (run, socket) = controlled(TWO);
    let mode = std::fs::metadata(&socket).expect("it is there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    ctl(&socket, &["pause", "left"]).ended_with(0);
    run.shows("[left paused]");
    assert!(ctl(&socket, &["list"]).ended_with(0).output.starts_with("left   paused\n"));
    ctl(&socket, &["resume", "left"]).ended_with(0);
    ctl(&socket, &["restart", "left", "right"]).ended_with(0);
    run.shows("[left restarted]").shows("[right restarted]").shows_times("Tandem guest OS", 4);
    ctl(&socket, &["stop", "left"]).ended_with(0);
    run.shows("[left stopped: by the operator]");
    let list = ctl(&socket, &["list"]).ended_with(0).output;
    assert!(list.starts_with("left   ended: stopped: by the operator, restarts: 1\n"), "{list}");
    ctl(&socket, &["pause", "left"]).ended_with(1).complains("left: it has ended");
    ctl(&socket, &["pause", "nobody"]).ended_with(1).complains("allowed: left, right");
    ctl(&socket, &["fly"]).ended_with(2);
    ctl(&socket, &["dump", "right"]).ended_with(0);
    run.shows("[right]   rip ");
    assert!(ctl(&socket, &["stats"]).ended_with(0).output.contains("\"held_ns\""));
    // One that has ended begins anew, too.
    ctl(&socket, &["restart", "left"]).ended_with(0);
    run.shows_times("Tandem guest OS", 5);
    ctl(&socket, &["end"]).ended_with(0);
    let run = run.finish().ended_with(130).adds_up();
    assert_eq!(run.vm("left")["restarts"], 2);
    assert!(run.vm("left")["held_ns"].as_u64() > Some(0));
    ctl(&socket, &["list"]).ended_with(3).complains("no run has the control socket");
}

#[test]
fn all_vms_may_be_paused_and_time_stands_for_one_with_a_clock_of_its_own() {
    let (run, socket) = controlled(TWO);
    let mut client = Client::greeted(&socket);
    for vm in ["left", "right"] {
        assert_eq!(client.ask(&json!({ "command": "pause", "vm": vm }))["ok"], true);
    }
    assert_eq!((client.state_of(0), client.state_of(1)), ("paused".into(), "paused".into()));
    // Keys wait meanwhile.
    run.types("echo typed to a paused VM\n");
    assert_eq!(client.state_of(0), "paused");
    assert_eq!(client.ask(&json!({ "command": "toggle", "vm": "left", "id": 7 }))["id"], 7);
    run.shows("left  | typed to a paused VM");
    assert_eq!(client.state_of(1), "paused");
    assert_eq!(client.ask(&json!({ "command": "end" }))["ok"], true);
    run.finish().ended_with(130).adds_up();
}

#[test]
fn clients_that_send_nonsense_or_do_not_read_are_disconnected_and_stop_nobody() {
    let (run, socket) = controlled(TWO);
    let long = format!("{}\n", "x".repeat(5000));
    for nonsense in ["garbage\n", "[]\n", "{\"command\": \"fly\"}\n", &long, "\u{0}\u{1}\n"] {
        let mut client = Client::greeted(&socket);
        client.send(nonsense.as_bytes());
        assert_eq!(client.line().expect("it says why")["ok"], false, "{nonsense:?}");
        assert_eq!(client.line(), None, "{nonsense:?}");
    }
    // Half a request, and one that asks for ever and reads nothing.
    let mut half = Client::greeted(&socket);
    half.send(b"{\"command\": \"li");
    let mut deaf = UnixStream::connect(&socket).expect("the run listens");
    deaf.set_write_timeout(Some(HANGS_AFTER)).expect("it has a time limit");
    while deaf.write_all(b"{\"command\": \"stats\"}\n").is_ok() {}
    half.send(b"st\"}\n");
    assert_eq!(half.line().expect("a reply")["ok"], true);
    // A thousand, of which some are told that there is no room.
    let mut clients: Vec<Client> = (0..200).map(|_| Client::new(&socket)).collect();
    let greeted = clients.iter_mut().filter_map(Client::line);
    let greeted = greeted.filter(|line| line["protocol"] == 1).count();
    assert!((1..=32).contains(&greeted), "{greeted}");
    for _ in 0..800 {
        drop(Client::new(&socket));
    }
    drop(clients);
    run.types("echo alive\n");
    run.shows("left  | alive");
    // There is room again.
    let mut last = loop {
        let mut client = Client::new(&socket);
        if client.line().is_some_and(|line| line["protocol"] == 1) {
            break client;
        }
    };
    assert_eq!(last.ask(&json!({ "command": "end" }))["ok"], true);
    run.finish().ended_with(130).adds_up();
    let mut rest = Vec::new();
    let _ = half.0.read_to_end(&mut rest);
}

#[test]
fn something_else_at_the_sockets_place_is_left_alone() {
    let run = Tandem::run_text(TWO);
    let file = run.scratch().file("control", "precious");
    let run = run.arg("--control").arg(&file).finish().ended_with(3);
    let run = run.complains("the control socket");
    assert_eq!(std::fs::read_to_string(&file).ok().as_deref(), Some("precious"));
    drop(run);
}
