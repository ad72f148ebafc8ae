//! Guests that do what a script says, and the host that they run on.

use super::Ram;
use crate::Instant;
use crate::backing::{Backing, DiskIndex, Finished, Progress, Request, Status};
use crate::control::Change;
use crate::diagnosis::Dump;
use crate::index::{VcpuIndex, VmIndex};
use crate::machine::Machine;
use crate::plan::{OnSwitch, Plan, VmPlan};
use crate::registers::CpuState;
use crate::scheduler::Next;
use crate::seam::{Entry, Exit, ExitReason, Host, VcpuBackend};
use crate::switch_on::Beginning;
use crate::system::System;
use crate::vm::Ending;
use alloc::rc::Rc;
use alloc::vec;
use alloc::vec::Vec;
use core::cell::{Cell, RefCell};

pub const SLICE_NS: u64 = 5_000_000;
pub const MS: u64 = 1_000_000;

/// The host: a clock, and a disk.
pub struct Place {
    pub now_ns: Rc<Cell<u64>>,
    /// How long the disk takes, and how long the host works for a request.
    pub disk_ns: u64,
    pub work_ns: u64,
    /// What VMs begin with, if they can be restarted.
    pub beginnings: Vec<Beginning<'static>>,
    /// What has become of VMs.
    pub changes: RefCell<Vec<(VmIndex, Change)>>,
    under_way: Vec<(u64, Finished)>,
}

impl Backing<Ram> for Place {
    fn disk(&mut self, disk: DiskIndex, request: &Request<'_>, _memory: &Ram) -> Progress {
        let mebibytes = request.operation.transferred().unwrap_or(0).div_ceil(1 << 20);
        self.now_ns.set(self.now_ns.get() + self.work_ns * mebibytes.max(1));
        if self.disk_ns == 0 {
            return Progress::Done(Status::Ok);
        }
        let (operation, token) = (request.operation, request.token);
        let finished = Finished { disk, operation, token, status: Status::Ok };
        self.under_way.push((self.now_ns.get() + self.disk_ns, finished));
        Progress::UnderWay
    }

    fn random(&mut self, to: &mut [u8]) {
        self.now_ns.set(self.now_ns.get() + self.work_ns);
        to.fill(0x5d);
    }

    fn next_finished(&mut self) -> Option<Finished> {
        let now = self.now_ns.get();
        let done = self.under_way.iter().position(|(at, _)| *at <= now)?;
        Some(self.under_way.remove(done).1)
    }
}

impl crate::screen::Viewer for Place {}

impl Host<Ram> for Place {
    fn now(&mut self) -> Instant {
        Instant::from_ns(self.now_ns.get())
    }

    fn console_output(&mut self, _vm: VmIndex, _bytes: &[u8]) {}

    fn console_input(&mut self, _vm: VmIndex) -> Option<u8> {
        None
    }

    fn beginning(&self, VmIndex(vm): VmIndex) -> Option<&Beginning<'_>> {
        self.beginnings.get(vm)
    }

    fn vm_changed(&mut self, vm: VmIndex, change: Change) {
        self.changes.get_mut().push((vm, change));
    }

    fn vm_ended(&mut self, _vcpu: VcpuIndex, _ending: &Ending, _dump: Option<&Dump>) {}

    fn sibling_ended(&mut self, _vcpu: VcpuIndex, _dump: &Dump) {}

    fn vm_sleeps(&mut self, _vm: VmIndex, _why: &str) {}
}

/// Makes these exits, each at once, and then runs to each deadline.
pub struct Guest {
    now_ns: Rc<Cell<u64>>,
    pub script: Vec<ExitReason>,
    /// How many of the script's last exits are parts of one.
    pub parts: usize,
    /// When it was entered, and what it got.
    pub entries: Vec<(u64, Entry)>,
    /// It has been started up.
    pub is_started: bool,
    /// What it has been powered on with, each time.
    pub powered_on: Vec<CpuState>,
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
            let reason = self.script.remove(0);
            let has_more = (1..self.parts).contains(&self.script.len());
            return Exit { has_more, ..exit(reason) };
        }
        self.now_ns.set(self.now_ns.get().max(entry.deadline.as_ns()));
        exit(ExitReason::Preempted)
    }

    fn power_on(&mut self, registers: &CpuState) {
        self.powered_on.push(*registers);
    }

    fn start_up(&mut self, _registers: &CpuState) {
        self.is_started = true;
    }

    fn registers(&mut self) -> CpuState {
        CpuState::default()
    }
}

/// What runs on one core: a guest for each vCPU.
pub struct World {
    pub system: System<Ram>,
    pub place: Place,
    pub guests: Vec<Guest>,
    pub rams: Vec<Ram>,
}

impl World {
    /// These VMs, whose vCPUs do what `scripts` say; disks take `disk_ns`, and the host `work_ns`
    /// for each request.
    pub fn new(
        vms: Vec<VmPlan>,
        scripts: Vec<Vec<ExitReason>>,
        (disk_ns, work_ns): (u64, u64),
    ) -> Self {
        let plan = Plan {
            slice_ns: SLICE_NS,
            on_switch: OnSwitch::Barriers,
            core: None,
            vms,
            links: Vec::new(),
            networks: Vec::new(),
        };
        let now_ns = Rc::new(Cell::new(0));
        let ram = |_: &VmPlan| Ram(Rc::new(RefCell::new(vec![0; 0x10_0000])));
        let rams: Vec<_> = plan.vms.iter().map(ram).collect();
        let machine =
            |(vm, ram): (&_, &Ram)| (Machine::new(vm, super::surroundings()), ram.clone());
        let machines = plan.vms.iter().zip(&rams).map(machine).collect();
        let system = System::new(&plan, machines, 0, Instant::ZERO);
        let guest = |script| Guest {
            now_ns: now_ns.clone(),
            script,
            parts: 0,
            entries: Vec::new(),
            is_started: false,
            powered_on: Vec::new(),
        };
        let guests = scripts.into_iter().map(guest).collect();
        let place = Place {
            now_ns,
            disk_ns,
            work_ns,
            beginnings: Vec::new(),
            changes: RefCell::default(),
            under_way: Vec::new(),
        };
        Self { system, place, guests, rams }
    }

    /// The next vCPU has its turn.
    pub fn turn(&mut self) -> VcpuIndex {
        let next = self.system.next(&mut self.place);
        let Next::Run { vcpu, until } = next else { panic!("one can run") };
        self.system.turn(vcpu, until, &mut self.guests[vcpu.position()], &mut self.place);
        vcpu
    }

    pub fn run_until(&mut self, end_ns: u64) {
        while self.place.now_ns.get() < end_ns {
            self.turn();
        }
        let end = self.place.now();
        self.system.ledger.close(end);
    }
}

/// A store of 4 bytes to a device.
pub fn store(address: u64, value: u64) -> ExitReason {
    ExitReason::MmioWrite { address, size: 4, value }
}
