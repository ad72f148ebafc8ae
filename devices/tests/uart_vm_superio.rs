//! The UART against vm-superio, as far as vm-superio follows the datasheet.
//!
//! Left out, because there it does not: the FIFO control register and the depth of its buffer
//! (64), delta bits of MSR, LSR.OE, bits of MCR that do not exist, IIR with two sources pending,
//! a second IIR read while data waits (it clears the received data interrupt), IIR after an
//! interrupt was disabled (it stays pending), and the THRE interrupt in loopback.

mod uart_random;

use std::convert::Infallible;

use devices::uart::{ModemInputs, Uart};
use uart_random::{Random, for_each_seed};
use vm_superio::{Serial, Trigger, serial::NoEvents};

const SEQUENCES: u64 = 3000;
const STEPS: usize = 200;

const DATA: u8 = 0;
const IER: u8 = 1;
const IIR: u8 = 2;
const LCR: u8 = 3;
const MCR: u8 = 4;
const LSR: u8 = 5;
const MSR: u8 = 6;
const SCR: u8 = 7;

const LOOPBACK: u8 = 0x10;
const NO_INTERRUPT: u8 = 0xc1;
const DEPTH: usize = 16;

struct NoTrigger;

impl Trigger for NoTrigger {
    type E = Infallible;

    fn trigger(&self) -> Result<(), Infallible> {
        Ok(())
    }
}

/// Both UARTs, given the same accesses.
struct Pair {
    ours: Uart,
    theirs: Serial<NoTrigger, NoEvents, Vec<u8>>,
    sent: Vec<u8>,
    /// The one interrupt source that is enabled: 0, 1 (received data) or 2 (THRE).
    enabled: u8,
    is_looped_back: bool,
}

impl Pair {
    /// Both as a driver would leave them after its set-up: their reset values differ.
    fn new() -> Self {
        let mut pair = Self {
            ours: Uart::new().with_modem_inputs(ModemInputs::TERMINAL),
            theirs: Serial::new(NoTrigger, Vec::new()),
            sent: Vec::new(),
            enabled: 0,
            is_looped_back: false,
        };
        pair.ours.write(2, 0x01);
        for (offset, value) in [(LCR, 0x80), (DATA, 1), (IER, 0), (LCR, 0x03), (MCR, 0)] {
            pair.write(offset, value);
        }
        pair
    }

    fn write(&mut self, offset: u8, value: u8) {
        self.ours.write(offset, value);
        self.theirs.write(offset, value).expect("a Vec takes every byte");
        while let Some(byte) = self.ours.transmit() {
            self.sent.push(byte);
        }
    }

    #[track_caller]
    fn check(&mut self, offset: u8, bits: u8) -> u8 {
        let (ours, theirs) = (self.ours.read(offset), self.theirs.read(offset));
        assert_eq!(ours & bits, theirs & bits, "register {offset}, bits {bits:#04x}");
        ours
    }

    /// Changes which interrupt is enabled, with nothing of the old one left pending.
    fn enable(&mut self, source: u8) {
        while self.ours.read(LSR) & 1 == 1 {
            self.check(DATA, 0xff);
        }
        if self.enabled == 2 {
            self.check(IIR, 0xff);
        }
        self.write(IER, 0);
        assert_eq!(self.check(IIR, 0xff), NO_INTERRUPT);
        self.write(IER, source);
        self.enabled = source;
    }

    fn send(&mut self, byte: u8) {
        let waiting = 64 - self.theirs.fifo_capacity();
        if !self.is_looped_back || self.enabled == 0 && waiting < DEPTH {
            self.write(DATA, byte);
        }
    }

    fn receive(&mut self, byte: u8) {
        let room = self.ours.rx_space();
        let taken = self.theirs.enqueue_raw_bytes(&[byte][..room.min(1)]);
        assert_eq!(taken.expect("there is room"), room.min(1));
        if room > 0 {
            self.ours.receive(byte).expect("there is room");
            if self.enabled == 1 {
                assert_eq!(self.check(IIR, 0xff), 0xc4);
            }
        }
    }

    fn step(&mut self, random: &mut Random) {
        match random.below(12) {
            0 if !random.once_in(3) => self.enable(random.pick(&[0, 1, 2])),
            1 => {
                let value = random.byte() & 0x1f;
                let value = if self.enabled == 0 { value } else { value & !LOOPBACK };
                self.is_looped_back = value & LOOPBACK != 0;
                self.write(MCR, value);
            }
            2 => self.write(SCR, random.byte()),
            3 => {
                let divisor = [random.byte(), random.byte()];
                self.write(LCR, 0x80 | random.byte());
                self.write(DATA, divisor[0]);
                self.write(IER, divisor[1]);
                assert_eq!([self.check(DATA, 0xff), self.check(IER, 0xff)], divisor);
                self.write(LCR, random.byte() & 0x7f);
            }
            4..=5 => self.send(random.byte()),
            6..=7 => self.receive(random.byte()),
            8 if self.enabled == 2 => {
                self.check(IIR, 0xff);
            }
            _ => {
                let offset = random.pick(&[DATA, IER, LCR, MCR, LSR, MSR, SCR]);
                self.check(offset, if offset == MSR { 0xf0 } else { 0xff });
            }
        }
    }
}

#[test]
fn both_uarts_agree_wherever_vm_superio_follows_the_datasheet() {
    for_each_seed(SEQUENCES, |random| {
        let mut pair = Pair::new();
        for _ in 0..STEPS {
            pair.step(random);
        }
        assert_eq!(&pair.sent, pair.theirs.writer(), "bytes sent");
    });
}
