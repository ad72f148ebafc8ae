//! What an operator asks of a VM that runs: by keys, or by the control socket. A request is a value
//! that the host hands over between turns.

use crate::Instant;
use crate::index::VmIndex;
use crate::memory::GuestMemory;
use crate::seam::Host;
use crate::system::{Holder, System};

/// What a VM shall do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VmRequest {
    /// Not run, until it is resumed.
    Pause,
    /// Go on.
    Resume,
    /// Pause if it runs, resume if it is paused.
    PauseOrResume,
    /// Begin anew.
    Restart,
    /// End.
    Stop,
    /// Take a non-maskable interrupt.
    Nmi,
    /// Show its registers, and go on.
    Dump,
}

/// What has become of a VM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It is paused.
    Paused,
    /// It goes on.
    Resumed,
    /// It begins anew.
    Restarted,
    /// It would begin anew, but has done so as often as it may, `times` within `within_ns`.
    GivenUp {
        /// How often.
        times: u32,
        /// Within how long, ns.
        within_ns: u64,
    },
}

/// Why a request was not carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The VM has ended, and only a restart is possible.
    HasEnded,
    /// This target cannot begin a VM anew.
    CannotRestart,
    /// A debugger has stopped the VM.
    InDebugger,
}

impl core::fmt::Display for Refusal {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::HasEnded => "it has ended; only restart is possible",
            Self::CannotRestart => "it cannot be restarted on this target",
            Self::InDebugger => "it stands in its debugger: continue or detach there first",
        })
    }
}

/// Why a VM was stopped, on the console and in the receipt.
pub const STOPPED: &str = "by the operator";

impl<M: GuestMemory> System<M> {
    /// Between turns: carries out a request.
    ///
    /// # Errors
    /// Why it was not.
    pub fn carry_out<H: Host<M>>(
        &mut self,
        vm: VmIndex,
        request: VmRequest,
        host: &mut H,
    ) -> Result<(), Refusal> {
        let now = host.now();
        self.begin(now);
        if request == VmRequest::Restart {
            if self.holders(vm).contains(Holder::Debugger) {
                return Err(Refusal::InDebugger);
            }
            let is_begun = self.restart(vm, host);
            return if is_begun { Ok(()) } else { Err(Refusal::CannotRestart) };
        }
        if self.vms[vm].ending.is_some() {
            return Err(Refusal::HasEnded);
        }
        match request {
            VmRequest::Restart => {}
            VmRequest::Pause => self.pause(vm, now, host),
            VmRequest::Resume => self.resume(vm, now, host),
            VmRequest::PauseOrResume if self.holders(vm).contains(Holder::Operator) => {
                self.resume(vm, now, host);
            }
            VmRequest::PauseOrResume => self.pause(vm, now, host),
            VmRequest::Stop => self.stop_vm(self.vcpu(vm, 0), STOPPED, None, host),
            VmRequest::Nmi => self.interrupt_unmaskably(vm, now),
            VmRequest::Dump => self.show(vm),
        }
        Ok(())
    }

    fn pause<H: Host<M>>(&mut self, vm: VmIndex, now: Instant, host: &mut H) {
        if !self.holders(vm).contains(Holder::Operator) {
            self.hold(vm, Holder::Operator, now);
            host.vm_changed(vm, Change::Paused);
        }
    }

    fn resume<H: Host<M>>(&mut self, vm: VmIndex, now: Instant, host: &mut H) {
        if self.holders(vm).contains(Holder::Operator) {
            self.release(vm, Holder::Operator, now);
            host.vm_changed(vm, Change::Resumed);
        }
    }

    /// The first processor takes a non-maskable interrupt, as by a chassis' button.
    fn interrupt_unmaskably(&mut self, vm: VmIndex, now: Instant) {
        let first = self.vcpu(vm, 0);
        self.vms[vm].parts(first).1.has_nmi = true;
        self.wake(first, now);
    }
}
