//! Executes a random stream of instructions, the same for each seed, whose memory operands are
//! registers of devices that keep what is written to them: the HPET's stopped counter and a
//! comparator, the local APIC's task priority and destination, an I/O APIC entry's destination.
//! Prints a checksum of registers, defined flags and device contents every few steps.
//!
//! The words are SEED and the number of steps; `trace` prints each step.
#![no_std]
#![no_main]

#[path = "../common/mod.rs"]
mod common;
#[path = "shared/random_code.rs"]
mod random_code;
#[path = "shared/step.rs"]
mod step;

use common::global::Global;
use common::{boot, console, cpu, interrupts, power};
use random_code::{Code, Random};
use step::Registers;

const ASSUMED_SEED: u64 = 1;
const ASSUMED_STEPS: u64 = 2000;
const STEPS_A_LINE: u64 = 250;
const HPET: u64 = 0xFED0_0000;
const HPET_CONFIGURATION: u64 = HPET + 0x10;
const IO_APIC: u64 = 0xFEC0_0000;
/// The upper half of the first redirection entry: the destination.
const IO_APIC_DESTINATION: u32 = 0x11;

/// A place that keeps what is written, and the sizes of accesses that are tried on it.
struct Device {
    address: u64,
    sizes: &'static [u8],
}

const DEVICES: [Device; 6] = [
    Device { address: HPET + 0xF0, sizes: &[1, 2, 4, 8] },
    Device { address: HPET + 0x108, sizes: &[4, 8] },
    // The end of its page: bytes of what follows, which no device owns, are part of the access.
    Device { address: HPET + 0xFFD, sizes: &[2, 4, 8] },
    Device { address: 0xFEE0_0080, sizes: &[4] },
    Device { address: 0xFEE0_0310, sizes: &[4] },
    Device { address: IO_APIC + 0x10, sizes: &[4] },
];

/// What strings and vector moves use besides a device.
static SCRATCH: Global<[u64; 8]> = Global::new([0; 8]);

#[unsafe(no_mangle)]
extern "C" fn guest_main() -> ! {
    console::initialise(console::COM1);
    interrupts::initialise();
    let seed = boot::number(0).unwrap_or(ASSUMED_SEED);
    let steps = boot::number(1).unwrap_or(ASSUMED_STEPS);
    let is_traced = boot::has_word("trace");
    write32(HPET_CONFIGURATION, 0);
    write32(IO_APIC, IO_APIC_DESTINATION);
    let mut random = Random::new(seed);
    let mut sum = 0;
    for step in 1..=steps {
        let result = take_step(&mut random, &mut sum);
        if is_traced {
            trace(step, &result);
        }
        if step.is_multiple_of(STEPS_A_LINE) || step == steps {
            let mut line = console::Line::new();
            line.text("device_stream: ").decimal(step).text(" steps, checksum ");
            line.hexadecimal(sum, 16).print();
        }
    }
    power::off(0)
}

/// What a step left.
struct Step {
    code: Code,
    registers: Registers,
    device: u64,
}

fn take_step(random: &mut Random, sum: &mut u64) -> Step {
    let chosen = random.pick(&DEVICES);
    let size = *random.pick(chosen.sizes);
    let code = Code::random(random, size, chosen.address == DEVICES[0].address);
    // Not all of them keep a bit that makes it other than zero.
    let device = if code.wants_nonzero { &DEVICES[0] } else { chosen };
    // SAFETY: the only reference while no step is taken.
    let scratch = unsafe { &mut *SCRATCH.pointer() };
    for word in scratch.iter_mut() {
        *word = random.next();
    }
    write_value(device.address, size, random.any() | u64::from(code.wants_nonzero));
    let mut registers = Registers([0; 8].map(|_: u64| random.any()));
    prepare(&mut registers, random, &code, device.address);
    if code.wants_equal {
        registers.0[0] = read_value(device.address, size);
    }
    // SAFETY: the code is an instruction or two that change these registers, the device, the
    // scratch words and the stack.
    unsafe { step::run(&code.bytes[..code.len], &mut registers) };
    registers.0[7] &= code.defined_flags;
    let device = read_value(device.address, size);
    for value in registers.0.iter().chain(scratch.iter()).chain([&device]) {
        *sum = (sum.rotate_left(5) ^ value).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    }
    Step { code, registers, device }
}

/// The registers that the code has a use for.
fn prepare(registers: &mut Registers, random: &mut Random, code: &Code, device: u64) {
    /// CF, PF, AF, ZF, SF, OF and the bit that is always set.
    const FLAGS: u64 = 0x8D5;
    const ALWAYS: u64 = 2;
    let [rax, rcx, rdx, rbx, rsi, rdi, _, flags] = &mut registers.0;
    *flags = (random.next() & FLAGS) | ALWAYS;
    let scratch = SCRATCH.pointer() as u64;
    *rdi = if code.is_from_device { scratch } else { device };
    *rsi = if code.is_from_device || code.is_between_devices { device } else { scratch };
    if code.is_division {
        (*rax, *rdx) = (*rax & 0x7F, 0);
    }
    *rcx = code.rcx.unwrap_or(*rcx);
    if let Some(offset) = code.bit_offset {
        *rbx = offset;
    }
}

fn read_value(address: u64, size: u8) -> u64 {
    match size {
        // SAFETY: devices' registers, in the pages that the boot code mapped.
        8 => unsafe { cpu::read_device64(address) },
        // SAFETY: as above.
        _ => u64::from(unsafe { cpu::read_device32(address) }),
    }
}

fn write_value(address: u64, size: u8, value: u64) {
    match size {
        // SAFETY: as for `read_value`; none of them makes a device use RAM.
        8 => unsafe { cpu::write_device64(address, value) },
        _ => write32(address, value as u32),
    }
}

fn write32(address: u64, value: u32) {
    // SAFETY: as for `write_value`.
    unsafe { cpu::write_device32(address, value) }
}

fn trace(step: u64, result: &Step) {
    let mut line = console::Line::new();
    line.decimal(step).text(":");
    for byte in &result.code.bytes[..result.code.len] {
        line.text(" ").hexadecimal(u64::from(*byte), 2);
    }
    line.text(" ->");
    for value in result.registers.0 {
        line.text(" ").hexadecimal(value, 8);
    }
    line.text(" device ").hexadecimal(result.device, 16).print();
}
