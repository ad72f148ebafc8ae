//! How a VM is switched on, the same on every target: [`prepare`] makes the CPUID table from the
//! plan and the host's processor, the target makes a vCPU with it, and
//! [`PreparedMachine::switch_on`] the machine around it.

use crate::Instant;
use crate::boot::Boot;
use crate::cpuid::{self, CpuidEntry, CpuidFeatures, CpuidResult};
use crate::machine::{Machine, Surroundings};
use crate::plan::VmPlan;
use alloc::vec::Vec;
use devices::lapic::TscClock;

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
