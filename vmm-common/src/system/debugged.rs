//! What ends a turn for a debugger.

use super::{Step, System};
use crate::debugger::DebugEvent;
use crate::memory::GuestMemory;

impl<M: GuestMemory> System<M> {
    /// A vCPU has met what a debugger waits for: its turn is over.
    pub(super) fn debugged(&mut self, event: DebugEvent) -> Step {
        self.debug_event = Some(event);
        Step::SliceOver { in_guest: false }
    }

    /// What the turn that has just ended met, if a debugger waits for that.
    pub fn take_debug_event(&mut self) -> Option<DebugEvent> {
        self.debug_event.take()
    }
}
