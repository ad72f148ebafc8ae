//! What people read must never fail to print, whatever the values.

use crate::plans::plan;
use crate::runner::check;
use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use vmm_common::receipt::{
    BudgetReceipt, EndReceipt, LinkReceipt, Receipt, VcpuReceipt, VmReceipt,
};
use vmm_common::registers::{CpuState, Segment, TableRegister};
use vmm_common::seam::ExitReason;

const REASONS: [&str; 2] = ["peer stopped", "baud mismatch"];

fn number() -> impl Strategy<Value = u64> {
    prop_oneof![0_u64..2_000, Just(999_999_999), Just(u64::MAX), any::<u64>()]
}

fn vm() -> impl Strategy<Value = VmReceipt> {
    let exits = btree_map(0_usize..ExitReason::KINDS.len(), number(), 0..5);
    ("\\PC{0,40}", vec(number(), 11), option::of(number()), exits).prop_map(
        |(name, n, received_ppm, exits)| VmReceipt {
            id: n[0],
            name,
            ending: String::from("powered off, status 0"),
            is_success: true,
            entitled_ppm: n[1],
            received_ppm,
            wanted_ns: n[2],
            due_ns: n[3],
            taken_ns: n[4],
            longest_blackout_taken_ns: n[5],
            longest_own_blackout_ns: n[6],
            promised_blackout_ns: n[7],
            budget: (n[0] % 2 == 0).then_some(BudgetReceipt {
                run_ns: n[1],
                period_ns: n[2],
                met_periods: n[3],
                missed_periods: n[4],
                worst_shortfall_ns: n[5],
                worst_response_ns: n[6],
            }),
            dropped_ticks: n[10],
            guest_ns: n[2],
            vmm_ns: n[3],
            waiting_ns: n[4],
            held_ns: n[0],
            restarts: n[1],
            halted_ns: n[5],
            longest_blackout_ns: n[6],
            turns: n[7],
            exits: exits.into_iter().map(|(kind, n)| (ExitReason::KINDS[kind], n)).collect(),
            batched: n[8],
            interrupts: n[9],
            devices: Vec::new(),
            vcpus: vec![
                VcpuReceipt {
                    guest_ns: n[2],
                    waiting_ns: n[4],
                    halted_ns: n[5],
                    longest_blackout_ns: n[6],
                    longest_own_blackout_ns: n[6],
                    turns: n[7],
                };
                n[8] as usize % 3
            ],
        },
    )
}

fn receipt() -> impl Strategy<Value = Receipt> {
    let end = ("[a-z]{0,5}", 1_usize..5, number(), number(), number()).prop_map(
        |(vm, com, sent, delivered, lost)| EndReceipt {
            vm,
            com: Some(com),
            hvc: None,
            sent,
            delivered,
            lost: REASONS.iter().map(|reason| (*reason, lost)).collect(),
        },
    );
    let link = ("[a-z]{0,5}", vec(end, 0..4)).prop_map(|(name, ends)| LinkReceipt { name, ends });
    (vec(number(), 9), vec(vm(), 0..4), vec(link, 0..3)).prop_map(|(n, vms, links)| Receipt {
        wall_ns: n[0],
        accounted_ns: n[1],
        slice_ns: n[2],
        switching_ns: n[3],
        console_ns: n[8],
        idle_ns: n[4],
        taken_ns: n[7],
        contended_ns: n[5],
        switches: n[6],
        sibling_switches: n[8],
        jumps: n[8],
        vms,
        links,
        networks: Vec::new(),
        lost_bytes: n[7],
        undelivered_bytes: n[7],
    })
}

fn cpu_state() -> impl Strategy<Value = CpuState> {
    let segment = (any::<u16>(), any::<u64>(), any::<u32>(), any::<u32>())
        .prop_map(|(selector, base, limit, access)| Segment { selector, base, limit, access });
    let table =
        || (any::<u64>(), any::<u16>()).prop_map(|(base, limit)| TableRegister { base, limit });
    let rest = (vec(any::<u64>(), 7), vec(segment, 8), table(), table());
    (any::<[u64; 16]>(), rest, any::<[u8; 15]>(), any::<u8>()).prop_map(
        |(general, (n, segments, gdtr, idtr), instruction, instruction_len)| CpuState {
            general,
            rip: n[0],
            rflags: n[1],
            cr0: n[2],
            cr2: n[3],
            cr3: n[4],
            cr4: n[5],
            efer: n[6],
            segments: segments.try_into().expect("there are eight"),
            gdtr,
            idtr,
            instruction,
            instruction_len,
        },
    )
}

#[test]
fn a_receipt_of_odd_values_prints() {
    check(500, receipt(), |receipt| {
        let text = receipt.to_string();
        assert!(text.starts_with("receipt: ") && text.ends_with('\n'));
    });
}

#[test]
fn a_dump_prints_all_registers_and_the_bytes_that_could_be_read() {
    check(300, cpu_state(), |state| {
        let text = state.to_string();
        assert!(text.ends_with('\n') && text.lines().count() == 18, "{text}");
        let code = text.lines().last().expect("there are lines");
        let bytes = usize::from(state.instruction_len).min(15);
        assert_eq!(code.contains("unreadable"), bytes == 0);
        assert!(text.contains(&format!("rip {:016x}", state.rip)));
    });
}

#[test]
fn a_run_of_any_plan_whose_links_have_ends_has_a_receipt() {
    use vmm_common::Instant;
    use vmm_common::machine::{Machine, Surroundings};
    use vmm_common::memory::NoMemory;
    use vmm_common::plan::{Field, Limits, Problem, check as check_plan};
    use vmm_common::system::System;
    let limits = Limits { host_memory_bytes: 1 << 40, min_slice_ns: 100, cores: vec![0] };
    check(200, plan(), |mut plan| {
        plan.vms.truncate(3);
        for (index, vm) in plan.vms.iter_mut().enumerate() {
            (vm.id, vm.name) = (index as u64, format!("vm{index}"));
            (vm.memory_bytes, vm.vcpu_count, vm.has_keyboard) = (1 << 24, 1, false);
        }
        let is_about_ends = |problem: &Problem| matches!(problem.field, Field::LinkEnds(_));
        if check_plan(&plan, &limits).iter().any(is_about_ends) {
            return;
        }
        let tsc = devices::lapic::TscClock { hz: 1, offset: 0 };
        let surroundings =
            Surroundings { now: Instant::ZERO, epoch_seconds: 0, tsc, physical_address_bits: 40 };
        let machine = |vm| (Machine::new(vm, surroundings.clone()), NoMemory);
        let machines = plan.vms.iter().map(machine).collect();
        let mut system = System::new(&plan, machines, 4, Instant::ZERO);
        system.ledger.close(Instant::from_ns(1));
        assert!(!Receipt::new(&plan, &system, 1).to_string().is_empty());
    });
}
