//! VMs that begin anew: what is left of the old life, and what the neighbours notice.

use super::held_vms::vms;
use super::scripted::{MS, SLICE_NS, World, store};
use super::slow_disk::{AVAILABLE, DATA, USED, driver, offer};
use crate::boot::{Boot, Content, Images, Piece};
use crate::control::{Change, Refusal, VmRequest};
use crate::cpuid::CpuidResult;
use crate::index::VmIndex;
use crate::memory::GuestMemory;
use crate::plan::{BootKind, DiskPlan, Restarts, VmPlan, Writes};
use crate::registers::CpuState;
use crate::seam::ExitReason;
use crate::switch_on::{self, Beginning, HostFacts};
use crate::vm::Ending;
use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use devices::lapic::TscClock;

const FIRST: VmIndex = VmIndex(0);
const SECOND: VmIndex = VmIndex(1);
/// The RAM of these VMs.
const RAM_BYTES: u64 = 0x10_0000;
/// Where the only piece of their boot lies.
const PIECE: u64 = 0x7000;

fn beginning(plan: &VmPlan) -> Beginning<'static> {
    let boot = Boot {
        kind: BootKind::Flat,
        pieces: vec![Piece { address: PIECE, content: Content::Bytes(vec![0x5a; 100]) }],
        registers: CpuState { rip: 0x1234, ..CpuState::default() },
        base_memory_kib: 639,
    };
    let (plan, boot) = (Box::leak(Box::new(plan.clone())), Box::leak(Box::new(boot)));
    let facts = HostFacts { epoch_seconds: 0, tsc_hz: 0, has_tsc_deadline: false };
    let (_, machine) = switch_on::prepare(plan, boot, facts, |_, _| CpuidResult::default());
    let tsc = TscClock { hz: 1_000_000_000, offset: 0 };
    Beginning::new(machine, Images::of(&[]), tsc, crate::Instant::ZERO)
}

fn world(mut vms: Vec<VmPlan>, scripts: Vec<Vec<ExitReason>>, disk_ns: u64) -> World {
    vms.iter_mut().for_each(|vm| vm.memory_bytes = RAM_BYTES);
    let beginnings = vms.iter().map(beginning).collect();
    let mut world = World::new(vms, scripts, (disk_ns, 0));
    world.place.beginnings = beginnings;
    world
}

fn run_to(world: &mut World, end_ns: u64) {
    while world.place.now_ns.get() < end_ns {
        world.turn();
    }
}

fn restart(world: &mut World) {
    assert_eq!(world.system.carry_out(FIRST, VmRequest::Restart, &mut world.place), Ok(()));
}

#[test]
fn nothing_of_the_old_life_is_left_and_a_disks_late_answer_reaches_no_ram() {
    const DISK_NS: u64 = 40 * MS;
    let mut vms = vms();
    let disk = DiskPlan { file: String::from("image"), bytes: 64 << 20, writes: Writes::Discard };
    vms[0].virtio.disks = vec![disk];
    let mut world = world(vms, vec![driver(), Vec::new()], DISK_NS);
    offer(&world, 1);
    world.rams[0].write(PIECE, &[0xff; 4]);
    world.rams[0].write(RAM_BYTES - 8, &[0xff; 8]);
    run_to(&mut world, 10 * MS);
    restart(&mut world);
    let entries = world.guests[0].entries.len();
    run_to(&mut world, DISK_NS - MS);
    assert_eq!(world.guests[0].entries.len(), entries, "its buffers are the disk's until then");
    run_to(&mut world, DISK_NS + 4 * SLICE_NS);
    let begun = &world.guests[0].powered_on;
    assert_eq!((begun.len(), begun[0].rip), (1, 0x1234));
    assert!(world.guests[0].entries.len() > entries, "it runs");
    let ram = world.rams[0].0.borrow();
    for (address, byte) in ram.iter().enumerate() {
        let is_piece = (PIECE..PIECE + 100).contains(&(address as u64));
        assert_eq!(*byte, if is_piece { 0x5a } else { 0 }, "{address:#x}");
    }
    drop(ram);
    assert!([AVAILABLE, USED, DATA].iter().all(|at| world.rams[0].word_at(*at) == 0));
    let status = world.system.vms[FIRST].machine.mmio_read(
        crate::machine::VIRTIO_BASE + 0x70,
        4,
        crate::Instant::from_ns(world.place.now_ns.get()),
    );
    assert_eq!(status, 0, "a device that no driver has found");
    assert_eq!(world.system.ledger.vms[FIRST].restarts, 1);
}

#[test]
fn the_neighbour_keeps_its_share_and_waits_no_longer() {
    let mut world = world(vms(), vec![Vec::new(); 2], 0);
    for _ in 0..50 {
        let now = world.place.now_ns.get();
        run_to(&mut world, now + 7 * MS);
        restart(&mut world);
    }
    let end = world.place.now_ns.get();
    world.run_until(end);
    let neighbour = &world.system.ledger.vms[SECOND];
    assert!(neighbour.longest_blackout_ns <= SLICE_NS, "{}", neighbour.longest_blackout_ns);
    assert!(neighbour.core_ns() * 2 >= end, "{} of {end}", neighbour.core_ns());
    assert_eq!(world.system.ledger.check(end), Ok(()));
}

#[test]
fn one_that_has_ended_is_held_or_halts_begins_anew_too() {
    let end = store(0, 0);
    let power_off = ExitReason::PortOut { port: 0x604, size: 2, value: 0x2000 };
    for script in [vec![power_off], vec![ExitReason::Halt], vec![end]] {
        for is_paused in [false, true] {
            let mut world = world(vms(), vec![script.clone(), Vec::new()], 0);
            run_to(&mut world, 10 * MS);
            if is_paused && world.system.vms[FIRST].ending.is_none() {
                let paused = world.system.carry_out(FIRST, VmRequest::Pause, &mut world.place);
                assert_eq!(paused, Ok(()));
            }
            restart(&mut world);
            let entries = world.guests[0].entries.len();
            run_to(&mut world, 40 * MS);
            assert!(world.guests[0].entries.len() > entries, "{script:?}");
            assert!(world.system.vms[FIRST].ending.is_none());
            assert!(!world.system.is_held(FIRST));
            let now = world.place.now_ns.get();
            world.run_until(now);
            assert_eq!(world.system.ledger.check(now), Ok(()));
        }
    }
}

#[test]
fn a_sibling_is_powered_on_and_waits_for_its_start_up() {
    let mut vms = vms();
    vms[0].vcpu_count = 2;
    let mut world = world(vms, vec![Vec::new(); 3], 0);
    run_to(&mut world, 20 * MS);
    restart(&mut world);
    run_to(&mut world, 60 * MS);
    assert_eq!(world.guests[0].powered_on.len(), 1);
    assert_eq!(world.guests[1].powered_on.len(), 1);
    assert!(world.guests[1].entries.is_empty(), "it has not been started");
    assert!(world.system.vms[FIRST].machine.is_waiting_for_startup(1));
    assert!(world.guests[0].entries.last().is_some_and(|(at, _)| *at > 40 * MS));
}

#[test]
fn what_a_vm_that_has_ended_is_asked_for_is_refused() {
    let power_off = ExitReason::PortOut { port: 0x604, size: 2, value: 0x2000 };
    let mut world = World::new(vms(), vec![vec![power_off], Vec::new()], (0, 0));
    run_to(&mut world, 10 * MS);
    for request in [VmRequest::Pause, VmRequest::Resume, VmRequest::Stop, VmRequest::Nmi] {
        let result = world.system.carry_out(FIRST, request, &mut world.place);
        assert_eq!(result, Err(Refusal::HasEnded), "{request:?}");
    }
    let result = world.system.carry_out(FIRST, VmRequest::Restart, &mut world.place);
    assert_eq!(result, Err(Refusal::CannotRestart), "this host has no beginnings");
}

#[test]
fn a_vm_that_fails_begins_anew_by_itself_as_often_as_it_may() {
    let reset = ExitReason::PortOut { port: 0xcf9, size: 1, value: 6 };
    let mut vms = vms();
    vms[0].restarts = Restarts { on_reset: true, times: 3, ..Restarts::default() };
    let mut world = world(vms, vec![vec![reset; 10], Vec::new()], 0);
    run_to(&mut world, 200 * MS);
    assert_eq!(world.system.vms[FIRST].ending, Some(Ending::Reset));
    assert_eq!(world.system.ledger.vms[FIRST].restarts, 3);
    assert_eq!(world.guests[0].script.len(), 10 - 4, "a life each");
    assert_eq!(*world.place.changes.borrow(), {
        let restarted = (FIRST, Change::Restarted);
        let given_up = Change::GivenUp { times: 3, within_ns: 10_000_000_000 };
        vec![restarted, restarted, restarted, (FIRST, given_up)]
    });
}
