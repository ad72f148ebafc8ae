//! The world switch: loads every switched register with a pattern of SEED (default 1), works on
//! with interrupts on, and looks ROUNDS times (default 200) whether each still holds its own. With
//! two of these on one core, a register that is not switched shows the other's pattern.
//!
//! `world_system.rs` has the registers that only ring 0 reaches, `world_user.rs` those of ring 3.
//! One line for each kind: PASSED, FAILED with the first wrong value, or not offered by CPUID.
#![no_std]
#![no_main]

#[path = "../common/mod.rs"]
mod common;
#[path = "world_system.rs"]
mod system;
#[path = "world_user.rs"]
mod user;

use common::{boot, clock, console, cpu, interrupt_controller, interrupts, power, ring3};

const DEFAULT_SEED: u64 = 1;
const DEFAULT_ROUNDS: u64 = 200;
/// So that a fast processor has as many turns as a slow one.
const LEAST_MS: u64 = 200;
const STATUS_FAILED: u32 = 1;

/// What came of a kind of register.
#[derive(Clone, Copy)]
enum Verdict {
    NotOffered,
    Passed,
    Failed { expected: u64, found: u64 },
}

#[unsafe(no_mangle)]
extern "C" fn guest_main() -> ! {
    console::initialise(console::COM1);
    interrupts::initialise();
    interrupt_controller::mask_8259();
    ring3::initialise();
    let seed = boot::number(0).unwrap_or(DEFAULT_SEED);
    let rounds = boot::number(1).unwrap_or(DEFAULT_ROUNDS);
    let least_cycles = LEAST_MS * clock::time_stamp_kilohertz();
    let start = cpu::time_stamp();
    let mut of_user = user::load(seed);
    let mut of_system = system::load(seed);
    let mut round = 0;
    while round < rounds || cpu::time_stamp() - start < least_cycles {
        user::check(&mut of_user);
        system::check(seed, &mut of_system);
        round += 1;
    }
    let mut are_all_well = true;
    let kinds = user::NAMES.iter().zip(of_user);
    for (name, verdict) in kinds.chain(system::names().zip(of_system)) {
        are_all_well &= !matches!(verdict, Verdict::Failed { .. });
        print(name, verdict);
    }
    power::off(if are_all_well { 0 } else { STATUS_FAILED })
}

impl Verdict {
    fn of_offered(is_offered: bool) -> Self {
        if is_offered { Self::Passed } else { Self::NotOffered }
    }

    fn is_offered(self) -> bool {
        !matches!(self, Self::NotOffered)
    }

    /// Takes a look into account; the first failure stays.
    fn note(&mut self, expected: u64, found: u64) {
        if expected != found && matches!(self, Self::Passed) {
            *self = Self::Failed { expected, found };
        }
    }
}

fn print(name: &str, verdict: Verdict) {
    let mut line = console::Line::new();
    line.text("world: ").text(name);
    match verdict {
        Verdict::NotOffered => line.text(" not offered"),
        Verdict::Passed => line.text(" PASSED"),
        Verdict::Failed { expected, found } => {
            line.text(" FAILED expected ").hexadecimal(expected, 16);
            line.text(" found ").hexadecimal(found, 16)
        }
    };
    line.print();
}

/// The `index`th word of a seed's pattern (SplitMix64).
fn pattern(seed: u64, index: u64) -> u64 {
    let step = (seed << 8 | index).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let mixed = (step ^ step >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ mixed >> 31
}
