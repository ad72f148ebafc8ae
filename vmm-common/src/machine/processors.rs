//! The processors' side of a machine: what each may take next, and which one has the core.

use super::{Events, Machine, Processors, StartEvent};
use crate::Instant;

/// What the processor that has the core ([`Machine::select`]) takes.
impl Machine {
    /// Whether the next entry may differ from the one before in more than its reply, as of
    /// [`Machine::take_attention`].
    #[must_use]
    #[inline]
    pub const fn has_attention(&self) -> bool {
        self.interrupts.has_attention()
    }

    /// The loop builds the entry now: clears attention.
    #[inline]
    pub const fn take_attention(&mut self) {
        self.interrupts.take_attention();
    }

    /// Whether the processor should be interrupted.
    #[must_use]
    pub fn has_interrupt(&self) -> bool {
        self.interrupts.has_interrupt()
    }

    /// The interrupt the processor takes now; None if it was withdrawn.
    pub fn acknowledge(&mut self) -> Option<u8> {
        let vector = self.interrupts.acknowledge();
        self.timers.deliver_late(&mut self.interrupts);
        vector
    }

    /// Takes the pending non-maskable interrupt, if any.
    pub fn take_nmi(&mut self) -> bool {
        self.interrupts.take_nmi()
    }

    /// Whether a non-maskable interrupt may come by itself: the I/O APIC alone sends them to a
    /// processor that executes nothing.
    #[must_use]
    pub fn can_raise_nmi(&self) -> bool {
        self.interrupts.can_raise_nmi()
    }

    /// Task priority, CR8\[3:0\]. Without a local APIC it is a register that does nothing.
    #[must_use]
    pub fn cr8(&self) -> u8 {
        self.interrupts.cr8()
    }

    /// The guest's CR8 is now this.
    #[inline]
    pub fn set_cr8(&mut self, cr8: u8) {
        self.interrupts.set_cr8(cr8);
    }

    /// The priority class of a request that CR8 alone holds back, 0 if there is none: the processor
    /// takes it once CR8 is below.
    #[must_use]
    pub fn tpr_threshold(&self) -> u8 {
        self.interrupts.tpr_threshold()
    }

    /// Whether there is a local APIC that IA32_APIC_BASE enables.
    #[must_use]
    pub fn is_apic_enabled(&self) -> bool {
        self.interrupts.is_apic_enabled()
    }
}

/// Processors that share the machine.
impl Machine {
    /// `processor`, which exists, gets the core: what follows is said of it, and done by it.
    #[inline]
    pub const fn select(&mut self, processor: u32) {
        let processor = processor as usize;
        self.current = processor;
        self.interrupts.select(processor);
        self.clock.select(processor);
    }

    /// What the interrupt controllers have for a processor.
    #[must_use]
    pub fn events_for(&self, processor: u32) -> Events {
        self.interrupts.events_for(processor as usize)
    }

    /// Whether a processor waits for its start-up IPI (SDM vol. 3, 9.4.1).
    #[must_use]
    pub fn is_waiting_for_startup(&self, processor: u32) -> bool {
        self.interrupts.is_waiting_for_startup(processor as usize)
    }

    /// Takes the INIT or start-up IPI that has come for the processor. Its clock page and steal
    /// time are published no more, as Linux's KVM has it (kvm_vcpu_reset).
    pub fn take_start_event(&mut self) -> Option<StartEvent> {
        let event = self.interrupts.take_start_event()?;
        self.clock.stop_publishing();
        Some(event)
    }

    /// The processors that the others have sent something since the last call.
    pub const fn take_called(&mut self) -> Processors {
        self.interrupts.take_called()
    }

    /// When a device other than another processor's timer next does something.
    #[must_use]
    pub fn own_deadline(&self) -> Instant {
        let timers = self.timers.own_deadline(&self.interrupts);
        self.clock.host_time(timers.min(self.keyboard_deadline()))
    }
}
