use super::*;
use alloc::vec::Vec;

fn answer_to(command: u8) -> u8 {
    let mut keyboard = I8042::new(false);
    keyboard.write(0x64, command);
    assert_eq!(keyboard.read(0x64) & 1, 1, "command {command:#x} gave no answer");
    keyboard.read(0x60)
}

#[test]
fn self_test_passes_and_the_answer_is_read_once() {
    let mut keyboard = I8042::new(false);
    keyboard.write(0x64, 0xAA);
    assert_eq!(keyboard.read(0x64) & 0x01, 0x01);
    assert_eq!(keyboard.read(0x60), 0x55);
    assert_eq!(keyboard.read(0x64) & 0x01, 0x00);
    assert_eq!(answer_to(0xAB), 0x00);
}

#[test]
fn command_byte_is_read_back_as_written() {
    let mut keyboard = I8042::new(false);
    keyboard.write(0x64, 0x60);
    keyboard.write(0x60, 0x47);
    keyboard.write(0x64, 0x20);
    assert_eq!(keyboard.read(0x60), 0x47);
}

#[test]
fn pulsing_line_0_resets_and_the_other_lines_do_not() {
    for command in 0xF0..=0xFFu8 {
        let mut keyboard = I8042::new(false);
        keyboard.write(0x64, command);
        assert_eq!(keyboard.is_reset_requested(), command % 2 == 0, "{command:#x}");
    }
}

#[test]
fn output_port_drives_a20_and_reset() {
    let mut keyboard = I8042::new(false);
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
    let mut keyboard = I8042::new(false);
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
    let mut keyboard = I8042::new(false);
    keyboard.write(0x60, 0xFF);
    assert_eq!(keyboard.read(0x64) & 0x41, 0x41);
    assert_eq!(keyboard.read(0x60), 0xFE);
    assert_eq!(keyboard.read(0x64) & 0x41, 0x00);
}

#[test]
fn there_is_no_auxiliary_port_by_any_way_to_look_for_it() {
    assert_eq!(answer_to(0xA9), 0x01, "its clock line is stuck");
    let mut keyboard = I8042::new(false);
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
    let mut keyboard = I8042::new(false);
    keyboard.write(0x64, 0xD4);
    keyboard.write(0x60, 0xF2);
    assert_eq!(keyboard.read(0x64) & 0x61, 0x61);
    assert_eq!(keyboard.read(0x60), 0xFE);
    assert_eq!(keyboard.read(0x64) & 0x61, 0x00);
}

#[test]
fn irq1_follows_the_output_buffer_when_enabled() {
    let mut keyboard = I8042::new(false);
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
    let mut keyboard = I8042::new(false);
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

/// A controller with a keyboard, and the time.
struct Typed {
    controller: I8042,
    now: MachineTime,
}

impl Typed {
    /// With this command byte.
    fn new(command_byte: u8) -> Self {
        let mut typed = Self { controller: I8042::new(true), now: MachineTime::ZERO };
        typed.controller.write(0x64, 0x60);
        typed.controller.write(0x60, command_byte);
        typed
    }

    /// Writes to the keyboard, and reads what comes.
    fn command(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut answers = Vec::new();
        for byte in bytes {
            self.controller.write(0x60, *byte);
            answers.extend(self.read_all());
        }
        answers
    }

    fn text(&mut self, text: &[u8]) -> Vec<u8> {
        let mut codes = self.read_all();
        for byte in text {
            assert!(self.controller.is_ready_for_key());
            self.controller.type_byte(Some(*byte));
            codes.extend(self.read_all());
        }
        self.controller.type_byte(None);
        codes.extend(self.read_all());
        codes
    }

    fn read_all(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.controller.advance(self.now);
        while let Some(due) = self.controller.deadline() {
            assert!(due > self.now, "after advance(now) the deadline is later");
            self.now = due;
            self.controller.advance(self.now);
            if self.controller.read(0x64) & 1 == 1 {
                bytes.push(self.controller.read(0x60));
                self.controller.advance(self.now);
            }
        }
        bytes
    }
}

#[test]
fn keyboard_commands_are_answered() {
    let mut typed = Typed::new(0x00);
    assert_eq!(typed.command(&[0xFF]), [0xFA, 0xAA]);
    assert_eq!(typed.command(&[0xFE]), [0xAA], "the last byte again");
    assert_eq!(typed.command(&[0xF2]), [0xFA, 0xAB, 0x83]);
    assert_eq!(typed.command(&[0xEE]), [0xEE]);
    assert_eq!(typed.command(&[0xED, 0x07]), [0xFA, 0xFA]);
    assert_eq!(typed.command(&[0xF3, 0x20]), [0xFA, 0xFA]);
    assert_eq!(typed.command(&[0xF0, 0x00]), [0xFA, 0xFA, 0x02]);
    assert_eq!(typed.command(&[0xF0, 0x03]), [0xFA, 0xFE], "there is no set 3");
    assert_eq!(typed.command(&[0xF0, 0x01, 0xF0, 0x00]), [0xFA, 0xFA, 0xFA, 0xFA, 0x01]);
    assert_eq!(typed.command(&[0xED, 0xF4]), [0xFA, 0xFA], "a command in place of a parameter");
    assert_eq!(typed.command(&[0xE1]), [0xFE], "not a command");
}

#[test]
fn keys_have_the_codes_of_the_set_that_was_chosen() {
    let mut typed = Typed::new(0x00);
    assert_eq!(typed.text(b"a"), [0x1C, 0xF0, 0x1C]);
    assert_eq!(typed.text(b"A"), [0x12, 0x1C, 0xF0, 0x1C, 0xF0, 0x12]);
    assert_eq!(typed.text(b"\x03"), [0x14, 0x21, 0xF0, 0x21, 0xF0, 0x14]);
    assert_eq!(typed.text(b"\x1b[A"), [0xE0, 0x75, 0xE0, 0xF0, 0x75]);
    typed.command(&[0xF0, 0x01]);
    assert_eq!(typed.text(b"aA"), [0x1E, 0x9E, 0x2A, 0x1E, 0x9E, 0xAA]);
    assert_eq!(typed.text(b"\x1b[A"), [0xE0, 0x48, 0xE0, 0xC8]);
}

#[test]
fn set_2_is_translated_to_set_1_as_the_command_byte_says() {
    let mut typed = Typed::new(0x40);
    assert_eq!(typed.text(b"a?\n"), [0x1E, 0x9E, 0x2A, 0x35, 0xB5, 0xAA, 0x1C, 0x9C]);
    assert_eq!(typed.text(b"\x1b[B\x1b[3~"), [0xE0, 0x50, 0xE0, 0xD0, 0xE0, 0x53, 0xE0, 0xD3]);
    assert_eq!(typed.text(b"\x1bOP\x1b[18~"), [0x3B, 0xBB, 0x41, 0xC1]);
    assert_eq!(typed.command(&[0xF2]), [0xFA, 0xAB, 0x41]);
    assert_eq!(typed.command(&[0xF0, 0x00]), [0xFA, 0xFA, 0x41]);
}

#[test]
fn an_escape_that_nothing_follows_is_the_escape_key() {
    let mut typed = Typed::new(0x40);
    assert_eq!(typed.text(b"\x1b"), [0x01, 0x81]);
    assert_eq!(typed.text(b"\x1bx"), [0x01, 0x81, 0x2D, 0xAD]);
    assert_eq!(typed.text(b"\x1b\x1b"), [0x01, 0x81, 0x01, 0x81]);
    assert_eq!(typed.text(b"\xc3\xa4\x1b[99~\x1b[1;5"), [], "no such key");
}

#[test]
fn every_ascii_character_has_a_key_of_its_own() {
    let mut seen = Vec::new();
    let mut typed = Typed::new(0x40);
    for byte in b' '..=b'~' {
        let codes = typed.text(&[byte]);
        assert!(matches!(codes.len(), 2 | 4), "{byte:#x}: {codes:x?}");
        assert!(!seen.contains(&codes), "{byte:#x}");
        seen.push(codes);
    }
}

#[test]
fn the_next_byte_comes_a_while_after_the_one_before_was_read() {
    let mut controller = I8042::new(true);
    controller.type_byte(Some(b'a'));
    let at = |us: u64| MachineTime::from_ns(us * 1000);
    controller.advance(at(0));
    assert_eq!((controller.pin(), controller.deadline()), (false, Some(at(1000))));
    controller.advance(at(1000));
    assert!(controller.pin());
    assert_eq!(controller.deadline(), None, "it waits until that is read");
    assert_eq!(controller.read(0x60), 0x1E);
    controller.advance(at(5000));
    assert!(!controller.pin(), "the edge of the next one is seen");
    assert_eq!(controller.read(0x60), 0x1E, "the same once more");
    for us in [6000, 7000] {
        controller.advance(at(us));
    }
    assert!(controller.pin());
    assert_eq!(controller.read(0x60), 0x9E);
}

#[test]
fn a_stopped_keyboard_keeps_its_codes() {
    let mut typed = Typed::new(0x50);
    typed.controller.type_byte(Some(b'a'));
    assert_eq!(typed.read_all(), []);
    typed.controller.write(0x64, 0xAE);
    assert_eq!(typed.read_all(), [0x1E, 0x9E]);
    typed.command(&[0xF5]);
    assert!(!typed.controller.is_ready_for_key(), "it does not scan");
    typed.command(&[0xF4]);
    assert!(typed.controller.is_ready_for_key());
}

#[test]
fn every_byte_at_every_port_is_harmless_to_a_keyboard() {
    let mut typed = Typed::new(0x41);
    for first in 0..=u8::MAX {
        for second in [0x00, 0x01, 0x60, 0xED, 0xF0, 0xF4, 0xFF] {
            typed.controller.write(0x60, first);
            typed.controller.write(0x60, second);
            typed.controller.write(0x64, first);
            typed.controller.write(0x60, second);
            if typed.controller.is_ready_for_key() {
                typed.controller.type_byte(Some(second));
            }
            typed.read_all();
        }
    }
}

#[test]
fn keys_wait_until_the_guest_has_set_up_its_driver() {
    let mut controller = I8042::new(true);
    let at = |ms: u64| MachineTime::from_ns(ms * 1_000_000);
    controller.advance(at(0));
    assert!(controller.is_ready_for_key());
    for (ms, byte) in [(10, 0xF6), (40, 0xF4)] {
        controller.write(0x60, byte);
        controller.advance(at(ms));
        controller.advance(at(ms + 1));
        assert_eq!(controller.read(0x60), 0xFA);
        controller.advance(at(ms + 2));
        assert!(!controller.is_ready_for_key());
    }
    assert_eq!(controller.deadline(), Some(at(90)));
    controller.advance(at(90));
    assert!(controller.is_ready_for_key());
    assert_eq!(controller.deadline(), None);
}
