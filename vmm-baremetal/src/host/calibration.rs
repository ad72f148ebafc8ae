//! The rates of the time-stamp counter and of the local APIC's timer, measured against every clock
//! of known rate that the machine has, for some 50 ms. Firmware may have gated the 8254, a board
//! may lack it, and an emulator may stop it: a clock is believed if another agrees.
//!
//! | clock | known by |
//! |---|---|
//! | 8254, channel 2 | every PC has it; one that does not count down is ignored |
//! | power-management timer | the FADT |
//! | HPET | its ACPI table |
//! | CPUID 15h | the processor says its own rate (SDM vol. 3, 20.7.3) |

use super::acpi::Acpi;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use metal::cpu;
use metal::hpet::Hpet;
use metal::port::Port;

mod pit;
#[cfg(test)]
mod tests;

/// What is measured, and for how long.
const PERIODS_A_SECOND: u64 = 20;
/// Looks at the clocks before one that has stopped is given up: some seconds on any machine.
const PATIENCE: u32 = 5_000_000;
/// Clocks agree within this part.
const TOLERANCE: u64 = 100;
/// Rates of time-stamp counters that are possible, Hz.
const POSSIBLE_HZ: core::ops::RangeInclusive<u64> = 1_000_000..=20_000_000_000;

/// What was measured, Hz.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rates {
    /// Rate of the time-stamp counter.
    pub tsc_hz: u64,
    /// Rate of the local APIC's timer.
    pub timer_hz: u64,
}

/// The rate of the time-stamp counter as one clock has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Opinion {
    clock: &'static str,
    tsc_hz: u64,
}

/// A clock of known rate, which counts up and wraps.
struct Reference {
    name: &'static str,
    hz: u64,
    mask: u32,
    read: Read,
}

#[derive(Clone, Copy)]
enum Read {
    Pit,
    Timer(Port),
    Hpet(Hpet),
}

/// A clock and the time-stamp counter at one moment.
#[derive(Clone, Copy)]
struct Sample {
    tsc: u64,
    ticks: u32,
}

/// Measures both rates; `timer` is a count that goes down.
///
/// # Errors
/// No two clocks agree, or there is none: a message.
pub fn measure(acpi: &Acpi, timer: impl Fn() -> u32) -> Result<Rates, String> {
    let references = references(acpi);
    pit::start();
    let first_timer = sample(&timer);
    let first: Vec<Sample> = references.iter().map(Reference::sample).collect();
    let is_over = |(reference, first): (&Reference, &Sample)| reference.is_over(*first);
    for _ in 0..PATIENCE {
        if references.iter().zip(&first).any(is_over) {
            break;
        }
    }
    let last_timer = sample(&timer);
    let opinions = references.iter().zip(first).filter_map(|(reference, first)| {
        let tsc_hz = reference.tsc_hz(first, reference.sample())?;
        Some(Opinion { clock: reference.name, tsc_hz })
    });
    let by_cpuid = by_cpuid(cpu::cpuid).map(|tsc_hz| Opinion { clock: "CPUID 15h", tsc_hz });
    let tsc_hz = agreed(&opinions.chain(by_cpuid).collect::<Vec<_>>())?;
    let (timer_ticks, tsc_ticks) =
        (first_timer.ticks.wrapping_sub(last_timer.ticks), last_timer.tsc - first_timer.tsc);
    let timer_hz = scaled(timer_ticks.into(), tsc_hz, tsc_ticks);
    if timer_hz == 0 {
        return Err(String::from("the local APIC's timer does not count"));
    }
    Ok(Rates { tsc_hz, timer_hz })
}

/// The clocks of this machine, the best first.
fn references(acpi: &Acpi) -> Vec<Reference> {
    const TIMER_HZ: u64 = 3_579_545;
    const FEMTOSECONDS: u64 = 1_000_000_000_000_000;
    let pit = Reference { name: "the 8254", hz: pit::HZ, mask: 0xffff, read: Read::Pit };
    let timer = acpi.timer_port.and_then(Port::of_power_management).map(|port| Reference {
        name: "the power-management timer",
        hz: TIMER_HZ,
        // It has 24 bits or 32; use the 24 that it always has.
        mask: 0xff_ffff,
        read: Read::Timer(port),
    });
    let hpet = acpi.hpet.and_then(Hpet::start).map(|hpet| Reference {
        name: "the HPET",
        hz: FEMTOSECONDS / u64::from(hpet.period_fs()),
        mask: u32::MAX,
        read: Read::Hpet(hpet),
    });
    [Some(pit), timer, hpet].into_iter().flatten().collect()
}

impl Reference {
    fn count(&self) -> u32 {
        match self.read {
            Read::Pit => u32::from(!pit::read()),
            Read::Timer(port) => port.read_long() & self.mask,
            Read::Hpet(hpet) => hpet.count(),
        }
    }

    fn sample(&self) -> Sample {
        sample(&|| self.count())
    }

    fn passed(&self, first: Sample, last: Sample) -> u32 {
        last.ticks.wrapping_sub(first.ticks) & self.mask
    }

    fn is_over(&self, first: Sample) -> bool {
        let now = Sample { tsc: 0, ticks: self.count() };
        u64::from(self.passed(first, now)) >= self.hz / PERIODS_A_SECOND
    }

    /// The counter's rate by this clock; None if the clock stands still, or may have wrapped.
    fn tsc_hz(&self, first: Sample, last: Sample) -> Option<u64> {
        if matches!(self.read, Read::Pit) && pit::is_over() {
            return None;
        }
        let ticks = u64::from(self.passed(first, last));
        let tsc_hz = scaled(last.tsc - first.tsc, self.hz, ticks);
        // Less than half of the time: it has stood still meanwhile, or wrapped.
        let is_whole = ticks >= self.hz / PERIODS_A_SECOND / 2;
        Some(tsc_hz).filter(|hz| is_whole && POSSIBLE_HZ.contains(hz))
    }
}

/// The best of a few: the one that took least.
fn sample(count: &impl Fn() -> u32) -> Sample {
    const TRIES: usize = 16;
    let one = |_| {
        let before = cpu::tsc();
        let ticks = count();
        let took = cpu::tsc() - before;
        (took, Sample { tsc: before + took / 2, ticks })
    };
    let best = (0..TRIES).map(one).min_by_key(|(took, _)| *took);
    best.expect("there is more than one try").1
}

/// `counted` a second, where `ticks` passed of what has `hz`.
fn scaled(counted: u64, hz: u64, ticks: u64) -> u64 {
    let rate = u128::from(counted) * u128::from(hz) / u128::from(ticks.max(1));
    u64::try_from(rate).unwrap_or(u64::MAX)
}

/// Ratio of the time-stamp counter to the crystal, and the crystal's rate.
fn by_cpuid(cpuid: impl Fn(u32, u32) -> vmm_common::cpuid::CpuidResult) -> Option<u64> {
    const LEAF: u32 = 0x15;
    if cpuid(0, 0).eax < LEAF {
        return None;
    }
    let crystal = cpuid(LEAF, 0);
    let (ratio, of, hz) = (crystal.ebx.into(), crystal.eax.into(), u64::from(crystal.ecx));
    if of == 0 || hz == 0 { None } else { Some(scaled(ratio, hz, of)).filter(|hz| *hz > 0) }
}

/// The first that another agrees with; the only one, where there is no other.
fn agreed(opinions: &[Opinion]) -> Result<u64, String> {
    if let [only] = opinions {
        return Ok(only.tsc_hz);
    }
    let agree = |one: &Opinion, other: &Opinion| {
        one.clock != other.clock && one.tsc_hz.abs_diff(other.tsc_hz) <= one.tsc_hz / TOLERANCE
    };
    let agreed = opinions.iter().find(|one| opinions.iter().any(|other| agree(one, other)));
    agreed.map(|one| one.tsc_hz).ok_or_else(|| {
        let said = |one: &Opinion| format!("{} Hz by {}", one.tsc_hz, one.clock);
        let all: Vec<String> = opinions.iter().map(said).collect();
        let all = if all.is_empty() { String::from("none counts") } else { all.join(", ") };
        format!(
            "no clock can be trusted: {all}; needed: two that agree, of 8254, ACPI's timer, HPET \
             and CPUID 15h"
        )
    })
}
