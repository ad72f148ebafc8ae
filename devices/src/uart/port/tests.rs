//! What the modes of a port do, seen from the guest and from the console's host.

use super::{Port, PortMode};

const DATA: u8 = 0;
const IER: u8 = 1;
const IIR: u8 = 2;
const FCR: u8 = 2;
const LCR: u8 = 3;
const MCR: u8 = 4;
const LSR: u8 = 5;
const MSR: u8 = 6;

const IDLE: u8 = 0x60;
const IDLE_WITH_DATA: u8 = 0x61;

fn port(mode: PortMode, writes: &[(u8, u8)]) -> Port {
    let mut port = Port::new(mode);
    for &(offset, value) in writes {
        port.write(offset, value);
    }
    port
}

#[test]
fn console_carries_both_ways_and_keeps_its_modem_lines_up() {
    let mut port = port(PortMode::Console, &[(FCR, 1), (DATA, b'o')]);
    assert_eq!((port.console_take(), port.console_take()), (Some(b'o'), None));
    assert_eq!((port.console_space(), port.console_feed(b'i')), (16, Ok(())));
    assert_eq!((port.read(LSR), port.read(DATA), port.read(MSR)), (IDLE_WITH_DATA, b'i', 0xb0));
    assert_eq!((port.link_take(), port.link_space(), port.link_feed(0)), (None, 0, Err(0)));
}

#[test]
fn console_that_is_drained_interrupts_after_every_burst() {
    let mut port = port(PortMode::Console, &[(FCR, 1), (IER, 2)]);
    for _ in 0..3 {
        assert_eq!(port.read(IIR), 0xc2);
        for byte in 0..16 {
            port.write(DATA, byte);
        }
        assert!(!port.pin());
        while port.console_take().is_some() {}
        assert!(port.pin());
    }
}

#[test]
fn setting_ier_bit_0_moves_output_from_the_console_to_the_link_and_back() {
    let mut port = port(PortMode::Switched, &[(FCR, 1), (DATA, b'c')]);
    assert!(!port.is_linked());
    port.write(IER, 1);
    assert!(port.is_linked());
    port.write(DATA, b'l');
    port.write(IER, 0);
    assert!(!port.is_linked());
    port.write(DATA, b'd');
    assert_eq!((port.console_take(), port.console_take()), (Some(b'c'), Some(b'd')));
    assert_eq!((port.link_take(), port.link_take()), (Some(b'l'), None));
}

#[test]
fn console_input_never_shows_while_linked_and_is_there_afterwards() {
    let mut port = port(PortMode::Switched, &[(FCR, 1)]);
    port.console_feed(b'1').unwrap();
    port.write(IER, 1);
    assert_eq!(port.console_space(), 15);
    port.console_feed(b'2').unwrap();
    assert_eq!((port.read(LSR), port.pin()), (IDLE, false));
    port.link_feed(b'L').unwrap();
    assert_eq!((port.read(LSR), port.pin(), port.read(DATA)), (IDLE_WITH_DATA, true, b'L'));
    port.write(IER, 0);
    assert_eq!((port.read(DATA), port.read(DATA)), (b'1', b'2'));
}

#[test]
fn parked_link_line_goes_on_in_both_directions() {
    let mut port = port(PortMode::Switched, &[(FCR, 1), (IER, 1), (DATA, 1), (DATA, 2), (IER, 0)]);
    assert_eq!(port.link_take(), Some(1));
    port.link_feed(b'r').unwrap();
    assert_eq!((port.link_space(), port.read(LSR)), (15, IDLE));
    port.write(IER, 1);
    assert_eq!((port.read(LSR), port.link_take(), port.read(LSR)), (0x01, Some(2), 0x61));
    assert_eq!(port.read(DATA), b'r');
}

#[test]
fn fifo_control_leaves_the_parked_line_alone() {
    let mut port = port(PortMode::Switched, &[(FCR, 1), (IER, 1), (DATA, 1), (DATA, 2), (IER, 0)]);
    port.link_feed(b'r').unwrap();
    port.write(FCR, 0xc7);
    port.write(FCR, 0);
    assert_eq!(port.link_space(), 0);
    assert_eq!((port.link_take(), port.link_take()), (Some(1), Some(2)));
    port.write(IER, 1);
    assert_eq!(port.read(DATA), b'r');
}

#[test]
fn thre_interrupt_follows_the_line_that_came_onto_the_registers() {
    let mut port = port(PortMode::Switched, &[(FCR, 1), (IER, 3), (DATA, 7)]);
    assert!(!port.pin());
    port.write(IER, 2);
    assert_eq!((port.read(LSR), port.read(IIR), port.pin()), (IDLE, 0xc2, false));
    port.write(IER, 3);
    assert_eq!((port.read(LSR), port.pin()), (0, false));
    port.link_take();
    assert!(port.pin());
}

#[test]
fn overrun_stays_with_the_line_that_had_it() {
    let mut port = port(PortMode::Switched, &[(IER, 1)]);
    port.link_feed(1).unwrap();
    assert_eq!(port.link_feed(2), Err(2));
    port.write(IER, 0);
    assert_eq!(port.read(LSR), IDLE);
    port.write(IER, 1);
    assert_eq!(port.read(LSR), IDLE_WITH_DATA | 0x02);
}

#[test]
fn divisor_write_at_offset_1_does_not_switch() {
    let port = port(PortMode::Switched, &[(LCR, 0x80), (IER, 1), (LCR, 0x03)]);
    assert!(!port.is_linked());
}

#[test]
fn ier_bit_0_switches_no_other_mode() {
    for mode in [PortMode::Console, PortMode::Link, PortMode::Unconnected] {
        let mut port = port(mode, &[(IER, 1)]);
        assert_eq!((port.is_linked(), port.has_link()), (mode == PortMode::Link, port.is_linked()));
        port.write(IER, 0);
        assert_eq!(port.is_linked(), mode == PortMode::Link);
    }
}

#[test]
fn unconnected_port_swallows_output_and_stays_ready() {
    let mut port = port(PortMode::Unconnected, &[(IER, 2)]);
    for byte in 0..100 {
        assert_eq!((port.read(LSR), port.read(IIR)), (IDLE, 0x02));
        port.write(DATA, byte);
    }
    assert_eq!((port.uart().transmit_overruns(), port.read(MSR)), (0, 0));
    assert_eq!(
        (port.console_space(), port.console_feed(1), port.console_take()),
        (0, Err(1), None)
    );
}

#[test]
fn drivers_probe_does_not_count_as_listening() {
    let mut port = port(PortMode::Link, &[(IER, 0), (IER, 0x0f)]);
    assert_eq!(port.read(IER), 0x0f);
    for (offset, value) in [(IER, 0), (MCR, 0x1a), (MCR, 0), (LCR, 0xbf), (LCR, 0), (FCR, 1)] {
        port.write(offset, value);
    }
    port.read(DATA);
    assert!(!port.is_listening());
}

#[test]
fn each_way_of_getting_ready_counts_as_listening() {
    for ready in [(MCR, 0x01), (MCR, 0x02), (MCR, 0x0b), (IER, 0x01), (IER, 0x05)] {
        assert!(port(PortMode::Link, &[ready]).is_listening());
    }
    let mut polled = port(PortMode::Link, &[(FCR, 0)]);
    polled.read(LSR);
    assert!(polled.is_listening());
    let mut interrupted = port(PortMode::Link, &[(IER, 0x0f)]);
    interrupted.read(IIR);
    assert!(interrupted.is_listening());
}
