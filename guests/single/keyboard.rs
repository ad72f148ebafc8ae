//! Drives the keyboard at the 8042, and prints what it gets: the answers to commands, then the scan
//! codes of what is typed up to Enter, which it also prints as text. It polls; with the word `irq`
//! it waits for IRQ 1. `[set1|set2]` chooses the keyboard's set, without translation; else the
//! controller translates to set 1.
#![no_std]
#![no_main]

#[path = "../common/mod.rs"]
mod common;

use common::console::Line;
use common::interrupt_controller::{end_of_interrupt_8259, initialise_8259};
use common::{boot, console, cpu, interrupts, power};

const DATA: u16 = 0x60;
const STATUS: u16 = 0x64;
const OUTPUT_FULL: u8 = 1 << 0;
const INPUT_FULL: u8 = 1 << 1;
/// Command byte: interrupt, system flag, translation.
const INTERRUPT: u8 = 1 << 0;
const SYSTEM: u8 = 1 << 2;
const TRANSLATE: u8 = 1 << 6;

const BREAK: u8 = 0xF0;
const EXTENDED: u8 = 0xE0;
const MAX_TEXT: usize = 64;

/// Which codes come.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Set {
    One,
    Two,
}

#[unsafe(no_mangle)]
extern "C" fn guest_main() -> ! {
    console::initialise(console::COM1);
    interrupts::initialise();
    let has_irq = boot::has_word("irq");
    let (translation, set) = match (boot::has_word("set1"), boot::has_word("set2")) {
        (true, _) => (0, Set::One),
        (false, true) => (0, Set::Two),
        (false, false) => (TRANSLATE, Set::One),
    };
    check_controller(translation);
    check_keyboard();
    if translation == 0 {
        say("choose a set", &ask(&[0xF0, if set == Set::One { 1 } else { 2 }], 2));
    }
    say("scan", &ask(&[0xF4], 1));
    if has_irq {
        initialise_8259(!2);
        write_command_byte(SYSTEM | translation | INTERRUPT);
    }
    Line::new().text("keyboard: type a line").print();
    read_line(has_irq, set);
    power::off(0)
}

fn check_controller(translation: u8) {
    while cpu::in8(STATUS) & OUTPUT_FULL != 0 {
        cpu::in8(DATA);
    }
    command(0xAA);
    say("controller test", &[read_byte(), 0, 0, 0]);
    command(0xAB);
    say("interface test", &[read_byte(), 0, 0, 0]);
    write_command_byte(SYSTEM | translation);
    command(0x20);
    say("command byte", &[read_byte(), 0, 0, 0]);
    command(0xAE);
}

fn check_keyboard() {
    say("reset", &ask(&[0xFF], 2));
    say("echo", &ask(&[0xEE], 1));
    say("identify", &ask(&[0xF2], 3));
    say("lights", &ask(&[0xED, 0x02], 2));
    say("rate", &ask(&[0xF3, 0x20], 2));
    say("which set", &ask(&[0xF0, 0x00], 3));
}

/// Prints codes until Enter is released, then what they spell.
fn read_line(has_irq: bool, set: Set) {
    let mut text = [0; MAX_TEXT];
    let mut length = 0;
    let mut keys = Keys::default();
    let mut line = Line::new();
    line.text("codes");
    loop {
        let code = if has_irq { wait_for_byte() } else { read_byte() };
        line.text(" ").hexadecimal(code.into(), 2);
        let Some(key) = keys.take(code, set) else { continue };
        if key == b'\n' {
            break;
        }
        if let Some(place) = text.get_mut(length) {
            *place = key;
            length += 1;
        }
        // A row of the console has no more room for a long one.
        if length.is_multiple_of(8) {
            line.print();
            line.text("codes");
        }
    }
    line.print();
    console::write(b"text ");
    console::write(text.get(..length).unwrap_or(&[]));
    console::write(b"\n");
}

/// What the codes so far say.
#[derive(Default)]
struct Keys {
    has_shift: bool,
    is_release: bool,
    is_extended: bool,
}

impl Keys {
    /// The character of a key that is pressed, and a line feed where Enter is released.
    fn take(&mut self, code: u8, set: Set) -> Option<u8> {
        /// Codes of Shift, Enter, A, B and 1 in each set.
        const CODES: [[u8; 5]; 2] =
            [[0x2A, 0x1C, 0x1E, 0x30, 0x02], [0x12, 0x5A, 0x1C, 0x32, 0x16]];
        let codes = CODES[set as usize];
        match (set, code) {
            (_, EXTENDED) => {
                self.is_extended = true;
                return None;
            }
            (Set::Two, BREAK) => {
                self.is_release = true;
                return None;
            }
            (Set::One, code) => self.is_release = code & 0x80 != 0,
            (Set::Two, _) => {}
        }
        let code = if set == Set::One { code & 0x7F } else { code };
        let is_release = core::mem::replace(&mut self.is_release, false);
        let is_extended = core::mem::replace(&mut self.is_extended, false);
        let key = codes.iter().position(|known| *known == code);
        match (key, is_release) {
            (Some(0), _) => {
                self.has_shift = !is_release;
                None
            }
            (Some(1), true) => Some(b'\n'),
            (Some(1), false) | (_, true) => None,
            _ if is_extended => Some(b'^'),
            (Some(key), false) => {
                let plain: &[u8; 5] = if self.has_shift { b"  AB!" } else { b"  ab1" };
                plain.get(key).copied()
            }
            (None, false) => Some(b'?'),
        }
    }
}

/// Sends bytes to the keyboard; its answers, `count` in all.
fn ask(bytes: &[u8], count: usize) -> [u8; 4] {
    let mut answers = [0; 4];
    let mut got = 0;
    for (sent, byte) in bytes.iter().enumerate() {
        write_data(*byte);
        // Each byte but the last has one answer.
        let wanted = if sent + 1 == bytes.len() { count } else { sent + 1 };
        while got < wanted {
            if let Some(answer) = answers.get_mut(got) {
                *answer = read_byte();
            }
            got += 1;
        }
    }
    answers
}

fn say(what: &str, answers: &[u8; 4]) {
    let mut line = Line::new();
    line.text("keyboard: ").text(what);
    for answer in answers {
        line.text(" ").hexadecimal((*answer).into(), 2);
    }
    line.print();
}

fn command(command: u8) {
    while cpu::in8(STATUS) & INPUT_FULL != 0 {}
    cpu::out8(STATUS, command);
}

fn write_data(byte: u8) {
    while cpu::in8(STATUS) & INPUT_FULL != 0 {}
    cpu::out8(DATA, byte);
}

fn write_command_byte(byte: u8) {
    command(0x60);
    write_data(byte);
}

fn read_byte() -> u8 {
    while cpu::in8(STATUS) & OUTPUT_FULL == 0 {}
    cpu::in8(DATA)
}

/// The byte that an interrupt brings.
fn wait_for_byte() -> u8 {
    interrupts::halt_until_interrupt();
    let byte = cpu::in8(DATA);
    end_of_interrupt_8259();
    byte
}
