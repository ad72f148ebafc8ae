//! The timers of the local APICs, all at once: each processor gets its own ticks, and no others.

use super::ipi;
use super::processors::{self, Processor};
use super::{Verdict, expect};
use crate::common::interrupt_controller::{LVT_ONE_SHOT, LVT_PERIODIC, Register, TIMER_VECTOR};
use crate::common::{clock, cpu};
use core::sync::atomic::{AtomicU64, Ordering};

const VECTOR: u32 = TIMER_VECTOR as u32;
const MASKED: u32 = 1 << 16;
const DIVIDE_BY_1: u32 = 0xB;
const SHOTS: u64 = 50;
const SHOT: u32 = 100_000;
/// 10 ms of the nanosecond clock that CPUID 0x15 states, and that QEMU's APIC has.
const PERIOD: u32 = 10_000_000;
const TICKS_A_SECOND: u64 = 100;
const TICKS: u64 = 20;
/// A timer that loses ticks again and again is not waited for longer than this.
const MOST_TICKS: u64 = 10 * TICKS;

static KILOHERTZ: AtomicU64 = AtomicU64::new(0);

/// Each processor asks for one interrupt after another, by periods of its own.
fn shoot(me: &'static Processor) {
    let apic = ipi::apic();
    let before = me.count(VECTOR);
    apic.write(Register::DivideConfiguration, DIVIDE_BY_1);
    apic.write(Register::TimerVector, LVT_ONE_SHOT | VECTOR);
    for shot in 1..=SHOTS {
        apic.write(Register::InitialCount, SHOT + 10_000 * me.index() as u32);
        while me.count(VECTOR) < before + shot {
            processors::halt();
        }
    }
    // Had one come twice, it would come now.
    processors::pause();
    me.is_right.store(me.count(VECTOR) == before + SHOTS, Ordering::SeqCst);
    apic.write(Register::TimerVector, MASKED | VECTOR);
}

pub fn one_shot() -> Verdict {
    expect(processors::run_on_all(shoot), "a tick never comes")?;
    let is_right = |processor: &Processor| processor.is_right.load(Ordering::SeqCst);
    expect(processors::all().iter().all(is_right), "a tick came that was not asked for")
}

/// Counts ticks, and on until none is late, as the guest `ticks` does: how busy the host is makes
/// no difference, but a lost tick stays lost.
fn tick(me: &'static Processor) {
    let apic = ipi::apic();
    let before = me.count(VECTOR);
    let kilohertz = KILOHERTZ.load(Ordering::SeqCst);
    let periods = |began| (cpu::time_stamp() - began) * TICKS_A_SECOND / (kilohertz * 1000);
    apic.write(Register::DivideConfiguration, DIVIDE_BY_1);
    apic.write(Register::TimerVector, LVT_PERIODIC | VECTOR);
    let earliest = cpu::time_stamp();
    apic.write(Register::InitialCount, PERIOD);
    let latest = cpu::time_stamp();
    let (mut seen, mut passed) = (0, 0);
    while seen < TICKS || (seen + 1 < passed && seen < MOST_TICKS) {
        processors::halt();
        seen = me.count(VECTOR) - before;
        passed = periods(latest);
    }
    let is_right = seen + 1 >= passed && seen <= periods(earliest) + 1;
    me.is_right.store(is_right, Ordering::SeqCst);
    apic.write(Register::InitialCount, 0);
    apic.write(Register::TimerVector, MASKED | VECTOR);
    processors::pause();
}

pub fn periodic() -> Verdict {
    KILOHERTZ.store(clock::time_stamp_kilohertz(), Ordering::SeqCst);
    expect(processors::run_on_all(tick), "a tick never comes")?;
    let is_right = |processor: &Processor| processor.is_right.load(Ordering::SeqCst);
    expect(processors::all().iter().all(is_right), "a processor has lost a tick, or has too many")
}
