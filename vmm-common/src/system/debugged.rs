//! What ends a turn for a debugger.

use super::{Step, System};
use crate::Instant;
use crate::debugger::DebugEvent;
use crate::index::VcpuIndex;
use crate::ledger::Activity;
use crate::memory::GuestMemory;
use crate::seam::{Host, VcpuBackend};

impl<M: GuestMemory> System<M> {
    /// A vCPU has met what a debugger waits for: its turn is over.
    pub(super) fn debugged(&mut self, event: DebugEvent) -> Step {
        self.debug_event = Some(event);
        Step::SliceOver { in_guest: false }
    }

    /// A turn that the debugger gives to a vCPU of a VM that is held, until `until` at the latest.
    pub fn turn_of_held<B: VcpuBackend, H: Host<M>>(
        &mut self,
        vcpu: VcpuIndex,
        until: Instant,
        backend: &mut B,
        host: &mut H,
    ) {
        let (vm, now) = (vcpu.vm(), host.now());
        let is_held = self.is_held(vm);
        if matches!(self.ledger.activity(), Activity::Idle) {
            self.ledger.core_turns_to(Activity::Switching, now);
        }
        if is_held {
            // Its holders stay: it is let go for this turn alone.
            self.scheduler.released(vm);
            self.ledger.released(vm, now);
            self.wake(vcpu, now);
        }
        // No time has passed since it was chosen.
        self.chosen_at = now;
        self.turn(vcpu, until, backend, host);
        if is_held && self.vms[vm].ending.is_none() {
            self.scheduler.held(vm);
            self.ledger.end_stretch();
            self.ledger.held(vm, host.now());
        }
    }

    /// What the turn that has just ended met, if a debugger waits for that.
    pub fn take_debug_event(&mut self) -> Option<DebugEvent> {
        self.debug_event.take()
    }
}
