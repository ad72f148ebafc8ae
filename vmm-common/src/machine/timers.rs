//! What makes pulses as time passes: 8254, clock, HPET and the local APIC's timer.
//!
//! Each counts its ticks, so that sampling late misses none. One mechanism keeps those that are
//! pending: a [`Backlog`] for each [`Source`], by the rules described there;
//! [`Timers::deliver_late`] makes the next one as soon as its line is free.

use super::interrupts::{Interrupts, Line};
use alloc::vec;
use alloc::vec::Vec;
use devices::backlog::{Backlog, Ticks};
use devices::hpet::{Hpet, TIMERS};
use devices::lapic::LocalApic;
use devices::pit::Pit;
use devices::rtc::{MemorySizes, Rtc};
use devices::time::{MachineTime, RunTime};

/// What makes periodic ticks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    Pit,
    Hpet(usize),
    Rtc,
    /// Of this processor.
    LocalApic(usize),
}

impl Source {
    /// Those that are not local APICs.
    const SHARED: usize = 2 + TIMERS;

    const fn index(self) -> usize {
        match self {
            Self::Pit => 0,
            Self::Hpet(timer) => 1 + timer,
            Self::Rtc => 1 + TIMERS,
            Self::LocalApic(processor) => Self::SHARED + processor,
        }
    }

    const fn at(index: usize) -> Self {
        match index {
            0 => Self::Pit,
            1..=TIMERS => Self::Hpet(index - 1),
            Self::SHARED.. => Self::LocalApic(index - Self::SHARED),
            _ => Self::Rtc,
        }
    }
}

/// A machine's timers.
#[derive(Debug)]
pub(super) struct Timers {
    pit: Pit,
    rtc: Rtc,
    hpet: Option<Hpet>,
    /// What each HPET timer drove last.
    hpet_lines: [Option<Line>; TIMERS],
    /// Ticks that are due and not made yet, by [`Source::index`].
    late: Vec<Backlog>,
    /// Some of them may be pending: where none is, most accesses need not look.
    is_behind: bool,
    /// The guest's run time as of the last look.
    run_time: RunTime,
}

impl Timers {
    pub fn new(
        (epoch_seconds, memory): (u64, MemorySizes),
        has_hpet: bool,
        processors: u8,
        now: MachineTime,
    ) -> Self {
        Self {
            pit: Pit::new(now),
            rtc: Rtc::new(epoch_seconds, memory),
            hpet: has_hpet.then(Hpet::new),
            hpet_lines: [None; TIMERS],
            late: vec![Backlog::default(); Source::SHARED + usize::from(processors)],
            is_behind: false,
            run_time: RunTime::ZERO,
        }
    }

    pub const fn pit(&mut self) -> &mut Pit {
        &mut self.pit
    }

    pub const fn rtc(&mut self) -> &mut Rtc {
        &mut self.rtc
    }

    pub const fn hpet(&mut self) -> Option<&mut Hpet> {
        self.hpet.as_mut()
    }

    pub const fn hpet_state(&self) -> Option<&Hpet> {
        self.hpet.as_ref()
    }

    /// Whether the 8254 and the clock will do something.
    pub fn has_deadlines(&self) -> [bool; 2] {
        [self.pit.deadline().is_some(), self.rtc.deadline().is_some()]
    }

    /// Brings every timer to `now`.
    pub fn advance(&mut self, now: MachineTime, interrupts: &mut Interrupts) {
        self.pit.advance(now);
        self.rtc.advance(now);
        if let Some(hpet) = &mut self.hpet {
            hpet.advance(now);
        }
        for local_apic in interrupts.local_apics() {
            local_apic.advance(now);
        }
    }

    /// The next deadline of a timer.
    pub fn deadline(&self, interrupts: &Interrupts) -> MachineTime {
        let local_apics = interrupts.all_states().iter().filter_map(LocalApic::deadline);
        local_apics.fold(self.shared_deadline(), Ord::min)
    }

    /// The same without the timers of other processors than the current one.
    pub fn own_deadline(&self, interrupts: &Interrupts) -> MachineTime {
        let local_apic = interrupts.local_apic_state().and_then(LocalApic::deadline);
        local_apic.into_iter().fold(self.shared_deadline(), Ord::min)
    }

    /// Of those that no processor owns.
    #[inline(never)]
    fn shared_deadline(&self) -> MachineTime {
        let hpet = self.hpet.as_ref().and_then(Hpet::deadline);
        let deadlines = [self.pit.deadline(), self.rtc.deadline(), hpet].into_iter().flatten();
        deadlines.fold(MachineTime::FAR_FUTURE, Ord::min)
    }

    /// Carries levels to the controllers, takes what has come due by `now`, and makes the ticks for
    /// which a line is free.
    pub fn sample(&mut self, now: MachineTime, run_time: RunTime, interrupts: &mut Interrupts) {
        self.carry_clock_pin(interrupts);
        self.sample_hpet(interrupts);
        self.take_ticks(now, run_time, interrupts);
        self.deliver_late(interrupts);
    }

    /// Makes the ticks for which the line is free.
    pub fn deliver_late(&mut self, interrupts: &mut Interrupts) {
        if self.is_behind {
            self.make_ticks(interrupts);
        }
    }

    #[inline(never)]
    fn make_ticks(&mut self, interrupts: &mut Interrupts) {
        for index in 0..self.late.len() {
            let is_due = self.late[index].is_due(self.run_time);
            if is_due && self.make_tick(Source::at(index), interrupts) {
                self.late[index].made(self.run_time);
            }
        }
        self.is_behind = !self.late.iter().all(Backlog::is_empty);
        interrupts.carry_messages();
    }

    /// Ticks that were dropped, as the guest was too far behind.
    pub fn dropped_ticks(&self) -> u64 {
        self.late.iter().map(Backlog::dropped).sum()
    }

    /// Makes a tick, if it would be a separate interrupt.
    fn make_tick(&mut self, source: Source, interrupts: &mut Interrupts) -> bool {
        match source {
            Source::Pit if interrupts.is_line_free(Line::TIMER) => {
                interrupts.set_line(Line::TIMER, false);
                interrupts.set_line(Line::TIMER, true);
                true
            }
            Source::Hpet(timer) => {
                let line = self.hpet_lines[timer].filter(|line| interrupts.is_line_free(*line));
                let Some(line) = line else { return false };
                interrupts.set_line(line, false);
                interrupts.set_line(line, true);
                interrupts.set_line(line, false);
                true
            }
            // Register C, once read, is the line that has become free; the pin has fallen by then.
            Source::Rtc if self.rtc.is_period_read() => {
                self.rtc.show_period();
                self.carry_clock_pin(interrupts);
                true
            }
            Source::LocalApic(processor) => {
                let local_apic = interrupts.local_apics().get_mut(processor);
                let Some(local_apic) = local_apic.filter(|apic| apic.is_timer_free()) else {
                    return false;
                };
                local_apic.request_timer_tick();
                true
            }
            Source::Pit | Source::Rtc => false,
        }
    }

    /// The clock's level, unless the HPET has its line.
    fn carry_clock_pin(&self, interrupts: &mut Interrupts) {
        if !self.is_replaced() {
            interrupts.set_line(Line::RTC, self.rtc.pin());
        }
    }

    fn sample_hpet(&mut self, interrupts: &mut Interrupts) {
        let Some(hpet) = &self.hpet else { return };
        for (timer, before) in self.hpet_lines.iter_mut().enumerate() {
            let (pin, level) = hpet.line(timer);
            let line = pin.map(|pin| Line { pin, irq: hpet.legacy_irq(timer) });
            // A rerouted timer releases its old line.
            if let Some(left) = before.filter(|_| *before != line) {
                interrupts.set_line(left, false);
            }
            if let Some(line) = line {
                interrupts.set_line(line, level);
            }
            *before = line;
        }
    }

    /// Takes from every timer what has come due by `now`.
    fn take_ticks(&mut self, now: MachineTime, run_time: RunTime, interrupts: &mut Interrupts) {
        self.run_time = run_time;
        // Drained always: while the HPET has the lines, these two are not connected.
        let pit = self.pit.take_ticks(now);
        let rtc = self.rtc.take_ticks();
        self.owe(Source::Pit, Some(pit).filter(|_| !self.is_replaced()));
        self.owe(Source::Rtc, Some(rtc));
        for (processor, local_apic) in interrupts.local_apics().iter_mut().enumerate() {
            let ticks = local_apic.take_timer_ticks();
            self.owe(Source::LocalApic(processor), Some(ticks));
        }
        if let Some(hpet) = &mut self.hpet {
            for (timer, ticks) in hpet.take_ticks().into_iter().enumerate() {
                self.owe(Source::Hpet(timer), self.hpet_lines[timer].map(|_| ticks));
            }
        }
    }

    /// None: the source is not connected, and nothing is pending.
    fn owe(&mut self, source: Source, ticks: Option<Ticks>) {
        let late = &mut self.late[source.index()];
        match ticks {
            Some(ticks) => {
                self.is_behind |= ticks.count > 0;
                late.add(ticks, self.run_time);
            }
            None => late.clear(),
        }
    }

    fn is_replaced(&self) -> bool {
        self.hpet.as_ref().is_some_and(Hpet::is_legacy_replacement)
    }
}

#[cfg(test)]
mod tests;
