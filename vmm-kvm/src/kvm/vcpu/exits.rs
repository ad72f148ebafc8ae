//! Decodes KVM_RUN's exits and hands them out in parts: batched writes, then the
//! exit itself, element by element if it is a string.

use super::KvmVcpu;
use crate::kvm::run_page::{self, PortString};
use crate::kvm::tsc;
use kvm_bindings as kvm;
use vmm_common::architecture::msr::IA32_TIME_STAMP_COUNTER;
use vmm_common::seam::{Exit, ExitReason, Fault, Reply};

/// What is still to be handed out of the last exit.
#[derive(Clone, Copy, Debug)]
pub(super) enum Pending {
    Nothing,
    /// Batched writes come first; then the exit itself.
    Exit,
    /// Accesses of a string from this one on.
    String {
        string: PortString,
        next: u32,
    },
}

impl KvmVcpu {
    /// Hands out the next part of the last exit.
    pub(super) fn next_part(&mut self) -> Option<Exit> {
        let (reason, left_guest) = match self.pending {
            Pending::Nothing => return None,
            Pending::Exit => match self.batch.next(&mut self.fd) {
                Some(write) => return Some(self.exit(write, false, false)),
                None => {
                    self.pending = Pending::Nothing;
                    (self.decode(), true)
                }
            },
            Pending::String { string, next } => (self.string_element(string, next), false),
        };
        let is_last = match self.pending {
            Pending::Nothing => true,
            // The last IN of a string is answered by the entry that goes back to the guest.
            Pending::String { string, next } => string.is_in && next + 1 == string.count,
            Pending::Exit => false,
        };
        Some(self.exit(reason, left_guest, is_last))
    }

    /// The exit's reason; a string of port accesses becomes pending.
    fn decode(&mut self) -> ExitReason {
        let run = self.fd.get_kvm_run();
        match run.exit_reason {
            kvm::KVM_EXIT_IO => {
                let string = run_page::port_string(run);
                self.begin_string(string)
            }
            kvm::KVM_EXIT_MMIO => {
                let (address, data, size, is_write) = run_page::mmio(run);
                let value = u64::from_le_bytes(data);
                match is_write {
                    true => ExitReason::MmioWrite { address, size, value },
                    false => ExitReason::MmioRead { address, size },
                }
            }
            kvm::KVM_EXIT_X86_RDMSR => ExitReason::MsrRead { index: run_page::msr(run).0 },
            kvm::KVM_EXIT_X86_WRMSR => {
                let (index, value) = run_page::msr(run);
                if index == IA32_TIME_STAMP_COUNTER {
                    // The loop gets this exit, too; what KVM refuses here, it would have refused
                    // before.
                    let _ = tsc::write(&self.fd, value);
                }
                ExitReason::MsrWrite { index, value }
            }
            // A guest that single-steps gets its #DB after HLT, which ends it.
            kvm::KVM_EXIT_HLT => match self.has_pending_exception() {
                true => ExitReason::Preempted,
                false => ExitReason::Halt,
            },
            kvm::KVM_EXIT_DEBUG => {
                let (exception, dr6) = run_page::debug(run);
                super::debug::event(exception, dr6)
            }
            kvm::KVM_EXIT_SHUTDOWN => ExitReason::Shutdown,
            kvm::KVM_EXIT_IRQ_WINDOW_OPEN => ExitReason::InterruptWindow,
            kvm::KVM_EXIT_INTR | kvm::KVM_EXIT_SET_TPR => ExitReason::Preempted,
            kvm::KVM_EXIT_FAIL_ENTRY => {
                let reason = run_page::entry_failure(run);
                ExitReason::Fault(Fault::EntryFailed { reason })
            }
            kvm::KVM_EXIT_INTERNAL_ERROR => {
                let code = run_page::internal_error(run);
                self.unless_breakpoint(Fault::CannotEmulate { code })
            }
            exit => ExitReason::Fault(Fault::Unexpected { exit }),
        }
    }

    /// KVM delivers an exception at the next entry.
    fn has_pending_exception(&self) -> bool {
        let events = self.fd.get_vcpu_events().unwrap_or_default();
        events.exception.injected != 0 || events.exception.pending != 0
    }

    fn begin_string(&mut self, string: PortString) -> ExitReason {
        if string.count == 0 {
            return ExitReason::Preempted;
        }
        self.pending = Pending::String { string, next: 0 };
        self.string_element(string, 0)
    }

    /// Access `index` of a string: an IN needs a reply, an OUT is complete.
    fn string_element(&mut self, string: PortString, index: u32) -> ExitReason {
        let PortString { port, size, .. } = string;
        if string.is_in {
            return ExitReason::PortIn { port, size };
        }
        let mut value = [0; 4];
        let data = string.element(&mut self.fd, index);
        value[..data.len()].copy_from_slice(data);
        self.batch.wrote(port, size);
        self.advance_string();
        ExitReason::PortOut { port, size, value: u32::from_le_bytes(value) }
    }

    fn advance_string(&mut self) {
        if let Pending::String { string, next } = &mut self.pending {
            *next += 1;
            if *next >= string.count {
                self.pending = Pending::Nothing;
            }
        }
    }

    /// Puts the answer where KVM_RUN will look for it.
    pub(super) fn answer(&mut self, reply: Reply) {
        match self.pending {
            Pending::Nothing => {}
            // Batched writes need no answer, and the exit after them was not handed out yet.
            Pending::Exit => return,
            Pending::String { string, next } => {
                if let (true, Reply::Value(value)) = (string.is_in, reply) {
                    let data = string.element(&mut self.fd, next);
                    data.copy_from_slice(&value.to_le_bytes()[..data.len()]);
                    self.advance_string();
                }
                return;
            }
        }
        let run = self.fd.get_kvm_run();
        let is_msr = matches!(run.exit_reason, kvm::KVM_EXIT_X86_RDMSR | kvm::KVM_EXIT_X86_WRMSR);
        match reply {
            Reply::Value(value) if is_msr => run_page::set_msr_answer(run, Some(value)),
            Reply::Value(value) => run_page::set_mmio_data(run, value.to_le_bytes()),
            Reply::GeneralProtection => run_page::set_msr_answer(run, None),
            Reply::None if is_msr => run_page::set_msr_answer(run, Some(0)),
            // KVM answers CPUID from the table it was given.
            Reply::None => {}
        }
    }
}

/// The next KVM_RUN completes the instruction, which may raise an exception: KVM delivers
/// that, and drops an interrupt queued before it.
pub(super) const fn is_unfinished(reason: &ExitReason) -> bool {
    use ExitReason::{MmioRead, MsrRead, MsrWrite, PortIn, PortOut};
    match reason {
        // A guest that single-steps gets its #DB then.
        PortIn { .. } | PortOut { .. } => true,
        MmioRead { .. } | MsrRead { .. } | MsrWrite { .. } => true,
        _ => false,
    }
}
