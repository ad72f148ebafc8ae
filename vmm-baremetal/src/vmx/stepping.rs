//! Single steps for a debugger: the guest runs with RFLAGS.TF set, which is taken back at every
//! exit, so that only PUSHF, and what is pushed for an exception of the instruction, show it. The
//! monitor trap flag would hide it from these, too, but Bochs has none to try it with.

use super::loaded::{BLOCKED_BY_STI_OR_MOV_SS, SINGLE_STEP, VmxGuest};
use crate::guest::vendor::Event;
use metal::architecture::rflags;
use metal::cpu;
use metal::vmx::field::Field;
use vmm_common::debugger::{DR6_SINGLE_STEP, DebugEvent};

/// Ticks of the TSC for which an exception's handler runs, whose delivery comes before the step.
const HANDLER_TICKS: u64 = 10_000;

/// Interruptibility: by STI.
const BLOCKED_BY_STI: u64 = 1 << 0;

impl VmxGuest<'_> {
    /// Before an entry that is to execute one instruction; when it ends at the latest.
    pub(super) fn begin_step(&mut self, has_event: bool, deadline: u64) -> u64 {
        let flags = self.vmcs.read(Field::GuestRflags);
        self.state.is_tf_ours = !has_event && flags & rflags::TF == 0;
        if has_event {
            // What is pushed for it must not have the flag.
            return deadline.min(cpu::tsc().wrapping_add(HANDLER_TICKS));
        }
        self.vmcs.write(Field::GuestRflags, flags | rflags::TF);
        // No interrupt comes in a step: the shadow of STI has nothing to hold back. That of MOV SS
        // has, and an entry demands the pending step then (SDM vol. 3, 27.3.1.5).
        self.unblock(BLOCKED_BY_STI);
        if self.state.interruptibility & BLOCKED_BY_STI_OR_MOV_SS != 0 {
            self.step();
        }
        deadline
    }

    /// Behind it: whether the exit came in place of the #DB that was pending.
    pub(super) fn end_step(&mut self) -> bool {
        if !self.state.is_tf_ours {
            return false;
        }
        let flags = self.vmcs.read(Field::GuestRflags);
        self.vmcs.write(Field::GuestRflags, flags & !rflags::TF);
        let pending = self.vmcs.read(Field::GuestPendingDebug);
        self.vmcs.write(Field::GuestPendingDebug, pending & !SINGLE_STEP);
        pending & SINGLE_STEP != 0
    }

    /// The event behind an instruction: the step is over, unless the event says more.
    pub(super) fn or_stepped(&self, event: Event) -> Event {
        match event {
            Event::Handled | Event::HostInterrupt | Event::Deadline => {
                Event::Debug(DebugEvent::Debug { dr6: DR6_SINGLE_STEP })
            }
            event => event,
        }
    }
}
