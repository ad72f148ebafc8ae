//! Wake-up preemption: a VM that wakes may run before its place in the ring.
//!
//! A jump is charged to the quantum that the VM is granted next, of which it may run a quarter in
//! advance. So no VM gets more than its quantum a lap, and shares stay what they are: only the
//! order changes. What each turn of the ring suffers is bounded too: while a VM holds its turn,
//! jumps and the switches for them take at most an eighth of its quantum, one jump at most half of
//! that, and there are at most [`MAX_JUMPS`] of them. A VM that may not jump waits for its place.

use crate::Instant;
use crate::index::VmIndex;

/// Jumps in one turn of the ring.
const MAX_JUMPS: u32 = 32;
/// No jump is shorter: the switch to it would take as long.
pub(super) const LEAST_JUMP_NS: u64 = 10_000;

/// Jumps into the turn of the VM that holds it, and the one under way.
#[derive(Clone, Debug)]
pub(super) struct Jumps {
    /// The VM with the turn.
    holder: usize,
    /// When the last jump ends; the time that the holder runs moves it on.
    end: Instant,
    left: u32,
    /// How long one may last, ns.
    longest_ns: u64,
    /// The VM that jumps, and when its jump ends.
    running: Option<(VmIndex, Instant)>,
    /// The holder runs, and a jump may interrupt it.
    pub may_interrupt: bool,
    /// Wake-ups until now, and jumps.
    wakes: u64,
    jumps: u64,
}

/// What jumps and the switches for them may take while a VM with this quantum holds its turn, ns.
pub(crate) const fn allowance_ns(quantum_ns: u64) -> u64 {
    let allowance_ns = quantum_ns / 8;
    if allowance_ns < LEAST_JUMP_NS { 0 } else { allowance_ns }
}

/// What a VM with this quantum may run before it is granted, ns.
pub(crate) const fn advance_ns(quantum_ns: u64) -> u64 {
    quantum_ns / 4
}

impl Jumps {
    pub const fn new() -> Self {
        Self {
            holder: usize::MAX,
            end: Instant::ZERO,
            left: 0,
            longest_ns: 0,
            running: None,
            may_interrupt: false,
            wakes: 0,
            jumps: 0,
        }
    }

    /// `holder` gets the turn, with a grant of `quantum_ns`.
    pub fn begin_turn(&mut self, holder: usize, quantum_ns: u64, now: Instant) {
        let all_ns = allowance_ns(quantum_ns);
        self.holder = holder;
        self.end = now.after_ns(all_ns);
        self.left = MAX_JUMPS;
        self.longest_ns = all_ns.div_ceil(2);
        self.running = None;
    }

    /// Whether a VM may jump into `holder`'s turn now.
    pub fn is_open(&self, holder: usize, now: Instant) -> bool {
        self.holder == holder && self.left > 0 && now.after_ns(LEAST_JUMP_NS) <= self.end
    }

    /// `vm` jumps, for `most_ns` at most. When its jump ends.
    pub fn begin(&mut self, vm: VmIndex, most_ns: u64, now: Instant) -> Instant {
        let end = now.after_ns(most_ns.min(self.longest_ns)).min(self.end);
        self.left -= 1;
        self.jumps += 1;
        self.running = Some((vm, end));
        end
    }

    /// The jump under way, if it lasts for a while yet.
    pub fn running(&self, now: Instant) -> Option<(VmIndex, Instant)> {
        self.running.filter(|(_, end)| now.after_ns(LEAST_JUMP_NS) <= *end)
    }

    /// The jump of `vm`, if it is under way, is over.
    pub fn end(&mut self, vm: VmIndex) {
        self.running = self.running.filter(|(running, _)| *running != vm);
    }

    /// `vm` ran for `ns`: if that was no jump, it does not count as one.
    pub fn ran(&mut self, vm: VmIndex, ns: u64) {
        if self.running.is_none_or(|(running, _)| running != vm) {
            self.end = self.end.after_ns(ns);
        }
    }

    /// Jumps until now.
    pub const fn count(&self) -> u64 {
        self.jumps
    }

    /// The number of a wake-up: VMs jump in this order.
    pub const fn next_wake(&mut self) -> u64 {
        self.wakes += 1;
        self.wakes
    }

    /// How long a VM that wakes another runs on: it may bring more.
    pub const fn grace_ns(&self) -> u64 {
        self.longest_ns
    }
}
