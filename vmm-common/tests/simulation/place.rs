//! The place where the simulated core stands: a virtual clock, consoles, and accounts of its own
//! against which the ledger is held.

use crate::seed::Random;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use vmm_common::Instant;
use vmm_common::backing::Backing;
use vmm_common::control::Change;
use vmm_common::diagnosis::Dump;
use vmm_common::index::{VcpuIndex, VmIndex};
use vmm_common::memory::NoMemory;
use vmm_common::seam::Host;
use vmm_common::switch_on::Beginning;
use vmm_common::vm::Ending;

/// Reading the clock takes this long at most, ns.
pub const MAX_READ_NS: u64 = 40;

/// The longest that a host takes the core at a time, ns.
const MAX_STALL_NS: u64 = 300_000_000;

/// The virtual clock, which guests and host share, and what both note on it.
#[derive(Debug)]
pub struct Clock {
    now: Cell<Instant>,
    random: Random,
    /// Who left the core's guest mode last, and when it had been entered.
    leaving: Cell<Option<(usize, Instant)>>,
    /// The loop decides anew: its next reading is the time it decides by.
    is_deciding: Cell<bool>,
    /// The time by which the loop decided last.
    basis: Cell<Instant>,
    /// The host takes the core at one reading of the clock in so many; at none if 0.
    stalls_once_in: Cell<u64>,
    /// What it has taken, ns.
    taken_ns: Cell<u64>,
    vms: RefCell<Vec<VmClock>>,
}

/// What the clock notes of each VM.
#[derive(Clone, Copy, Debug, Default)]
struct VmClock {
    guest_ns: u64,
    handled_at: Instant,
    has_ended: bool,
}

impl Clock {
    pub fn new(random: &Random, vms: usize) -> Rc<Self> {
        let begin = Instant::from_ns(random.below(1_000_000));
        Rc::new(Self {
            now: Cell::new(begin),
            random: random.fork(),
            leaving: Cell::new(None),
            is_deciding: Cell::new(true),
            basis: Cell::new(begin),
            stalls_once_in: Cell::new(0),
            taken_ns: Cell::new(0),
            vms: RefCell::new(vec![VmClock::default(); vms]),
        })
    }

    pub fn now(&self) -> Instant {
        self.now.get()
    }

    pub fn pass(&self, ns: u64) {
        self.now.set(self.now().after_ns(ns));
    }

    /// Sleeps until `until` at least.
    pub fn sleep_until(&self, until: Instant) {
        self.now.set(self.now().max(until));
    }

    /// From now on the host takes the core for up to `MAX_STALL_NS` now and then.
    pub fn stall_once_in(&self, readings: u64) {
        self.stalls_once_in.set(readings);
    }

    /// Whether the host may take the core at any reading.
    pub fn may_stall(&self) -> bool {
        self.stalls_once_in.get() > 0
    }

    /// What the host has taken, ns.
    pub fn taken_ns(&self) -> u64 {
        self.taken_ns.get()
    }

    /// The loop is about to decide.
    pub fn decide(&self) {
        self.is_deciding.set(true);
    }

    /// The time by which the loop decided what the guest is entered with.
    pub fn basis(&self) -> Instant {
        self.basis.get()
    }

    /// The guest of `vm`, entered at `since`, is left.
    pub fn leave_guest(&self, vm: usize, since: Instant) {
        self.leaving.set(Some((vm, since)));
        self.decide();
    }

    /// Time the guest of `vm` had the core, ns.
    pub fn guest_ns(&self, vm: usize) -> u64 {
        self.vms.borrow()[vm].guest_ns
    }

    /// When the loop saw the last exit of `vm`.
    pub fn handled_at(&self, vm: usize) -> Instant {
        self.vms.borrow()[vm].handled_at
    }

    pub fn has_ended(&self, vm: usize) -> bool {
        self.vms.borrow()[vm].has_ended
    }

    fn read(&self) -> Instant {
        self.pass(self.random.below(MAX_READ_NS + 1));
        let once_in = self.stalls_once_in.get();
        if once_in > 0 && self.random.once_in(once_in) {
            let stall_ns = 1 + self.random.below(MAX_STALL_NS);
            self.taken_ns.set(self.taken_ns() + stall_ns);
            self.pass(stall_ns);
        }
        let now = self.now();
        if let Some((vm, since)) = self.leaving.take() {
            let vm = &mut self.vms.borrow_mut()[vm];
            vm.guest_ns += now.ns_since(since);
            vm.handled_at = now;
        }
        if self.is_deciding.replace(false) {
            self.basis.set(now);
        }
        now
    }
}

/// The simulated host.
#[derive(Debug)]
pub struct SimulatedHost {
    clock: Rc<Clock>,
    /// What each VM printed.
    pub printed: Vec<Vec<u8>>,
    /// What is yet to be typed for each VM, and when.
    pub typing: Vec<VecDeque<(Instant, u8)>>,
    /// How each VM ended.
    pub endings: Vec<Option<Ending>>,
    beginnings: Vec<Beginning<'static>>,
}

impl SimulatedHost {
    pub fn new(clock: Rc<Clock>, beginnings: Vec<Beginning<'static>>) -> Self {
        let vms = beginnings.len();
        Self {
            beginnings,
            clock,
            printed: vec![Vec::new(); vms],
            typing: vec![VecDeque::new(); vms],
            endings: vec![None; vms],
        }
    }

    /// When the next key is struck that no VM has been offered; those struck before now wait for
    /// the guest to make room.
    pub fn next_key(&self) -> Option<Instant> {
        let now = self.clock.now();
        let next =
            |keys: &VecDeque<(Instant, u8)>| keys.iter().map(|(at, _)| *at).find(|at| *at > now);
        self.typing.iter().filter_map(next).min()
    }
}

impl Backing<NoMemory> for SimulatedHost {}

impl vmm_common::screen::Viewer for SimulatedHost {}

impl Host<NoMemory> for SimulatedHost {
    fn now(&mut self) -> Instant {
        self.clock.read()
    }

    fn taken_ns(&mut self, _now: Instant) -> u64 {
        self.clock.taken_ns()
    }

    fn console_output(&mut self, VmIndex(vm): VmIndex, bytes: &[u8]) {
        assert!(!bytes.is_empty(), "output of nothing");
        self.printed[vm].extend_from_slice(bytes);
    }

    fn console_input(&mut self, VmIndex(vm): VmIndex) -> Option<u8> {
        assert!(self.endings[vm].is_none(), "VM {vm} has ended and reads keys");
        let (at, byte) = *self.typing[vm].front()?;
        if at > self.clock.now() {
            return None;
        }
        self.typing[vm].pop_front();
        Some(byte)
    }

    fn sibling_ended(&mut self, _vcpu: VcpuIndex, _dump: &Dump) {}

    fn vm_sleeps(&mut self, _vm: VmIndex, _why: &str) {}

    fn beginning(&self, VmIndex(vm): VmIndex) -> Option<&Beginning<'_>> {
        self.beginnings.get(vm)
    }

    fn vm_changed(&mut self, VmIndex(vm): VmIndex, change: Change) {
        if change == Change::Restarted {
            self.endings[vm] = None;
            self.clock.vms.borrow_mut()[vm].has_ended = false;
        }
    }

    fn vm_ended(&mut self, vcpu: VcpuIndex, ending: &Ending, dump: Option<&Dump>) {
        let VmIndex(vm) = vcpu.vm();
        assert_eq!(self.endings[vm], None, "VM {vm} ends twice");
        assert_eq!(
            dump.is_some(),
            ending.deserves_dump(vmm_common::plan::Outcomes::default()),
            "{ending:?}"
        );
        self.endings[vm] = Some(ending.clone());
        self.clock.vms.borrow_mut()[vm].has_ended = true;
    }
}
