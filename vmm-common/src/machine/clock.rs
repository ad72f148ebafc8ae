//! A machine's clock: the host's, less the time held back, and its pages in the guest's RAM.
//!
//! The one place that converts between clocks. Beneath it devices know
//! [`MachineTime`] alone.

use super::paravirtual::{MemoryWrite, Paravirtual};
use crate::Instant;
use crate::plan::ClockPolicy;
use crate::seam::TscReading;
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
    paravirtual: Paravirtual,
    /// The guest's time-stamp counter may have left the course that the machine knows.
    is_tsc_moved: bool,
}

impl Clock {
    /// The clock of a machine that is switched on at `now`.
    pub fn new(policy: ClockPolicy, epoch_seconds: u64, tsc: TscClock, now: MachineTime) -> Self {
        let paravirtual = Paravirtual::new(epoch_seconds, tsc, now);
        Self { policy, stood_ns: 0, not_run_ns: 0, paravirtual, is_tsc_moved: false }
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
    pub fn record_wait(&mut self, ns: u64, taken_ns: u64) -> bool {
        match self.policy {
            ClockPolicy::Wall => {
                self.not_run_ns = ns + taken_ns;
                self.paravirtual.set_stolen(ns + taken_ns);
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

    pub const fn tsc_moved(&mut self) {
        self.is_tsc_moved = true;
    }

    /// Whether a page in the guest's RAM is stale, or a reading of its counter is wanted.
    pub const fn has_news(&self) -> bool {
        self.is_tsc_moved || self.paravirtual.has_news()
    }

    pub const fn wants_tsc(&self) -> bool {
        self.is_tsc_moved || self.paravirtual.is_clock_stale()
    }

    /// Takes a reading of the guest's counter; the counter's course from now on.
    pub fn set_tsc(&mut self, reading: TscReading) -> TscClock {
        let at = self.machine_time(reading.at);
        self.is_tsc_moved = false;
        self.paravirtual.set_tsc(reading.tsc, at, reading.hz);
        reading.course(at)
    }

    pub fn next_memory_write(&mut self) -> Option<MemoryWrite> {
        self.paravirtual.next_write()
    }

    pub const fn read(&self, msr: u32) -> Option<u64> {
        self.paravirtual.read(msr)
    }

    pub fn write(&mut self, msr: u32, value: u64) -> Option<Result<(), GeneralProtection>> {
        self.paravirtual.write(msr, value)
    }
}
