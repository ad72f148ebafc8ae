//! What a guest that polls a serial port's line status does with the core: the whole policy.
//!
//! On one core, the peer that a guest polls for cannot run meanwhile. So a guest that finds one
//! status twice in quick succession, with nothing received or no room to send, *spins* and yields
//! its turn; after a thousand such polls it *dozes* for half a millisecond at a time, so that
//! an idle prompt does not burn the core. The few polls that a driver makes in passing, before
//! other work, are no spinning, nor are polls with work between them.
//!
//! The loop reports each access to a serial port ([`Polling::saw`]) and acts on the [`Verdict`].

use crate::index::Com;
use crate::plan::SERIAL_PORTS;
use crate::seam::Exit;

/// A guest dozes after this many polls in a row.
const DOZE_POLLS: u32 = 1024;
/// How long a doze lasts unless a byte ends it, ns. Not longer: a guest may count its polls.
pub const DOZE_NS: u64 = 500_000;
/// Polls further apart than this many typical exits are no spinning: the guest does something in
/// between.
const SPIN_GAP_EXITS: u64 = 8;
/// Such work cancels this many polls.
const WORK_WORTH_POLLS: u32 = 8;
/// A guest that polls more often than this before other work is waiting.
const MOST_IN_PASSING: u32 = 8;
/// LSR, and its bits Data Ready and Transmitter Holding Register Empty (PC16550D, section 8.4).
const LINE_STATUS: u8 = 5;
const IDLE_LINE: u8 = 1 << 0 | 1 << 5;

/// What a guest's last access shows of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It makes progress.
    Work,
    /// It waits for what another VM may bring.
    Spin,
    /// It has waited so long that it should sleep for [`DOZE_NS`], or until a byte comes.
    Doze,
}

/// An access to a serial port's register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access {
    /// The port.
    pub com: Com,
    /// What was read there, and the register; None for a write, and for a wider access.
    pub read: Option<(u8, u8)>,
    /// The access moved a byte to the guest, or made room for one of its own.
    pub has_found: bool,
}

/// The polls of one vCPU.
#[derive(Clone, Debug, Default)]
pub struct Polling {
    ports: [Polls; SERIAL_PORTS],
    /// Polls in a row, close together, by a guest that spins.
    spins: u32,
    /// Guest time since the last access to a serial port, ns.
    gap_ns: u64,
}

/// Reads of one port's LSR in a row with nothing else between them.
#[derive(Clone, Copy, Debug, Default)]
struct Polls {
    status: u8,
    /// How many found `status`, with nothing received or no room to send.
    count: u32,
    /// The most that this guest has made before it went on by itself.
    in_passing: u32,
}

impl Polling {
    /// The guest ran for `guest_ns`.
    #[inline]
    pub const fn ran(&mut self, guest_ns: u64) {
        self.gap_ns += guest_ns;
    }

    /// The guest has accessed a port in a way that can bring it nothing.
    #[inline]
    pub fn goes_on(&mut self, com: Com) {
        self.ports[com].end();
    }

    /// The guest has made an access to a port.
    pub fn saw(&mut self, access: Access, cost: &ExitCost) -> Verdict {
        let gap_ns = core::mem::take(&mut self.gap_ns);
        let polls = &mut self.ports[access.com];
        match access.read {
            Some((LINE_STATUS, status)) => polls.add(status),
            Some(_) | None => polls.end(),
        }
        if access.has_found {
            polls.count = 0;
        }
        if !polls.is_spinning() {
            self.spins = 0;
            return Verdict::Work;
        }
        let longest_gap_ns = cost.typical_ns().unwrap_or(0).saturating_mul(SPIN_GAP_EXITS);
        if gap_ns > longest_gap_ns {
            self.spins = self.spins.saturating_sub(WORK_WORTH_POLLS);
            return Verdict::Work;
        }
        self.spins = self.spins.saturating_add(1);
        if self.spins >= DOZE_POLLS { Verdict::Doze } else { Verdict::Spin }
    }

    /// A byte, or room for one, has come from outside: the polls are over. True if the guest was
    /// spinning for it.
    pub fn found(&mut self) -> bool {
        self.ports.iter_mut().for_each(|polls| polls.count = 0);
        core::mem::take(&mut self.spins) > 0
    }
}

impl Polls {
    const fn add(&mut self, status: u8) {
        if status & IDLE_LINE == IDLE_LINE {
            self.count = 0;
        } else if status == self.status {
            self.count = self.count.saturating_add(1);
        } else {
            self.count = 1;
        }
        self.status = status;
    }

    /// The guest does something else.
    #[inline]
    const fn end(&mut self) {
        if self.count <= MOST_IN_PASSING && self.count > self.in_passing {
            self.in_passing = self.count;
        }
        self.count = 0;
    }

    /// A driver that looks for a key and then for room before each character it sends does not.
    const fn is_spinning(&self) -> bool {
        self.count >= 2 && self.count > self.in_passing
    }
}

/// Port exits that are sampled, the first ones: guests begin by programming their devices.
const SAMPLES: usize = 31;

/// What a port exit costs on this machine: the measure for whether a guest does anything between
/// two.
#[derive(Clone, Debug)]
pub struct ExitCost {
    samples_ns: [u64; SAMPLES],
    taken: usize,
}

impl Default for ExitCost {
    fn default() -> Self {
        Self::new()
    }
}

impl ExitCost {
    /// Nothing seen yet.
    #[must_use]
    pub const fn new() -> Self {
        Self { samples_ns: [0; SAMPLES], taken: 0 }
    }

    /// Whether exits are still sampled.
    #[must_use]
    #[inline]
    pub const fn is_open(&self) -> bool {
        self.taken < SAMPLES
    }

    /// A guest was left after `guest_ns`.
    #[cold]
    pub fn sample(&mut self, exit: &Exit, guest_ns: u64) {
        if exit.left_guest && exit.reason.is_port() {
            self.add(guest_ns);
        }
    }

    /// A guest was entered and left for a port access after `guest_ns`.
    pub fn add(&mut self, guest_ns: u64) {
        if self.is_open() {
            self.samples_ns[self.taken] = guest_ns;
            self.taken += 1;
            if self.taken == SAMPLES {
                self.samples_ns.sort_unstable();
            }
        }
    }

    /// The median, ns; None until enough exits were seen.
    #[must_use]
    pub fn typical_ns(&self) -> Option<u64> {
        (self.taken == SAMPLES).then_some(self.samples_ns[SAMPLES / 2])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Nothing received, room to send; nothing received, no room; a byte, no room.
    const QUIET: u8 = 0x60;
    const FULL: u8 = 0x00;
    const WAITING: u8 = 0x01;

    fn cost() -> ExitCost {
        let mut cost = ExitCost::new();
        (0..SAMPLES).for_each(|_| cost.add(1000));
        cost
    }

    fn read(polling: &mut Polling, status: u8, gap_ns: u64) -> Verdict {
        polling.ran(gap_ns);
        let read = Some((LINE_STATUS, status));
        polling.saw(Access { com: Com::Com1, read, has_found: false }, &cost())
    }

    fn poll(polling: &mut Polling, polls: usize) {
        for _ in 0..polls {
            read(polling, QUIET, 10);
        }
    }

    fn write(polling: &mut Polling) {
        let verdict = polling.saw(Access { com: Com::Com1, read: None, has_found: false }, &cost());
        assert_eq!(verdict, Verdict::Work);
    }

    #[test]
    fn a_guest_spins_from_the_second_poll_that_finds_the_same() {
        for status in [QUIET, FULL, WAITING] {
            let mut polling = Polling::default();
            assert_eq!(read(&mut polling, status, 10), Verdict::Work);
            assert_eq!(read(&mut polling, status, 10), Verdict::Spin);
            assert_eq!(read(&mut polling, status, 10), Verdict::Spin);
        }
        let mut polling = Polling::default();
        for _ in 0..9 {
            assert_eq!(read(&mut polling, QUIET | 1, 10), Verdict::Work, "a byte and room");
        }
        assert_eq!(read(&mut polling, QUIET, 10), Verdict::Work);
        assert_eq!(read(&mut polling, FULL, 10), Verdict::Work, "another status");
    }

    #[test]
    fn what_is_polled_in_passing_is_learnt_up_to_eight() {
        let mut polling = Polling::default();
        for polls in [2, 4, 8] {
            poll(&mut polling, polls);
            write(&mut polling);
            for _ in 0..polls {
                assert_eq!(read(&mut polling, QUIET, 10), Verdict::Work);
            }
            assert_eq!(read(&mut polling, QUIET, 10), Verdict::Spin);
            polling.found();
        }
        poll(&mut polling, 9);
        write(&mut polling);
        poll(&mut polling, 8);
        assert_eq!(read(&mut polling, QUIET, 10), Verdict::Spin, "nine are no habit");
    }

    #[test]
    fn a_thousand_polls_end_in_a_doze_and_work_between_them_puts_it_off() {
        let mut polling = Polling::default();
        read(&mut polling, QUIET, 10);
        for _ in 1..1024 {
            assert_eq!(read(&mut polling, QUIET, 10), Verdict::Spin);
        }
        assert_eq!(read(&mut polling, QUIET, 8000), Verdict::Doze);
        assert_eq!(read(&mut polling, QUIET, 8001), Verdict::Work, "eight exits apart");
        for _ in 0..7 {
            assert_eq!(read(&mut polling, QUIET, 10), Verdict::Spin);
        }
        assert_eq!(read(&mut polling, QUIET, 10), Verdict::Doze);
        assert!(polling.found());
        assert!(!polling.found());
    }

    #[test]
    fn what_the_access_itself_brought_ends_the_polls() {
        let mut polling = Polling::default();
        read(&mut polling, QUIET, 10);
        read(&mut polling, QUIET, 10);
        let access = Access { com: Com::Com1, read: Some((LINE_STATUS, QUIET)), has_found: true };
        assert_eq!(polling.saw(access, &cost()), Verdict::Work);
        assert_eq!(read(&mut polling, QUIET, 10), Verdict::Work);
        let modem = Access { com: Com::Com1, read: Some((6, QUIET)), has_found: false };
        assert_eq!(polling.saw(modem, &cost()), Verdict::Work, "not the line status");
        // Each port by itself.
        let other = Access { com: Com::Com2, read: Some((LINE_STATUS, QUIET)), has_found: false };
        assert_eq!(polling.saw(other, &cost()), Verdict::Work);
    }

    #[test]
    fn stray_exits_do_not_count() {
        let mut cost = ExitCost::new();
        for exit in 0..SAMPLES as u64 {
            assert_eq!(cost.typical_ns(), None);
            cost.add(if exit % 5 == 0 { 1 } else { 1000 + exit });
        }
        assert!(cost.typical_ns().is_some_and(|ns| (1000..1100).contains(&ns)));
        cost.add(1);
        assert!(cost.typical_ns().is_some_and(|ns| ns >= 1000));
    }
}
