//! What real drivers do to a UART when they look for it and start it, and what they must read.
//!
//! Each trace follows a driver's source: the comments name its functions. The port is a console
//! whose output is taken at once, as in a machine.

use devices::uart::{Port, PortMode};

const DATA: u8 = 0;
const IER: u8 = 1;
const IIR: u8 = 2;
const FCR: u8 = 2;
/// Offset 2 again, under the name of the 16650's extended features register.
const EFR: u8 = 2;
const LCR: u8 = 3;
const MCR: u8 = 4;
const LSR: u8 = 5;
const MSR: u8 = 6;
const SCR: u8 = 7;

const DEPTH: u8 = 16;

enum Access {
    /// Write the value to the register.
    Out(u8, u8),
    /// Read the register: these bits must have this value.
    In(u8, u8, u8),
}

use Access::{In, Out};

/// Every bit counts.
const ALL: u8 = 0xff;

struct Console {
    port: Port,
    output: Vec<u8>,
}

impl Console {
    fn new() -> Self {
        Self { port: Port::new(PortMode::Console), output: Vec::new() }
    }

    fn write(&mut self, offset: u8, value: u8) {
        self.port.write(offset, value);
        self.output.extend(std::iter::from_fn(|| self.port.console_take()));
    }

    #[track_caller]
    fn check(&mut self, trace: &[Access]) {
        for (index, access) in trace.iter().enumerate() {
            match *access {
                Out(offset, value) => self.write(offset, value),
                In(offset, bits, expected) => {
                    let value = self.port.read(offset) & bits;
                    assert_eq!(value, expected, "access {index}: register {offset}");
                }
            }
        }
    }

    #[track_caller]
    fn check_pin(&self, expected: bool) {
        assert_eq!(self.port.pin(), expected, "interrupt line");
    }

    fn key(&mut self, byte: u8) {
        self.port.console_feed(byte).expect("there is room for a key");
    }
}

/// `autoconfig` of Linux's 8250 driver up to the chip's type, in the order of 6.1.
fn linux_autoconfig(console: &mut Console) {
    console.check(&[
        // Is IER there?
        In(IER, ALL, 0x00),
        Out(IER, 0x00),
        In(IER, 0x0f, 0x00),
        Out(IER, 0x0f),
        In(IER, 0x0f, 0x0f),
        Out(IER, 0x00),
        In(MCR, ALL, 0x00),
        In(LCR, ALL, 0x00),
        // The loopback test: OUT2 and RTS must show as DCD and CTS.
        Out(MCR, 0x1a),
        In(MSR, 0xf0, 0x90),
        Out(MCR, 0x00),
        // The FIFOs, behind an access to EFR that a 16550A takes for FCR.
        Out(LCR, 0xbf),
        Out(EFR, 0x00),
        Out(LCR, 0x00),
        Out(FCR, 0x01),
        In(IIR, 0xc0, 0xc0),
    ]);
}

/// `autoconfig_16550a`: is it something newer that looks the same?
fn linux_autoconfig_16550a(console: &mut Console) {
    console.check(&[
        // 16650 and 16C950 have a register that reads 0 here.
        Out(LCR, 0x80),
        In(EFR, ALL, 0xc1),
        Out(LCR, 0xbf),
        In(EFR, ALL, 0xc1),
        // NS Super I/O: MCR bit 4 would show in its EXCR1.
        Out(LCR, 0x00),
        In(MCR, ALL, 0x00),
        Out(LCR, 0xe0),
        In(2, 0x10, 0x00),
        Out(LCR, 0x00),
        Out(MCR, 0x10),
        Out(LCR, 0xe0),
        In(2, 0x10, 0x00),
        Out(LCR, 0x00),
        Out(MCR, 0x00),
        // TI 16750: IIR bit 5 would follow the 64-byte bit of FCR, with DLAB set.
        Out(LCR, 0x00),
        Out(FCR, 0x21),
        In(IIR, 0xe0, 0xc0),
        Out(FCR, 0x01),
        Out(LCR, 0x80),
        Out(FCR, 0x21),
        In(IIR, 0xe0, 0xc0),
        Out(FCR, 0x01),
        Out(LCR, 0x00),
        // XScale: IER bit 6 would stick.
        In(IER, ALL, 0x00),
        Out(IER, 0x00),
        In(IER, 0x40, 0x00),
        Out(IER, 0x40),
        In(IER, 0x40, 0x00),
        Out(IER, 0x00),
        // Back in autoconfig: leave it clean.
        Out(LCR, 0x00),
        Out(FCR, 0x01),
        Out(FCR, 0x07),
        Out(FCR, 0x00),
        In(DATA, ALL, 0x00),
        Out(IER, 0x00),
    ]);
}

/// `serial8250_do_startup`, then `serial8250_do_set_termios` for 115200 8N1.
fn linux_startup(console: &mut Console) {
    console.check(&[
        Out(FCR, 0x01),
        Out(FCR, 0x07),
        Out(FCR, 0x00),
        In(LSR, ALL, 0x60),
        In(DATA, ALL, 0x00),
        In(IIR, ALL, 0x01),
        In(MSR, 0xf0, 0xb0),
        Out(LCR, 0x03),
        // serial8250_THRE_test: the interrupt must come back when it is enabled again.
        In(LSR, 0x60, 0x60),
        Out(IER, 0x02),
        In(IIR, ALL, 0x02),
        Out(IER, 0x00),
        Out(IER, 0x02),
        In(IIR, ALL, 0x02),
        Out(IER, 0x00),
        Out(MCR, 0x08),
        // The TXEN test: an idle transmitter must interrupt at once.
        Out(IER, 0x02),
        In(LSR, 0x40, 0x40),
        In(IIR, 0x01, 0x00),
        Out(IER, 0x00),
        // Clear what is pending, then enable.
        In(LSR, ALL, 0x60),
        In(DATA, ALL, 0x00),
        In(IIR, ALL, 0x01),
        In(MSR, ALL, 0xb0),
        Out(IER, 0x05),
        Out(LCR, 0x83),
        Out(DATA, 0x01),
        Out(IER, 0x00),
        Out(LCR, 0x03),
        Out(FCR, 0x01),
        Out(FCR, 0x81),
        Out(MCR, 0x0b),
        In(IER, ALL, 0x05),
    ]);
}

fn linux() -> Console {
    let mut console = Console::new();
    linux_autoconfig(&mut console);
    linux_autoconfig_16550a(&mut console);
    linux_startup(&mut console);
    console
}

#[test]
fn linux_finds_a_16550a_and_starts_it() {
    let console = linux();
    console.check_pin(false);
    assert!(console.output.is_empty(), "the probe has printed {:?}", console.output);
    assert_eq!(
        (console.port.uart().baud(), console.port.uart().is_baud_programmed()),
        (115200, true)
    );
}

#[test]
fn linux_size_fifo_counts_sixteen() {
    let mut console = Console::new();
    console.check(&[Out(FCR, 0x07), Out(MCR, 0x10)]);
    console.check(&[Out(LCR, 0x80), Out(DATA, 0x01), Out(IER, 0x00), Out(LCR, 0x03)]);
    for byte in 0..=255 {
        console.write(DATA, byte);
    }
    for byte in 0..DEPTH {
        console.check(&[In(LSR, 0x01, 0x01), In(DATA, ALL, byte)]);
    }
    console.check(&[In(LSR, ALL, 0x60)]);
    assert!(console.output.is_empty());
}

#[test]
fn linux_receives_keys_and_transmits_bursts_of_sixteen() {
    let mut console = linux();
    console.key(b'l');
    console.check_pin(true);
    console.check(&[In(IIR, ALL, 0xcc), In(LSR, ALL, 0x61), In(DATA, ALL, b'l')]);
    console.check(&[In(LSR, ALL, 0x60), In(MSR, ALL, 0xb0), In(IIR, ALL, 0xc1)]);
    console.check_pin(false);
    // start_tx, then one interrupt for each 16 bytes, then stop_tx.
    console.check(&[Out(IER, 0x07)]);
    for burst in 0..3 {
        console.check_pin(true);
        console.check(&[In(IIR, ALL, 0xc2), In(LSR, ALL, 0x60)]);
        console.check_pin(false);
        (0..DEPTH).for_each(|byte| console.write(DATA, burst * DEPTH + byte));
    }
    console.check(&[In(IIR, ALL, 0xc2), Out(IER, 0x05), In(IIR, ALL, 0xc1)]);
    assert!(console.output.iter().copied().eq(0..3 * DEPTH));
}

#[test]
fn linux_printk_masks_interrupts_and_loses_no_key() {
    let mut console = linux();
    for (count, key) in (b'0'..=b'9').enumerate() {
        console.check(&[In(IER, ALL, 0x05), Out(IER, 0x00)]);
        console.key(key);
        console.check(&[In(LSR, 0x60, 0x60), Out(DATA, b'#'), In(LSR, 0x60, 0x60)]);
        console.check_pin(false);
        console.check(&[Out(IER, 0x05)]);
        console.check_pin(true);
        console.check(&[In(IIR, ALL, 0xcc), In(LSR, 0x01, 0x01), In(DATA, ALL, key)]);
        assert_eq!(console.output.len(), count + 1);
    }
}

/// `ns8250_probe` and `ns8250_bus_attach` of FreeBSD's uart(4).
#[test]
fn freebsd_probe_reads_the_zeros_it_knows() {
    let mut console = Console::new();
    console.check(&[In(IIR, 0x30, 0x00), In(MCR, 0xa0, 0x00)]);
    // ns8250_init: 8N1 at 115200, FIFOs off, DTR and RTS up.
    console.check(&[Out(LCR, 0x80), Out(DATA, 0x01), Out(IER, 0x00), Out(LCR, 0x03)]);
    console.check(&[In(IER, 0xe0, 0x00), Out(IER, 0x00), Out(FCR, 0x00), Out(MCR, 0x0b)]);
    console.check(&[In(MSR, 0xf0, 0xb0), In(LSR, ALL, 0x60)]);
}

/// `ns8250_flush`: a UART that does not flush is drained byte by byte, and complained about.
#[test]
fn freebsd_flush_finds_both_fifos_empty() {
    let mut console = Console::new();
    console.check(&[Out(FCR, 0x01)]);
    console.key(b'x');
    console.key(b'y');
    console.check(&[In(LSR, 0x01, 0x01), Out(FCR, 0x07), In(LSR, ALL, 0x60)]);
    console.check(&[In(IIR, 0xc0, 0xc0)]);
}

/// `ns8250_bus_probe`: fills the FIFO in loopback until it overruns, and counts.
#[test]
fn freebsd_fifo_probe_overruns_after_sixteen() {
    let mut console = Console::new();
    console.check(&[Out(MCR, 0x10), Out(FCR, 0x07), In(IIR, 0xc0, 0xc0)]);
    let mut count = 0;
    while console.port.read(LSR) & 0x02 == 0 {
        console.write(DATA, count);
        count += 1;
        assert!(count < 200, "the overrun never comes");
    }
    assert_eq!(count - 1, DEPTH);
    console.check(&[Out(FCR, 0x07), Out(MCR, 0x00), In(LSR, ALL, 0x60)]);
}

/// `ns8250_bus_transmit` waits for THRE by interrupt: it must come for each burst.
#[test]
fn freebsd_transmits_more_than_sixteen_characters() {
    let mut console = Console::new();
    console.check(&[Out(FCR, 0x81), Out(IER, 0x05)]);
    for _ in 0..4 {
        (0..DEPTH).for_each(|byte| console.write(DATA, byte));
        console.check(&[Out(IER, 0x07)]);
        console.check_pin(true);
        console.check(&[In(IIR, ALL, 0xc2), Out(IER, 0x05)]);
        console.check_pin(false);
    }
    assert_eq!(console.output.len(), 64);
}

/// `uartinit` and `uartintr` of xv6: no FIFOs, MCR 0, interrupts all the same.
#[test]
fn xv6_starts_without_fifos_and_is_interrupted_with_mcr_zero() {
    let mut console = Console::new();
    console.check(&[Out(FCR, 0x00), Out(LCR, 0x80), Out(DATA, 12), Out(IER, 0x00)]);
    console.check(&[Out(LCR, 0x03), Out(MCR, 0x00), Out(IER, 0x01)]);
    console.check(&[In(LSR, ALL, 0x60), In(IIR, ALL, 0x01), In(DATA, ALL, 0x00)]);
    assert_eq!(console.port.uart().baud(), 9600);
    for key in *b"ls\n" {
        assert_eq!(console.port.console_space(), 1);
        console.key(key);
        console.check_pin(true);
        assert_eq!(console.port.console_space(), 0);
        console.check(&[In(LSR, 0x01, 0x01), In(DATA, ALL, key), In(LSR, 0x01, 0x00)]);
        console.check_pin(false);
        console.check(&[In(LSR, 0x20, 0x20), Out(DATA, key)]);
    }
    assert_eq!(console.output, b"ls\n");
}

/// A NimbOS-class kernel: FCR = C7, then polled, with a shell that spins on LSR.
#[test]
fn nimbos_polls_with_trigger_fourteen_and_gets_each_key() {
    let mut console = Console::new();
    console.check(&[Out(IER, 0x00), Out(LCR, 0x80), Out(DATA, 0x01), Out(IER, 0x00)]);
    console.check(&[Out(LCR, 0x03), Out(FCR, 0xc7), Out(MCR, 0x0b), Out(IER, 0x00)]);
    for character in *b">> " {
        console.check(&[In(LSR, 0x20, 0x20), Out(DATA, character)]);
    }
    assert_eq!(console.output, b">> ");
    for _ in 1..=500 {
        console.check(&[In(LSR, ALL, 0x60)]);
    }
    console.key(b'u');
    console.check(&[In(LSR, ALL, 0x61), In(DATA, ALL, b'u'), In(LSR, ALL, 0x60)]);
    console.check_pin(false);
}

/// The same kernel with the received data interrupt on: one byte is far below the trigger of 14.
#[test]
fn nimbos_trigger_does_not_strand_a_lone_byte() {
    let mut console = Console::new();
    console.check(&[Out(FCR, 0xc7), Out(IER, 0x01)]);
    console.key(b'\r');
    console.check_pin(true);
    console.check(&[In(IIR, ALL, 0xcc), In(DATA, ALL, b'\r'), In(IIR, ALL, 0xc1)]);
}

/// The scratch test that tells an 8250 from a 16450.
#[test]
fn scratch_register_stores_every_value() {
    let mut console = Console::new();
    for value in 0..=255 {
        console.check(&[Out(SCR, value), In(SCR, ALL, value)]);
    }
}
