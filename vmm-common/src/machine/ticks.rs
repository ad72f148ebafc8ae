//! Ticks that are late. An interrupt controller holds one request of a line; a guest that did not have
//! the core for some periods of its timer would lose the others. Here each waits until the one before it has
//! been taken, so a guest that counts ticks counts all of them. The local APIC's timer does the same
//! for itself.

use super::Machine;
use super::interrupts::{IO_APIC_TIMER_PIN, IRQ_TIMER};

/// Pulses that came due and were not made yet.
#[derive(Clone, Debug, Default)]
pub(super) struct LateTicks {
    /// Of the 8254's channel 0.
    pub(super) of_pit: u64,
    /// Of each HPET timer.
    pub(super) of_hpet: [u64; devices::hpet::TIMERS],
}

impl LateTicks {
    /// A control word for channel 0 begins anew; latching a count does not.
    pub(super) const fn pit_is_written(&mut self, port: u16, value: u8) {
        const CONTROL: u16 = 0x43;
        const CHANNEL: u8 = 0b1100_0000;
        const ACCESS: u8 = 0b0011_0000;
        if port == CONTROL && value & CHANNEL == 0 && value & ACCESS != 0 {
            self.of_pit = 0;
        }
    }

    fn is_empty(&self) -> bool {
        self.of_pit == 0 && self.of_hpet.iter().all(|ticks| *ticks == 0)
    }
}

/// What a pulse on a line would do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Line {
    /// Ask for an interrupt of its own.
    Free,
    /// Nothing that the guest could tell from the pulse before, which it has not taken.
    Busy,
    /// Nothing: nobody listens.
    Unheard,
}

impl Machine {
    /// Makes the pulses for which the line is free.
    pub(super) fn deliver_late_ticks(&mut self) {
        if self.late_ticks.is_empty() {
            return;
        }
        if self.late_ticks.of_pit > 0 {
            match self.line(IO_APIC_TIMER_PIN, Some(IRQ_TIMER)) {
                Line::Busy => {}
                line => {
                    self.set_irq(IRQ_TIMER, false);
                    self.set_irq(IRQ_TIMER, true);
                    let left = self.late_ticks.of_pit - 1;
                    self.late_ticks.of_pit = if line == Line::Free { left } else { 0 };
                }
            }
        }
        for timer in 0..devices::hpet::TIMERS {
            self.deliver_hpet_tick(timer);
        }
        self.carry_messages();
    }

    fn deliver_hpet_tick(&mut self, timer: usize) {
        let late = self.late_ticks.of_hpet[timer];
        let Some((pin, irq)) = self.hpet_routes[timer].filter(|_| late > 0) else { return };
        match self.line(pin, irq) {
            Line::Busy => {}
            line => {
                self.set_hpet_line(pin, irq, false);
                self.set_hpet_line(pin, irq, true);
                self.set_hpet_line(pin, irq, false);
                self.late_ticks.of_hpet[timer] = if line == Line::Free { late - 1 } else { 0 };
            }
        }
    }

    /// What a pulse would do at this pin of the I/O APIC, and at this line of the 8259 pair.
    fn line(&self, pin: u8, irq: Option<u8>) -> Line {
        let irq = irq.filter(|_| self.hears_pic());
        let of_pic = irq.map_or(Line::Unheard, |irq| match self.pic.is_unmasked(irq) {
            true if self.pic.is_waiting(irq) => Line::Busy,
            true => Line::Free,
            false => Line::Unheard,
        });
        let vector = self.io_apic.as_ref().and_then(|io_apic| io_apic.edge_vector(pin));
        let of_apic = match (vector, &self.local_apic) {
            (Some(vector), Some(apic)) if apic.is_requested(vector) => Line::Busy,
            (Some(_), Some(_)) => Line::Free,
            (None, _) | (_, None) => Line::Unheard,
        };
        match (of_pic, of_apic) {
            (Line::Busy, _) | (_, Line::Busy) => Line::Busy,
            (Line::Unheard, Line::Unheard) => Line::Unheard,
            _ => Line::Free,
        }
    }
}
