//! The UART against the reference model, under random accesses from both sides.

mod uart_random;
mod uart_reference;

use devices::uart::{Line, ModemInputs, Uart};
use uart_random::{Random, for_each_seed};
use uart_reference::{Model, ModelLine};

const SEQUENCES: u64 = 4000;
const STEPS: usize = 300;

fn inputs(pins: u8) -> ModemInputs {
    ModemInputs {
        cts: pins & 0x10 != 0,
        dsr: pins & 0x20 != 0,
        ri: pins & 0x40 != 0,
        dcd: pins & 0x80 != 0,
    }
}

/// A value for `offset` that does something interesting more often than a random one.
fn value_for(random: &mut Random, offset: u8) -> u8 {
    let is_typical = !random.once_in(4);
    match offset {
        1 if is_typical => random.pick(&[0x00, 0x01, 0x02, 0x03, 0x05, 0x07, 0x08, 0x0f]),
        2 if is_typical => random.pick(&[0x00, 0x01, 0x03, 0x05, 0x07, 0x41, 0x81, 0xc1, 0xc7]),
        3 if is_typical => random.pick(&[0x03, 0x03, 0x03, 0x80, 0xbf]),
        4 if is_typical => random.pick(&[0x00, 0x03, 0x08, 0x0b, 0x1a]),
        _ => random.byte(),
    }
}

fn step(random: &mut Random, uart: &mut Uart, model: &mut Model) {
    match random.below(16) {
        0..=4 => {
            let offset = random.pick(&[0, 0, 1, 2, 2, 3, 4, 5, 5, 5, 6, 7]);
            assert_eq!(uart.read(offset), model.read(offset), "read of register {offset}");
        }
        5 => {
            for _ in 0..random.below(5) {
                assert_eq!(uart.read(5), model.read(5), "line status");
            }
        }
        6..=9 => {
            let offset = random.pick(&[0, 0, 0, 0, 1, 1, 2, 3, 4, 5, 6, 7]);
            let value = value_for(random, offset);
            uart.write(offset, value);
            model.write(offset, value);
        }
        10..=12 => {
            let longest = random.pick(&[2, 2, 20]);
            for _ in 0..=random.below(longest) {
                let byte = random.byte();
                let expected = if model.receive(byte) { Ok(()) } else { Err(byte) };
                assert_eq!(uart.receive(byte), expected, "received byte");
            }
        }
        13..=14 => {
            assert_eq!(uart.peek_transmit(), model.line.unsent.front().copied());
            assert_eq!(uart.transmit(), model.transmit(), "transmitted byte");
        }
        _ => {
            model.pins = random.byte() & 0xf0;
            model.modem_changed();
            uart.set_modem_inputs(inputs(model.pins));
        }
    }
}

fn compare(uart: &Uart, model: &Model) {
    let is_looped_back = model.mcr & 0x10 != 0;
    let room = model.capacity().saturating_sub(model.line.received.len());
    assert_eq!(uart.pin(), model.identification() & 1 == 0, "pin");
    assert_eq!(uart.rx_space(), if is_looped_back { 0 } else { room }, "room");
    assert_eq!(uart.divisor(), u16::from_le_bytes(model.latch), "divisor");
    let outputs = uart.modem_outputs();
    let lines = [outputs.dtr, outputs.rts, outputs.out1, outputs.out2];
    let expected = [1, 2, 4, 8].map(|bit| model.mcr & bit != 0 && !is_looped_back);
    assert_eq!(lines, expected, "modem outputs");
}

#[test]
fn uart_and_model_agree_on_every_register_and_the_pin() {
    for_each_seed(SEQUENCES, |random| {
        let (mut uart, mut model) = (Uart::new(), Model::new());
        for _ in 0..STEPS {
            step(random, &mut uart, &mut model);
            compare(&uart, &model);
        }
        assert_eq!(uart.transmit_overruns(), model.overruns);
    });
}

#[test]
fn uart_and_model_agree_while_two_lines_change_places() {
    for_each_seed(SEQUENCES / 4, |random| {
        let (mut uart, mut model) = (Uart::new(), Model::new());
        let (mut parked, mut parked_model) = (Line::new(), ModelLine::default());
        for _ in 0..STEPS {
            if random.once_in(12) {
                uart.swap_line(&mut parked);
                model.swap(&mut parked_model);
            } else {
                step(random, &mut uart, &mut model);
            }
            compare(&uart, &model);
        }
    });
}

#[test]
fn every_written_byte_is_accounted_for() {
    for_each_seed(SEQUENCES / 4, |random| {
        let mut uart = Uart::new();
        let mut taken = 0;
        for _ in 0..STEPS {
            let offset = random.pick(&[0, 0, 0, 2, 3, 4]);
            let value = value_for(random, offset);
            uart.write(offset, value);
            if random.once_in(3) {
                taken += u64::from(uart.transmit().is_some());
            }
            let counts = uart.counts();
            let left = counts.transmit_overruns + counts.flushed + uart.line().in_flight() as u64;
            assert_eq!(counts.written, taken + left);
        }
    });
}
