//! Networks with a TAP of the host: a guest that reaches a service of the kernel's and one of a
//! process, in a network namespace of the test's own; and TAPs that cannot be had, that refuse, and
//! that go away.

use crate::harness::{Finished, Running, Signal, Tandem};
use std::io::ErrorKind;
use std::net::UdpSocket;
use std::process::Command;
use std::time::Duration;

/// Where the service listens in the namespace.
const HOST: &str = "10.77.0.1";
const PORT: u16 = 7777;
/// Makes the TAP as the README says, for root without CAP_NET_ADMIN.
pub const MADE: &str = "ip link set lo up; \
    ip tuntap add dev tandem0 mode tap user root vnet_hdr; ip link set tandem0 up; \
    ip addr add 10.77.0.1/24 dev tandem0;";
/// What `as_service` does.
const SERVE: &str = "TANDEM_SERVE";
/// Without the capability by which TAPs are made.
const UNPRIVILEGED: &str = "exec setpriv --bounding-set -net_admin --inh-caps -all -- \"$@\"";

/// A network guest with this command line, at a network with the TAP and what else `network` says.
pub fn guest(cmdline: &str, network: &str, others: &str) -> Tandem {
    let words = format!("role=client ip=10.77.0.2 {cmdline}");
    let guest = format!("name: left, kernel: net, memory: 8MiB, cmdline: \"{words}\"");
    Tandem::run_text(&format!(
        "vms: [{{{guest}, networks: [{{name: out}}]}}{others}]\n\
         networks: [{{name: out, tap: tandem0{network}}}]"
    ))
}

/// A script run as root of a network namespace of its own, and of a mount namespace.
pub fn in_namespace(run: Tandem, script: &str) -> Tandem {
    xtask::packages::ensure(xtask::packages::IPROUTE).expect("ip is needed");
    run.started_by(["unshare", "--mount", "--net", "sh", "-e", "-c", script, "sh"])
}

/// With a service that sends back what it gets, which ends with the run; `before` and `then` are
/// parts of the script.
pub fn beside_service(run: Tandem, before: &str, then: &str) -> Tandem {
    let program = std::env::current_exe().expect("it runs");
    let script = format!(
        "{before} {MADE} {SERVE}=1 '{}' --exact uplinks::as_service >/dev/null & service=$!; \
         code=0; ({UNPRIVILEGED}) || code=$?; kill $service; wait $service 2>/dev/null || true; \
         {then} exit $code",
        program.display()
    );
    in_namespace(run, &script)
}

/// Does nothing unless the program was run by itself, as a service.
#[test]
fn as_service() {
    if std::env::var_os(SERVE).is_none() {
        return;
    }
    let parent = rustix::process::getppid();
    let socket = UdpSocket::bind((HOST, PORT)).expect("the address is there");
    socket.set_read_timeout(Some(Duration::from_millis(200))).expect("it is not zero");
    let mut datagram = vec![0; 1 << 16];
    while rustix::process::getppid() == parent {
        match socket.recv_from(&mut datagram) {
            Ok((len, from)) => drop(socket.send_to(&datagram[..len], from)),
            Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
        }
    }
}

/// Runs a command in the network namespace of a run.
fn beside(run: &Running, command: &[&str]) {
    let target = run.pid().to_string();
    let status =
        Command::new("nsenter").args(["--target", &target, "--net"]).args(command).status();
    assert!(status.expect("util-linux has it").success(), "{command:?}");
}

/// A count of the first network of the receipt, or of its TAP.
pub fn count(run: &Finished, place: &str, what: &str) -> u64 {
    run.number(&format!("/networks/0/{place}/{what}"))
}

#[test]
fn a_guest_reaches_the_kernel_and_a_service_behind_a_tap_without_privileges() {
    let words = format!("peer={HOST} echo={PORT}");
    let run = beside_service(guest(&words, "", ""), "", "").finish().ended_with(0);
    let run = run.complains_of_nothing().adds_up();
    for check in ["address of the peer", "ping", "datagrams"] {
        assert!(run.lines_of("left").contains(&format!("net: {check} PASSED")), "{}", run.shown());
    }
    for unit in ["frames", "bytes"] {
        let sent = count(&run, "counts", &format!("{unit} sent"));
        assert_eq!(count(&run, "tap/counts", &format!("{unit} to it")), sent);
        let received = count(&run, "counts", &format!("{unit} received"));
        assert!(count(&run, "tap/counts", &format!("{unit} from it")) >= received && sent > 0);
    }
    assert_eq!(run.receipt["networks"][0]["tap"]["device"], "tandem0");
    run.shows("\n  TAP tandem0: ");
}

#[test]
fn a_tap_that_disappears_is_told_once_and_the_run_goes_on() {
    let other = ", {name: right, keyboard: true, cmdline: \"\"}";
    let words = format!("peer={HOST} echo=9");
    let run = guest(&words, "", other).with_keyboard();
    let run = in_namespace(run, &format!("{MADE} exec \"$@\"")).start();
    run.shows("left  | net: ping PASSED");
    beside(&run, &["ip", "link", "del", "tandem0"]);
    run.shows("[network out: TAP tandem0 is gone: its interface was removed; its network goes on");
    run.types("poweroff 0\n").shows("[right powered off, status 0]");
    run.receives(Signal::INT);
    let run = run.finish().ended_with(130).adds_up();
    assert_eq!(run.output.matches("TAP tandem0 is gone").count(), 1, "{}", run.shown());
}

#[test]
fn a_tap_that_is_down_refuses_frames_until_it_is_up() {
    let down = MADE.replace("ip link set tandem0 up;", "");
    let run =
        in_namespace(guest(&format!("peer={HOST} echo=9"), "", ""), &format!("{down} exec \"$@\""));
    let run = run.start();
    run.shows("[network out: TAP tandem0 refuses frames: its interface is down");
    beside(&run, &["ip", "link", "set", "tandem0", "up"]);
    run.shows("left | net: ping PASSED").receives(Signal::INT);
    let run = run.finish().ended_with(130).adds_up();
    assert_eq!(run.output.matches("TAP tandem0 refuses").count(), 1, "{}", run.shown());
    let refused = &run.receipt["networks"][0]["counts"]["frames dropped: the TAP refused it"];
    assert!(refused.as_u64().is_some_and(|count| count > 0), "{}", run.shown());
}

#[test]
fn a_tap_has_one_run_at_a_time() {
    let first =
        in_namespace(guest(&format!("peer={HOST} echo=9"), "", ""), &format!("{MADE} exec \"$@\""));
    let first = first.start();
    first.shows("net: ping PASSED");
    let namespace = ["nsenter".into(), "--target".into(), first.pid().to_string(), "--net".into()];
    let second = guest("", "", "").started_by(namespace).finish().ended_with(3);
    second.complains(
        "network out: TAP tandem0: another process has it; allowed: one at a time, or a TAP of its \
         own\n",
    );
    first.receives(Signal::INT);
    first.finish().ended_with(130);
}

#[test]
fn a_tap_that_cannot_be_had_is_refused_with_what_to_do() {
    let make = "as root: `ip tuntap add dev tandem0 mode tap user $USER vnet_hdr`, \
                `ip link set tandem0 up`";
    let of_another = "ip tuntap add dev tandem0 mode tap user 12345 vnet_hdr;";
    let multi = "ip tuntap add dev tandem0 mode tap multi_queue;";
    let cases: [(&str, &str, &str); 5] = [
        (
            "",
            UNPRIVILEGED,
            &format!(
                "there is no such interface, and to make one this process lacks CAP_NET_ADMIN; \
                 {make}"
            ),
        ),
        (of_another, UNPRIVILEGED, "it is another user's, and this process lacks CAP_NET_ADMIN; "),
        (multi, "exec \"$@\"", "it is no TAP interface of one queue; allowed: a name that is free"),
        (
            "mount -t tmpfs none /dev/net;",
            "exec \"$@\"",
            "cannot open /dev/net/tun: No such file or directory (os error 2); as root: `modprobe \
             tun`; without udev: `mkdir -p /dev/net; mknod /dev/net/tun c 10 200`",
        ),
        (
            "ip link add tandem0 type bridge;",
            "exec \"$@\"",
            "it is no TAP interface of one queue; allowed: a name that is free",
        ),
    ];
    for (before, run, why) in cases {
        let run = in_namespace(guest("", "", ""), &format!("{before} {run}")).finish();
        let run = run.ended_with(3).complains(&format!("network out: TAP tandem0: {why}"));
        assert!(run.output.is_empty(), "{}", run.shown());
    }
}

#[test]
fn a_tap_that_is_not_there_is_made_by_one_who_may() {
    let run = in_namespace(guest(&format!("peer={HOST} echo=9"), "", ""), "exec \"$@\"").start();
    run.shows(
        "[network out: TAP tandem0 was not there: it is made for this run, and passes nothing \
         before `ip link set tandem0 up`]",
    );
    beside(&run, &["ip", "addr", "add", "10.77.0.1/24", "dev", "tandem0"]);
    beside(&run, &["ip", "link", "set", "tandem0", "up"]);
    run.shows("net: ping PASSED").receives(Signal::INT);
    run.finish().ended_with(130).adds_up();
}
