//! How the interrupt lines run.
//!
//! ```text
//! PIT 0 ---------------- IRQ0 --+--> 8259 pair --INTR--> LINT0 of the local APIC, or the processor
//! COM2, COM4 ----------- IRQ3 --+
//! COM1, COM3 ----------- IRQ4 --+
//! RTC ------------------ IRQ8 --+
//!      IRQn also to pin n of the I/O APIC (IRQ0 to pin 2) --messages--> local APIC
//! HPET timers: in place of IRQ0 and IRQ8, or to the I/O APIC pins that the guest chose
//! ```

use super::Machine;
use crate::Instant;
use crate::seam::TscReading;
use devices::lapic::TscClock;

pub(super) const IRQ_TIMER: u8 = 0;
const IRQ_KEYBOARD: u8 = 1;
const IRQ_COM2: u8 = 3;
const IRQ_COM1: u8 = 4;
const IRQ_RTC: u8 = 8;
/// IRQ0 is wired to this pin of the I/O APIC, as on every PC.
pub(super) const IO_APIC_TIMER_PIN: u8 = 2;

impl Machine {
    /// Whether the processor should be interrupted.
    #[must_use]
    pub fn has_interrupt(&self) -> bool {
        self.has_external_interrupt()
            || self.local_apic.as_ref().is_some_and(|local_apic| local_apic.has_interrupt())
    }

    /// The interrupt the processor takes now; None if it vanished meanwhile.
    pub fn acknowledge(&mut self) -> Option<u8> {
        let vector = if self.has_external_interrupt() {
            Some(self.pic.acknowledge())
        } else {
            self.local_apic.as_mut().and_then(|local_apic| local_apic.acknowledge())
        };
        self.deliver_late_ticks();
        vector
    }

    /// Takes the non-maskable interrupt that waits, if one does.
    pub fn take_nmi(&mut self) -> bool {
        self.local_apic.as_mut().is_some_and(|local_apic| local_apic.take_nmi())
    }

    /// Takes a reading of the guest's time-stamp counter: the local APIC's deadline and the guest's
    /// clock page follow it from now on.
    pub fn set_tsc(&mut self, reading: TscReading) {
        let at = self.own(reading.at);
        let since_zero = TscClock { hz: reading.hz, offset: 0 }.tsc_at(at);
        let tsc = TscClock { hz: reading.hz, offset: reading.tsc.wrapping_sub(since_zero) };
        self.is_tsc_moved = false;
        self.paravirtual.set_tsc(reading.tsc, at, tsc.hz);
        if let Some(local_apic) = &mut self.local_apic {
            local_apic.set_tsc_clock(tsc);
            self.find_deadline();
        }
    }

    /// Whether a non-maskable interrupt may come by itself: the I/O APIC alone sends them to a
    /// processor that executes nothing.
    #[must_use]
    pub fn can_raise_nmi(&self) -> bool {
        self.local_apic.is_some() && self.io_apic.as_ref().is_some_and(|apic| apic.can_raise_nmi())
    }

    /// Whether a non-maskable interrupt waits.
    #[must_use]
    pub fn has_nmi(&self) -> bool {
        self.local_apic.as_ref().is_some_and(|local_apic| local_apic.has_nmi())
    }

    /// Task priority, CR8\[3:0\]. Without a local APIC it is a register that does nothing.
    #[must_use]
    pub fn cr8(&self) -> u8 {
        self.local_apic.as_ref().map_or(self.idle_cr8, |local_apic| local_apic.cr8())
    }

    /// The guest's CR8 is now this.
    pub fn set_cr8(&mut self, cr8: u8) {
        match &mut self.local_apic {
            Some(local_apic) if local_apic.cr8() != cr8 => local_apic.set_cr8(cr8),
            Some(_) => {}
            None => self.idle_cr8 = cr8,
        }
    }

    /// The priority class of a request that CR8 alone holds back, 0 if there is none: the processor
    /// takes it once CR8 is below.
    #[must_use]
    pub fn tpr_threshold(&self) -> u8 {
        self.local_apic.as_ref().map_or(0, |local_apic| local_apic.held_back_class())
    }

    /// Whether there is a local APIC that IA32_APIC_BASE enables.
    #[must_use]
    pub fn is_apic_enabled(&self) -> bool {
        self.local_apic.as_ref().is_some_and(|local_apic| local_apic.is_hardware_enabled())
    }

    fn has_external_interrupt(&self) -> bool {
        self.hears_pic() && self.pic.has_interrupt()
    }

    /// Whether the processor gets the 8259 pair's interrupts.
    pub(super) fn hears_pic(&self) -> bool {
        self.local_apic.as_ref().is_none_or(|apic| apic.accepts_external())
    }

    /// Follows up an access to any device but a serial port.
    pub(super) fn after_access(&mut self, now: Instant) {
        self.sample_pins(now);
        self.find_deadline();
    }

    /// Carries the level of every pin to the interrupt controllers, and messages on from there.
    pub(super) fn sample_pins(&mut self, now: Instant) {
        self.set_irq(IRQ_KEYBOARD, self.keyboard.pin());
        self.carry_serial_pins();
        self.sample_timers(now);
        self.carry_messages();
    }

    /// The same for the serial ports alone, which is what most exits are about.
    pub fn sample_serial_pins(&mut self) {
        if self.carry_serial_pins() {
            self.carry_messages();
        }
    }

    /// True if a level changed.
    fn carry_serial_pins(&mut self) -> bool {
        let pin = |n: usize| self.serial[n].as_ref().is_some_and(|port| port.pin());
        let levels = [pin(0) || pin(2), pin(1) || pin(3)];
        let before = core::mem::replace(&mut self.serial_levels, levels);
        if before == levels {
            return false;
        }
        let [com1, com2] = levels;
        self.set_irq(IRQ_COM1, com1);
        self.set_irq(IRQ_COM2, com2);
        true
    }

    fn sample_timers(&mut self, now: Instant) {
        self.carry_clock_pin();
        self.sample_hpet();
        self.take_ticks(now);
        self.deliver_late_ticks();
    }

    /// The clock's level, unless the HPET has its line.
    pub(super) fn carry_clock_pin(&mut self) {
        if !self.hpet.as_ref().is_some_and(|hpet| hpet.is_legacy_replacement()) {
            self.set_irq(IRQ_RTC, self.rtc.pin());
        }
    }

    fn sample_hpet(&mut self) {
        for timer in 0..devices::hpet::TIMERS {
            let Some(hpet) = &self.hpet else { return };
            let ((pin, level), legacy) = (hpet.line(timer), hpet.legacy_irq(timer));
            // A timer that is routed elsewhere lets go of the line it held.
            let route = pin.map(|pin| (pin, legacy));
            let before = core::mem::replace(&mut self.hpet_routes[timer], route);
            if let Some((pin, legacy)) = before.filter(|_| before != route) {
                self.set_hpet_line(pin, legacy, false);
            }
            if let Some(pin) = pin {
                self.set_hpet_line(pin, legacy, level);
            }
        }
    }

    pub(super) fn set_hpet_line(&mut self, pin: u8, legacy: Option<u8>, level: bool) {
        if let Some(irq) = legacy {
            self.pic.set_line(irq, level);
        }
        if let Some(io_apic) = &mut self.io_apic {
            io_apic.set_line(pin, level);
        }
    }

    pub(super) fn set_irq(&mut self, irq: u8, level: bool) {
        self.pic.set_line(irq, level);
        if let Some(io_apic) = &mut self.io_apic {
            let pin = if irq == IRQ_TIMER { IO_APIC_TIMER_PIN } else { irq };
            io_apic.set_line(pin, level);
        }
    }

    /// Messages from the I/O APIC to the local APIC, ends of interrupts the other way.
    pub(super) fn carry_messages(&mut self) {
        let Some(local_apic) = &mut self.local_apic else { return };
        let Some(io_apic) = &mut self.io_apic else {
            while local_apic.take_eoi().is_some() {}
            return;
        };
        while let Some(vector) = local_apic.take_eoi() {
            io_apic.end_of_interrupt(vector);
        }
        // A level that no local APIC takes is offered again at the next access, which may be the
        // one that changes the destination, LDR, DFR, SVR or the APIC's base.
        let mut first = 0;
        while let Some(message) = io_apic.next_message(first) {
            if local_apic.take_message(&message) {
                io_apic.accepted(&message);
            }
            first = message.pin + 1;
        }
    }
}
