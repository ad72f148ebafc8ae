//! Floods the console: N bytes (default 20,000) of numbered lines, one OUT for each byte.
#![no_std]
#![no_main]

#[path = "../common/mod.rs"]
mod common;

use common::console::{COM1, FIFO_BYTES, LINE_STATUS, TRANSMIT_EMPTY};
use common::{boot, console, cpu, power};

const DEFAULT_BYTES: u64 = 20_000;
const LINE_BYTES: usize = 64;
const DIGITS: core::ops::Range<usize> = 14..19;
const LINE: &[u8; LINE_BYTES] =
    b"console_burst 00000 abcdefghijklmnopqrstuvwxyz ABCDEFGHIJKLMNOP\n";

#[unsafe(no_mangle)]
extern "C" fn guest_main() -> ! {
    console::initialise(COM1);
    let mut left = boot::number(0).unwrap_or(DEFAULT_BYTES) as usize;
    let mut line = *LINE;
    while left > 0 {
        send(line.get(..left).unwrap_or(&line));
        left = left.saturating_sub(LINE_BYTES);
        increment(&mut line);
    }
    power::off(0)
}

fn send(bytes: &[u8]) {
    for burst in bytes.chunks(FIFO_BYTES) {
        while cpu::in8(COM1 + LINE_STATUS) & TRANSMIT_EMPTY == 0 {}
        for &byte in burst {
            cpu::out8(COM1, byte);
        }
    }
}

fn increment(line: &mut [u8; LINE_BYTES]) {
    for digit in line[DIGITS].iter_mut().rev() {
        if *digit < b'9' {
            *digit += 1;
            return;
        }
        *digit = b'0';
    }
}
