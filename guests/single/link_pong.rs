//! The other half of link_ping, with the same parameters: answers each byte by its complement.
#![no_std]
#![no_main]

#[path = "../common/mod.rs"]
mod common;

use common::link::{Link, Waiting};
use common::{boot, console, interrupts, power};

const DEFAULT_ROUNDS: u64 = 1000;
const STATUS_WRONG_BYTE: u32 = 1;

#[unsafe(no_mangle)]
extern "C" fn guest_main() -> ! {
    console::initialise(console::COM1);
    interrupts::initialise();
    let rounds = boot::number(0).unwrap_or(DEFAULT_ROUNDS);
    let waiting = if boot::has_word("irq") { Waiting::Interrupt } else { Waiting::Polling };
    let mut link = Link::connect(waiting);
    for round in 0..rounds {
        let byte = link.receive();
        if byte != round as u8 {
            let mut line = console::Line::new();
            line.text("pong: in round ").decimal(round).text(" the question was ");
            line.hexadecimal(u64::from(byte), 2).print();
            power::off(STATUS_WRONG_BYTE);
        }
        link.send(!byte);
    }
    console::Line::new().text("pong: ").decimal(rounds).text(" round trips").print();
    power::off(0)
}
