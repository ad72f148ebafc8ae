//! The keyboard controller, with a keyboard or without one, and with no auxiliary (mouse) port.
//! Without a keyboard there are the reset line, A20 and answers that let a guest's probe end
//! quickly.
//!
//! ```text
//! a terminal's bytes --> typist --keys--> keyboard --scan codes--> controller --> port 60h, IRQ1
//! ```
//!
//! A keyboard's byte takes a millisecond on its way, as on a PC: a driver that reads port 60h again
//! for the same byte gets that one.
//!
//! Every probe that guests use finds the auxiliary port absent: its interface test fails; a
//! byte that the loop-back command returns is not marked as the port's; the command byte's bit that
//! stops its clock does not follow the commands that stop and start it. None of them leaves a guest
//! waiting.
//!
//! Sources: Intel UPI-41/42 (8042) and IBM PC/AT Technical Reference, "Keyboard controller"; for
//! the auxiliary port's commands the IBM PS/2 Hardware Interface Technical Reference, "Keyboard and
//! Auxiliary Device Controller"; Intel ICH9 datasheet 13.7.3 for port 0x92.

use crate::time::MachineTime;
use keyboard::Keyboard;
use scan_codes::{BREAK, Key, RELEASED};
use typist::Typist;

mod keyboard;
mod scan_codes;
mod typist;

/// Data port.
pub const DATA: u16 = 0x60;
/// Status port when read, command port when written.
pub const COMMAND: u16 = 0x64;
/// System control port A: fast A20 and fast reset.
pub const SYSTEM_CONTROL_A: u16 = 0x92;

const STATUS_OUTPUT_FULL: u8 = 1 << 0;
const STATUS_SELF_TEST_PASSED: u8 = 1 << 2;
const STATUS_LAST_WAS_COMMAND: u8 = 1 << 3;
/// The key lock is open.
const STATUS_UNLOCKED: u8 = 1 << 4;
/// The byte for the guest is the auxiliary port's.
const STATUS_AUXILIARY: u8 = 1 << 5;
const STATUS_TIMEOUT: u8 = 1 << 6;

/// Command byte: interrupt on a byte for the guest, self test passed, clock of the keyboard
/// stopped.
const INTERRUPT_ENABLE: u8 = 1 << 0;
const SYSTEM_FLAG: u8 = 1 << 2;
const KEYBOARD_DISABLED: u8 = 1 << 4;
/// Command byte: the keyboard's codes become those of set 1.
const TRANSLATE: u8 = 1 << 6;

/// How long a keyboard takes for a byte: 11 bits at 10 to 16.7 kHz.
const BYTE_NS: u64 = 1_000_000;
/// Between the commands that set up a driver, which drop codes, less time passes.
const SETUP_NS: u64 = 50_000_000;

/// Output port: bit 0 is the reset line (low resets), bit 1 opens address line 20.
const RESET_LINE: u8 = 1 << 0;
const A20: u8 = 1 << 1;

/// Port 0x92 bit 0 resets, bit 1 opens address line 20.
const FAST_RESET: u8 = 1 << 0;
const FAST_A20: u8 = 1 << 1;

const SELF_TEST_PASSED: u8 = 0x55;
/// Keyboard interface test: clock and data lines are good.
const INTERFACE_GOOD: u8 = 0x00;
/// Auxiliary interface test: its clock line is stuck low.
const INTERFACE_STUCK: u8 = 0x01;
/// The reply for an absent device: "resend", with the timeout flag.
const RESEND: u8 = 0xFE;

/// The command that waits for its data byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Awaits {
    /// None: a data byte is for the keyboard.
    Nothing,
    CommandByte,
    OutputPort,
    /// A byte that comes straight back as the keyboard's.
    Echo,
    /// A byte for the device at the auxiliary port, which is absent.
    Auxiliary,
    /// A byte for controller memory that does not exist.
    Discard,
}

/// The 8042 keyboard controller of a PC.
#[derive(Clone, Debug)]
pub struct I8042 {
    command_byte: u8,
    output_port: u8,
    output: u8,
    /// Status bits that are set, less those that never change.
    status: u8,
    awaits: Awaits,
    is_reset_requested: bool,
    keyboard: Option<Keyboard>,
    typist: Typist,
    /// The byte before began the code of a key that is released.
    has_break: bool,
    /// When the keyboard's next byte arrives, if one is on its way.
    arrives_at: Option<MachineTime>,
    /// The guest has read its status or a byte.
    has_been_read: bool,
    /// The guest has written to it since [`I8042::advance`].
    was_written: bool,
    /// Until then no key is pressed: the guest may be setting up its driver.
    quiet_until: Option<MachineTime>,
}

impl I8042 {
    /// The controller as firmware leaves it: self test passed, A20 open, nothing to read. Of a
    /// keyboard it has enabled the interrupt, and translates the codes.
    #[must_use]
    pub const fn new(has_keyboard: bool) -> Self {
        Self {
            command_byte: match has_keyboard {
                true => SYSTEM_FLAG | INTERRUPT_ENABLE | TRANSLATE,
                false => SYSTEM_FLAG,
            },
            output_port: RESET_LINE | A20,
            output: 0,
            status: STATUS_SELF_TEST_PASSED,
            awaits: Awaits::Nothing,
            is_reset_requested: false,
            keyboard: if has_keyboard { Some(Keyboard::new()) } else { None },
            typist: Typist::Between,
            has_break: false,
            arrives_at: None,
            has_been_read: false,
            was_written: false,
            quiet_until: None,
        }
    }

    /// Reads port 0x60, 0x64 or 0x92; any other port reads all ones. An empty data port repeats
    /// the last byte.
    pub fn read(&mut self, port: u16) -> u8 {
        match port {
            DATA => {
                self.has_been_read = true;
                self.status &= !(STATUS_OUTPUT_FULL | STATUS_AUXILIARY | STATUS_TIMEOUT);
                self.output
            }
            COMMAND => {
                self.has_been_read = true;
                self.status | STATUS_UNLOCKED
            }
            SYSTEM_CONTROL_A => self.output_port & A20,
            _ => 0xFF,
        }
    }

    /// Writes port 0x60, 0x64 or 0x92; a write to any other port is ignored.
    pub fn write(&mut self, port: u16, value: u8) {
        self.was_written |= port != SYSTEM_CONTROL_A;
        match port {
            DATA => self.write_data(value),
            COMMAND => self.write_command(value),
            SYSTEM_CONTROL_A => {
                self.set_a20(value & FAST_A20 != 0);
                self.is_reset_requested |= value & FAST_RESET != 0;
            }
            _ => {}
        }
    }

    /// The guest pulled the reset line. It stays pulled: the owner resets the machine.
    #[must_use]
    pub const fn is_reset_requested(&self) -> bool {
        self.is_reset_requested
    }

    /// Address line 20 is open. Information only: this machine's memory has no such gate.
    #[must_use]
    pub const fn is_a20_enabled(&self) -> bool {
        self.output_port & A20 != 0
    }

    /// The level of IRQ1: a byte waits and its interrupt is enabled.
    #[must_use]
    pub const fn pin(&self) -> bool {
        self.status & STATUS_OUTPUT_FULL != 0 && self.command_byte & INTERRUPT_ENABLE != 0
    }

    /// Brings the keyboard's byte that is on its way, and sends the next one on its way. To be
    /// called after each access, too.
    pub fn advance(&mut self, now: MachineTime) {
        let Some(keyboard) = &mut self.keyboard else { return };
        self.quiet_until = match core::mem::take(&mut self.was_written) {
            true => Some(now.after_ns(SETUP_NS)),
            false => self.quiet_until.filter(|until| now < *until),
        };
        let is_stopped = self.command_byte & KEYBOARD_DISABLED != 0;
        // A byte that waits here stops the keyboard's clock.
        if is_stopped || self.status & STATUS_OUTPUT_FULL != 0 || !keyboard.has_bytes() {
            self.arrives_at = None;
            return;
        }
        let arrives_at = *self.arrives_at.get_or_insert(now.after_ns(BYTE_NS));
        if now < arrives_at {
            return;
        }
        let byte = keyboard.send();
        let has_more = keyboard.has_bytes();
        if let Some(byte) = byte {
            self.take_from_keyboard(byte);
        }
        let is_free = self.status & STATUS_OUTPUT_FULL == 0;
        self.arrives_at = (has_more && is_free).then(|| now.after_ns(BYTE_NS));
    }

    /// When [`I8042::advance`] has something to do.
    #[must_use]
    pub fn deadline(&self) -> Option<MachineTime> {
        self.arrives_at.into_iter().chain(self.quiet_until).min()
    }

    /// There is a keyboard, and typed bytes go to it.
    #[must_use]
    pub const fn has_keyboard(&self) -> bool {
        self.keyboard.is_some()
    }

    /// There is a keyboard, and a byte of its would interrupt.
    #[must_use]
    pub const fn can_interrupt(&self) -> bool {
        self.has_keyboard() && self.command_byte & INTERRUPT_ENABLE != 0
    }

    /// Whether the guest has read the controller's status or data.
    #[must_use]
    pub const fn has_been_read(&self) -> bool {
        self.has_been_read
    }

    /// Whether the keyboard has room for a key: the one before has been read, and the guest has not
    /// sent a command for a while.
    #[must_use]
    pub fn is_ready_for_key(&self) -> bool {
        self.keyboard.as_ref().is_some_and(Keyboard::is_ready)
            && self.status & STATUS_OUTPUT_FULL == 0
            && self.quiet_until.is_none()
    }

    /// A byte that a terminal sends for a key: presses it, and releases it. None: nothing follows
    /// for now. A byte that no key has is dropped. [`I8042::advance`] is to follow.
    pub fn type_byte(&mut self, byte: Option<u8>) {
        let keys = match byte {
            Some(byte) => self.typist.take(byte),
            None => [self.typist.pause(), None],
        };
        for key in keys.into_iter().flatten() {
            self.press(key);
        }
    }

    /// Whether a typed ESC waits for what it begins.
    #[must_use]
    pub fn has_typed_escape(&self) -> bool {
        self.typist.has_escape()
    }

    fn press(&mut self, key: Key) {
        if let Some(keyboard) = &mut self.keyboard {
            keyboard.press(key);
        }
    }

    /// In set 1 a key that is released has one byte, its code with a bit set.
    fn take_from_keyboard(&mut self, byte: u8) {
        if self.command_byte & TRANSLATE == 0 {
            self.has_break = false;
            return self.reply(byte);
        }
        if byte == BREAK {
            self.has_break = true;
            return;
        }
        let released = if core::mem::take(&mut self.has_break) { RELEASED } else { 0 };
        self.reply(scan_codes::translated(byte) | released);
    }

    fn write_command(&mut self, command: u8) {
        self.status |= STATUS_LAST_WAS_COMMAND;
        self.awaits = Awaits::Nothing;
        match command {
            0x20 => self.reply(self.command_byte),
            0x21..=0x3F => self.reply(0),
            0x60 => self.awaits = Awaits::CommandByte,
            0x61..=0x7F => self.awaits = Awaits::Discard,
            0xA9 => self.reply(INTERFACE_STUCK),
            0xAB => self.reply(INTERFACE_GOOD),
            0xAA => self.reply(SELF_TEST_PASSED),
            0xAD => self.command_byte |= KEYBOARD_DISABLED,
            0xAE => self.command_byte &= !KEYBOARD_DISABLED,
            // Input port bit 7: the keyboard is not locked.
            0xC0 => self.reply(0x80),
            0xD0 => self.reply(self.output_port),
            0xD1 => self.awaits = Awaits::OutputPort,
            0xD2 | 0xD3 => self.awaits = Awaits::Echo,
            0xD4 => self.awaits = Awaits::Auxiliary,
            0xDD => self.set_a20(false),
            0xDF => self.set_a20(true),
            0xE0 => self.reply(0),
            // The auxiliary port's clock stops and starts.
            0xA7 | 0xA8 => {}
            // Pulse the output lines whose bits are clear; line 0 is reset.
            0xF0..=0xFF => self.is_reset_requested |= command & RESET_LINE == 0,
            _ => {}
        }
    }

    fn write_data(&mut self, value: u8) {
        self.status &= !STATUS_LAST_WAS_COMMAND;
        match core::mem::replace(&mut self.awaits, Awaits::Nothing) {
            Awaits::CommandByte => self.command_byte = value,
            Awaits::OutputPort => {
                self.set_a20(value & A20 != 0);
                self.is_reset_requested |= value & RESET_LINE == 0;
            }
            Awaits::Echo => self.reply(value),
            Awaits::Discard => {}
            Awaits::Nothing => self.write_to_keyboard(value),
            Awaits::Auxiliary => {
                self.reply(RESEND);
                self.status |= STATUS_TIMEOUT | STATUS_AUXILIARY;
            }
        }
    }

    /// Its clock runs from then on.
    fn write_to_keyboard(&mut self, value: u8) {
        self.command_byte &= !KEYBOARD_DISABLED;
        if let Some(keyboard) = &mut self.keyboard {
            return keyboard.receive(value);
        }
        self.reply(RESEND);
        self.status |= STATUS_TIMEOUT;
    }

    fn reply(&mut self, value: u8) {
        self.output = value;
        self.status &= !(STATUS_TIMEOUT | STATUS_AUXILIARY);
        self.status |= STATUS_OUTPUT_FULL;
    }

    fn set_a20(&mut self, is_open: bool) {
        self.output_port = RESET_LINE | if is_open { A20 } else { 0 };
    }
}

#[cfg(test)]
mod tests;
