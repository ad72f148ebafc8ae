//! A bulk transfer over the link: pseudo-random data, then its CRC-32, then the verdict of the
//! receiver. Data and checksum are computed in ring 3, since ring 0 may be interpreted.

use crate::common::link::{Link, Waiting};
use crate::common::{boot, console, interrupts, power, ring3};
use core::slice;

const DEFAULT_KIBIBYTES: u64 = 64;
const DEFAULT_SEED: u64 = 1;
const STATUS_MISMATCH: u32 = 1;
const STATUS_TOO_LARGE: u32 = 2;
/// Where the data lies: above the image, in the memory that ring 3 may use too.
const SENT_AT: u64 = 4 << 20;
const RECEIVED_AT: u64 = 6 << 20;
/// So the largest transfer is nearly 2 MiB, in a machine of 8 MiB.
const MOST_BYTES: u64 = RECEIVED_AT - SENT_AT - CHECKSUM_BYTES as u64;
const CHECKSUM_BYTES: usize = 4;

const VERDICT_GOOD: u8 = b'G';
const VERDICT_BAD: u8 = b'B';

/// What this end does.
#[derive(Clone, Copy)]
pub struct Role {
    pub is_sender: bool,
    pub is_receiver: bool,
}

/// The work of ring 3: a range of memory and what to do with it.
#[repr(C)]
struct Work {
    start: u64,
    length: u64,
    seed: u64,
}

/// The whole guest.
pub fn run(role: Role) -> ! {
    console::initialise(console::COM1);
    interrupts::initialise();
    ring3::initialise();
    let length = boot::number(0).unwrap_or(DEFAULT_KIBIBYTES).saturating_mul(1024);
    let seed = boot::number(1).unwrap_or(DEFAULT_SEED);
    if length > MOST_BYTES {
        console::Line::new().text("bulk: at most ").decimal(MOST_BYTES / 1024).text(" KiB").print();
        power::off(STATUS_TOO_LARGE);
    }
    let mut link = Link::connect(Waiting::Polling);
    let sent = if role.is_sender { length } else { 0 };
    let received = if role.is_receiver { length } else { 0 };
    let checksum = prepare(sent, seed);
    exchange(&mut link, memory(SENT_AT, total(sent)), memory(RECEIVED_AT, total(received)));
    let is_right = received == 0 || verify(&mut link, received);
    let is_accepted = sent == 0 || report_sent(&mut link, sent, checksum);
    power::off(if is_right && is_accepted { 0 } else { STATUS_MISMATCH })
}

/// The bytes on the wire for that much data.
fn total(length: u64) -> usize {
    if length == 0 { 0 } else { length as usize + CHECKSUM_BYTES }
}

fn memory(start: u64, length: usize) -> &'static mut [u8] {
    // SAFETY: RAM that the image does not use, mapped one to one; each caller is done with its
    // slice before the next one for the same place is made.
    unsafe { slice::from_raw_parts_mut(start as *mut u8, length) }
}

fn prepare(length: u64, seed: u64) -> u32 {
    let work = Work { start: SENT_AT, length, seed };
    ring3::run(fill, &raw const work as u64);
    let checksum = ring3::run(checksum, &raw const work as u64) as u32;
    memory(SENT_AT + length, CHECKSUM_BYTES).copy_from_slice(&checksum.to_le_bytes());
    checksum
}

fn exchange(link: &mut Link, mut outgoing: &[u8], mut incoming: &mut [u8]) {
    while !(outgoing.is_empty() && incoming.is_empty()) {
        let sent = link.send_burst(outgoing);
        outgoing = outgoing.get(sent..).unwrap_or(&[]);
        let received = link.receive_burst(incoming);
        incoming = incoming.get_mut(received..).unwrap_or(&mut []);
    }
}

/// Compares what came with the checksum behind it, and reports the result to the sender.
fn verify(link: &mut Link, length: u64) -> bool {
    let work = Work { start: RECEIVED_AT, length, seed: 0 };
    let checksum = ring3::run(checksum, &raw const work as u64) as u32;
    let is_right = *memory(RECEIVED_AT + length, CHECKSUM_BYTES) == checksum.to_le_bytes();
    report("bulk: received ", length, checksum, is_right);
    link.send(if is_right { VERDICT_GOOD } else { VERDICT_BAD });
    is_right
}

fn report_sent(link: &mut Link, length: u64, checksum: u32) -> bool {
    let is_accepted = link.receive() == VERDICT_GOOD;
    report("bulk: sent ", length, checksum, is_accepted);
    is_accepted
}

fn report(what: &str, length: u64, checksum: u32, is_right: bool) {
    let mut line = console::Line::new();
    line.text(what).decimal(length).text(" bytes checksum ").hexadecimal(u64::from(checksum), 8);
    line.text(if is_right { "" } else { " MISMATCH" }).print();
}

/// Fills the range with a xorshift sequence (ring 3).
extern "C" fn fill(work: u64) -> u64 {
    // SAFETY: `prepare` passes the address of its own work order, which outlives the call.
    let work = unsafe { &*(work as *const Work) };
    let mut state = work.seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    for word in memory(work.start, work.length as usize).chunks_mut(8) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        for (to, from) in word.iter_mut().zip(state.to_le_bytes()) {
            *to = from;
        }
    }
    0
}

/// CRC-32 (IEEE 802.3) of the range, bit by bit (ring 3).
extern "C" fn checksum(work: u64) -> u64 {
    const POLYNOMIAL: u32 = 0xEDB8_8320;
    // SAFETY: as for `fill`.
    let work = unsafe { &*(work as *const Work) };
    let mut sum = u32::MAX;
    for &mut byte in memory(work.start, work.length as usize) {
        sum ^= u32::from(byte);
        for _ in 0..8 {
            sum = if sum & 1 == 1 { sum >> 1 ^ POLYNOMIAL } else { sum >> 1 };
        }
    }
    u64::from(!sum)
}
