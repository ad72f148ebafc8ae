//! Drives a network interface beside a peer: another guest like it, which `peer=` names, or which
//! comes by itself, or any machine that answers ARP and pings.
//!
//! | word                    | meaning                                                       |
//! |-------------------------|---------------------------------------------------------------|
//! | `role=client\|server`   | who asks for the other's address                              |
//! | `ip=`, `peer=`          | own address, and the peer's                                   |
//! | `bytes=1048576`         | of the long transfers, each way                               |
//! | `rounds=N`, `small`     | only so many transfers, by long frames or by small ones       |
//! | `echo=PORT`             | the peer has a UDP service that sends back what it gets       |
//! | `lenient`               | leaves out what QEMU's device or its network does not do      |
//! | `reset`                 | ends by a triple fault instead of a power-off                 |
//!
//! All of it runs in ring 3, where an interpreting KVM is fast; ring 0 halts for it. Nothing
//! depends on how fast the host is: a peer is waited for without end.
#![no_std]
#![no_main]

#[path = "virtio/arena.rs"]
#[allow(dead_code, reason = "each image uses its own part")]
mod arena;
#[path = "../common/mod.rs"]
mod common;
#[path = "virtio/device.rs"]
#[allow(dead_code, reason = "each image uses its own part")]
mod device;
#[path = "net/frames.rs"]
mod frames;
#[path = "virtio/io_apic.rs"]
#[allow(dead_code, reason = "each image uses its own part")]
mod io_apic;
#[path = "net/nic.rs"]
mod nic;
#[path = "net/offloads.rs"]
mod offloads;
#[path = "net/packets.rs"]
mod packets;
#[path = "virtio/queue.rs"]
#[allow(dead_code, reason = "each image uses its own part")]
mod queue;
#[path = "virtio/registers.rs"]
#[allow(dead_code, reason = "each image uses its own part")]
mod registers;
#[path = "net/solo.rs"]
mod solo;
#[path = "net/station.rs"]
mod station;
#[path = "net/transfer.rs"]
mod transfer;

use common::global::Global;
use common::interrupt_controller::{LocalApic, Register, SPURIOUS_VECTOR};
use common::timer::Timer;
use common::{boot, clock, console, cpu, interrupts, power, ring3};
use core::slice;
use device::{EVENT_IDX, INDIRECT_DESC, VERSION_1};
use nic::{LARGE, MAC, MRG_RXBUF, Nic, SMALL, STATUS, Way};
use packets::Ip;
use registers::Window;
use station::{FRAME_BYTES, Station};

const STATUS_WRONG: u32 = 1;
const STATUS_USAGE: u32 = 2;
const DEFAULT_BYTES: u64 = 1 << 20;

/// What is wrong, if something is.
pub type Verdict = Result<(), &'static str>;

const PLAIN: u64 = VERSION_1 | MAC | STATUS;
const USUAL: Way = Way {
    features: PLAIN | MRG_RXBUF | EVENT_IDX | INDIRECT_DESC,
    buffer_bytes: SMALL,
    buffers: 128,
    is_late: false,
    slot_bytes: SMALL,
};

/// Whether a check is carried out if the command line says `lenient`.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Of {
    All,
    Strict,
}
use Of::{All, Strict};

type Check = (&'static str, Of, fn(&mut Station, Window) -> Verdict);

/// What both ends do.
#[rustfmt::skip]
const CHECKS: &[Check] = &[
    ("features", All, |_, window| solo::features(window)),
    ("ping of a guest", All, |station, _| solo::ping(station)),
    ("transfer", All, |station, window| long(station, window, USUAL, SHORT_FRAMES)),
    ("transfer by long frames", All, |station, window| {
        long(station, window, Way { slot_bytes: LARGE, ..USUAL }, LONG_FRAMES)
    }),
    ("transfer by long frames into buffers as long", All, |station, window| {
        let way = Way { features: PLAIN | EVENT_IDX, buffer_bytes: LARGE, buffers: 4, ..USUAL };
        short(station, window, Way { slot_bytes: LARGE, ..way }, LONG_FRAMES)
    }),
    ("transfer without features", All, |station, window| {
        short(station, window, Way { features: PLAIN, ..USUAL }, SHORT_FRAMES)
    }),
    ("transfer with event index", All, |station, window| {
        short(station, window, Way { features: PLAIN | EVENT_IDX, ..USUAL }, SHORT_FRAMES)
    }),
    ("transfer with indirect descriptors", All, |station, window| {
        short(station, window, Way { features: PLAIN | INDIRECT_DESC, ..USUAL }, SHORT_FRAMES)
    }),
    ("transfer into small buffers", All, |station, window| {
        short(station, window, Way { buffer_bytes: 256, ..USUAL }, SHORT_FRAMES)
    }),
    ("transfer into few buffers that come late", All, |station, window| {
        short(station, window, Way { buffers: 4, is_late: true, ..USUAL }, SHORT_FRAMES)
    }),
    ("transfer with a reset in the middle", All, with_reset),
    ("frames of every length", All, |station, window| {
        station.restart(window, USUAL)?;
        station.meet();
        frames::lengths(station)
    }),
    ("frames to all, many, and unknown", All, |station, _| frames::destinations(station)),
    ("frames of virtual LANs", All, |station, _| frames::tags(station)),
    ("frames with bad headers", Strict, |station, _| frames::bad_headers(station)),
    ("checksums", All, offloads::checksums),
    ("segments", All, offloads::segments),
];

/// Ring 0's, for ring 3's waiting.
static RING_0: Global<(Timer, Option<LocalApic>)> = Global::new((Timer::NONE, None));
static FRAMES: [Global<[u8; FRAME_BYTES]>; 2] = [const { Global::new([0; FRAME_BYTES]) }; 2];

/// What is wrong if that is not right.
pub fn expect(is_right: bool, what: &'static str) -> Verdict {
    if is_right { Ok(()) } else { Err(what) }
}

/// RAM that the image does not use.
pub fn memory(start: usize, bytes: usize) -> &'static mut [u8] {
    // SAFETY: mapped one to one; each caller is done with its slice before the next one for the
    // same place is made.
    unsafe { slice::from_raw_parts_mut(start as *mut u8, bytes) }
}

#[unsafe(no_mangle)]
extern "C" fn guest_main() -> ! {
    console::initialise(console::COM1);
    interrupts::initialise();
    ring3::initialise();
    let Some(window) = nic::find() else { stop("there is no network interface") };
    let kilohertz = clock::time_stamp_kilohertz();
    // SAFETY: ring 3 does not run yet, and nothing else has a reference to it.
    let (timer, apic) = unsafe { &mut *RING_0.pointer() };
    timer.initialise(kilohertz);
    *apic = LocalApic::enable();
    io_apic::route(window);
    ring3::open_virtio();
    ring3::set_service(serve);
    boot::end(ring3::run(in_ring_3, kilohertz) as u32)
}

fn stop(why: &str) -> ! {
    console::Line::new().text("net: ").text(why).print();
    power::off(STATUS_USAGE)
}

/// What ring 3 asks ring 0 for. Printing is among it, since a KVM was seen to raise #GP for an IN
/// of ring 3 in spite of its I/O privilege level.
enum Request<'a> {
    /// Halt until an interrupt comes, or the time stamp; not if one has come since the last time.
    Halt(u64),
    Print(&'a [u8]),
}

/// Halts until an interrupt comes, or the time stamp.
pub fn wait(time_stamp: u64) {
    let request = Request::Halt(time_stamp);
    ring3::call_ring_0(&raw const request as u64);
}

/// Prints, from ring 3.
fn print(text: &[u8]) {
    let request = Request::Print(text);
    ring3::call_ring_0(&raw const request as u64);
}

extern "C" fn serve(request: u64) -> u64 {
    // SAFETY: ring 3 passes the address of a request that lives until the call returns.
    match unsafe { &*(request as *const Request<'_>) } {
        Request::Halt(alarm) => halt(*alarm),
        Request::Print(text) => console::write(text),
    }
    0
}

fn halt(alarm: u64) {
    // SAFETY: interrupts are off, and ring 0 has no other reference to it now.
    let (timer, apic) = unsafe { &mut *RING_0.pointer() };
    let mut vector = interrupts::take_noted();
    if vector.is_none() {
        let now = cpu::time_stamp();
        if alarm <= now {
            return;
        }
        timer.set_alarm(alarm, now);
        interrupts::halt_until_interrupt();
        vector = interrupts::take_noted();
    }
    let device = vector.filter(|&vector| !timer.acknowledge(vector));
    if device.is_some_and(|vector| vector != SPURIOUS_VECTOR.into()) {
        apic.map(|apic| apic.write(Register::EndOfInterrupt, 0));
    }
}

extern "C" fn in_ring_3(kilohertz: u64) -> u64 {
    let Some(window) = nic::find() else { return STATUS_USAGE.into() };
    let Some(own) = ip("ip") else {
        print(b"net: the command line has no ip=\n");
        return STATUS_USAGE.into();
    };
    let Some(nic) = Nic::start(window, USUAL) else {
        print(b"net: the interface does not start\n");
        return STATUS_WRONG.into();
    };
    // SAFETY: this is the only reference to either.
    let frames = FRAMES.each_ref().map(|frame| unsafe { &mut *frame.pointer() }.as_mut_slice());
    let mut station = Station::new(nic, (nic::address(window), own), frames, kilohertz);
    station.wanted = ip("peer").filter(|_| is_client());
    let mut is_right = report("address of the peer", solo::resolve(&mut station));
    if is_client() {
        is_right &= report("ping", solo::ping(&mut station));
    }
    if let Some(port) = boot::value("echo") {
        is_right &= report("datagrams", solo::echo(&mut station, decimal(port) as u16));
    } else if station.meet() {
        is_right &= with_guest(&mut station, window);
    } else {
        print(b"net: the peer is no guest like this one\n");
    }
    print(if is_right { b"net: all passed\n" } else { b"net: FAILED\n" });
    station.settle();
    u64::from(if is_right { 0 } else { STATUS_WRONG })
}

/// The checks that both ends carry out.
fn with_guest(station: &mut Station, window: Window) -> bool {
    if let Some(rounds) = boot::value("rounds") {
        return report("transfers", transfers(station, window, decimal(rounds)));
    }
    let mut is_right = true;
    let is_lenient = boot::has_word("lenient");
    for (name, _, check) in CHECKS.iter().filter(|(_, of, _)| !is_lenient || *of == All) {
        let verdict = check(station, window);
        let verdict = verdict.and_then(|()| station.nic.fault.map_or(Ok(()), Err));
        is_right &= report(name, verdict);
        station.meet();
    }
    if !is_lenient && !is_client() {
        is_right &= report("link down without the peer", solo::loses_link(station, window));
    }
    is_right
}

/// The pieces of a transfer, and how many of them are under way.
#[derive(Clone, Copy)]
struct Pieces(usize, usize);
const SHORT_FRAMES: Pieces = Pieces(transfer::MTU, 60);
const LONG_FRAMES: Pieces = Pieces(transfer::MOST, 4);

/// A transfer both ways with the interface driven in this way.
fn transfer(
    station: &mut Station,
    (window, way): (Window, Way),
    Pieces(packet_bytes, pieces): Pieces,
    bytes: usize,
    at_half: &mut dyn FnMut(&mut Station) -> Verdict,
) -> Result<u32, &'static str> {
    station.restart(window, way)?;
    station.meet();
    let plan = transfer::Plan { bytes, packet_bytes, window: pieces };
    transfer::run(station, plan, at_half)
}

/// One of all the data.
fn long(station: &mut Station, window: Window, way: Way, pieces: Pieces) -> Verdict {
    let sum = transfer(station, (window, way), pieces, bytes(), &mut |_| Ok(()))?;
    let mut line = console::Line::new();
    line.text("net: received ").decimal(bytes() as u64).text(" bytes, checksum ");
    print(line.hexadecimal(sum.into(), 8).text("\n").bytes());
    Ok(())
}

/// One of a sixteenth of the data.
fn short(station: &mut Station, window: Window, way: Way, pieces: Pieces) -> Verdict {
    transfer(station, (window, way), pieces, bytes() / 16, &mut |_| Ok(())).map(|_| ())
}

/// Each end resets its device when half of the data has come, amid the rest of it: frames are lost,
/// and sent again.
fn with_reset(station: &mut Station, window: Window) -> Verdict {
    let mut reset = |station: &mut Station| station.restart(window, USUAL);
    transfer(station, (window, USUAL), SHORT_FRAMES, bytes() / 16, &mut reset).map(|_| ())
}

/// Only transfers, for a measurement.
fn transfers(station: &mut Station, window: Window, rounds: u64) -> Verdict {
    let (slot_bytes, Pieces(packet_bytes, pieces)) = match boot::has_word("small") {
        true => (SMALL, SHORT_FRAMES),
        false => (LARGE, LONG_FRAMES),
    };
    station.restart(window, Way { slot_bytes, ..USUAL })?;
    let plan = transfer::Plan { bytes: bytes(), packet_bytes, window: pieces };
    for _ in 0..rounds {
        station.meet();
        transfer::run(station, plan, &mut |_| Ok(()))?;
    }
    station.meet();
    Ok(())
}

fn is_client() -> bool {
    boot::value("role").is_none_or(|role| role == b"client")
}

fn bytes() -> usize {
    let bytes = boot::value("bytes").map_or(DEFAULT_BYTES, decimal);
    (bytes as usize).min(transfer::MOST_BYTES)
}

fn decimal(digits: &[u8]) -> u64 {
    let digits = digits.iter().filter(|digit| digit.is_ascii_digit());
    digits.fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0'))
}

/// The address that the command line gives.
fn ip(key: &str) -> Option<Ip> {
    let mut parts = boot::value(key)?.split(|&byte| byte == b'.').map(|part| decimal(part) as u8);
    Some([parts.next()?, parts.next()?, parts.next()?, parts.next()?])
}

/// Prints a check's line; false if it failed.
fn report(name: &str, verdict: Verdict) -> bool {
    let mut line = console::Line::new();
    line.text("net: ").text(name);
    match verdict {
        Ok(()) => line.text(" PASSED"),
        Err(why) => line.text(" FAILED: ").text(why),
    };
    print(line.text("\n").bytes());
    verdict.is_ok()
}
