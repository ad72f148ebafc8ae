//! A frame into a receiver's buffers: into one chain, or into several (VIRTIO_NET_F_MRG_RXBUF,
//! 5.1.6.4).

use super::super::chain::{Chain, total};
use super::super::cursor::Cursor;
use super::super::transport::Transport;
use super::header::{HEADER_BYTES, Passed};
use super::{DropReason, Frame, MRG_RXBUF, Net, RECEIVE, RingError};
use crate::memory::GuestMemory;

/// The most chains of one frame: of 512 bytes each, 64 KiB.
const MAX_MERGED: usize = 128;

/// What has become of a frame for an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Received {
    /// The driver has it.
    Done,
    /// It is not for this interface.
    NotTaken,
    /// There are too few buffers now.
    NoBuffers,
    /// It cannot be received.
    Refused(DropReason),
}

/// The chains of the frame that is being received.
#[derive(Clone, Debug)]
pub(super) struct Buffers {
    pub chain: Chain,
    /// Of each: its head, and the bytes written to it.
    filled: [(u16, u32); MAX_MERGED],
}

impl Default for Buffers {
    fn default() -> Self {
        Self { chain: Chain::default(), filled: [(0, 0); MAX_MERGED] }
    }
}

impl Net {
    /// Receives a frame of another interface, if it is for this one.
    pub fn receive<M: GuestMemory>(&mut self, memory: &M, frame: &Frame<'_, M>) -> Received {
        if !self.transport.is_running() || !self.is_link_up() {
            return Received::Refused(DropReason::NotReady);
        }
        if !self.filter.takes(frame.destination) {
            return Received::NotTaken;
        }
        let Some(passed) = frame.header.pass(frame.buffers, frame.memory, &self.transport) else {
            return Received::Refused(DropReason::Segments);
        };
        let received = self.receive.fill(&mut self.transport, memory, frame, &passed);
        if received == Received::Done {
            self.counts.received += 1;
            self.counts.received_bytes += u64::from(frame.bytes);
        }
        received
    }
}

impl Buffers {
    /// Fills as many chains as the frame needs, and returns them; or leaves all of them available.
    fn fill<M: GuestMemory>(
        &mut self,
        transport: &mut Transport,
        memory: &M,
        frame: &Frame<'_, M>,
        passed: &Passed,
    ) -> Received {
        let queue = usize::from(RECEIVE);
        let merges = transport.has(MRG_RXBUF);
        let most = if merges { MAX_MERGED.min(transport.queue_size(queue).into()) } else { 1 };
        let whole = u64::from(frame.bytes);
        let (mut done, mut count, mut count_at) = (0, 0, [0; 2]);
        let mut reader = Cursor::default();
        while done < whole {
            if count == most {
                transport.rewind(queue, count as u16);
                return Received::Refused(DropReason::TooLarge);
            }
            if !transport.pop(queue, memory, &mut self.chain) {
                transport.rewind(queue, count as u16);
                return match transport.is_running() {
                    true => Received::NoBuffers,
                    false => Received::Refused(DropReason::NotReady),
                };
            }
            let skip = if count == 0 { HEADER_BYTES as u64 } else { 0 };
            let to = self.chain.writable();
            let Some(room) = total(to).checked_sub(skip) else {
                transport.fail(RingError::TooShort);
                return Received::Refused(DropReason::NotReady);
            };
            let len = room.min(whole - done);
            if count == 0 {
                self.chain.write(memory, 0, &passed.header.bytes(1));
                count_at = [10, 11]
                    .map(|at| Cursor::at(to, at).next(to).expect("the header fits").address);
            }
            // Both sides were RAM when their chains were taken, and RAM does not go away.
            reader.copy((frame.buffers, frame.memory), (to, memory), skip, len);
            if let Some((at, checksum)) = passed.checksum {
                for (byte, at) in checksum.into_iter().zip(at..) {
                    if (done..done + len).contains(&at) {
                        self.chain.write(memory, skip + at - done, &[byte]);
                    }
                }
            }
            self.filled[count] = (self.chain.head(), (skip + len) as u32);
            (done, count) = (done + len, count + 1);
        }
        for (byte, at) in (count as u16).to_le_bytes().into_iter().zip(count_at) {
            memory.write(at, &[byte]);
        }
        for (head, written) in &self.filled[..count] {
            transport.push(queue, memory, *head, *written);
        }
        Received::Done
    }
}
