//! Floods the console: N bytes (default 20,000) of numbered lines, one OUT for each byte. It asks
//! whether there is room, or (`irq`) halts until an interrupt says so: then only the port wakes it.
#![no_std]
#![no_main]

#[path = "../common/mod.rs"]
mod common;

use common::console::{COM1, FIFO_BYTES, INTERRUPT_ENABLE, LINE_STATUS, TRANSMIT_EMPTY};
use common::interrupt_controller::{IRQ_BASE, end_of_interrupt_8259, initialise_8259};
use common::{boot, console, cpu, interrupts, power};

const DEFAULT_BYTES: u64 = 20_000;
const IRQ: u64 = 4;
const TRANSMITTER_EMPTIES: u8 = 0b0010;
const INTERRUPT_IDENTIFICATION: u16 = 2;
const LINE_BYTES: usize = 64;
const DIGITS: core::ops::Range<usize> = 14..19;
const LINE: &[u8; LINE_BYTES] =
    b"console_burst 00000 abcdefghijklmnopqrstuvwxyz ABCDEFGHIJKLMNOP\n";

#[unsafe(no_mangle)]
extern "C" fn guest_main() -> ! {
    console::initialise(COM1);
    let is_told = boot::has_word("irq");
    if is_told {
        interrupts::initialise();
        initialise_8259(!(1 << IRQ));
        cpu::out8(COM1 + INTERRUPT_ENABLE, TRANSMITTER_EMPTIES);
    }
    let mut left = boot::number(0).unwrap_or(DEFAULT_BYTES) as usize;
    let mut line = *LINE;
    while left > 0 {
        send(line.get(..left).unwrap_or(&line), if is_told { be_told } else { ask });
        left = left.saturating_sub(LINE_BYTES);
        increment(&mut line);
    }
    power::off(0)
}

fn send(bytes: &[u8], wait_for_room: fn()) {
    for burst in bytes.chunks(FIFO_BYTES) {
        wait_for_room();
        for &byte in burst {
            cpu::out8(COM1, byte);
        }
    }
}

fn ask() {
    while cpu::in8(COM1 + LINE_STATUS) & TRANSMIT_EMPTY == 0 {}
}

fn be_told() {
    const CAUSE: u8 = 0b1111;
    const TRANSMITTER: u8 = 0b0010;
    loop {
        let vector = interrupts::halt_until_interrupt();
        let is_empty = cpu::in8(COM1 + INTERRUPT_IDENTIFICATION) & CAUSE == TRANSMITTER;
        if vector == IRQ_BASE + IRQ {
            end_of_interrupt_8259();
        }
        if is_empty {
            return;
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
