//! What a guest on a shared core cannot measure, by KVM's interface (Linux
//! Documentation/virt/kvm/x86/msr.rst and cpuid.rst), which kernels already support: the
//! rate of the time-stamp counter, the time, and how long the guest had to wait for the core.
//!
//! The guest registers a structure's address in its RAM by an MSR. The machine has no RAM: the
//! loop writes each [`Paravirtual::next_write`] there.

use devices::lapic::{GeneralProtection, TscClock};
use devices::time::MachineTime;

/// MSR_KVM_WALL_CLOCK_NEW: the time of day when the clock was 0, written once.
const WALL_CLOCK: u32 = 0x4b56_4d00;
/// MSR_KVM_SYSTEM_TIME_NEW: an address aligned to 4 bytes, whose bit 0 enables.
const SYSTEM_TIME: u32 = 0x4b56_4d01;
/// MSR_KVM_STEAL_TIME: an address aligned to 64 bytes, whose bit 0 enables; bits 5:1 are reserved.
const STEAL_TIME: u32 = 0x4b56_4d03;
const ENABLED: u64 = 1;
const STEAL_TIME_RESERVED: u64 = 0b11_1110;

const NS_PER_SECOND: u64 = 1_000_000_000;
/// Bytes of the longest structure.
const MAX_BYTES: usize = 32;

/// Bytes for the guest's RAM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryWrite {
    /// Guest physical address.
    pub address: u64,
    bytes: [u8; MAX_BYTES],
    len: usize,
}

impl MemoryWrite {
    /// What is written.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    const fn at(address: u64) -> Self {
        Self { address, bytes: [0; MAX_BYTES], len: 0 }
    }

    fn put(mut self, bytes: &[u8]) -> Self {
        self.bytes[self.len..self.len + bytes.len()].copy_from_slice(bytes);
        self.len += bytes.len();
        self
    }
}

/// A structure in the guest's RAM.
#[derive(Clone, Copy, Debug, Default)]
struct Structure {
    /// The MSR.
    register: u64,
    /// Even, and another with every change.
    version: u32,
    /// The guest's copy is out of date.
    is_stale: bool,
}

impl Structure {
    fn set(&mut self, register: u64) {
        self.register = register;
        self.is_stale = register & ENABLED != 0;
    }

    const fn is_enabled(&self) -> bool {
        self.register & ENABLED != 0
    }

    /// The address, the next version, if there is something to write.
    fn refresh(&mut self) -> Option<(u64, u32)> {
        if !core::mem::take(&mut self.is_stale) {
            return None;
        }
        self.version = self.version.wrapping_add(2);
        Some((self.register & !ENABLED, self.version))
    }
}

/// The guest's time-stamp counter at a moment of the machine's time. Both were read together,
/// before an entry, so that the guest never finds a stamp ahead of its counter.
#[derive(Clone, Copy, Debug)]
struct Stamp {
    tsc: u64,
    at: MachineTime,
    hz: u64,
}

/// The structures of one vCPU.
#[derive(Clone, Debug)]
pub(super) struct Paravirtual {
    epoch_seconds: u64,
    stamp: Stamp,
    clock: Structure,
    steal: Structure,
    /// Where to write the time of day, once.
    wall_clock: Option<u64>,
    wall_clock_version: u32,
    stolen_ns: u64,
}

impl Paravirtual {
    /// `epoch_seconds` is Unix time at [`MachineTime::ZERO`].
    pub(super) const fn new(epoch_seconds: u64, tsc: TscClock, now: MachineTime) -> Self {
        const NOWHERE: Structure = Structure { register: 0, version: 0, is_stale: false };
        Self {
            epoch_seconds,
            stamp: Stamp { tsc: tsc.tsc_at(now), at: now, hz: tsc.hz },
            clock: NOWHERE,
            steal: NOWHERE,
            wall_clock: None,
            wall_clock_version: 0,
            stolen_ns: 0,
        }
    }

    pub(super) const fn read(&self, index: u32) -> Option<u64> {
        match index {
            SYSTEM_TIME => Some(self.clock.register),
            STEAL_TIME => Some(self.steal.register),
            WALL_CLOCK => Some(0),
            _ => None,
        }
    }

    /// Writes no structure until one is registered again.
    pub(super) fn stop(&mut self) {
        self.clock.set(0);
        self.steal.set(0);
        self.wall_clock = None;
    }

    /// None if `index` is none of ours.
    pub(super) fn write(
        &mut self,
        index: u32,
        value: u64,
    ) -> Option<Result<(), GeneralProtection>> {
        match index {
            SYSTEM_TIME => self.clock.set(value),
            STEAL_TIME if value & STEAL_TIME_RESERVED != 0 => return Some(Err(GeneralProtection)),
            STEAL_TIME => self.steal.set(value),
            WALL_CLOCK => self.wall_clock = Some(value),
            _ => return None,
        }
        Some(Ok(()))
    }

    /// The guest has waited for `ns` in total.
    pub(super) const fn set_stolen(&mut self, ns: u64) {
        if self.stolen_ns != ns {
            self.stolen_ns = ns;
            self.steal.is_stale = self.steal.is_enabled();
        }
    }

    /// The time-stamp counter had this value at that moment of the machine's time.
    pub(super) const fn set_tsc(&mut self, tsc: u64, at: MachineTime, hz: u64) {
        self.stamp = Stamp { tsc, at, hz };
        self.clock.is_stale = self.clock.is_enabled();
    }

    /// The clock is to be written, with a new reading of the counter.
    pub(super) const fn is_clock_stale(&self) -> bool {
        self.clock.is_stale
    }

    /// Whether a write is pending.
    pub(super) const fn has_news(&self) -> bool {
        self.clock.is_stale || self.steal.is_stale || self.wall_clock.is_some()
    }

    /// The next write to the guest's RAM, before an entry.
    pub(super) fn next_write(&mut self) -> Option<MemoryWrite> {
        if let Some(address) = self.wall_clock.take() {
            self.wall_clock_version = self.wall_clock_version.wrapping_add(2);
            let seconds = self.epoch_seconds as u32;
            let write = MemoryWrite::at(address).put(&self.wall_clock_version.to_le_bytes());
            return Some(write.put(&seconds.to_le_bytes()).put(&[0; 4]));
        }
        if let Some((address, version)) = self.clock.refresh() {
            return Some(clock_structure(address, version, self.stamp));
        }
        let (address, version) = self.steal.refresh()?;
        let write = MemoryWrite::at(address).put(&self.stolen_ns.to_le_bytes());
        Some(write.put(&version.to_le_bytes()).put(&[0; 4]))
    }
}

/// `struct pvclock_vcpu_time_info`.
fn clock_structure(address: u64, version: u32, stamp: Stamp) -> MemoryWrite {
    /// The counter is synchronized on all processors, of which there is one.
    const STABLE: u8 = 1;
    let (multiplier, shift) = scale(stamp.hz);
    MemoryWrite::at(address)
        .put(&version.to_le_bytes())
        .put(&[0; 4])
        .put(&stamp.tsc.to_le_bytes())
        .put(&stamp.at.as_ns().to_le_bytes())
        .put(&multiplier.to_le_bytes())
        .put(&[shift.cast_unsigned(), STABLE, 0, 0])
}

/// From ticks to nanoseconds: `(ticks << shift) * multiplier >> 32`; a negative shift is one to the
/// right. As exact as 32 bits allow.
fn scale(hz: u64) -> (u32, i8) {
    let mut shift = 0_i8;
    // The multiplier has 32 bits where the shifted rate lies between 1 and 2 GHz.
    while shift > -32 && shifted(hz, shift) > 2 * NS_PER_SECOND {
        shift -= 1;
    }
    while shift < 31 && shifted(hz, shift) <= NS_PER_SECOND {
        shift += 1;
    }
    let ns = u128::from(NS_PER_SECOND) << 32;
    let per_tick = if shift < 0 { ns << shift.unsigned_abs() } else { ns >> shift };
    (u32::try_from(per_tick / u128::from(hz.max(1))).unwrap_or(u32::MAX), shift)
}

const fn shifted(hz: u64, shift: i8) -> u64 {
    if shift < 0 { hz >> shift.unsigned_abs() } else { hz << shift }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn word(bytes: &[u8], at: usize) -> u64 {
        u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
    }

    /// The time a guest computes from the structure at counter value `tsc`.
    fn guest_ns(write: &MemoryWrite, tsc: u64) -> u64 {
        let bytes = write.bytes();
        let multiplier = u32::from_le_bytes(bytes[24..28].try_into().expect("four bytes"));
        let (delta, shift) = (tsc - word(bytes, 8), bytes[28].cast_signed());
        let delta = if shift < 0 { delta >> -shift } else { delta << shift };
        word(bytes, 16) + ((u128::from(delta) * u128::from(multiplier)) >> 32) as u64
    }

    fn paravirtual(epoch_seconds: u64) -> Paravirtual {
        Paravirtual::new(
            epoch_seconds,
            TscClock { hz: NS_PER_SECOND, offset: 0 },
            MachineTime::ZERO,
        )
    }

    #[test]
    fn the_clock_tells_the_time_at_any_rate() {
        for hz in [31_250_000, 999_999_999, 1_000_000_001, 2_445_432_000, 4_999_999_937] {
            let tsc = TscClock { hz, offset: 12_345 };
            let mut paravirtual = Paravirtual::new(0, tsc, MachineTime::ZERO);
            assert_eq!(paravirtual.write(SYSTEM_TIME, 0x1001), Some(Ok(())));
            let now = MachineTime::from_ns(5_000_000);
            paravirtual.set_tsc(tsc.tsc_at(now), now, hz);
            let write = paravirtual.next_write().expect("stale");
            assert_eq!((write.address, write.bytes().len()), (0x1000, 32));
            let later = MachineTime::from_ns(3_605_000_000_000);
            let error_ns = guest_ns(&write, tsc.tsc_at(later)).abs_diff(later.as_ns());
            assert!(error_ns < 4_000, "{error_ns} ns in an hour at {hz} Hz");
            assert_eq!(paravirtual.next_write(), None);
        }
    }

    #[test]
    fn the_stamp_is_what_was_read_and_not_what_the_rate_would_make_of_it() {
        let mut paravirtual = paravirtual(0);
        assert_eq!(paravirtual.write(SYSTEM_TIME, 0x1001), Some(Ok(())));
        assert!(paravirtual.is_clock_stale());
        // The counter is slower than its nominal rate.
        paravirtual.set_tsc(999_000_000, MachineTime::from_ns(1_000_000_000), NS_PER_SECOND);
        let write = paravirtual.next_write().expect("stale");
        assert_eq!((word(write.bytes(), 8), word(write.bytes(), 16)), (999_000_000, 1_000_000_000));
        assert!(!paravirtual.is_clock_stale());
        // The guest has set its counter back.
        paravirtual.set_tsc(7, MachineTime::from_ns(1_500_000_000), NS_PER_SECOND);
        let write = paravirtual.next_write().expect("stale");
        assert_eq!((word(write.bytes(), 8), word(write.bytes(), 16)), (7, 1_500_000_000));
    }

    #[test]
    fn the_clock_lies_at_any_multiple_of_4_bytes() {
        for address in [0x1004, 0x103c, 0x1ffc, 0x2008] {
            let mut paravirtual = paravirtual(0);
            assert_eq!(paravirtual.write(SYSTEM_TIME, address | 1), Some(Ok(())));
            assert_eq!(paravirtual.read(SYSTEM_TIME), Some(address | 1));
            assert_eq!(paravirtual.next_write().expect("stale").address, address);
        }
    }

    #[test]
    fn what_was_stolen_is_told_where_the_guest_wants_it() {
        let mut paravirtual = paravirtual(0);
        paravirtual.set_stolen(7);
        assert_eq!(paravirtual.next_write(), None, "the guest has not asked");
        assert_eq!(paravirtual.write(STEAL_TIME, 0x2041), Some(Ok(())));
        let first = paravirtual.next_write().expect("stale");
        assert_eq!((first.address, word(first.bytes(), 0)), (0x2040, 7));
        paravirtual.set_stolen(9);
        let second = paravirtual.next_write().expect("stale");
        assert_eq!(word(second.bytes(), 0), 9);
        assert_ne!(first.bytes()[8..12], second.bytes()[8..12], "the version");
        assert_eq!(paravirtual.write(STEAL_TIME, 0), Some(Ok(())));
        paravirtual.set_stolen(11);
        assert_eq!(paravirtual.next_write(), None);
    }

    #[test]
    fn the_time_of_day_is_told_once() {
        let mut paravirtual = paravirtual(1_795_613_825);
        assert_eq!(paravirtual.write(WALL_CLOCK, 0x3004), Some(Ok(())));
        let write = paravirtual.next_write().expect("asked for");
        assert_eq!((write.address, word(write.bytes(), 0) >> 32), (0x3004, 1_795_613_825));
        assert_eq!(paravirtual.next_write(), None);
    }

    #[test]
    fn reserved_bits_and_other_registers_are_not_ours() {
        let mut paravirtual = paravirtual(0);
        assert_eq!(paravirtual.write(STEAL_TIME, 0b11), Some(Err(GeneralProtection)));
        assert_eq!(paravirtual.write(0x4b56_4d02, 1), None);
        assert_eq!(paravirtual.read(0x4b56_4d04), None);
        assert_eq!(paravirtual.read(STEAL_TIME), Some(0));
    }
}
