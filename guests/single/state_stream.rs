//! Executes a random stream, the same for each seed, of what a hypervisor carries out or watches:
//! moves to and from control registers, RDMSR and WRMSR, IN and OUT, string I/O with its faults.
//! Prints a checksum of registers, flags, exceptions, memory and devices every few steps.
//!
//! The words are SEED and the number of steps; `control`, `msrs`, `ports` and `strings` choose
//! parts, all without one. `trace` prints each step. `common` keeps to ports that any PC has,
//! `exact` adds what QEMU's processor does not check, `bare` what Linux's KVM in QEMU does
//! otherwise.
#![no_std]
#![no_main]

#[path = "../common/mod.rs"]
mod common;
#[path = "state_stream/control.rs"]
mod control;
#[path = "state_stream/msrs.rs"]
mod msrs;
#[path = "state_stream/ports.rs"]
mod ports;
#[expect(dead_code, reason = "instructions are device_stream's")]
#[path = "shared/random_code.rs"]
mod random_code;
#[path = "shared/step.rs"]
mod step;
#[path = "state_stream/strings.rs"]
mod strings;
#[path = "shared/trap.rs"]
mod trap;

use common::{boot, console, interrupts, power};
use core::arch::asm;
use random_code::Random;
use step::Registers;

const ASSUMED_SEED: u64 = 1;
const ASSUMED_STEPS: u64 = 2000;
const STEPS_A_LINE: u64 = 250;
/// A line of a trace takes no further number.
const FULL_LINE_BYTES: usize = 110;
const INVALID_OPCODE: u64 = 6;
const PAGE_FAULT: u64 = 14;
const RESUME_FLAG: u64 = 1 << 16;

/// A part of the stream: takes a step of it.
type Part = fn(&mut Stream);

const PARTS: [(&str, Part); 4] = [
    ("control", control::step),
    ("msrs", msrs::step),
    ("ports", ports::step),
    ("strings", strings::step),
];

/// The state of the run.
pub struct Stream {
    random: Random,
    sum: u64,
    is_traced: bool,
    /// Ports that any PC has.
    is_common: bool,
    /// The processor makes all the checks of the manuals.
    is_exact: bool,
    /// What Linux's KVM does otherwise is tried, too.
    is_bare: bool,
    /// The local APIC is in x2APIC mode.
    is_x2apic: bool,
    line: console::Line,
}

#[unsafe(no_mangle)]
extern "C" fn guest_main() -> ! {
    console::initialise(console::COM1);
    interrupts::initialise();
    trap::catch();
    let steps = boot::number(1).unwrap_or(ASSUMED_STEPS);
    let mut stream = Stream {
        random: Random::new(boot::number(0).unwrap_or(ASSUMED_SEED)),
        sum: 0,
        is_traced: boot::has_word("trace"),
        is_common: boot::has_word("common"),
        is_exact: boot::has_word("exact"),
        is_bare: boot::has_word("exact") || boot::has_word("bare"),
        is_x2apic: false,
        line: console::Line::new(),
    };
    let has_words = PARTS.iter().any(|(word, _)| boot::has_word(word));
    let is_chosen = PARTS.map(|(word, _)| !has_words || boot::has_word(word));
    ports::initialise();
    strings::initialise();
    for step in 1..=steps {
        if is_chosen[1] && step == steps / 2 {
            stream.is_x2apic = msrs::enable_x2apic();
        }
        let part = loop {
            let part = stream.random.below(4) as usize;
            if is_chosen[part] {
                break part;
            }
        };
        stream.line.decimal(step).text(":");
        (PARTS[part].1)(&mut stream);
        if stream.is_traced {
            stream.line.print();
        } else {
            stream.line = console::Line::new();
        }
        if step.is_multiple_of(STEPS_A_LINE) || step == steps {
            let mut line = console::Line::new();
            line.text("state_stream: ").decimal(step).text(" steps, checksum ");
            line.hexadecimal(stream.sum, 16).print();
        }
    }
    power::off(0)
}

impl Stream {
    /// Adds a value to the checksum.
    fn note(&mut self, value: u64) {
        self.sum = (self.sum.rotate_left(5) ^ value).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        if self.is_traced {
            if self.line.bytes().len() > FULL_LINE_BYTES {
                self.line.print();
            }
            self.line.text(" ").hexadecimal(value, if value >> 32 == 0 { 8 } else { 16 });
        }
    }

    /// Status flags at random; the direction flag is clear.
    fn flags(&mut self) -> u64 {
        /// CF, PF, AF, ZF, SF, OF and the bit that is always set.
        const FLAGS: u64 = 0x8D5;
        const ALWAYS: u64 = 2;
        (self.random.next() & FLAGS) | ALWAYS
    }

    /// All registers at random.
    fn registers(&mut self) -> Registers {
        let mut registers = Registers([0; 8].map(|_: u64| self.random.any()));
        registers.0[7] = self.flags();
        registers
    }

    /// Executes the code and adds what came of it to the checksum; whether it faulted.
    ///
    /// # Safety
    /// As for [`step::run`]; faults are caught.
    unsafe fn run(&mut self, code: &[u8], registers: &mut Registers) -> bool {
        if self.is_traced {
            for byte in code {
                self.line.text(" ").hexadecimal(u64::from(*byte), 2);
            }
            self.line.text(" ->");
        }
        // SAFETY: the caller's promise; the handler goes on at the RET behind the code.
        let trap = unsafe { execute(code, registers) };
        self.note_trap(trap);
        for value in registers.0 {
            self.note(value);
        }
        trap.is_some()
    }

    fn note_trap(&mut self, trap: Option<trap::Trap>) {
        let Some(trap) = trap else { return self.note(0) };
        // QEMU's processor leaves RF clear when it raises a fault itself.
        let has_no_flag = self.is_common || (trap.vector == INVALID_OPCODE && !self.is_exact);
        let rflags = trap.rflags & if has_no_flag { !RESUME_FLAG } else { u64::MAX };
        for value in [trap.vector, trap.error, trap.rip - step::address(), rflags] {
            self.note(value);
        }
        if trap.vector == PAGE_FAULT {
            self.note(fault_address());
        }
    }
}

/// Executes the code; the exception that ended it.
///
/// # Safety
/// As for [`step::run`]; faults are caught.
unsafe fn execute(code: &[u8], registers: &mut Registers) -> Option<trap::Trap> {
    trap::resume_at(step::address() + code.len() as u64);
    // SAFETY: the caller's promise.
    unsafe { step::run(code, registers) };
    trap::take()
}

fn fault_address() -> u64 {
    let address;
    // SAFETY: only reads it.
    unsafe { asm!("mov {}, cr2", out(reg) address, options(nomem, nostack)) }
    address
}
