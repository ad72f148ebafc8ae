//! The loop with two scripted vCPUs, and RAM that the tests look into.

mod called_sibling;
mod frame_paths;
mod frames_in_segments;
mod held_frames;
mod held_vms;
mod hvc_lines;
mod link_changes;
mod random_bytes;
mod restarted_vms;
mod scripted;
mod slow_disk;
mod uplinks;

use super::*;
use crate::backing::Backing;
use crate::diagnosis::Dump;
use crate::index::VmIndex;
use crate::machine::{Machine, Surroundings};
use crate::registers::CpuState;
use crate::seam::{Entry, TscReading};
use crate::seed::{SeedVm, to_plan};
use alloc::rc::Rc;
use alloc::vec;
use core::cell::RefCell;
use devices::lapic::TscClock;

const TSC_HZ: u64 = 2_000_000_000;
/// MSR_KVM_SYSTEM_TIME_NEW.
const SYSTEM_TIME: u32 = 0x4b56_4d01;

#[derive(Clone)]
struct Ram(Rc<RefCell<Vec<u8>>>);

impl Ram {
    fn word_at(&self, address: u64) -> u64 {
        self.word(address).expect("it is RAM")
    }
}

impl GuestMemory for Ram {
    fn read(&self, address: u64, to: &mut [u8]) -> bool {
        let at = address as usize;
        let ram = self.0.borrow();
        ram.get(at..at + to.len()).is_some_and(|from| {
            to.copy_from_slice(from);
            true
        })
    }

    fn write(&self, address: u64, from: &[u8]) -> bool {
        let at = address as usize;
        let mut ram = self.0.borrow_mut();
        ram.get_mut(at..at + from.len()).is_some_and(|to| {
            to.copy_from_slice(from);
            true
        })
    }

    fn has(&self, address: u64, bytes: u64) -> bool {
        address.checked_add(bytes).is_some_and(|end| end <= self.0.borrow().len() as u64)
    }
}

/// The local APIC on; the I/O APIC's pin of the first virtio device: level-triggered, vector 0x31.
fn route_virtio_interrupt(machine: &mut Machine) {
    let stores =
        [(0xfee0_00f0, 0x1ff), (0xfec0_0000, 0x10 + 2 * 16), (0xfec0_0010, 1 << 15 | 0x31)];
    for (address, value) in stores {
        machine.mmio_write(address, 4, value, Instant::ZERO);
    }
}

/// What sets up a virtio queue: its table at this address, the rings behind it.
const fn queue_stores(queue: u64, size: u64, table: u64) -> [(u64, u64); 6] {
    [
        (0x030, queue),
        (0x038, size),
        (0x080, table),
        (0x090, table + 0x400),
        (0x0a0, table + 0x800),
        (0x044, 1),
    ]
}

/// What machines are made in: a processor of 1 GHz, at the begin of time.
fn surroundings() -> Surroundings {
    Surroundings {
        now: Instant::ZERO,
        epoch_seconds: 0,
        tsc: TscClock { hz: 1_000_000_000, offset: 0 },
        physical_address_bits: 40,
    }
}

struct Place {
    now_ns: Rc<RefCell<u64>>,
}

impl Backing<Ram> for Place {}

impl crate::screen::Viewer for Place {}

impl Host<Ram> for Place {
    fn now(&mut self) -> Instant {
        Instant::from_ns(*self.now_ns.borrow())
    }

    fn console_output(&mut self, _vm: VmIndex, _bytes: &[u8]) {}

    fn console_input(&mut self, _vm: VmIndex) -> Option<u8> {
        None
    }

    fn vm_ended(&mut self, _vcpu: VcpuIndex, _ending: &Ending, _dump: Option<&Dump>) {}

    fn sibling_ended(&mut self, _vcpu: VcpuIndex, _dump: &Dump) {}

    fn vm_sleeps(&mut self, _vm: VmIndex, _why: &str) {}
}

/// Asks for a clock at 0x1000, then runs to each deadline.
struct Guest {
    now_ns: Rc<RefCell<u64>>,
    entries: Vec<Entry>,
}

impl VcpuBackend for Guest {
    fn enter(&mut self, entry: &Entry) -> Exit {
        let mut reason = ExitReason::Preempted;
        let mut tsc = None;
        if entry.wants_tsc {
            let at = Instant::from_ns(*self.now_ns.borrow());
            let running_ns = at.as_ns() - entry.tsc_held_ns;
            tsc = Some(TscReading { hz: TSC_HZ, tsc: 77 + 2 * running_ns, at });
        } else if self.entries.iter().all(|entry| entry.wants_tsc) {
            reason = ExitReason::MsrWrite { index: SYSTEM_TIME, value: 0x1001 };
        } else {
            *self.now_ns.borrow_mut() = entry.deadline.as_ns();
        }
        self.entries.push(*entry);
        Exit {
            reason,
            is_interrupt_flag_set: false,
            is_interruptible: false,
            cr8: 0,
            overhead_ns: 0,
            left_guest: !entry.wants_tsc,
            has_more: false,
            tsc,
        }
    }

    fn power_on(&mut self, _registers: &CpuState) {}

    fn start_up(&mut self, _registers: &CpuState) {
        unreachable!("it has no siblings")
    }

    fn registers(&mut self) -> CpuState {
        CpuState::default()
    }
}

/// Two VMs, and what they run on.
struct World {
    system: System<Ram>,
    place: Place,
    guests: [Guest; 2],
    rams: Vec<Ram>,
}

impl World {
    fn turn(&mut self) {
        let next = self.system.next(&mut self.place);
        let Next::Run { vcpu, until } = next else { panic!("both can run") };
        self.system.turn(vcpu, until, &mut self.guests[vcpu.position()], &mut self.place);
    }
}

fn world(clock: crate::plan::ClockPolicy) -> World {
    let vm = |id| SeedVm { id, memory: 1 << 20, vcpu_count: 1, io_apic: 0, hpet: 0, local_apic: 0 };
    let mut plan = to_plan(&[vm(0), vm(1)]);
    plan.vms.iter_mut().for_each(|vm| vm.clock = clock);
    let now_ns = Rc::new(RefCell::new(0));
    let rams: Vec<_> = (0..2).map(|_| Ram(Rc::new(RefCell::new(vec![0; 0x2000])))).collect();
    let tsc = TscClock { hz: TSC_HZ, offset: 77 };
    let surroundings =
        Surroundings { now: Instant::ZERO, epoch_seconds: 0, tsc, physical_address_bits: 40 };
    let machine = |(vm, ram): (&_, &Ram)| (Machine::new(vm, surroundings.clone()), ram.clone());
    let machines = plan.vms.iter().zip(&rams).map(machine).collect();
    let system = System::new(&plan, machines, 0, Instant::ZERO);
    let guests = [0, 1].map(|_| Guest { now_ns: now_ns.clone(), entries: Vec::new() });
    World { system, place: Place { now_ns }, guests, rams }
}

/// Runs two VMs for so many turns; the entries of each, and its RAM.
fn run(clock: crate::plan::ClockPolicy, turns: usize) -> Vec<(Vec<Entry>, Ram)> {
    let mut world = world(clock);
    (0..turns).for_each(|_| world.turn());
    world.guests.into_iter().map(|guest| guest.entries).zip(world.rams).collect()
}

/// What each entry that went into the guest held its counter back by, each value once.
fn held(entries: &[Entry]) -> Vec<u64> {
    let mut held: Vec<_> = entries.iter().map(|entry| entry.tsc_held_ns).collect();
    held.dedup();
    held
}

#[test]
fn under_own_each_entry_holds_the_counter_back_by_the_whole_wait() {
    const SLICE_NS: u64 = 5_000_000;
    let guests = run(crate::plan::ClockPolicy::Own, 5);
    let (first, second) = (&guests[0].0, &guests[1].0);
    assert_eq!(held(first), [0, SLICE_NS, 2 * SLICE_NS]);
    assert_eq!(held(second), [SLICE_NS, 2 * SLICE_NS]);
}

#[test]
fn under_wall_no_entry_holds_it_back() {
    for (entries, _) in run(crate::plan::ClockPolicy::Wall, 5) {
        assert_eq!(held(&entries), [0]);
    }
}

#[test]
fn the_clock_that_a_guest_asked_for_lies_in_its_ram_before_it_goes_on() {
    const SLICE_NS: u64 = 5_000_000;
    let guests = run(crate::plan::ClockPolicy::Wall, 2);
    let (entries, ram) = &guests[1];
    let readings: Vec<_> = entries.iter().map(|entry| entry.wants_tsc).collect();
    assert_eq!(readings, [true, false, true, false], "as it starts, and behind the WRMSR");
    // `struct pvclock_vcpu_time_info`: the counter at 8, the time at 16.
    assert_eq!(ram.word_at(0x1008), 77 + 2 * SLICE_NS);
    assert_eq!(ram.word_at(0x1010), SLICE_NS);
}

#[test]
fn what_starting_took_is_no_vms_wait() {
    const START_NS: u64 = 3_000_000;
    const SLICE_NS: u64 = 5_000_000;
    let mut world = world(crate::plan::ClockPolicy::Wall);
    *world.place.now_ns.borrow_mut() = START_NS;
    (0..3).for_each(|_| world.turn());
    let end = world.place.now();
    world.system.ledger.close(end);
    let ledger = &world.system.ledger;
    assert_eq!(ledger.started(), Instant::from_ns(START_NS));
    assert_eq!(ledger.vms[1].longest_blackout_ns, SLICE_NS);
    assert_eq!(ledger.core_sum_ns(), 3 * SLICE_NS);
}

#[test]
fn keys_and_output_between_turns_have_their_own_account() {
    const SLICE_NS: u64 = 5_000_000;
    const LOOK_NS: u64 = 700_000;
    let mut world = world(crate::plan::ClockPolicy::Wall);
    world.turn();
    let begin = world.place.now();
    *world.place.now_ns.borrow_mut() += LOOK_NS;
    world.system.console_had(begin, world.place.now());
    world.turn();
    let end = world.place.now();
    world.system.ledger.close(end);
    let ledger = &world.system.ledger;
    assert_eq!((ledger.console_ns, ledger.switching_ns), (LOOK_NS, 0));
    assert_eq!(ledger.vms[1].longest_blackout_ns, SLICE_NS + LOOK_NS);
    assert_eq!(ledger.core_sum_ns(), 2 * SLICE_NS + LOOK_NS);
}
