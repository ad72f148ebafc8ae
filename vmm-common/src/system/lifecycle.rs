//! A VM that is held does not run: the operator has paused it, or it stands in the debugger. Its
//! neighbours do not notice; what comes for it waits in its devices.

use super::{Restart, System};
use crate::Instant;
use crate::index::VmIndex;
use crate::memory::GuestMemory;
use crate::vm::Vm;

/// Who keeps a VM from running. It goes on once none does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holder {
    /// The console's key, or the control socket.
    Operator,
    /// Its debugger.
    Debugger,
}

/// The holders of a VM.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Holders(u8);

impl Holders {
    const fn bit(holder: Holder) -> u8 {
        match holder {
            Holder::Operator => 1 << 0,
            Holder::Debugger => 1 << 1,
        }
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether `holder` is one.
    #[must_use]
    pub const fn contains(self, holder: Holder) -> bool {
        self.0 & Self::bit(holder) != 0
    }
}

/// When it is looked next whether something can wake a VM that halts, and whether a timer was to
/// end the halt at the last look.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SleepLook {
    pub due: Instant,
    pub has_timer: bool,
}

impl Default for SleepLook {
    fn default() -> Self {
        Self { due: Instant::ZERO, has_timer: true }
    }
}

/// What becomes of a VM from outside.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Life {
    pub holders: Holders,
    /// How far it has come on its way to a new beginning; None while its guest runs.
    pub restart: Option<Restart>,
    /// What it had waited or been held, and the host had taken, when it began, ns.
    pub before_ns: (u64, u64),
    /// It was told that nothing can wake it.
    pub has_told_sleep: bool,
    /// The last look whether something can.
    pub sleep_look: SleepLook,
}

impl<M> Vm<M> {
    /// Whether it has a guest: it has not ended, and is not on its way to a new beginning.
    pub(crate) const fn has_guest(&self) -> bool {
        self.ending.is_none() && self.life.restart.is_none()
    }
}

impl<M: GuestMemory> System<M> {
    /// Between turns: keeps `vm` from running until `holder` releases it. Does nothing to one that
    /// has ended.
    pub fn hold(&mut self, vm: VmIndex, holder: Holder, now: Instant) {
        if self.vms[vm].ending.is_some() {
            return;
        }
        let was_free = self.vms[vm].life.holders.is_empty();
        self.vms[vm].life.holders.0 |= Holders::bit(holder);
        if was_free {
            self.scheduler.held(vm);
            self.ledger.end_stretch();
            self.ledger.held(vm, now);
        }
    }

    /// Between turns: `holder` lets `vm` go on. Does nothing if `holder` does not hold it.
    pub fn release(&mut self, vm: VmIndex, holder: Holder, now: Instant) {
        let holders = &mut self.vms[vm].life.holders;
        let was_held = !holders.is_empty();
        holders.0 &= !Holders::bit(holder);
        if was_held && holders.is_empty() {
            self.scheduler.released(vm);
            self.ledger.released(vm, now);
            // One that has nothing to do sleeps on.
            self.vcpus_of(vm).for_each(|vcpu| self.wake(vcpu, now));
        }
    }

    /// Whether `vm` is kept from running.
    #[must_use]
    pub fn is_held(&self, vm: VmIndex) -> bool {
        !self.holders(vm).is_empty()
    }

    /// Who keeps `vm` from running.
    #[must_use]
    pub fn holders(&self, vm: VmIndex) -> Holders {
        self.vms[vm].life.holders
    }
}
