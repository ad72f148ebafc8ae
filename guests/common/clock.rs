//! The rate of the time-stamp counter: asked of CPUID where that is answered, since measuring takes
//! milliseconds, otherwise measured against the HPET or the PIT.

use super::cpu;

const LEAF_CRYSTAL_RATIO: u32 = 0x15;
const LEAF_BASE_FREQUENCY: u32 = 0x16;
/// CPUID.1:ECX: this processor is a virtual one and may have the leaves from 0x4000_0000.
const HYPERVISOR_PRESENT: u32 = 1 << 31;
const LEAF_HYPERVISOR: u32 = 0x4000_0000;
/// The virtual TSC rate in kHz, a convention of several hypervisors.
const LEAF_HYPERVISOR_TIMING: u32 = 0x4000_0010;

const HPET: u64 = 0xFED0_0000;
const HPET_CONFIGURATION: u64 = 0x10;
const HPET_COUNTER: u64 = 0xF0;
/// The HPET specification allows no period above 100 ns.
const HPET_LONGEST_PERIOD_FS: u64 = 100_000_000;

const PIT_CHANNEL_2: u16 = 0x42;
const PIT_COMMAND: u16 = 0x43;
const PIT_HZ: u64 = 1_193_182;
/// Gate of channel 2 (bit 0), speaker (bit 1), output of channel 2 (bit 5).
const SYSTEM_CONTROL: u16 = 0x61;

const MEASURE_NS: u64 = 2_000_000;
/// Assumed when no source has the rate: sleeps are then wrong by a factor, but end.
const GUESS_KILOHERTZ: u64 = 2_000_000;

/// The rate of the time-stamp counter in kHz.
pub fn time_stamp_kilohertz() -> u64 {
    stated_by_cpuid()
        .or_else(measured_by_hpet)
        .or_else(measured_by_pit)
        .filter(|&rate| rate > 0)
        .unwrap_or(GUESS_KILOHERTZ)
}

fn stated_by_cpuid() -> Option<u64> {
    let last_leaf = cpu::cpuid(0).eax;
    if last_leaf >= LEAF_CRYSTAL_RATIO {
        let ratio = cpu::cpuid(LEAF_CRYSTAL_RATIO);
        if ratio.eax != 0 && ratio.ebx != 0 && ratio.ecx != 0 {
            let hertz = u64::from(ratio.ecx) * u64::from(ratio.ebx) / u64::from(ratio.eax);
            return Some(hertz / 1000);
        }
    }
    // The tailor-made answer goes before leaf 0x16, which is the brochure's MHz on real hardware.
    if cpu::cpuid(1).ecx & HYPERVISOR_PRESENT != 0
        && cpu::cpuid(LEAF_HYPERVISOR).eax >= LEAF_HYPERVISOR_TIMING
    {
        let kilohertz = cpu::cpuid(LEAF_HYPERVISOR_TIMING).eax;
        if kilohertz != 0 {
            return Some(u64::from(kilohertz));
        }
    }
    if last_leaf >= LEAF_BASE_FREQUENCY {
        let megahertz = cpu::cpuid(LEAF_BASE_FREQUENCY).eax & 0xFFFF;
        if megahertz != 0 {
            return Some(u64::from(megahertz) * 1000);
        }
    }
    None
}

fn measured_by_hpet() -> Option<u64> {
    // SAFETY: the boot tables map the page; without an HPET the read gives all ones.
    let capabilities = unsafe { cpu::read_device64(HPET) };
    let period_fs = capabilities >> 32;
    if period_fs == 0 || period_fs > HPET_LONGEST_PERIOD_FS {
        return None;
    }
    // SAFETY: only starts the counter; no comparator is enabled.
    unsafe { cpu::write_device64(HPET + HPET_CONFIGURATION, 1) };
    let ticks_wanted = MEASURE_NS * 1_000_000 / period_fs;
    let start = Moment::of(hpet_counter);
    loop {
        let now = Moment::of(hpet_counter);
        let ticks = now.value.wrapping_sub(start.value);
        if ticks >= ticks_wanted && now.is_exact_since(&start) {
            let elapsed_ns = ticks * period_fs / 1_000_000;
            return Some(now.cycles_since(&start) * 1_000_000 / elapsed_ns);
        }
        // A counter that stands still is no clock: give up after about a second's worth.
        if now.cycles_since(&start) > 1 << 32 {
            return None;
        }
    }
}

fn hpet_counter() -> u64 {
    // SAFETY: the capabilities register was there, so this one is.
    unsafe { cpu::read_device64(HPET + HPET_COUNTER) }
}

fn measured_by_pit() -> Option<u64> {
    const TRIES: usize = 8;
    let mut rate = None;
    for _ in 0..TRIES {
        let (measured, is_exact) = measured_once_by_pit()?;
        rate = Some(measured);
        if is_exact {
            break;
        }
    }
    rate
}

/// The rate, and whether no stop of the machine falsified it.
fn measured_once_by_pit() -> Option<(u64, bool)> {
    const GATE: u8 = 0x01;
    const SPEAKER: u8 = 0x02;
    const OUTPUT: u8 = 0x20;
    let count = PIT_HZ * MEASURE_NS / 1_000_000_000;
    let control = cpu::in8(SYSTEM_CONTROL);
    cpu::out8(SYSTEM_CONTROL, control & !SPEAKER | GATE);
    cpu::out8(PIT_COMMAND, 0xB0); // channel 2, both bytes, mode 0: output rises at zero
    cpu::out8(PIT_CHANNEL_2, count as u8);
    let start = Moment::of(|| {
        cpu::out8(PIT_CHANNEL_2, (count >> 8) as u8);
        0
    });
    let output = || u64::from(cpu::in8(SYSTEM_CONTROL) & OUTPUT);
    let mut before = Moment::of(output);
    if before.value != 0 {
        return Some((0, false)); // over before it began: the machine was stopped, or has no PIT
    }
    loop {
        let now = Moment::of(output);
        let elapsed = now.cycles_since(&start);
        if now.value != 0 {
            // The output rose after the reading before this one.
            let width = start.width + before.width + now.cycles_since(&before);
            return Some((elapsed * 1_000_000 / MEASURE_NS, width <= elapsed / EXACT));
        }
        if elapsed > 1 << 32 {
            return None;
        }
        before = now;
    }
}

/// A counter's value at a time stamp. A machine that shares its core is stopped at times, also
/// between two instructions: how far apart the time stamps before and after the reading are bounds
/// the error.
pub struct Moment {
    pub value: u64,
    at: u64,
    width: u64,
}

/// A measurement is exact whose errors are together at most this part of it.
const EXACT: u64 = 16;

impl Moment {
    pub fn of(read: impl FnOnce() -> u64) -> Self {
        let before = cpu::time_stamp();
        let value = read();
        let width = cpu::time_stamp() - before;
        Self { value, at: before + width / 2, width }
    }

    pub fn cycles_since(&self, start: &Self) -> u64 {
        self.at - start.at
    }

    /// Whether the time between the two is known well.
    pub fn is_exact_since(&self, start: &Self) -> bool {
        self.width + start.width <= self.cycles_since(start) / EXACT
    }
}
