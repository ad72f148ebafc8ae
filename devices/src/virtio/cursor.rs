//! Copies from one list of buffers to another, wherever each is cut.

use super::chain::{Buffer, total};
use crate::memory::GuestMemory;

/// How far a copy has got in a list of buffers.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Cursor {
    buffer: usize,
    offset: u32,
}

impl Cursor {
    /// `offset` bytes into `buffers`; at their end if there are fewer.
    pub fn at(buffers: &[Buffer], offset: u64) -> Self {
        let mut cursor = Self::default();
        let mut left = offset;
        while left > 0 {
            let Some(next) = cursor.next(buffers) else { break };
            let len = left.min(next.bytes.into()) as u32;
            cursor.offset += len;
            left -= u64::from(len);
        }
        cursor
    }

    /// What lies in one piece from here on; None at the end.
    pub fn next(&mut self, buffers: &[Buffer]) -> Option<Buffer> {
        loop {
            let buffer = buffers.get(self.buffer)?;
            if self.offset < buffer.bytes {
                let address = buffer.address + u64::from(self.offset);
                return Some(Buffer { address, bytes: buffer.bytes - self.offset });
            }
            *self = Self { buffer: self.buffer + 1, offset: 0 };
        }
    }

    /// Copies the next `bytes` bytes of `from` in `source` to `to` in `target`, at offset `at`;
    /// false if either is too short, or is not RAM any more.
    pub fn copy<M: GuestMemory>(
        &mut self,
        (from, source): (&[Buffer], &M),
        (to, target): (&[Buffer], &M),
        at: u64,
        bytes: u64,
    ) -> bool {
        let mut writer = Self::at(to, at);
        let mut left = bytes;
        while left > 0 {
            let (Some(read), Some(write)) = (self.next(from), writer.next(to)) else {
                return false;
            };
            let len = left.min(read.bytes.into()).min(write.bytes.into());
            if !source.copy_to(read.address, target, write.address, len) {
                return false;
            }
            self.offset += len as u32;
            writer.offset += len as u32;
            left -= len;
        }
        true
    }
}

/// Reads `to.len()` bytes at `offset` of `buffers`; false if they end before.
#[must_use]
pub(super) fn read_at(
    buffers: &[Buffer],
    memory: &impl GuestMemory,
    offset: u64,
    to: &mut [u8],
) -> bool {
    if total(buffers) < offset.saturating_add(to.len() as u64) {
        return false;
    }
    let mut cursor = Cursor::at(buffers, offset);
    let mut done = 0;
    while done < to.len() {
        let Some(next) = cursor.next(buffers) else { return false };
        let len = (to.len() - done).min(next.bytes as usize);
        if !memory.read(next.address, &mut to[done..done + len]) {
            return false;
        }
        cursor.offset += len as u32;
        done += len;
    }
    true
}

/// Writes `from` to `offset` of buffers; false if they end before, or are not RAM any more.
pub(super) fn write_at<M: GuestMemory>(
    (to, memory): (&[Buffer], &M),
    offset: u64,
    mut from: &[u8],
) -> bool {
    let mut cursor = Cursor::at(to, offset);
    while !from.is_empty() {
        let Some(next) = cursor.next(to) else { return false };
        let len = from.len().min(next.bytes as usize);
        if !memory.write(next.address, &from[..len]) {
            return false;
        }
        cursor.offset += len as u32;
        from = &from[len..];
    }
    true
}
