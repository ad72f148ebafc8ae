//! VMs that are held and released: what that costs them, and what it does not cost the others.

use super::scripted::{MS, SLICE_NS, World};
use super::slow_disk::{VECTOR, driver, offer, returned};
use crate::index::VmIndex;
use crate::ledger::Standing;
use crate::plan::{ClockPolicy, DiskPlan, ImageSource, VmPlan, Writes};
use crate::scheduler::Next;
use crate::seam::{ExitReason, Injection};
use crate::system::Holder;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

const FIRST: VmIndex = VmIndex(0);
const SECOND: VmIndex = VmIndex(1);

pub fn vms() -> Vec<VmPlan> {
    let vm = |id| VmPlan::plain(id, ImageSource::Builtin(String::from("os")));
    vec![vm(0), vm(1)]
}

fn run_to(world: &mut World, end_ns: u64) {
    while world.place.now_ns.get() < end_ns {
        world.turn();
    }
}

fn hold(world: &mut World, holder: Holder) {
    let now = crate::Instant::from_ns(world.place.now_ns.get());
    world.system.hold(FIRST, holder, now);
}

fn release(world: &mut World, holder: Holder) {
    let now = crate::Instant::from_ns(world.place.now_ns.get());
    world.system.release(FIRST, holder, now);
}

#[test]
fn a_held_vm_leaves_the_core_to_its_neighbour_and_owes_nothing_after_it() {
    let mut world = World::new(vms(), vec![Vec::new(); 2], (0, 0));
    run_to(&mut world, 20 * MS);
    let begin = world.place.now_ns.get();
    hold(&mut world, Holder::Operator);
    run_to(&mut world, begin + 100 * MS);
    let end = world.place.now_ns.get();
    release(&mut world, Holder::Operator);
    run_to(&mut world, end + 100 * MS);
    let is_while_held = |(at, _): &&(u64, _)| (begin..end).contains(at);
    assert_eq!(world.guests[0].entries.iter().filter(is_while_held).count(), 0);
    world.run_until(end + 100 * MS);
    let [first, second] = [FIRST, SECOND].map(|vm| &world.system.ledger.vms[vm]);
    assert_eq!(first.held_ns, end - begin);
    assert!(first.longest_blackout_ns <= SLICE_NS, "{}", first.longest_blackout_ns);
    assert!(second.longest_blackout_ns <= SLICE_NS, "{}", second.longest_blackout_ns);
    // Before and after it each had half.
    assert!((end - begin + 60 * MS).abs_diff(second.core_ns()) <= 2 * SLICE_NS);
    assert_eq!(world.system.ledger.check(world.place.now_ns.get()), Ok(()));
}

#[test]
fn a_vm_goes_on_once_the_last_of_its_holders_lets_it() {
    let mut world = World::new(vms(), vec![Vec::new(); 2], (0, 0));
    hold(&mut world, Holder::Operator);
    hold(&mut world, Holder::Debugger);
    release(&mut world, Holder::Operator);
    release(&mut world, Holder::Operator);
    assert!(world.system.is_held(FIRST));
    (0..5).for_each(|_| assert_eq!(world.turn().vm(), SECOND));
    release(&mut world, Holder::Debugger);
    assert!(!world.system.is_held(FIRST));
    assert!((0..3).any(|_| world.turn().vm() == FIRST));
}

#[test]
fn what_comes_for_a_held_vm_waits_for_it() {
    const DISK_NS: u64 = 20 * MS;
    let mut vms = vms();
    let disk = DiskPlan { file: String::from("image"), bytes: 64 << 20, writes: Writes::Discard };
    vms[0].virtio.disks = vec![disk];
    let script = [driver(), vec![ExitReason::Halt]].concat();
    let mut world = World::new(vms, vec![script, Vec::new()], (DISK_NS, 0));
    offer(&world, 1);
    run_to(&mut world, 10 * MS);
    hold(&mut world, Holder::Operator);
    run_to(&mut world, 60 * MS);
    assert_eq!(returned(&world), 1, "the disk is done meanwhile");
    let injected = |world: &World| world.guests[0].entries.iter().any(|(_, e)| e.inject.is_some());
    assert!(!injected(&world));
    release(&mut world, Holder::Operator);
    run_to(&mut world, 80 * MS);
    let entry = world.guests[0].entries.iter().find_map(|(_, entry)| entry.inject);
    assert_eq!(entry, Some(Injection::Interrupt(VECTOR)));
}

#[test]
fn a_clock_of_its_own_stands_while_a_vm_is_held() {
    for (clock, stands) in [(ClockPolicy::Own, true), (ClockPolicy::Wall, false)] {
        let mut vms = vms();
        vms[0].clock = clock;
        let mut world = World::new(vms, vec![Vec::new(); 2], (0, 0));
        run_to(&mut world, 10 * MS);
        let before_ns = world.guests[0].entries.last().expect("it ran").1.tsc_held_ns;
        hold(&mut world, Holder::Debugger);
        run_to(&mut world, 110 * MS);
        release(&mut world, Holder::Debugger);
        run_to(&mut world, 130 * MS);
        let after_ns = world.guests[0].entries.last().expect("it goes on").1.tsc_held_ns;
        assert_eq!(after_ns >= before_ns + 90 * MS, stands, "{clock:?} {before_ns} {after_ns}");
    }
}

#[test]
fn a_core_whose_vms_are_all_held_idles_until_one_is_released() {
    let mut world = World::new(vms(), vec![Vec::new(); 2], (0, 0));
    let now = crate::Instant::from_ns(world.place.now_ns.get());
    for vm in [FIRST, SECOND] {
        world.system.hold(vm, Holder::Operator, now);
    }
    let next = world.system.next(&mut world.place);
    assert_eq!(next, Next::Idle { until: crate::Instant::FAR_FUTURE });
    assert_eq!(world.system.ledger.vms[FIRST].standing(), Standing::Held);
    world.place.now_ns.set(50 * MS);
    release(&mut world, Holder::Operator);
    assert_eq!(world.turn().vm(), FIRST);
}
