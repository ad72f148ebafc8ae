use super::*;
use crate::cpuid::lookup;
use crate::machine::PortWrite;
use crate::plan::BootKind;
use crate::registers::CpuState;
use crate::seed::{SeedVm, to_plan};

const FACTS: HostFacts =
    HostFacts { epoch_seconds: 1_000_000_000, tsc_hz: 2_000_000_000, has_tsc_deadline: false };
const TSC: TscClock = TscClock { hz: 2_000_000_000, offset: 0 };

fn plan(has_local_apic: u64) -> VmPlan {
    let vm = SeedVm {
        id: 0,
        memory: 1 << 24,
        vcpu_count: 1,
        io_apic: 1,
        hpet: 0,
        local_apic: has_local_apic,
    };
    to_plan(&[vm]).vms.remove(0)
}

fn boot() -> Boot {
    Boot {
        kind: BootKind::Flat,
        pieces: Vec::new(),
        registers: CpuState::default(),
        base_memory_kib: 618,
    }
}

/// A processor with all features and 40 bits of physical address.
fn processor(leaf: u32, _subleaf: u32) -> CpuidResult {
    match leaf {
        0x8000_0008 => CpuidResult { eax: 40, ..CpuidResult::default() },
        _ => CpuidResult { eax: !0, ebx: !0, ecx: !0, edx: !0 },
    }
}

/// The machine and the table that its vCPU got.
fn switched_on(plan: &VmPlan, facts: HostFacts) -> (Machine, Vec<CpuidEntry>) {
    let boot = boot();
    let (mut tables, machine) = prepare(plan, &boot, facts, processor);
    (machine.switch_on(TSC, Instant::ZERO), tables.swap_remove(0))
}

#[test]
fn cpuid_follows_the_plan_and_the_host() {
    let leaf_1 = |has_local_apic, has_tsc_deadline| {
        let facts = HostFacts { has_tsc_deadline, ..FACTS };
        let result = lookup(&switched_on(&plan(has_local_apic), facts).1, 1, 0);
        (result.edx >> 9 & 1, result.ecx >> 24 & 1)
    };
    assert_eq!(leaf_1(1, true), (1, 1), "APIC, TSC deadline");
    assert_eq!(leaf_1(1, false), (1, 0));
    assert_eq!(leaf_1(0, true), (0, 0));
    let (_, table) = switched_on(&plan(1), FACTS);
    assert_eq!(lookup(&table, 0x16, 0).eax, 2000, "MHz");
}

#[test]
fn the_machine_has_the_plans_devices_and_the_boots_memory() {
    let (mut machine, _) = switched_on(&plan(1), FACTS);
    // CMOS 0x15 and 0x16: conventional memory, KiB.
    let mut cmos = |register| {
        assert_eq!(machine.port_write(0x70, 1, register, Instant::ZERO), PortWrite::Done);
        machine.port_read(0x71, 1, Instant::ZERO).0
    };
    assert_eq!((cmos(0x15), cmos(0x16)), (618 & 0xff, 618 >> 8));
}
