//! The keyboard controller, with no keyboard and no auxiliary (mouse) port: what
//! is left is the reset line, A20 and answers that let a guest's probe end quickly.
//!
//! Every probe that guests use finds the auxiliary port absent: its interface test fails; a
//! byte that the loop-back command returns is not marked as the port's; the command byte's bit that
//! stops its clock does not follow the commands that stop and start it. None of them leaves a guest
//! waiting.
//!
//! Sources: Intel UPI-41/42 (8042) and IBM PC/AT Technical Reference, "Keyboard controller"; for
//! the auxiliary port's commands the IBM PS/2 Hardware Interface Technical Reference, "Keyboard and
//! Auxiliary Device Controller"; Intel ICH9 datasheet 13.7.3 for port 0x92.

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

/// The 8042 keyboard controller of a PC without a keyboard.
#[derive(Clone, Debug)]
pub struct Keyboard {
    command_byte: u8,
    output_port: u8,
    output: u8,
    /// Status bits that are set, less those that never change.
    status: u8,
    awaits: Awaits,
    is_reset_requested: bool,
}

impl Default for Keyboard {
    fn default() -> Self {
        Self::new()
    }
}

impl Keyboard {
    /// The controller as firmware leaves it: self test passed, A20 open, nothing to read.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            command_byte: SYSTEM_FLAG,
            output_port: RESET_LINE | A20,
            output: 0,
            status: STATUS_SELF_TEST_PASSED,
            awaits: Awaits::Nothing,
            is_reset_requested: false,
        }
    }

    /// Reads port 0x60, 0x64 or 0x92; any other port reads all ones. An empty data port repeats
    /// the last byte.
    pub fn read(&mut self, port: u16) -> u8 {
        match port {
            DATA => {
                self.status &= !(STATUS_OUTPUT_FULL | STATUS_AUXILIARY | STATUS_TIMEOUT);
                self.output
            }
            COMMAND => self.status | STATUS_UNLOCKED,
            SYSTEM_CONTROL_A => self.output_port & A20,
            _ => 0xFF,
        }
    }

    /// Writes port 0x60, 0x64 or 0x92; a write to any other port is ignored.
    pub fn write(&mut self, port: u16, value: u8) {
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
            Awaits::Nothing => {
                self.reply(RESEND);
                self.status |= STATUS_TIMEOUT;
            }
            Awaits::Auxiliary => {
                self.reply(RESEND);
                self.status |= STATUS_TIMEOUT | STATUS_AUXILIARY;
            }
        }
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
mod tests {
    use super::*;

    fn answer_to(command: u8) -> u8 {
        let mut keyboard = Keyboard::new();
        keyboard.write(0x64, command);
        assert_eq!(keyboard.read(0x64) & 1, 1, "command {command:#x} gave no answer");
        keyboard.read(0x60)
    }

    #[test]
    fn self_test_passes_and_the_answer_is_read_once() {
        let mut keyboard = Keyboard::new();
        keyboard.write(0x64, 0xAA);
        assert_eq!(keyboard.read(0x64) & 0x01, 0x01);
        assert_eq!(keyboard.read(0x60), 0x55);
        assert_eq!(keyboard.read(0x64) & 0x01, 0x00);
        assert_eq!(answer_to(0xAB), 0x00);
    }

    #[test]
    fn command_byte_is_read_back_as_written() {
        let mut keyboard = Keyboard::new();
        keyboard.write(0x64, 0x60);
        keyboard.write(0x60, 0x47);
        keyboard.write(0x64, 0x20);
        assert_eq!(keyboard.read(0x60), 0x47);
    }

    #[test]
    fn pulsing_line_0_resets_and_the_other_lines_do_not() {
        for command in 0xF0..=0xFFu8 {
            let mut keyboard = Keyboard::new();
            keyboard.write(0x64, command);
            assert_eq!(keyboard.is_reset_requested(), command % 2 == 0, "{command:#x}");
        }
    }

    #[test]
    fn output_port_drives_a20_and_reset() {
        let mut keyboard = Keyboard::new();
        assert!(keyboard.is_a20_enabled());
        keyboard.write(0x64, 0xD1);
        keyboard.write(0x60, 0xDD);
        assert!(!keyboard.is_a20_enabled());
        assert!(!keyboard.is_reset_requested());
        keyboard.write(0x64, 0xD1);
        keyboard.write(0x60, 0xDF);
        assert!(keyboard.is_a20_enabled());
        keyboard.write(0x64, 0xD1);
        keyboard.write(0x60, 0xDE);
        assert!(keyboard.is_reset_requested());
    }

    #[test]
    fn port_92_has_fast_a20_and_fast_reset() {
        let mut keyboard = Keyboard::new();
        keyboard.write(0x92, 0x00);
        assert!(!keyboard.is_a20_enabled());
        assert_eq!(keyboard.read(0x92), 0x00);
        keyboard.write(0x92, 0x02);
        assert_eq!(keyboard.read(0x92), 0x02);
        assert!(!keyboard.is_reset_requested());
        keyboard.write(0x92, 0x03);
        assert!(keyboard.is_reset_requested());
    }

    #[test]
    fn a_byte_for_the_absent_keyboard_times_out_at_once() {
        let mut keyboard = Keyboard::new();
        keyboard.write(0x60, 0xFF);
        assert_eq!(keyboard.read(0x64) & 0x41, 0x41);
        assert_eq!(keyboard.read(0x60), 0xFE);
        assert_eq!(keyboard.read(0x64) & 0x41, 0x00);
    }

    #[test]
    fn there_is_no_auxiliary_port_by_any_way_to_look_for_it() {
        assert_eq!(answer_to(0xA9), 0x01, "its clock line is stuck");
        let mut keyboard = Keyboard::new();
        keyboard.write(0x64, 0xD3);
        keyboard.write(0x60, 0x5A);
        assert_eq!(keyboard.read(0x64) & 0x21, 0x01, "a byte, and not the port's");
        assert_eq!(keyboard.read(0x60), 0x5A);
        for (written, command) in [(0x45, 0xA7), (0x65, 0xA8)] {
            keyboard.write(0x64, 0x60);
            keyboard.write(0x60, written);
            keyboard.write(0x64, command);
            keyboard.write(0x64, 0x20);
            assert_eq!(keyboard.read(0x60), written, "{command:#x} stops and starts no clock");
        }
    }

    #[test]
    fn a_byte_for_the_absent_auxiliary_device_times_out_at_once() {
        let mut keyboard = Keyboard::new();
        keyboard.write(0x64, 0xD4);
        keyboard.write(0x60, 0xF2);
        assert_eq!(keyboard.read(0x64) & 0x61, 0x61);
        assert_eq!(keyboard.read(0x60), 0xFE);
        assert_eq!(keyboard.read(0x64) & 0x61, 0x00);
    }

    #[test]
    fn irq1_follows_the_output_buffer_when_enabled() {
        let mut keyboard = Keyboard::new();
        keyboard.write(0x64, 0xAA);
        assert!(!keyboard.pin());
        keyboard.write(0x64, 0x60);
        keyboard.write(0x60, 0x01);
        assert!(keyboard.pin());
        keyboard.read(0x60);
        assert!(!keyboard.pin());
    }

    #[test]
    fn every_byte_at_every_port_is_harmless() {
        let mut keyboard = Keyboard::new();
        for first in 0..=u8::MAX {
            for second in 0..=u8::MAX {
                keyboard.write(0x64, first);
                keyboard.write(0x60, second);
                keyboard.read(0x60);
                keyboard.read(0x64);
            }
            keyboard.write(0x92, first);
            keyboard.read(0x92);
        }
    }
}
