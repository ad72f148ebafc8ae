//! What a link has done with the bytes of each end.

use crate::uart::LineCounts;

/// Why a byte a guest wrote to a link never reached a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LossReason {
    /// Peers are there, and each has programmed another rate.
    BaudMismatch,
    /// Every peer has ended, or none was ever connected.
    PeerStopped,
    /// On a lossy link: no peer had room.
    ReceiverOverrun,
    /// The guest wrote it while its own transmitter was full.
    TransmitOverrun,
    /// The guest cleared its own transmitter FIFO while the byte was held back.
    Flushed,
}

impl LossReason {
    /// Every reason, in the order a receipt lists them.
    pub const ALL: [Self; 5] = [
        Self::BaudMismatch,
        Self::PeerStopped,
        Self::ReceiverOverrun,
        Self::TransmitOverrun,
        Self::Flushed,
    ];

    /// The words a receipt uses.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::BaudMismatch => "baud mismatch",
            Self::PeerStopped => "peer stopped",
            Self::ReceiverOverrun => "receiver overrun",
            Self::TransmitOverrun => "transmit overrun",
            Self::Flushed => "flushed by the sender",
        }
    }
}

/// The account of one end, as of the last pump:
/// `sent = delivered + lost (all reasons) + what waits in the end's transmitter`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LinkStatistics {
    /// Bytes the end's guest wrote to the link.
    pub sent: u64,
    /// Bytes of these that at least one peer took.
    pub delivered: u64,
    /// Bytes this end took from its peers.
    pub received: u64,
    /// Bytes from peers that this end had no room for, with OE (lossy links only). The sender
    /// counts them lost only if no other end took them either.
    pub missed: u64,
    lost: [u64; LossReason::ALL.len()],
    /// What the end's guests before the one that runs, if it was restarted, had written and lost.
    earlier: LineCounts,
}

impl LinkStatistics {
    /// Nothing has happened yet.
    pub(super) const ZERO: Self = Self {
        sent: 0,
        delivered: 0,
        received: 0,
        missed: 0,
        lost: [0; LossReason::ALL.len()],
        earlier: LineCounts { written: 0, transmit_overruns: 0, flushed: 0 },
    };

    /// Bytes this end's guest wrote that were lost for `reason`.
    #[must_use]
    pub const fn lost(&self, reason: LossReason) -> u64 {
        self.lost[reason as usize]
    }

    /// Bytes this end's guest wrote that were lost for any reason.
    #[must_use]
    pub fn lost_total(&self) -> u64 {
        self.lost.iter().sum()
    }

    /// Takes what the end's port has counted.
    pub(super) const fn copy(&mut self, counts: LineCounts) {
        let LineCounts { written, transmit_overruns, flushed } = counts;
        self.sent = self.earlier.written + written;
        let overruns = self.earlier.transmit_overruns + transmit_overruns;
        *self.lost_mut(LossReason::TransmitOverrun) = overruns;
        *self.lost_mut(LossReason::Flushed) = self.earlier.flushed + flushed;
    }

    /// The end's port is a new one, which counts from 0: what waited in the one before is flushed.
    pub(super) fn begin_life(&mut self) {
        let waiting = self.sent.saturating_sub(self.delivered + self.lost_total());
        *self.lost_mut(LossReason::Flushed) += waiting;
        self.earlier = LineCounts {
            written: self.sent,
            transmit_overruns: self.lost(LossReason::TransmitOverrun),
            flushed: self.lost(LossReason::Flushed),
        };
    }

    pub(super) const fn lost_mut(&mut self, reason: LossReason) -> &mut u64 {
        &mut self.lost[reason as usize]
    }
}
