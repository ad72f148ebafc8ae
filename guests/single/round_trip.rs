//! One end of a round trip over the link, by interrupts and HLT: sends a byte, halts until the
//! answer comes, N times (default 1000), and prints how long that took. With the word `answer` it
//! is the other end. Each halts without losing a wake-up: it looks for a byte with interrupts
//! disabled, and STI lets the next one through behind HLT only.
#![no_std]
#![no_main]

#[path = "../common/mod.rs"]
mod common;

use common::global::Global;
use common::interrupt_controller::{IRQ_BASE, end_of_interrupt_8259, unmask_8259_master};
use common::link::{self, Link};
use common::{boot, clock, console, cpu, interrupts, power};

const DEFAULT_ROUNDS: u64 = 1000;
const MOST_ROUNDS: usize = 10_000;
const STATUS_WRONG_BYTE: u32 = 1;
const PIT_CHANNEL_0: u16 = 0x40;
const PIT_COMMAND: u16 = 0x43;
const PIT_COUNT: u16 = 11_932; // 1,193,182 Hz / 11,932 = 100 Hz
/// Asks whether the other end is there, until it acknowledges.
const ENQUIRY: u8 = 0x05;
const ACKNOWLEDGE: u8 = 0x06;
/// Sent and sent back as the last byte before the rounds.
const START: u8 = 0x02;

/// What each round took, in time-stamp counts.
static TOOK: Global<[u64; MOST_ROUNDS]> = Global::new([0; MOST_ROUNDS]);

#[unsafe(no_mangle)]
extern "C" fn guest_main() -> ! {
    console::initialise(console::COM1);
    interrupts::initialise();
    let rounds = boot::number(0).unwrap_or(DEFAULT_ROUNDS).clamp(1, MOST_ROUNDS as u64);
    let is_right = if boot::has_word("answer") {
        let mut link = Link::open();
        meet_asking(&mut link);
        (0..rounds).all(|round| answer(&mut link, round as u8))
    } else {
        ask_all(rounds as usize)
    };
    let mut line = console::Line::new();
    line.text("round_trip: ").decimal(rounds).text(" bytes");
    line.text(if is_right { " came back: PASSED" } else { ": FAILED" }).print();
    power::off(if is_right { 0 } else { STATUS_WRONG_BYTE })
}

/// Enquires a hundred times a second: a byte is lost until the other end has programmed its UART.
fn meet_answering(link: &mut Link) {
    cpu::out8(PIT_COMMAND, 0x34); // channel 0, both bytes, mode 2: periodic
    cpu::out8(PIT_CHANNEL_0, PIT_COUNT as u8);
    cpu::out8(PIT_CHANNEL_0, (PIT_COUNT >> 8) as u8);
    unmask_8259_master(!(1 << link::IRQ | 1));
    while link.take() != Some(ACKNOWLEDGE) {
        if interrupts::halt_until_interrupt() == IRQ_BASE {
            link.send_burst(&[ENQUIRY]);
        }
        end_of_interrupt_8259();
    }
    unmask_8259_master(!(1 << link::IRQ));
    link.send(START);
    while link.receive() != START {} // acknowledgements of further enquiries
}

fn meet_asking(link: &mut Link) {
    loop {
        match link.receive() {
            ENQUIRY => link.send(ACKNOWLEDGE),
            START => break link.send(START),
            _ => {} // noise of a machine that does something else before
        }
    }
}

fn ask_all(rounds: usize) -> bool {
    let kilohertz = clock::time_stamp_kilohertz();
    let mut link = Link::open();
    meet_answering(&mut link);
    // SAFETY: the only reference.
    let took = unsafe { &mut *TOOK.pointer() };
    let took = &mut took[..rounds];
    let is_right =
        took.iter_mut().zip(0_u64..).all(|(took, round)| ask(&mut link, round as u8, took));
    report(took, kilohertz);
    is_right
}

fn answer(link: &mut Link, expected: u8) -> bool {
    let byte = link.receive();
    link.send(!byte);
    byte == expected
}

fn ask(link: &mut Link, byte: u8, took: &mut u64) -> bool {
    let start = cpu::time_stamp();
    link.send(byte);
    let answer = link.receive();
    *took = cpu::time_stamp() - start;
    answer == !byte
}

/// Minimum, median, 99th percentile and maximum.
fn report(took: &mut [u64], kilohertz: u64) {
    took.sort_unstable();
    let last = took.len() - 1;
    let mut line = console::Line::new();
    line.text("round_trip: took");
    let places = [(" min ", 0), (", median ", last / 2), (", 99 % ", last * 99 / 100)];
    for (name, at) in places.into_iter().chain([(", max ", last)]) {
        line.text(name).decimal(took[at] * 1000 / kilohertz.max(1));
    }
    line.text(" us").print();
}
