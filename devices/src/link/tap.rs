//! A tap: a copy of what passes over a link, with direction and time.

use super::LinkEnd;
use alloc::boxed::Box;
use alloc::vec;

use crate::time::Instant;

/// One byte that reached at least one peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TapRecord {
    /// When the link carried it.
    pub at: Instant,
    /// The end that sent it.
    pub from_end: LinkEnd,
    /// The byte.
    pub byte: u8,
}

/// A ring of the bytes that passed and that the host has not taken yet. The only allocation is in
/// [`Tap::new`]. A full ring keeps the old records and counts the new ones it loses.
#[derive(Clone, Debug)]
pub struct Tap {
    records: Box<[TapRecord]>,
    head: usize,
    len: usize,
    overflowed: u64,
}

impl Tap {
    /// A tap that holds at most `capacity` bytes between two visits of the host.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        let blank = TapRecord { at: Instant::ZERO, from_end: LinkEnd(0), byte: 0 };
        Self { records: vec![blank; capacity].into(), head: 0, len: 0, overflowed: 0 }
    }

    /// Takes the oldest record.
    pub fn take(&mut self) -> Option<TapRecord> {
        if self.len == 0 {
            return None;
        }
        let record = self.records[self.head];
        self.head = (self.head + 1) % self.records.len();
        self.len -= 1;
        Some(record)
    }

    /// How many bytes passed without a record because the ring was full.
    #[must_use]
    pub const fn overflowed(&self) -> u64 {
        self.overflowed
    }

    pub(super) fn record(&mut self, record: TapRecord) {
        if self.len == self.records.len() {
            self.overflowed += 1;
            return;
        }
        let tail = (self.head + self.len) % self.records.len();
        self.records[tail] = record;
        self.len += 1;
    }
}
