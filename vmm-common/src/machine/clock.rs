//! A machine's clock: the host's, less the time held back, and each processor's pages in the
//! guest's RAM.
//!
//! The one place that converts between clocks. Beneath it devices know
//! [`MachineTime`] alone.

use super::paravirtual::{MemoryWrite, Paravirtual};
use crate::Instant;
use crate::plan::ClockPolicy;
use crate::seam::TscReading;
use alloc::vec;
use alloc::vec::Vec;
use devices::lapic::{GeneralProtection, TscClock};
use devices::time::{MachineTime, RunTime};

/// A machine's clock.
#[derive(Debug)]
pub(super) struct Clock {
    policy: ClockPolicy,
    /// How long the machine's time was stopped, ns: it is that much behind the host's.
    stood_ns: u64,
    /// How long the guest did not have the core though the machine's time went on, ns.
    not_run_ns: u64,
    /// Of each processor.
    pages: Vec<Pages>,
    /// The processor that has the core.
    current: usize,
}

/// What a processor's time is published by.
#[derive(Clone, Debug)]
struct Pages {
    paravirtual: Paravirtual,
    /// The processor's time-stamp counter may have left the course that the machine assumes.
    is_tsc_moved: bool,
}

impl Clock {
    /// The clock of a machine that is switched on at `now`.
    pub fn new(
        policy: ClockPolicy,
        processors: u8,
        (epoch_seconds, tsc): (u64, TscClock),
        now: MachineTime,
    ) -> Self {
        let paravirtual = Paravirtual::new(epoch_seconds, tsc, now);
        let pages = vec![Pages { paravirtual, is_tsc_moved: false }; processors.into()];
        Self { policy, stood_ns: 0, not_run_ns: 0, pages, current: 0 }
    }

    /// `processor`, which exists, gets the core.
    #[inline]
    pub const fn select(&mut self, processor: usize) {
        self.current = processor;
    }

    /// The machine's time at a moment of the host's.
    pub const fn machine_time(&self, at: Instant) -> MachineTime {
        MachineTime::from_ns(at.as_ns().saturating_sub(self.stood_ns))
    }

    /// The moment of the host's time at which the machine's will be `at`, unless it stops again.
    pub const fn host_time(&self, at: MachineTime) -> Instant {
        Instant::from_ns(at.as_ns()).after_ns(self.stood_ns)
    }

    /// For how long the guest has had the core.
    pub const fn run_time(&self, at: MachineTime) -> RunTime {
        RunTime::from_ns(at.as_ns().saturating_sub(self.not_run_ns))
    }

    /// See [`super::Machine::record_wait`]. True if the machine's time was stopped since.
    pub fn record_wait(&mut self, ns: u64, taken_ns: u64, stolen_ns: u64) -> bool {
        match self.policy {
            ClockPolicy::Wall => {
                self.not_run_ns = ns + taken_ns;
                self.pages[self.current].paravirtual.set_stolen(stolen_ns);
                false
            }
            ClockPolicy::Own => {
                self.not_run_ns = taken_ns;
                core::mem::replace(&mut self.stood_ns, ns) != ns
            }
        }
    }

    pub const fn stood_ns(&self) -> u64 {
        self.stood_ns
    }

    pub fn tsc_moved(&mut self) {
        self.pages[self.current].is_tsc_moved = true;
    }

    /// Whether a page of the current processor in the guest's RAM is stale, or a reading of its
    /// counter is needed.
    pub fn has_news(&self) -> bool {
        let pages = &self.pages[self.current];
        pages.is_tsc_moved || pages.paravirtual.has_news()
    }

    pub fn wants_tsc(&self) -> bool {
        let pages = &self.pages[self.current];
        pages.is_tsc_moved || pages.paravirtual.is_clock_stale()
    }

    /// Takes a reading of the current processor's counter; the counter's course from now on.
    pub fn set_tsc(&mut self, reading: TscReading) -> TscClock {
        let at = self.machine_time(reading.at);
        let pages = &mut self.pages[self.current];
        pages.is_tsc_moved = false;
        pages.paravirtual.set_tsc(reading.tsc, at, reading.hz);
        reading.course(at)
    }

    /// The current processor's pages are written no more.
    pub fn stop_publishing(&mut self) {
        self.pages[self.current].paravirtual.stop();
    }

    pub fn next_memory_write(&mut self) -> Option<MemoryWrite> {
        self.pages[self.current].paravirtual.next_write()
    }

    pub fn read(&self, msr: u32) -> Option<u64> {
        self.pages[self.current].paravirtual.read(msr)
    }

    pub fn write(&mut self, msr: u32, value: u64) -> Option<Result<(), GeneralProtection>> {
        self.pages[self.current].paravirtual.write(msr, value)
    }
}
