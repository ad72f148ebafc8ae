//! A null modem between the serial ports of two or more machines, and ports of virtio consoles.
//!
//! A byte written at one end goes to every other end with the same rate. The link owns no port:
//! each machine owns its own, and [`Link::pump`] reaches them through [`Ports`]. Call it after
//! every access to a linked port and after [`Link::stop`].
//!
//! * **Lossless** unless asked otherwise: a byte leaves its sender's FIFO only when every peer
//!   that will get it has room. Until then it is held, the sender's THRE stays down, and it rises
//!   (with its interrupt) when the peers have drained.
//! * **A peer that is still booting holds bytes back** too, so the order of starting does not
//!   matter: one that is not [listening](Port::is_listening), one that has the divisor latch open,
//!   and one that has not programmed its rate while the reset rate differs from the sender's.
//! * **Lost, and counted with the reason**: bytes for peers that have all programmed another rate
//!   or have all stopped. The sender's THRE rises, so that it never hangs.
//! * **Lossy**, if asked for: nothing is held back, and a receiver without room loses the byte
//!   with LSR.OE, as on a real line.
//!
//! Rates agree when the divisors are equal, unless the link fixes the rate of every end. A port of
//! a virtio console has no rate: it agrees with every one.
//! RTS goes to the peers' CTS; DTR to their DSR and DCD. With several peers each input is the OR
//! over the live ones. A stopped end drops its lines and accepts no byte, but those it has written
//! still go out.

mod ends;
mod link_port;
mod statistics;
mod tap;
#[cfg(test)]
mod tests;

pub use crate::uart::{Port, PortMode};
pub use ends::{EndSet, LinkEnd, MAX_ENDS};
pub use link_port::{AnyPort, LinkPort, Rate};
pub use statistics::{LinkStatistics, LossReason};
pub use tap::{Tap, TapRecord};

use crate::time::Instant;
use crate::uart::ModemInputs;

/// The ports at the ends of a link, wherever their machines keep them.
pub trait Ports {
    /// A port.
    type Port<'a>: LinkPort
    where
        Self: 'a;

    /// The port at `end`.
    fn port(&mut self, end: LinkEnd) -> Self::Port<'_>;
}

impl Ports for [Port] {
    type Port<'a> = &'a mut Port;

    fn port(&mut self, end: LinkEnd) -> &mut Port {
        &mut self[end.0]
    }
}

/// What the configuration says about a link.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LinkSettings {
    /// The rate of every end in bits per second; `None` means what each guest programs.
    pub baud: Option<u32>,
    /// Never hold a byte back: drop it where it does not fit.
    pub is_lossy: bool,
}

/// A null modem between up to [`MAX_ENDS`] ports.
#[derive(Clone, Debug)]
pub struct Link {
    settings: LinkSettings,
    ends: usize,
    live: EndSet,
    /// The end whose byte goes first, so that no sender starves another.
    turn: usize,
    statistics: [LinkStatistics; MAX_ENDS],
    tap: Option<Tap>,
}

/// What an end would do with a byte now.
enum Reception {
    /// It is not connected to this link, or its machine has ended.
    Absent,
    /// It is still booting, or it has no room: the byte must wait.
    Waits,
    /// It listens at another rate.
    Mismatch,
    /// Offer it the byte.
    Takes,
}

impl Link {
    /// A link between `ends` ports, all of them live.
    ///
    /// # Panics
    /// If `ends` is not from 2 to [`MAX_ENDS`]: the plan has been checked for that.
    #[must_use]
    pub fn new(settings: LinkSettings, ends: usize) -> Self {
        assert!((2..=MAX_ENDS).contains(&ends), "a link has 2 to {MAX_ENDS} ends, not {ends}");
        Self {
            settings,
            ends,
            live: EndSet::first(ends),
            turn: 0,
            statistics: [LinkStatistics::ZERO; MAX_ENDS],
            tap: None,
        }
    }

    /// The same, with a tap that holds at most `capacity` bytes.
    #[must_use]
    pub fn with_tap(self, capacity: usize) -> Self {
        Self { tap: Some(Tap::new(capacity)), ..self }
    }

    /// Moves every byte and modem line that can move. Returns the ends with a change: a new
    /// byte, a drained transmitter, or a changed modem line. Their machines may have to wake.
    pub fn pump(&mut self, ports: &mut (impl Ports + ?Sized), now: Instant) -> EndSet {
        let mut touched = self.cross_modem_lines(ports);
        // Bytes only leave transmitters and fill receivers here, so an end that could not move
        // one can again only after a guest has run: a full fruitless round ends the work.
        let mut fruitless = 0;
        while fruitless < self.ends {
            let sender = LinkEnd(self.turn);
            self.turn = (self.turn + 1) % self.ends;
            fruitless =
                if self.carry_byte(sender, ports, now, &mut touched) { 0 } else { fruitless + 1 };
        }
        self.carry_breaks(ports, &mut touched);
        touched
    }

    /// The machine at `end` has ended. Pump afterwards.
    pub const fn stop(&mut self, end: LinkEnd) {
        self.live = self.live.without(end);
    }

    /// The machine at `end`, which was stopped, begins anew, with a new port: what the one before
    /// had not handed over is flushed. Pump afterwards.
    pub fn start_again(&mut self, end: LinkEnd) {
        self.live.insert(end);
        self.statistics[end.0].begin_life();
    }

    /// Whether the machine at `end` has not ended.
    #[must_use]
    pub const fn is_live(&self, end: LinkEnd) -> bool {
        self.live.contains(end)
    }

    /// How many ends the link has.
    #[must_use]
    pub const fn ends(&self) -> usize {
        self.ends
    }

    /// What the configuration said.
    #[must_use]
    pub const fn settings(&self) -> LinkSettings {
        self.settings
    }

    /// The account of `end`, as of the last pump.
    ///
    /// # Panics
    /// If the link has no such end.
    #[must_use]
    pub fn statistics(&self, end: LinkEnd) -> &LinkStatistics {
        &self.statistics[..self.ends][end.0]
    }

    /// The tap, if there is one, for the host to drain.
    pub const fn tap(&mut self) -> Option<&mut Tap> {
        self.tap.as_mut()
    }
}

/// The steps of the pump.
impl Link {
    /// RTS to CTS, DTR to DSR and DCD, from every live end to every other.
    fn cross_modem_lines(&self, ports: &mut (impl Ports + ?Sized)) -> EndSet {
        let mut ready = EndSet::EMPTY;
        let mut requesting = EndSet::EMPTY;
        for end in LinkEnd::first(self.ends).filter(|&end| self.live.contains(end)) {
            let port = ports.port(end);
            let outputs = port.outputs();
            if port.has_link() && outputs.dtr {
                ready.insert(end);
            }
            if port.has_link() && outputs.rts {
                requesting.insert(end);
            }
        }
        let mut touched = EndSet::EMPTY;
        for end in LinkEnd::first(self.ends) {
            let is_ready = !ready.without(end).is_empty();
            let cts = !requesting.without(end).is_empty();
            let inputs = ModemInputs { cts, dsr: is_ready, ri: false, dcd: is_ready };
            let has_peer = !self.live.without(end).is_empty();
            if ports.port(end).set_inputs(inputs, has_peer) {
                touched.insert(end);
            }
        }
        touched
    }

    /// A BREAK reaches every listening peer, at any rate, after the bytes sent before it; on a
    /// lossless link it waits for room.
    fn carry_breaks(&self, ports: &mut (impl Ports + ?Sized), touched: &mut EndSet) {
        for sender in LinkEnd::first(self.ends).filter(|&end| self.live.contains(end)) {
            let is_breaking = {
                let port = ports.port(sender);
                port.has_break() && port.in_flight() == 0
            };
            if !is_breaking {
                continue;
            }
            let peers = || LinkEnd::first(self.ends).filter(move |&end| end != sender);
            let mut hears = EndSet::EMPTY;
            for end in peers().filter(|&end| self.live.contains(end)) {
                if ports.port(end).is_listening() {
                    hears.insert(end);
                }
            }
            let has_room = |end: LinkEnd| !hears.contains(end) || ports.port(end).space() > 0;
            if !self.settings.is_lossy && !peers().all(has_room) {
                continue;
            }
            ports.port(sender).take_break();
            for end in peers().filter(|&end| hears.contains(end)) {
                ports.port(end).feed_break();
                touched.insert(end);
            }
        }
    }

    /// Moves the first byte of `sender` to its peers, or counts it lost. Returns whether it moved.
    fn carry_byte(
        &mut self,
        sender: LinkEnd,
        ports: &mut (impl Ports + ?Sized),
        now: Instant,
        touched: &mut EndSet,
    ) -> bool {
        self.copy_counts(sender, &ports.port(sender));
        let rate = {
            let port = ports.port(sender);
            if port.in_flight() == 0 {
                return false;
            }
            port.rate()
        };
        // A machine that has ended will not close its divisor latch.
        let rate = Rate { is_changing: rate.is_changing && self.live.contains(sender), ..rate };

        let mut takers = EndSet::EMPTY;
        let mut reason = LossReason::PeerStopped;
        for end in LinkEnd::first(self.ends).filter(|&end| end != sender) {
            match self.reception(rate, end, &ports.port(end)) {
                Reception::Absent => {}
                Reception::Waits => return false,
                Reception::Mismatch => reason = LossReason::BaudMismatch,
                Reception::Takes => takers.insert(end),
            }
        }
        let Some(byte) = ports.port(sender).take() else { return false };
        if ports.port(sender).in_flight() == 0 {
            touched.insert(sender);
        }
        if self.deliver(byte, takers, ports, touched) {
            self.statistics[sender.0].delivered += 1;
            if let Some(tap) = &mut self.tap {
                tap.record(TapRecord { at: now, from_end: sender, byte });
            }
        } else {
            let reason = if takers.is_empty() { reason } else { LossReason::ReceiverOverrun };
            *self.statistics[sender.0].lost_mut(reason) += 1;
        }
        true
    }

    /// What `end` would do with a byte sent at `rate`.
    fn reception(&self, rate: Rate, end: LinkEnd, port: &impl LinkPort) -> Reception {
        if !self.live.contains(end) || !port.has_link() {
            return Reception::Absent;
        }
        let own = port.rate();
        let is_fixed = self.settings.baud.is_some();
        let agrees = |divisor: u16| own.divisor.is_none_or(|own| own == divisor);
        let is_matched = is_fixed || rate.divisor.is_none_or(agrees);
        let is_settling =
            !is_fixed && (rate.is_changing || own.is_changing || !is_matched && !own.is_programmed);
        if !self.settings.is_lossy && (is_settling || !port.is_listening()) {
            Reception::Waits
        } else if !is_matched {
            Reception::Mismatch
        } else if !self.settings.is_lossy && port.space() == 0 {
            Reception::Waits
        } else {
            Reception::Takes
        }
    }

    /// Gives `byte` to each of `takers`. Returns whether at least one had room.
    fn deliver(
        &mut self,
        byte: u8,
        takers: EndSet,
        ports: &mut (impl Ports + ?Sized),
        touched: &mut EndSet,
    ) -> bool {
        let mut is_delivered = false;
        for end in LinkEnd::first(self.ends).filter(|&end| takers.contains(end)) {
            touched.insert(end);
            match ports.port(end).feed(byte) {
                Ok(()) => {
                    self.statistics[end.0].received += 1;
                    is_delivered = true;
                }
                Err(_) => self.statistics[end.0].missed += 1,
            }
        }
        is_delivered
    }

    /// Brings the sender's account up to what its port has counted.
    fn copy_counts(&mut self, sender: LinkEnd, port: &impl LinkPort) {
        let Some(counts) = port.counts() else { return };
        self.statistics[sender.0].copy(counts);
    }
}
