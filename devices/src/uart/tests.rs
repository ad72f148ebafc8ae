//! The chip, one property at a time. The bits are repeated here on purpose.

extern crate std;

use std::vec::Vec;

use super::{ModemInputs, ModemOutputs, Uart};

const DATA: u8 = 0;
const IER: u8 = 1;
const IIR: u8 = 2;
const FCR: u8 = 2;
const LCR: u8 = 3;
const MCR: u8 = 4;
const LSR: u8 = 5;
const MSR: u8 = 6;
const SCR: u8 = 7;

const IDLE: u8 = 0x60;
const IDLE_WITH_DATA: u8 = 0x61;
const NO_INTERRUPT: u8 = 0xc1;

/// A UART after these register writes.
fn uart(writes: &[(u8, u8)]) -> Uart {
    let mut uart = Uart::new();
    for &(offset, value) in writes {
        uart.write(offset, value);
    }
    uart
}

fn feed(uart: &mut Uart, bytes: &[u8]) {
    for &byte in bytes {
        uart.receive(byte).unwrap();
    }
}

#[test]
fn reset_leaves_the_registers_the_datasheet_names() {
    let mut uart = Uart::new();
    let read: Vec<u8> = (0..8).map(|offset| uart.read(offset)).collect();
    assert_eq!(read, [0, 0, 1, 0, 0, IDLE, 0, 0]);
    assert_eq!((uart.pin(), uart.rx_space(), uart.transmit()), (false, 1, None));
}

#[test]
fn bits_that_do_not_exist_read_zero_and_scratch_stores_all_eight() {
    let mut uart = uart(&[(IER, 0xff), (MCR, 0xff), (SCR, 0xff), (LCR, 0x7f)]);
    assert_eq!(
        [uart.read(IER), uart.read(MCR), uart.read(SCR), uart.read(LCR)],
        [0x0f, 0x1f, 0xff, 0x7f]
    );
}

#[test]
fn divisor_latch_hides_data_and_interrupt_enable() {
    let mut uart = uart(&[(IER, 0x05), (LCR, 0x83), (DATA, 0x0c), (IER, 0x01)]);
    assert_eq!((uart.divisor(), uart.baud(), uart.transmit()), (0x010c, 429, None));
    assert_eq!((uart.read(DATA), uart.read(IER)), (0x0c, 0x01));
    uart.write(LCR, 0x03);
    assert_eq!((uart.read(DATA), uart.read(IER)), (0, 0x05));
}

#[test]
fn reset_rate_is_firmwares_and_counts_as_not_programmed() {
    let mut uart = Uart::new();
    assert_eq!((uart.baud(), uart.is_baud_programmed()), (115_200, false));
    uart.write(LCR, 0x80);
    assert!(!uart.is_baud_programmed() && uart.is_divisor_latch_open());
    uart.write(DATA, 1);
    assert!(uart.is_baud_programmed());
}

#[test]
fn divisor_zero_counts_as_65536() {
    let uart = uart(&[(LCR, 0x80), (DATA, 0)]);
    assert_eq!((uart.divisor(), uart.baud()), (0, 1));
}

#[test]
fn sixteen_bytes_fit_with_fifos_and_one_without() {
    for (fifo_control, depth) in [(0x01, 16), (0x00, 1), (0xc6, 1)] {
        let mut uart = uart(&[(FCR, fifo_control)]);
        assert_eq!(uart.rx_space(), depth);
        feed(&mut uart, &[7; 16][..depth]);
        assert_eq!(uart.rx_space(), 0);
        for byte in 0..=depth {
            uart.write(DATA, byte.try_into().unwrap());
        }
        assert_eq!(uart.transmit_overruns(), 1);
        let sent = core::iter::from_fn(|| uart.transmit()).count();
        assert_eq!(sent, depth);
    }
}

#[test]
fn overrun_keeps_the_old_bytes_and_shows_until_line_status_is_read() {
    let mut uart = uart(&[(IER, 0x05)]);
    feed(&mut uart, b"a");
    assert_eq!(uart.receive(b'b'), Err(b'b'));
    assert_eq!((uart.read(IIR), uart.read(IIR)), (0x06, 0x06));
    assert_eq!((uart.read(LSR), uart.read(LSR)), (0x63, IDLE_WITH_DATA));
    assert_eq!((uart.read(IIR), uart.read(DATA)), (0x04, b'a'));
}

#[test]
fn receiver_interrupt_outranks_the_transmitters() {
    let mut uart = uart(&[(FCR, 1), (IER, 0x03)]);
    feed(&mut uart, b"x");
    assert_eq!((uart.read(IIR), uart.read(IIR)), (0xc4, 0xc4));
    uart.read(DATA);
    assert_eq!((uart.read(IIR), uart.read(IIR)), (0xc2, NO_INTERRUPT));
}

#[test]
fn received_data_stays_pending_until_the_fifo_is_below_the_trigger() {
    for (fifo_control, trigger) in [(0x01, 1), (0x41, 4), (0x81, 8), (0xc1, 14)] {
        let mut uart = uart(&[(FCR, fifo_control), (IER, 0x01)]);
        feed(&mut uart, &[0; 15][..trigger]);
        assert_eq!((uart.read(IIR), uart.read(IIR)), (0xc4, 0xc4));
        uart.read(DATA);
        let expected = if trigger == 1 { NO_INTERRUPT } else { 0xcc };
        assert_eq!((uart.read(IIR), uart.pin()), (expected, trigger > 1));
    }
}

#[test]
fn lone_byte_below_the_trigger_is_a_character_timeout() {
    let mut uart = uart(&[(FCR, 0xc7), (IER, 0x01)]);
    feed(&mut uart, b"k");
    assert_eq!((uart.pin(), uart.read(IIR)), (true, 0xcc));
    assert_eq!((uart.read(DATA), uart.pin()), (b'k', false));
}

#[test]
fn enabling_an_interrupt_shows_what_waited_while_it_was_masked() {
    let mut uart = uart(&[(FCR, 1)]);
    feed(&mut uart, b"ls\n");
    assert!(!uart.pin());
    for _ in 0..3 {
        uart.write(IER, 0x01);
        assert!(uart.pin());
        uart.write(IER, 0x00);
        assert!(!uart.pin());
    }
}

#[test]
fn thre_interrupt_is_armed_by_enabling_and_by_emptying_and_by_nothing_else() {
    let mut uart = uart(&[(FCR, 1), (IER, 0x02)]);
    assert_eq!((uart.pin(), uart.read(IIR), uart.pin()), (true, 0xc2, false));
    uart.write(IER, 0x02);
    uart.read(LSR);
    assert!(!uart.pin());
    uart.write(IER, 0x00);
    uart.write(IER, 0x02);
    assert!(uart.pin());
    uart.write(DATA, b'1');
    uart.write(DATA, b'2');
    assert!(!uart.pin());
    uart.transmit();
    assert!(!uart.pin());
    uart.transmit();
    assert_eq!((uart.pin(), uart.read(IIR)), (true, 0xc2));
}

#[test]
fn enabling_thre_while_the_transmitter_is_busy_waits_for_it_to_empty() {
    let mut uart = uart(&[(FCR, 1), (DATA, 9), (IER, 0x02)]);
    assert_eq!((uart.pin(), uart.read(LSR)), (false, 0));
    uart.transmit();
    assert_eq!((uart.pin(), uart.read(LSR)), (true, IDLE));
}

#[test]
fn line_status_read_does_not_acknowledge_thre() {
    let mut uart = uart(&[(IER, 0x02)]);
    uart.read(LSR);
    assert!(uart.pin());
}

#[test]
fn fifo_control_flushes_each_side_and_counts_the_flushed() {
    let mut uart = uart(&[(FCR, 1), (IER, 0x02), (DATA, 1), (DATA, 2)]);
    feed(&mut uart, b"ab");
    uart.write(FCR, 0x03);
    assert_eq!((uart.rx_space(), uart.line().in_flight()), (16, 2));
    uart.write(FCR, 0x05);
    assert_eq!((uart.transmit(), uart.counts().flushed, uart.pin()), (None, 2, true));
}

#[test]
fn flush_bits_are_ignored_while_the_fifos_are_disabled() {
    let mut uart = uart(&[(DATA, 5), (FCR, 0xc6)]);
    feed(&mut uart, b"r");
    uart.write(FCR, 0xc6);
    assert_eq!((uart.transmit(), uart.read(DATA), uart.read(IIR)), (Some(5), b'r', 0x01));
}

#[test]
fn switching_the_fifos_drops_what_they_hold() {
    let mut uart = uart(&[(FCR, 1), (DATA, 1)]);
    feed(&mut uart, b"abc");
    uart.write(FCR, 0);
    assert_eq!((uart.read(LSR), uart.rx_space(), uart.counts().flushed), (IDLE, 1, 1));
}

#[test]
fn loopback_returns_bytes_and_keeps_the_wire_out() {
    let mut uart = uart(&[(FCR, 1), (DATA, b'w'), (MCR, 0x10), (IER, 0x01), (DATA, b'l')]);
    assert_eq!((uart.rx_space(), uart.receive(b'x')), (0, Err(b'x')));
    assert_eq!((uart.pin(), uart.read(DATA)), (true, b'l'));
    assert_eq!((uart.transmit(), uart.transmit(), uart.read(LSR)), (Some(b'w'), None, IDLE));
}

#[test]
fn loopback_wires_rts_to_cts_and_dtr_to_dsr() {
    for (modem_control, levels) in [(0x12, 0x10), (0x11, 0x20), (0x14, 0x40), (0x18, 0x80)] {
        let mut uart = uart(&[(MCR, modem_control)]);
        assert_eq!(uart.read(MSR) & 0xf0, levels);
        assert_eq!(uart.modem_outputs(), ModemOutputs::default());
    }
}

#[test]
fn modem_changes_set_their_delta_and_interrupt_until_read() {
    let mut uart = uart(&[(IER, 0x08)]);
    assert!(uart.set_modem_inputs(ModemInputs { cts: true, ..ModemInputs::DOWN }));
    assert_eq!((uart.pin(), uart.read(IIR)), (true, 0x00));
    assert_eq!((uart.read(MSR), uart.read(MSR), uart.pin()), (0x11, 0x10, false));
    assert!(!uart.set_modem_inputs(ModemInputs { cts: true, ..ModemInputs::DOWN }));
    assert!(!uart.pin());
    uart.set_modem_inputs(ModemInputs { dsr: true, dcd: true, ..ModemInputs::DOWN });
    assert_eq!(uart.read(MSR), 0xab);
}

#[test]
fn ring_indicator_reports_only_its_trailing_edge() {
    let mut uart = Uart::new();
    uart.set_modem_inputs(ModemInputs { ri: true, ..ModemInputs::DOWN });
    assert_eq!(uart.read(MSR), 0x40);
    uart.set_modem_inputs(ModemInputs::DOWN);
    assert_eq!(uart.read(MSR), 0x04);
}

#[test]
fn inputs_that_were_there_before_reset_set_no_delta() {
    let mut uart = Uart::new().with_modem_inputs(ModemInputs::TERMINAL);
    assert_eq!(uart.read(MSR), 0xb0);
}

#[test]
fn interrupt_line_ignores_out2_unless_asked_to_heed_it() {
    let mut uart = uart(&[(IER, 0x02), (MCR, 0)]);
    assert!(uart.pin());
    uart = uart.with_out2_gate(true);
    assert!(!uart.pin());
    uart.write(MCR, 0x08);
    assert!(uart.pin());
    uart.write(MCR, 0x18);
    assert!(!uart.pin());
}

#[test]
fn only_writes_with_visible_effects_are_wanted_at_once() {
    assert!(!uart(&[(FCR, 1), (IER, 0x0d), (DATA, 1)]).wants_every_write());
    assert!(!uart(&[(IER, 0x02)]).wants_every_write());
    assert!(uart(&[(MCR, 0x10)]).wants_every_write());
    assert!(uart(&[(LCR, 0x80)]).wants_every_write());
}

#[test]
fn clone_is_a_snapshot_that_goes_on_alike() {
    let mut uart = uart(&[(FCR, 0xc1), (IER, 0x0f), (DATA, 3)]);
    feed(&mut uart, b"abc");
    let mut restored = uart.clone();
    for offset in [IIR, DATA, LSR, MSR, IIR, DATA] {
        assert_eq!(uart.read(offset), restored.read(offset));
    }
    assert_eq!((uart.transmit(), &uart), (restored.transmit(), &restored));
}
