//! Single steps for a debugger. SVM has no trap behind an instruction: the guest runs with
//! RFLAGS.TF set, which is taken back at every exit, so that only PUSHF, and what is pushed for an
//! exception of the instruction, show it.

use super::loaded::SvmGuest;
use crate::guest::vendor::Resume;
use metal::architecture::rflags;
use metal::cpu;

/// Ticks of the TSC for which an exception's handler runs, whose delivery comes before the step.
const HANDLER_TICKS: u64 = 10_000;

impl SvmGuest<'_> {
    /// Before an entry that is to execute one instruction; when it ends at the latest.
    pub(super) fn begin_step(&mut self, resume: &Resume) -> u64 {
        self.state.own_dr6 = self.vmcb.state().dr6;
        self.state.is_tf_ours = false;
        if !self.state.traps.steps {
            return resume.deadline;
        }
        if self.has_pending_event() {
            // What is pushed for it must not have the flag.
            return resume.deadline.min(cpu::tsc().wrapping_add(HANDLER_TICKS));
        }
        let flags = &mut self.vmcb.state_mut().rflags;
        let is_tf_ours = *flags & rflags::TF == 0;
        *flags |= rflags::TF;
        self.state.is_tf_ours = is_tf_ours;
        resume.deadline
    }

    /// Behind it.
    pub(super) fn end_step(&mut self) {
        if self.state.is_tf_ours {
            self.vmcb.state_mut().rflags &= !rflags::TF;
        }
    }
}
