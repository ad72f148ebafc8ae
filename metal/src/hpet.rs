//! The host's HPET (IA-PC HPET 1.0a), whose main counter is a second opinion on time.

use core::ops::Range;

const PERIOD_FS: u64 = 4;
const CONFIGURATION: u64 = 0x10;
const COUNTER: u64 = 0xf0;
/// ENABLE_CNF of the configuration register: the main counter runs.
const ENABLED: u32 = 1;
/// The longest period that is allowed (2.3.4): 100 ns.
const MAX_PERIOD_FS: u32 = 100_000_000;

/// An HPET, by the page of its registers.
#[derive(Clone, Copy, Debug)]
pub struct Hpet(u64);

impl Hpet {
    /// The HPET at `address`, with its counter running; None if none can be or answers there.
    #[must_use]
    pub fn start(address: u64) -> Option<Self> {
        const PLACES: Range<u64> = 0xfed0_0000..0xfed4_0000;
        let hpet = Self(address);
        let is_place = PLACES.contains(&address) && address.is_multiple_of(0x400);
        if !is_place || !(1..=MAX_PERIOD_FS).contains(&hpet.period_fs()) {
            return None;
        }
        hpet.write(CONFIGURATION, hpet.read(CONFIGURATION) | ENABLED);
        Some(hpet)
    }

    /// Femtoseconds a tick.
    #[must_use]
    pub fn period_fs(self) -> u32 {
        self.read(PERIOD_FS)
    }

    /// The low half of the counter.
    #[must_use]
    pub fn count(self) -> u32 {
        self.read(COUNTER)
    }

    fn read(self, register: u64) -> u32 {
        // SAFETY: the page is mapped uncached, and reading its registers changes nothing.
        unsafe { ((self.0 + register) as *const u32).read_volatile() }
    }

    fn write(self, register: u64, value: u32) {
        // SAFETY: the page is mapped uncached; no timer of it is set to interrupt.
        unsafe { ((self.0 + register) as *mut u32).write_volatile(value) };
    }
}
