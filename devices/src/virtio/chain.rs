//! A chain of buffers that the driver has made available (2.7.5): first those that the device
//! reads, then those that it writes.

use crate::memory::GuestMemory;
use core::ops::Range;

/// The most buffers of a chain, in its descriptors and an indirect table together.
pub const MAX_BUFFERS: usize = 256;

/// A stretch of the guest's RAM.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Buffer {
    /// Guest-physical.
    pub address: u64,
    /// Bytes, all of them RAM.
    pub bytes: u32,
}

/// A chain's buffers.
#[derive(Clone, Debug)]
pub struct Chain {
    head: u16,
    buffers: [Buffer; MAX_BUFFERS],
    /// The device reads those before `readable`, and writes the others up to `end`. Those before
    /// `begin` have been consumed.
    begin: usize,
    readable: usize,
    end: usize,
}

impl Default for Chain {
    fn default() -> Self {
        let buffers = [Buffer::default(); MAX_BUFFERS];
        Self { head: 0, buffers, begin: 0, readable: 0, end: 0 }
    }
}

impl Chain {
    /// An empty chain whose first descriptor is `head`.
    pub(super) const fn start(&mut self, head: u16) {
        self.head = head;
        (self.begin, self.readable, self.end) = (0, 0, 0);
    }

    /// Adds a buffer; false if there is no room, or if it is to be read behind one to be written
    /// (2.7.4.2).
    #[must_use]
    pub(super) fn add(&mut self, buffer: Buffer, is_writable: bool) -> bool {
        if self.end == MAX_BUFFERS || !is_writable && self.readable < self.end {
            return false;
        }
        self.buffers[self.end] = buffer;
        self.end += 1;
        self.readable += usize::from(!is_writable);
        true
    }

    /// The index of its first descriptor, by which it is returned.
    #[must_use]
    pub const fn head(&self) -> u16 {
        self.head
    }

    /// What the device reads.
    #[must_use]
    pub fn readable(&self) -> &[Buffer] {
        &self.buffers[self.begin..self.readable]
    }

    /// What the device writes.
    #[must_use]
    pub fn writable(&self) -> &[Buffer] {
        &self.buffers[self.readable..self.end]
    }

    /// Reads the first bytes to be read, and takes them off the chain; false if there are fewer,
    /// and the chain is as it was then.
    #[must_use]
    pub fn take(&mut self, memory: &impl GuestMemory, to: &mut [u8]) -> bool {
        if total(self.readable()) < to.len() as u64 {
            return false;
        }
        let mut done = 0;
        while done < to.len() {
            let buffer = &mut self.buffers[self.begin];
            let len = (to.len() - done).min(buffer.bytes as usize);
            if !memory.read(buffer.address, &mut to[done..done + len]) {
                return false;
            }
            done += len;
            buffer.address += len as u64;
            buffer.bytes -= len as u32;
            self.begin += usize::from(buffer.bytes == 0);
        }
        true
    }

    /// Takes `bytes` bytes to be read off the chain unread; false, and none is left to be read, if
    /// there are fewer.
    #[must_use]
    pub fn skip(&mut self, bytes: u64) -> bool {
        let mut left = bytes;
        while left > 0 && self.begin < self.readable {
            let buffer = &mut self.buffers[self.begin];
            let len = left.min(buffer.bytes.into());
            left -= len;
            buffer.address += len;
            buffer.bytes -= len as u32;
            self.begin += usize::from(buffer.bytes == 0);
        }
        left == 0
    }

    /// The same with as many bytes as there are, up to all of `to`: how many.
    pub fn take_some(&mut self, memory: &impl GuestMemory, to: &mut [u8]) -> usize {
        let len = total(self.readable()).min(to.len() as u64) as usize;
        if self.take(memory, &mut to[..len]) { len } else { 0 }
    }

    /// Takes the last byte to be written off the chain: its address, if there is one.
    pub fn take_last_writable(&mut self) -> Option<u64> {
        while self.end > self.readable {
            let last = &mut self.buffers[self.end - 1];
            if last.bytes > 0 {
                last.bytes -= 1;
                return Some(last.address + u64::from(last.bytes));
            }
            self.end -= 1;
        }
        None
    }

    /// Writes `from` at `offset` of what is to be written; false, and nothing is written, if it
    /// ends beyond.
    pub fn write(&self, memory: &impl GuestMemory, offset: u64, mut from: &[u8]) -> bool {
        let writable = self.writable();
        if total(writable) < offset.saturating_add(from.len() as u64) {
            return false;
        }
        let mut skipped = offset;
        for buffer in writable {
            let skip = skipped.min(buffer.bytes.into());
            skipped -= skip;
            let len = from.len().min((u64::from(buffer.bytes) - skip) as usize);
            let (now, later) = from.split_at(len);
            if !now.is_empty() && !memory.write(buffer.address + skip, now) {
                return false;
            }
            from = later;
        }
        true
    }
}

/// What `range`, in bytes, of the data in `buffers` lies in.
pub fn cut(buffers: &[Buffer], range: Range<u64>) -> impl Iterator<Item = Buffer> {
    let mut at = 0;
    buffers.iter().filter_map(move |buffer| {
        let (begin, end) = (at, at + u64::from(buffer.bytes));
        at = end;
        let (from, to) = (begin.max(range.start), end.min(range.end));
        let address = buffer.address + from.saturating_sub(begin);
        (from < to).then(|| Buffer { address, bytes: (to - from) as u32 })
    })
}

/// The bytes of all of them.
#[must_use]
pub fn total(buffers: &[Buffer]) -> u64 {
    buffers.iter().map(|buffer| u64::from(buffer.bytes)).sum()
}
