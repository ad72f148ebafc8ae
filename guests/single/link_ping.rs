//! One half of a round trip over the link: sends a byte, expects its complement; N rounds (default
//! 1000), waiting by polling or, with the word `irq`, by halting. The other half is link_pong.
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
        let byte = round as u8;
        link.send(byte);
        let answer = link.receive();
        if answer != !byte {
            let mut line = console::Line::new();
            line.text("ping: in round ").decimal(round).text(" the answer was ");
            line.hexadecimal(u64::from(answer), 2).print();
            power::off(STATUS_WRONG_BYTE);
        }
    }
    console::Line::new().text("ping: ").decimal(rounds).text(" round trips").print();
    power::off(0)
}
