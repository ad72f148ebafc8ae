//! Preemption where the guest's RFLAGS.IF masks the host's interrupts: in Bochs's AMD model.
//!
//! Bochs's VMRUN derives which interrupts are masked from the guest's RFLAGS before it notes that a
//! guest runs, and does not derive it again, so that the host's timer cannot end the run of a guest
//! that has IF clear when it is entered (Bochs 2.7, `SvmEnterLoadCheckGuestState`,
//! `handleInterruptMaskChange`). With V_INTR_MASKING the host's IF decides (APM vol. 2, 15.21.1),
//! as on QEMU. A non-maskable interrupt is intercepted there whatever IF is: the 8254's channel 0
//! raises one at the same deadline.

use crate::cpu;
use crate::io_apic::{IoApic, USUAL_ADDRESS};
use crate::port::Port;
use core::sync::atomic::{AtomicU64, Ordering};

/// Rate of the 8254, Hz.
pub const PIT_HZ: u64 = 1_193_182;
/// The I/O APIC's input that channel 0 has on every PC.
const INPUT: u32 = 2;

/// Ticks of the 8254 for one of the time-stamp counter, times 2^32; 0: it is not needed.
static TICKS_PER_TSC: AtomicU64 = AtomicU64::new(0);

/// The deadline that it counts down to; 0: none.
static ARMED: AtomicU64 = AtomicU64::new(0);
/// Non-maskable interrupts that were not the timer's.
static OTHERS: AtomicU64 = AtomicU64::new(0);

/// Non-maskable interrupts that were not the timer's: hardware reports faults by them.
#[must_use]
pub fn others() -> u64 {
    OTHERS.load(Ordering::Relaxed)
}

/// Counts a non-maskable interrupt. Where the timer is in use, others cannot be distinguished from
/// its own.
pub(crate) fn count() {
    ARMED.store(0, Ordering::Relaxed);
    if TICKS_PER_TSC.load(Ordering::Relaxed) == 0 {
        OTHERS.store(others() + 1, Ordering::Relaxed);
    }
}

/// From now on non-maskable interrupts preempt guests, too.
pub fn begin(tsc_hz: u64) {
    if let Some(io_apic) = IoApic::at(USUAL_ADDRESS) {
        io_apic.deliver_nmi(INPUT);
        TICKS_PER_TSC.store((PIT_HZ << 32) / tsc_hz.max(1), Ordering::Relaxed);
    }
}

/// Whether an entry of a guest that has IF clear must arm it.
#[inline]
pub(crate) fn lacks(deadline: u64) -> bool {
    TICKS_PER_TSC.load(Ordering::Relaxed) != 0 && ARMED.load(Ordering::Relaxed) != deadline
}

/// Raises a non-maskable interrupt when the time-stamp counter reaches `deadline`, or earlier if
/// that exceeds the 8254's range.
#[cold]
pub(crate) fn arm(deadline: u64) {
    ARMED.store(deadline, Ordering::Relaxed);
    let ticks_per_tsc = TICKS_PER_TSC.load(Ordering::Relaxed);
    start(ticks(deadline.saturating_sub(cpu::tsc()), ticks_per_tsc));
}

/// The count that ends just after so many ticks of the time-stamp counter.
fn ticks(tsc_ticks: u64, ticks_per_tsc: u64) -> u16 {
    const ROUNDING: u128 = 2;
    let ticks = ((u128::from(tsc_ticks) * u128::from(ticks_per_tsc)) >> 32) + ROUNDING;
    u16::try_from(ticks).unwrap_or(u16::MAX)
}

/// Mode 0 (8254, interrupt on terminal count): the output rises when the count ends, once.
fn start(count: u16) {
    const CONTROL: Port = Port::new(0x43);
    const CHANNEL_0: Port = Port::new(0x40);
    const MODE_0: u8 = 0x30;
    CONTROL.write(MODE_0);
    let [low, high] = count.to_le_bytes();
    CHANNEL_0.write(low);
    CHANNEL_0.write(high);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_ends_behind_its_deadline_or_is_the_longest() {
        let ticks_per_tsc = (PIT_HZ << 32) / 20_000_000;
        assert_eq!(ticks(0, ticks_per_tsc), 2);
        assert_eq!(ticks(100_000, ticks_per_tsc), 5967, "5 ms");
        assert_eq!(ticks(20_000_000, ticks_per_tsc), u16::MAX);
        assert_eq!(ticks(u64::MAX, ticks_per_tsc), u16::MAX);
    }
}
