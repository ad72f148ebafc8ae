//! A disk that takes its time: its VM waits, and the VM beside it does not notice.

use super::Ram;
use crate::Instant;
use crate::backing::{Backing, DiskIndex, Finished, Progress, Request, Status};
use crate::index::{VcpuIndex, VmIndex};
use crate::machine::{Machine, Surroundings, VIRTIO_BASE};
use crate::plan::{DiskPlan, ImageSource, OnSwitch, Plan, VmPlan, Writes};
use crate::registers::CpuState;
use crate::scheduler::Next;
use crate::seam::{Entry, Exit, ExitReason, Host, Injection, VcpuBackend};
use crate::system::System;
use crate::vm::Ending;
use alloc::rc::Rc;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use core::cell::{Cell, RefCell};
use devices::lapic::TscClock;

const SLICE_NS: u64 = 5_000_000;
const MS: u64 = 1_000_000;
/// Where the queue's parts, the requests and the data are.
const TABLE: u64 = 0x1000;
const AVAILABLE: u64 = 0x2000;
const USED: u64 = 0x3000;
const REQUESTS: u64 = 0x4000;
const DATA: u64 = 0x8000;
const VECTOR: u8 = 0x31;

/// The host: a clock, and a disk.
struct Place {
    now_ns: Rc<Cell<u64>>,
    /// How long the disk takes, and how long the host works for a request.
    disk_ns: u64,
    work_ns: u64,
    under_way: Vec<(u64, Finished)>,
}

impl Backing<Ram> for Place {
    fn disk(&mut self, disk: DiskIndex, request: &Request<'_>, _memory: &Ram) -> Progress {
        self.now_ns.set(self.now_ns.get() + self.work_ns);
        if self.disk_ns == 0 {
            return Progress::Done(Status::Ok);
        }
        let (operation, token) = (request.operation, request.token);
        let finished = Finished { disk, operation, token, status: Status::Ok };
        self.under_way.push((self.now_ns.get() + self.disk_ns, finished));
        Progress::UnderWay
    }

    fn next_finished(&mut self) -> Option<Finished> {
        let now = self.now_ns.get();
        let done = self.under_way.iter().position(|(at, _)| *at <= now)?;
        Some(self.under_way.remove(done).1)
    }
}

impl Host<Ram> for Place {
    fn now(&mut self) -> Instant {
        Instant::from_ns(self.now_ns.get())
    }

    fn console_output(&mut self, _vm: VmIndex, _bytes: &[u8]) {}

    fn console_input(&mut self, _vm: VmIndex) -> Option<u8> {
        None
    }

    fn vm_ended(&mut self, _vcpu: VcpuIndex, _ending: &Ending, _dump: Option<&CpuState>) {}

    fn sibling_registers(&mut self, _vcpu: VcpuIndex, _registers: &CpuState) {}
}

/// Makes these exits, each at once, and then runs to each deadline.
struct Guest {
    now_ns: Rc<Cell<u64>>,
    script: Vec<ExitReason>,
    /// When it was entered, and what it got.
    entries: Vec<(u64, Entry)>,
}

impl VcpuBackend for Guest {
    fn enter(&mut self, entry: &Entry) -> Exit {
        let exit = |reason| Exit {
            reason,
            is_interrupt_flag_set: true,
            is_interruptible: true,
            cr8: 0,
            overhead_ns: 0,
            left_guest: true,
            has_more: false,
            tsc: None,
        };
        if entry.wants_tsc {
            return exit(ExitReason::Preempted);
        }
        self.entries.push((self.now_ns.get(), *entry));
        if !self.script.is_empty() {
            return exit(self.script.remove(0));
        }
        self.now_ns.set(self.now_ns.get().max(entry.deadline.as_ns()));
        exit(ExitReason::Preempted)
    }

    fn start_up(&mut self, _registers: &CpuState) {
        unreachable!("it has no siblings")
    }

    fn registers(&mut self) -> CpuState {
        CpuState::default()
    }
}

struct World {
    system: System<Ram>,
    place: Place,
    guests: [Guest; 2],
    ram: Ram,
}

/// A driver with a disk (the first VM), and a neighbour that always has work.
fn world(disk_ns: u64, work_ns: u64, script: Vec<ExitReason>) -> World {
    let kernel = || ImageSource::Builtin(String::from("os"));
    let mut vms = vec![VmPlan::plain(0, kernel()), VmPlan::plain(1, kernel())];
    let disk = DiskPlan { file: String::from("image"), bytes: 1 << 20, writes: Writes::Discard };
    vms[0].virtio.disks = vec![disk];
    let plan = Plan {
        slice_ns: SLICE_NS,
        on_switch: OnSwitch::Barriers,
        core: None,
        vms,
        links: Vec::new(),
        networks: Vec::new(),
    };
    let now_ns = Rc::new(Cell::new(0));
    let rams: Vec<_> = (0..2).map(|_| Ram(Rc::new(RefCell::new(vec![0; 0x2_0000])))).collect();
    let surroundings = Surroundings {
        now: Instant::ZERO,
        epoch_seconds: 0,
        tsc: TscClock { hz: 1_000_000_000, offset: 0 },
        physical_address_bits: 40,
    };
    let machine = |(vm, ram): (&_, &Ram)| (Machine::new(vm, surroundings.clone()), ram.clone());
    let machines = plan.vms.iter().zip(&rams).map(machine).collect();
    let system = System::new(&plan, machines, 0, Instant::ZERO);
    let guest = |script| Guest { now_ns: now_ns.clone(), script, entries: Vec::new() };
    let guests = [guest(script), guest(Vec::new())];
    let place = Place { now_ns, disk_ns, work_ns, under_way: Vec::new() };
    World { system, place, guests, ram: rams[0].clone() }
}

impl World {
    fn run_until(&mut self, end_ns: u64) {
        while self.place.now_ns.get() < end_ns {
            let next = self.system.next(&mut self.place);
            let Next::Run { vcpu, until } = next else { panic!("the neighbour can run") };
            self.system.turn(vcpu, until, &mut self.guests[vcpu.position()], &mut self.place);
        }
        let end = self.place.now();
        self.system.ledger.close(end);
    }

    /// Puts `count` reads of a sector into the ring.
    fn offer(&self, count: u16) {
        use crate::memory::GuestMemory;
        let put = |address: u64, bytes: &[u8]| assert!(self.ram.write(address, bytes));
        for n in 0..count {
            let header = REQUESTS + 32 * u64::from(n);
            put(header + 8, &u64::from(n).to_le_bytes());
            for (index, address, bytes, flags) in [
                (2 * n, header, 16_u32, 1_u16),
                // The status follows the data.
                (2 * n + 1, DATA + 0x400 * u64::from(n), 513, 2),
            ] {
                let at = TABLE + 16 * u64::from(index);
                put(at, &address.to_le_bytes());
                put(at + 8, &bytes.to_le_bytes());
                put(at + 12, &flags.to_le_bytes());
                put(at + 14, &(index + 1).to_le_bytes());
            }
            put(AVAILABLE + 4 + 2 * u64::from(n), &(2 * n).to_le_bytes());
        }
        put(AVAILABLE + 2, &count.to_le_bytes());
    }

    fn returned(&self) -> u16 {
        (self.ram.word_at(USED) >> 16) as u16
    }
}

fn store(address: u64, value: u64) -> ExitReason {
    ExitReason::MmioWrite { address, size: 4, value }
}

/// Sets the disk's queue up, routes its interrupt, and notifies.
fn driver() -> Vec<ExitReason> {
    let register = |offset, value| store(VIRTIO_BASE + offset, value);
    vec![
        // The local APIC on; the I/O APIC's pin 16: level-triggered.
        store(0xfee0_00f0, 0x1ff),
        store(0xfec0_0000, 0x10 + 2 * 16),
        store(0xfec0_0010, 1 << 15 | u64::from(VECTOR)),
        register(0x070, 3),
        register(0x024, 1),
        register(0x020, 1),
        register(0x070, 11),
        register(0x038, 64),
        register(0x080, TABLE),
        register(0x090, AVAILABLE),
        register(0x0a0, USED),
        register(0x044, 1),
        register(0x070, 15),
        register(0x050, 0),
    ]
}

#[test]
fn a_slow_disk_keeps_its_own_vm_waiting_alone() {
    const DISK_NS: u64 = 50 * MS;
    let script = [driver(), vec![ExitReason::Halt]].concat();
    let mut world = world(DISK_NS, 0, script);
    world.offer(1);
    world.run_until(100 * MS);
    assert_eq!(world.returned(), 1);
    let woken = world.guests[0].entries.iter().find(|(_, entry)| entry.inject.is_some());
    let (at, entry) = woken.expect("its interrupt came");
    assert_eq!(entry.inject, Some(Injection::Interrupt(VECTOR)));
    assert!((DISK_NS..DISK_NS + 2 * SLICE_NS).contains(at), "{at}");
    let neighbour = &world.system.ledger.vms[VmIndex(1)];
    assert!(neighbour.longest_blackout_ns <= SLICE_NS, "{}", neighbour.longest_blackout_ns);
    let own = &world.system.ledger.vms[VmIndex(0)];
    assert!(own.halted_ns >= DISK_NS - SLICE_NS, "it halts meanwhile: {}", own.halted_ns);
}

#[test]
fn a_reset_waits_for_what_is_under_way() {
    const DISK_NS: u64 = 50 * MS;
    let script = [driver(), vec![store(VIRTIO_BASE + 0x070, 0)]].concat();
    let mut world = world(DISK_NS, 0, script);
    world.offer(2);
    world.run_until(100 * MS);
    let entered: Vec<u64> = world.guests[0].entries.iter().map(|(at, _)| *at).collect();
    let last_before = entered.iter().rposition(|at| *at < DISK_NS).expect("it ran");
    assert_eq!(last_before + 1, driver().len() + 1, "not entered behind the reset");
    let next = entered.get(last_before + 1).expect("it goes on");
    assert!((DISK_NS..DISK_NS + 2 * SLICE_NS).contains(next), "{next}");
    assert_eq!(world.returned(), 0, "a queue that was reset gets nothing back");
}

#[test]
fn a_flood_of_requests_ends_with_the_turn_and_goes_on_in_the_next() {
    let script = [driver(), vec![ExitReason::Halt]].concat();
    let mut world = world(0, MS, script);
    world.offer(20);
    world.run_until(60 * MS);
    assert_eq!(world.returned(), 20);
    let neighbour = &world.system.ledger.vms[VmIndex(1)];
    let longest = neighbour.longest_blackout_ns;
    assert!(longest <= SLICE_NS + MS, "a slice and one request at most: {longest}");
}
