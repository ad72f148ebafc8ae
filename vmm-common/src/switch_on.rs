//! How a VM is switched on, the same on every target: [`prepare`] makes the CPUID table from the
//! plan and the host's processor, the target makes a vCPU with it, and
//! [`PreparedMachine::switch_on`] the machine around it.

use crate::Instant;
use crate::boot::{Boot, Images};
use crate::cpuid::{self, CpuidEntry, CpuidFeatures, CpuidResult};
use crate::machine::{Machine, Surroundings};
use crate::plan::{VmPlan, ram_ranges};
use crate::registers::CpuState;
use crate::seam::TscReading;
use alloc::vec::Vec;
use core::ops::Range;
use devices::lapic::TscClock;
use devices::time::MachineTime;

/// Facts of the host, from the target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HostFacts {
    /// Unix time when the VMs are switched on, seconds.
    pub epoch_seconds: u64,
    /// Rate of the guest's time-stamp counter, Hz; 0 if unknown.
    pub tsc_hz: u64,
    /// A guest's writes to IA32_TSC_DEADLINE reach the machine.
    pub has_tsc_deadline: bool,
}

/// A machine whose processor's CPUID is decided, and which has no vCPU yet.
#[derive(Clone, Copy, Debug)]
pub struct PreparedMachine<'a> {
    plan: &'a VmPlan,
    boot: &'a Boot,
    epoch_seconds: u64,
    physical_address_bits: u8,
}

/// First step: the CPUID table of each vCPU of the VM of `plan`, whose image is placed as `boot`
/// says, on a host whose processor answers `processor(leaf, subleaf)` to CPUID.
pub fn prepare<'a>(
    plan: &'a VmPlan,
    boot: &'a Boot,
    facts: HostFacts,
    processor: impl Fn(u32, u32) -> CpuidResult,
) -> (Vec<Vec<CpuidEntry>>, PreparedMachine<'a>) {
    let HostFacts { epoch_seconds, tsc_hz, has_tsc_deadline } = facts;
    let has_local_apic = plan.devices.has_local_apic;
    let processors = plan.processors();
    let features = CpuidFeatures { has_local_apic, has_tsc_deadline, tsc_hz, processors };
    let table = cpuid::table(features, processor);
    let physical_address_bits = cpuid::physical_address_bits(&table);
    let tables = (0..processors).map(|id| cpuid::for_processor(&table, id)).collect();
    (tables, PreparedMachine { plan, boot, epoch_seconds, physical_address_bits })
}

/// What a VM begins with, whenever it is switched on.
#[derive(Clone, Debug)]
pub struct Beginning<'a> {
    machine: PreparedMachine<'a>,
    images: Images<'a>,
    /// How its time-stamp counter followed from the time when it was switched on first.
    tsc: TscClock,
    switched_on: Instant,
}

impl<'a> Beginning<'a> {
    /// Of a VM with these images that is switched on at `now`, and whose guest's time-stamp counter
    /// follows from the time as `tsc` says.
    #[must_use]
    pub const fn new(
        machine: PreparedMachine<'a>,
        images: Images<'a>,
        tsc: TscClock,
        now: Instant,
    ) -> Self {
        Self { machine, images, tsc, switched_on: now }
    }

    /// The machine, switched on for the first time.
    #[must_use]
    pub fn switch_on(&self) -> Machine {
        self.machine.switch_on(self.tsc, self.switched_on)
    }

    /// A new machine, switched on at `now`, for a guest whose time-stamp counter was read as `tsc`
    /// if it could be read.
    #[must_use]
    pub fn switch_on_again(&self, tsc: Option<TscReading>, now: Instant) -> Machine {
        /// Nanoseconds in a second.
        const SECOND_NS: u64 = 1_000_000_000;
        let course = |reading: TscReading| {
            // Nothing has been held back from the new machine.
            reading.course(MachineTime::from_ns(reading.at.as_ns()))
        };
        let tsc = tsc.map_or(self.tsc, course);
        let passed_seconds = now.ns_since(self.switched_on) / SECOND_NS;
        let epoch_seconds = self.machine.epoch_seconds + passed_seconds;
        PreparedMachine { epoch_seconds, ..self.machine }.switch_on(tsc, now)
    }

    /// Its RAM: guest-physical addresses.
    #[must_use]
    pub fn ram(&self) -> [Range<u64>; 2] {
        ram_ranges(self.machine.plan.memory_bytes)
    }

    /// A piece of what RAM, else zero, holds at the start, and its address; None: there are no
    /// more.
    #[must_use]
    pub fn piece(&self, number: usize) -> Option<(u64, &[u8])> {
        self.machine.boot.contents(&self.images).nth(number)
    }

    /// The first vCPU's registers. The others' are those after INIT.
    #[must_use]
    pub const fn registers(&self) -> &CpuState {
        &self.machine.boot.registers
    }
}

impl PreparedMachine<'_> {
    /// Second step, once there is a vCPU: the machine, switched on at `now`, for a guest whose
    /// time-stamp counter follows from the time as `tsc` says.
    #[must_use]
    pub fn switch_on(self, tsc: TscClock, now: Instant) -> Machine {
        let Self { plan, boot, epoch_seconds, physical_address_bits } = self;
        let mut machine =
            Machine::new(plan, Surroundings { now, epoch_seconds, tsc, physical_address_bits });
        machine.set_base_memory_kib(boot.base_memory_kib);
        machine
    }
}

#[cfg(test)]
mod tests;
