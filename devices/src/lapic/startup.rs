//! INIT, start-up and NMI: what stops and starts a processor (SDM vol. 3, 9.4, "Multiple-Processor
//! (MP) Initialization", and 11.4.7.3, "Local APIC State After It Receives an INIT Reset").

use super::{BASE_BOOTSTRAP, LocalApic};

/// What the owner must do to a processor before it enters the processor again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartEvent {
    /// Reset the processor as INIT does. It waits for a start-up, unless it is the bootstrap
    /// processor ([`LocalApic::is_waiting_for_startup`] is false): that one would run the
    /// firmware's reset code, so the owner resets the machine.
    Init,
    /// Reset the processor as INIT does, and run it in real mode from `vector` * 4096 (CS selector
    /// `vector` * 256, IP 0).
    StartUp {
        /// Bits 19-12 of the address of the first instruction.
        vector: u8,
    },
}

impl LocalApic {
    /// The processor does nothing until a start-up IPI.
    #[must_use]
    pub const fn is_waiting_for_startup(&self) -> bool {
        self.is_waiting
    }

    /// The last INIT or start-up since the last call. A start-up that follows an INIT replaces it.
    pub const fn take_start_event(&mut self) -> Option<StartEvent> {
        self.start_event.take()
    }

    /// An INIT or start-up has come since [`Self::take_start_event`].
    #[must_use]
    pub const fn has_start_event(&self) -> bool {
        self.start_event.is_some()
    }

    /// Takes a non-maskable interrupt. A processor that waits for a start-up keeps it until then:
    /// that state blocks NMIs (SDM vol. 3, "Activity State", wait-for-SIPI), and on Linux's KVM
    /// they stay pending. Vectored interrupts need no such rule, as the APIC of a processor that
    /// waits is disabled by software and drops them.
    pub(super) const fn accept_nmi(&mut self) {
        if self.is_waiting {
            self.has_held_nmi = true;
        } else {
            self.has_nmi = true;
        }
    }

    /// Takes an INIT. The APIC becomes as after power-up, except its ID and IA32_APIC_BASE, hence
    /// its mode; a pending NMI is lost, as on Linux's KVM (`kvm_vcpu_reset`).
    ///
    /// The bootstrap processor, which is the one whose IA32_APIC_BASE says so, does not wait, and
    /// its APIC is left to the reset of the machine.
    pub(super) fn accept_init(&mut self) {
        self.start_event = Some(StartEvent::Init);
        if self.base & BASE_BOOTSTRAP == 0 {
            self.is_waiting = true;
            self.has_nmi = false;
            self.has_held_nmi = false;
            self.reset();
        }
    }

    /// Takes a start-up IPI. A processor that does not wait ignores it, so the second of the two
    /// that software sends (SDM vol. 3, 9.4.4) does nothing.
    pub(super) const fn accept_startup(&mut self, vector: u8) {
        if self.is_waiting {
            self.is_waiting = false;
            self.has_nmi = self.has_held_nmi;
            self.has_held_nmi = false;
            self.start_event = Some(StartEvent::StartUp { vector });
        }
    }
}
