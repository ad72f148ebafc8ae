//! The local APIC in both of its modes: as memory, then as MSRs. In either, the registers, the
//! timer's rate against the HPET, and the first tick.

use crate::common::cpu;
use crate::common::interrupt_controller::{LocalApic, Register};
use crate::kernel::{ERROR_VECTOR, SPURIOUS_VECTOR, TIMER_VECTOR, kernel};
use crate::report::{Verdict, expect, expect_least};
use crate::{hpet, registers};
use core::arch::asm;

const APIC_BASE: u32 = 0x1B;
const X2APIC_MODE: u64 = 1 << 10;
const SOFTWARE_ENABLED: u32 = 1 << 8;
const DIVIDE_BY_1: u32 = 0xB;
/// LVT: the vector, whether it is masked, and the timer's mode.
const VECTOR_MASK_AND_MODE: u32 = 0x7_00FF;

/// Whether CPUID offers x2APIC mode.
pub fn has_x2apic() -> bool {
    cpu::cpuid(1).ecx & 1 << 21 != 0
}

/// Enables it in a mode and measures the timer; ticks are to come at 1 kHz.
pub fn step(apic: LocalApic) -> Verdict {
    if matches!(apic, LocalApic::X2) {
        let base = cpu::read_msr(APIC_BASE) | X2APIC_MODE;
        // SAFETY: its page is not RAM that anything uses.
        unsafe { cpu::write_msr(APIC_BASE, base) };
        expect("APIC_BASE", base, cpu::read_msr(APIC_BASE))?;
    }
    if matches!(apic, LocalApic::Memory) {
        wait_for_delivery();
    }
    kernel().apic = apic;
    kernel().count_per_tick = 0;
    set_vector(apic, Register::TimerVector, TIMER_VECTOR);
    set_vector(apic, Register::ErrorVector, ERROR_VECTOR);
    apic.write(Register::SpuriousVector, SOFTWARE_ENABLED | SPURIOUS_VECTOR as u32);
    // Once more: an APIC that software has not enabled keeps its vectors masked (SDM 11.4.7.2).
    set_vector(apic, Register::TimerVector, TIMER_VECTOR);
    apic.write(Register::DivideConfiguration, DIVIDE_BY_1);
    apic.write(Register::InitialCount, u32::MAX);
    apic.write(Register::Lint0Vector, 0);
    apic.write(Register::Lint1Vector, 0);
    let elapsed = || u64::from(u32::MAX - apic.read(Register::CurrentCount));
    let kilohertz = hpet::measure_kilohertz(elapsed);
    apic.write(Register::InitialCount, 0);
    expect_least("a rate", 1, kilohertz)?;
    expect_least("a rate's limit", kilohertz, u64::from(u32::MAX) / 1000)?;
    kernel().count_per_tick = kilohertz as u32;
    expect("the timer's vector", TIMER_VECTOR, u64::from(apic.read(Register::TimerVector)))
}

/// Polls the command register where it is until no interrupt is on its way (SDM vol. 3, 11.6.1:
/// delivery status, bit 12).
fn wait_for_delivery() {
    const COMMAND: u64 = 0xFEE0_0300;
    // SAFETY: the page is mapped, and a read of this register is harmless.
    unsafe {
        asm!("2: test dword ptr [{}], 0x1000", "jnz 2b",
            in(reg) COMMAND, options(nostack, readonly));
    }
}

/// An initial count of 1; its tick waits for the first moment at which interrupts are let in.
pub fn first_tick() -> Verdict {
    const TIME_ENOUGH_NS: u64 = 100_000;
    /// Takes a few slices in an emulator: some end between STI and CLI.
    const TRIES: u32 = 20_000;
    let (apic, count_per_tick) = (kernel().apic, kernel().count_per_tick);
    kernel().count_per_tick = 0;
    kernel().ticks = 0;
    apic.write(Register::InitialCount, 1);
    hpet::wait(TIME_ENOUGH_NS);
    expect("ticks with interrupts off", 0, kernel().ticks)?;
    for _ in 0..TRIES {
        registers::open_no_window();
    }
    expect("ticks in the shadow of STI", 0, kernel().ticks)?;
    registers::open_window();
    expect("ticks at the first STI", 1, kernel().ticks)?;
    expect("the count after that", 0, u64::from(apic.read(Register::CurrentCount)))?;
    kernel().count_per_tick = count_per_tick;
    Ok(())
}

/// Starts ticks of 1 kHz, each asked for by the one before.
pub fn start_ticks() {
    let kernel = kernel();
    kernel.ticks = 0;
    kernel.apic.write(Register::InitialCount, kernel.count_per_tick);
}

/// Stops them, and takes one that is pending.
pub fn stop_ticks() {
    let count_per_tick = core::mem::take(&mut kernel().count_per_tick);
    kernel().apic.write(Register::InitialCount, 0);
    registers::open_window();
    kernel().count_per_tick = count_per_tick;
}

/// Sets and clears the interrupt flag as fast as it can while ticks come.
pub fn interrupt_flag() -> Verdict {
    const TICKS: u64 = 50;
    /// Hours of it, so only without ticks.
    const MOST: u64 = 1 << 40;
    start_ticks();
    let mut toggles = 0;
    while kernel().ticks < TICKS && toggles < MOST {
        registers::open_window();
        registers::open_no_window();
        toggles += 1;
    }
    let ticks = kernel().ticks;
    stop_ticks();
    expect_least("ticks", TICKS, ticks)?;
    expect_least("toggles", TICKS, toggles)
}

fn set_vector(apic: LocalApic, register: Register, vector: u64) {
    apic.write(register, apic.read(register) & !VECTOR_MASK_AND_MODE | vector as u32);
}
