//! `plan::check` and what is computed from a plan, for plans that no person would write.

use crate::runner::check;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use vmm_common::Instant;
use vmm_common::plan::{
    BootKind, BootPlan, ClockPolicy, DeviceSet, ImageSource, Limits, LinkPlan, OnSwitch, Outcomes,
    Plan, Restarts, SerialPlan, Share, VirtioPlan, VmPlan, check as check_plan,
};
use vmm_common::scheduler::{Next, Scheduler};

/// Numbers that people write, edges, anything.
fn number() -> impl Strategy<Value = u64> {
    prop_oneof![
        0_u64..5,
        Just(5_000_000),
        (1_u64..1 << 20).prop_map(|pages| pages << 12),
        Just(u64::MAX),
        any::<u64>()
    ]
}

pub fn share() -> impl Strategy<Value = Share> {
    prop_oneof![
        2 => (1_u32..10).prop_map(Share::Weight),
        1 => prop_oneof![Just(0), Just(u32::MAX), any::<u32>()].prop_map(Share::Weight),
        2 => (number(), number())
            .prop_map(|(run_ns, period_ns)| Share::Budget { run_ns, period_ns }),
    ]
}

fn serial() -> impl Strategy<Value = SerialPlan> {
    prop_oneof![
        Just(SerialPlan::Absent),
        Just(SerialPlan::Unconnected),
        Just(SerialPlan::Console),
        (0_usize..4).prop_map(SerialPlan::Link),
        (0_usize..4).prop_map(SerialPlan::Switched),
        any::<usize>().prop_map(SerialPlan::Link),
    ]
}

fn vm() -> impl Strategy<Value = VmPlan> {
    let numbers = (number(), number(), number());
    let ports = [serial(), serial(), serial(), serial()];
    let texts = ("\\PC{0,40}", prop_oneof!["[a-z]{0,9}", "\\PC{0,5000}"]);
    (numbers, share(), ports, texts, any::<bool>()).prop_map(
        |((id, memory_bytes, vcpu_count), share, serial, (name, cmdline), has_keyboard)| VmPlan {
            id,
            name,
            memory_bytes,
            vcpu_count,
            devices: DeviceSet { has_io_apic: true, has_hpet: false, has_local_apic: true },
            boot: BootPlan {
                kernel: ImageSource::Builtin(String::from("os")),
                kind: BootKind::Auto,
                bios: None,
                symbols: None,
                modules: Vec::new(),
            },
            cmdline,
            clock: ClockPolicy::Wall,
            share,
            serial,
            has_keyboard,
            virtio: VirtioPlan::default(),
            screen: vmm_common::plan::ScreenPlan { is_shown: has_keyboard, has_keyboard },
            input: Vec::new(),
            outcomes: Outcomes::default(),
            restarts: Restarts::default(),
            debugger: None,
        },
    )
}

pub fn plan() -> impl Strategy<Value = Plan> {
    let baud = option::of(prop_oneof![Just(0_u32), Just(9600), any::<u32>()]);
    let link = ("[a-z]{0,3}", baud, any::<bool>()).prop_map(|(name, baud, is_lossy)| LinkPlan {
        name,
        baud,
        is_lossy,
        tap: None,
    });
    (number(), option::of(number()), vec(vm(), 0..70), vec(link, 0..4)).prop_map(
        |(slice_ns, core, vms, links)| Plan {
            slice_ns,
            on_switch: OnSwitch::default(),
            core,
            vms,
            links,
            networks: Vec::new(),
        },
    )
}

#[test]
fn check_finds_problems_in_any_plan_and_names_what_is_allowed() {
    check(300, (plan(), number(), number()), |(plan, host_memory_bytes, min_slice_ns)| {
        let limits = Limits { host_memory_bytes, min_slice_ns, cores: vec![0, 3] };
        for problem in check_plan(&plan, &limits) {
            assert!(problem.message.contains("allowed"), "{problem:?}");
        }
        for vm in 0..plan.vms.len() {
            let is_budget = matches!(plan.vms[vm].share, Share::Budget { .. });
            assert!(plan.entitled_ppm(vm) <= 1_000_000 || is_budget, "more than the core");
        }
    });
}

#[test]
fn a_scheduler_takes_any_shares() {
    let vms = vec((share(), 1_u32..5), 1..8);
    check(500, (vms, number(), vec(number(), 1..30)), |(vms, slice, times)| {
        let mut scheduler = Scheduler::new(&vms, slice);
        let mut now = Instant::ZERO;
        for time in times {
            match scheduler.next(now) {
                Next::Run { vcpu, until } => {
                    assert!(until > now || now == Instant::FAR_FUTURE);
                    scheduler.ran(vcpu, time);
                    now = now.after_ns(time);
                }
                Next::Idle { until } => now = until.max(now.after_ns(1)),
                Next::Done => panic!("no VM has finished"),
            }
        }
    });
}
