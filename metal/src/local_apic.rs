//! The host's local APIC, used only for its timer, which ends a slice on SVM and
//! wakes an idle core on both.

use crate::architecture::msr::IA32_APIC_BASE;
use crate::cpu;

const ENABLED: u64 = 1 << 11;
const X2APIC: u64 = 1 << 10;
/// The vector of the timer.
pub const TIMER_VECTOR: u8 = 0xe0;
/// The vector of COM1.
pub const COM1_VECTOR: u8 = 0xd0;
/// The vector of COM2.
pub const COM2_VECTOR: u8 = 0xd1;
/// The spurious-interrupt vector (SDM vol. 3, 11.9).
pub(crate) const SPURIOUS_VECTOR: u8 = 0xff;

mod register {
    pub const TASK_PRIORITY: u32 = 0x8;
    pub const EOI: u32 = 0xb;
    pub const SPURIOUS: u32 = 0xf;
    pub const LVT_TIMER: u32 = 0x32;
    pub const INITIAL_COUNT: u32 = 0x38;
    pub const CURRENT_COUNT: u32 = 0x39;
    pub const DIVIDE: u32 = 0x3e;
}

/// The local APIC of this processor.
#[derive(Clone, Copy, Debug)]
pub struct HostApic {
    /// MMIO page, or None in x2APIC mode.
    page: Option<u64>,
    /// Timer ticks a TSC tick, times 2^32.
    ticks_per_tsc: u64,
}

impl HostApic {
    /// Enables it, with every source masked.
    #[must_use]
    pub fn enable() -> Self {
        let base = cpu::read_msr(IA32_APIC_BASE);
        if base & ENABLED == 0 {
            // SAFETY: switching the APIC on changes nothing until it is programmed.
            unsafe { cpu::write_msr(IA32_APIC_BASE, base | ENABLED) };
        }
        let page = (base & X2APIC == 0).then_some(base & 0xf_ffff_f000);
        let apic = Self { page, ticks_per_tsc: 0 };
        apic.write(register::TASK_PRIORITY, 0);
        apic.write(register::SPURIOUS, 0x100 | u32::from(SPURIOUS_VECTOR));
        apic.silence();
        apic.write(register::DIVIDE, 0b1011);
        apic.write(register::LVT_TIMER, u32::from(TIMER_VECTOR));
        apic
    }

    /// The APIC as it was programmed, at this page or by MSRs, with its timer's measured rate.
    pub(crate) const fn at(page: Option<u64>, ticks_per_tsc: u64) -> Self {
        Self { page, ticks_per_tsc }
    }

    /// Timer ticks a TSC tick, times 2^32.
    pub(crate) const fn ticks_per_tsc(&self) -> u64 {
        self.ticks_per_tsc
    }

    /// Its MMIO page; None in x2APIC mode.
    pub(crate) const fn page(&self) -> Option<u64> {
        self.page
    }

    /// Starts a count that is long enough to measure its rate by [`HostApic::count`].
    pub fn count_down(&self) {
        self.write(register::LVT_TIMER, u32::from(TIMER_VECTOR) | 1 << 16);
        self.write(register::INITIAL_COUNT, u32::MAX);
    }

    /// The timer's current count.
    #[must_use]
    pub fn count(&self) -> u32 {
        self.read(register::CURRENT_COUNT)
    }

    /// Sets the timer's measured rate.
    pub fn set_rates(&mut self, timer_hz: u64, tsc_hz: u64) {
        self.ticks_per_tsc = ((u128::from(timer_hz) << 32) / u128::from(tsc_hz.max(1))) as u64;
        self.write(register::INITIAL_COUNT, 0);
        self.write(register::LVT_TIMER, u32::from(TIMER_VECTOR));
    }

    /// An interrupt when the TSC reaches `deadline`; soon, if it has; early, if that is out of
    /// reach.
    pub fn arm(&self, deadline: u64) {
        let ticks =
            u128::from(deadline.saturating_sub(cpu::tsc())) * u128::from(self.ticks_per_tsc);
        let count = u32::try_from(ticks >> 32).unwrap_or(u32::MAX).max(1);
        self.write(register::INITIAL_COUNT, count);
    }

    /// Signals the end of an interrupt.
    pub(crate) fn end_of_interrupt(&self) {
        self.write(register::EOI, 0);
    }

    pub(crate) fn write(&self, register: u32, value: u32) {
        match self.page {
            // SAFETY: the page is mapped uncached, and the registers are 16 bytes apart (SDM
            // 11.4.1).
            Some(page) => unsafe {
                ((page + u64::from(register) * 16) as *mut u32).write_volatile(value);
            },
            // SAFETY: x2APIC registers, of which none we write affects memory.
            None => unsafe { cpu::write_msr(0x800 + register, value.into()) },
        }
    }

    pub(crate) fn read(&self, register: u32) -> u32 {
        match self.page {
            // SAFETY: as for `write`.
            Some(page) => unsafe {
                ((page + u64::from(register) * 16) as *const u32).read_volatile()
            },
            None => cpu::read_msr(0x800 + register) as u32,
        }
    }
}
