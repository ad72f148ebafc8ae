//! A keyboard at the controller: its commands, and the scan codes of the keys that are pressed.
//!
//! Sources: IBM PS/2 Hardware Interface Technical Reference, "101- and 102-Key Keyboard"; what
//! drivers expect beyond it, Linux's drivers/input/keyboard/atkbd.c. Scan code set 3 is absent: the
//! keyboard asks for another byte, as ones without it do.

use super::scan_codes::{self, Key};
use crate::fifo::Fifo;

const ACKNOWLEDGE: u8 = 0xFA;
/// Reply to a command that it does not know, or to a parameter that is none.
const RESEND: u8 = 0xFE;
const SELF_TEST_PASSED: u8 = 0xAA;
const ECHO: u8 = 0xEE;
/// What it is: a keyboard that is translated to set 1 by its controller.
const IDENTITY: [u8; 2] = [0xAB, 0x83];
/// Commands begin here; parameters are below.
const COMMANDS: u8 = 0xED;
/// Scan codes that it keeps; the original has 16 bytes.
const CODES: usize = 32;
const REPLIES: usize = 4;

/// Which codes keys have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ScanCodeSet {
    One,
    Two,
}

/// The command whose parameter comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Awaits {
    Nothing,
    Lights,
    ScanCodeSet,
    Rate,
}

/// The keyboard.
#[derive(Clone, Debug)]
pub(super) struct Keyboard {
    set: ScanCodeSet,
    is_scanning: bool,
    awaits: Awaits,
    /// What it answers goes before scan codes.
    replies: Fifo<REPLIES>,
    codes: Fifo<CODES>,
    last_sent: u8,
}

impl Keyboard {
    /// As it is after its self test: it scans, in set 2.
    pub(super) const fn new() -> Self {
        Self {
            set: ScanCodeSet::Two,
            is_scanning: true,
            awaits: Awaits::Nothing,
            replies: Fifo::new(),
            codes: Fifo::new(),
            last_sent: 0,
        }
    }

    /// Whether it has something to send.
    pub(super) fn has_bytes(&self) -> bool {
        !self.replies.is_empty() || !self.codes.is_empty()
    }

    /// The next byte for the controller.
    pub(super) fn send(&mut self) -> Option<u8> {
        let byte = self.replies.pop().or_else(|| self.codes.pop())?;
        self.last_sent = byte;
        Some(byte)
    }

    /// A byte from the controller.
    pub(super) fn receive(&mut self, byte: u8) {
        let awaits = core::mem::replace(&mut self.awaits, Awaits::Nothing);
        // A command in place of a parameter is carried out.
        if awaits != Awaits::Nothing && byte < COMMANDS {
            self.take_parameter(awaits, byte);
            return;
        }
        self.replies.clear();
        match byte {
            0xED => self.expect(Awaits::Lights),
            0xEE => self.reply(&[ECHO]),
            0xF0 => self.expect(Awaits::ScanCodeSet),
            0xF2 => self.reply(&[ACKNOWLEDGE, IDENTITY[0], IDENTITY[1]]),
            0xF3 => self.expect(Awaits::Rate),
            0xF4 => self.begin(true, &[ACKNOWLEDGE]),
            0xF5 => {
                self.set = ScanCodeSet::Two;
                self.begin(false, &[ACKNOWLEDGE]);
            }
            0xF6 => {
                self.set = ScanCodeSet::Two;
                self.begin(self.is_scanning, &[ACKNOWLEDGE]);
            }
            // Which keys repeat and have break codes is a matter of set 3.
            0xF7..=0xFA => self.reply(&[ACKNOWLEDGE]),
            0xFE => self.reply(&[self.last_sent]),
            0xFF => {
                *self = Self::new();
                self.reply(&[ACKNOWLEDGE, SELF_TEST_PASSED]);
            }
            _ => self.reply(&[RESEND]),
        }
    }

    /// Whether a key may be pressed now: it scans, and the key before has been taken.
    pub(super) fn is_ready(&self) -> bool {
        self.is_scanning && !self.has_bytes()
    }

    /// Presses the key and releases it, with its modifiers around it.
    pub(super) fn press(&mut self, key: Key) {
        let modifiers = [key.has_control.then_some(scan_codes::CONTROL), key.shift()];
        for code in modifiers.into_iter().flatten() {
            self.put_make(code, false);
        }
        self.put_make(key.code, key.is_extended);
        self.put_break(key.code, key.is_extended);
        for code in modifiers.into_iter().rev().flatten() {
            self.put_break(code, false);
        }
    }

    fn take_parameter(&mut self, awaits: Awaits, byte: u8) {
        match (awaits, byte) {
            (Awaits::ScanCodeSet, 0) => {
                let set = match self.set {
                    ScanCodeSet::One => 1,
                    ScanCodeSet::Two => 2,
                };
                self.reply(&[ACKNOWLEDGE, set]);
            }
            (Awaits::ScanCodeSet, 1) => self.set_codes(ScanCodeSet::One),
            (Awaits::ScanCodeSet, 2) => self.set_codes(ScanCodeSet::Two),
            (Awaits::ScanCodeSet, _) => self.reply(&[RESEND]),
            (Awaits::Lights | Awaits::Rate | Awaits::Nothing, _) => self.reply(&[ACKNOWLEDGE]),
        }
    }

    fn set_codes(&mut self, set: ScanCodeSet) {
        self.set = set;
        self.codes.clear();
        self.reply(&[ACKNOWLEDGE]);
    }

    fn expect(&mut self, awaits: Awaits) {
        self.awaits = awaits;
        self.reply(&[ACKNOWLEDGE]);
    }

    /// Scans or not; what has not been sent is dropped.
    fn begin(&mut self, is_scanning: bool, reply: &[u8]) {
        self.is_scanning = is_scanning;
        self.codes.clear();
        self.reply(reply);
    }

    fn reply(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.replies.push(*byte).expect("no command has more replies than there is room for");
        }
    }

    fn put_make(&mut self, code: u8, is_extended: bool) {
        self.put_extension(is_extended);
        match self.set {
            ScanCodeSet::One => self.put(scan_codes::translated(code)),
            ScanCodeSet::Two => self.put(code),
        }
    }

    fn put_break(&mut self, code: u8, is_extended: bool) {
        self.put_extension(is_extended);
        match self.set {
            ScanCodeSet::One => self.put(scan_codes::translated(code) | scan_codes::RELEASED),
            ScanCodeSet::Two => {
                self.put(scan_codes::BREAK);
                self.put(code);
            }
        }
    }

    fn put_extension(&mut self, is_extended: bool) {
        if is_extended {
            self.put(scan_codes::EXTENDED);
        }
    }

    fn put(&mut self, code: u8) {
        self.codes.push(code).expect("keys are pressed once those before are taken");
    }
}
