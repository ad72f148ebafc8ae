//! Late ticks of the machine's timers. The devices count, a [`Backlog`] for each keeps what is owed
//! by the rules told there, and this file finds out whether a line is free for the next tick.

use super::Machine;
use super::interrupts::{IO_APIC_TIMER_PIN, IRQ_TIMER};
use crate::Instant;
use devices::backlog::Backlog;
use devices::hpet::TIMERS;

/// Ticks that came due and were not made yet.
#[derive(Clone, Debug, Default)]
pub(super) struct LateTicks {
    /// Of the 8254's channel 0.
    pub(super) pit: Backlog,
    /// Of each HPET timer.
    pub(super) hpet: [Backlog; TIMERS],
    /// Of the clock's periodic interrupt.
    pub(super) rtc: Backlog,
    /// Of the local APIC's timer.
    pub(super) local_apic: Backlog,
    /// The guest's own time, which stands while it waits for the core, as of the last look.
    pub(super) own_time: Instant,
}

impl LateTicks {
    fn all(&self) -> impl Iterator<Item = &Backlog> {
        [&self.pit, &self.rtc, &self.local_apic].into_iter().chain(&self.hpet)
    }
}

impl Machine {
    /// Ticks of periodic timers that were dropped, as the guest was too far behind.
    #[must_use]
    pub fn dropped_ticks(&self) -> u64 {
        self.late_ticks.all().map(Backlog::dropped).sum()
    }

    /// Takes from every timer what has come due by `now`.
    pub(super) fn take_ticks(&mut self, now: Instant) {
        let own_time = Instant::from_ns(now.as_ns().saturating_sub(self.not_run_ns));
        self.late_ticks.own_time = own_time;
        let is_replaced = self.hpet.as_ref().is_some_and(|hpet| hpet.is_legacy_replacement());
        // Taken in any case: while the HPET has the lines, these two are not connected.
        let (pit, rtc) = (self.pit.take_ticks(now), self.rtc.take_ticks());
        if is_replaced {
            self.late_ticks.pit.clear();
        } else {
            self.late_ticks.pit.add(pit, own_time);
        }
        self.late_ticks.rtc.add(rtc, own_time);
        if let Some(local_apic) = &mut self.local_apic {
            self.late_ticks.local_apic.add(local_apic.take_timer_ticks(), own_time);
        }
        if let Some(hpet) = &mut self.hpet {
            let ticks = hpet.take_ticks();
            for ((late, ticks), route) in
                self.late_ticks.hpet.iter_mut().zip(ticks).zip(self.hpet_routes)
            {
                match route {
                    Some(_) => late.add(ticks, own_time),
                    None => late.clear(),
                }
            }
        }
    }

    /// Makes the ticks for which the line is free.
    pub(super) fn deliver_late_ticks(&mut self) {
        if self.late_ticks.all().all(Backlog::is_empty) {
            return;
        }
        let own_time = self.late_ticks.own_time;
        if self.late_ticks.pit.is_due(own_time)
            && self.is_line_free(IO_APIC_TIMER_PIN, Some(IRQ_TIMER))
        {
            self.set_irq(IRQ_TIMER, false);
            self.set_irq(IRQ_TIMER, true);
            self.late_ticks.pit.made(own_time);
        }
        for timer in 0..TIMERS {
            self.deliver_hpet_tick(timer);
        }
        // Register C, once read, is the line that has become free; the pin has fallen by then.
        if self.late_ticks.rtc.is_due(own_time) && self.rtc.is_period_read() {
            self.rtc.show_period();
            self.carry_clock_pin();
            self.late_ticks.rtc.made(own_time);
        }
        if let Some(local_apic) = &mut self.local_apic
            && self.late_ticks.local_apic.is_due(own_time)
            && local_apic.is_timer_free()
        {
            local_apic.request_timer_tick();
            self.late_ticks.local_apic.made(own_time);
        }
        self.carry_messages();
    }

    fn deliver_hpet_tick(&mut self, timer: usize) {
        let own_time = self.late_ticks.own_time;
        let is_due = self.late_ticks.hpet[timer].is_due(own_time);
        let Some((pin, irq)) = self.hpet_routes[timer].filter(|_| is_due) else { return };
        if self.is_line_free(pin, irq) {
            self.set_hpet_line(pin, irq, false);
            self.set_hpet_line(pin, irq, true);
            self.set_hpet_line(pin, irq, false);
            self.late_ticks.hpet[timer].made(own_time);
        }
    }

    /// Whether a pulse at this pin of the I/O APIC, and at this line of the 8259 pair, would be an
    /// interrupt of its own. Of the two, the one that the guest left masked does not count: its
    /// request may stay pending for ever. Where both are masked the 8259 latches one edge (IRR;
    /// 8259A datasheet, "Interrupt Request Register") and the I/O APIC none.
    fn is_line_free(&self, pin: u8, irq: Option<u8>) -> bool {
        let at_pic = irq.filter(|_| self.hears_pic());
        let is_latched = at_pic.is_some_and(|irq| self.pic.is_latched(irq));
        let at_pic_unmasked = at_pic.is_some_and(|irq| self.pic.is_unmasked(irq));
        let at_io_apic = self.io_apic.as_ref().and_then(|io_apic| io_apic.unmasked_vector(pin));
        match (at_pic_unmasked, at_io_apic) {
            (true, None) => !is_latched,
            (is_unmasked, Some(vector)) => {
                let is_requested =
                    self.local_apic.as_ref().is_some_and(|apic| apic.is_requested(vector));
                !(is_requested || is_unmasked && is_latched)
            }
            (false, None) => at_pic.is_some() && !is_latched,
        }
    }
}

#[cfg(test)]
mod tests;
