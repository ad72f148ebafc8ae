//! A frame into a receiver's buffers: into one chain, or into several (VIRTIO_NET_F_MRG_RXBUF,
//! 5.1.6.4).

use super::super::chain::{Buffer, Chain, total};
use super::super::cursor::{Cursor, write_at};
use super::super::transport::Transport;
use super::header::{HEADER_BYTES, Header, Passed};
use super::segments::Segments;
use super::{Content, DropReason, Frame, MRG_RXBUF, Net, Offloads, RECEIVE, RingError};
use crate::memory::GuestMemory;
use core::ops::Range;

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
    /// Receives a frame of another interface, if it is for this one. One that its driver takes in
    /// segments alone may be received in part: `done` of them, 0 at first, if there are too few
    /// buffers for all.
    pub fn receive<M: GuestMemory>(
        &mut self,
        memory: &M,
        frame: &Frame<'_, M>,
        done: &mut u64,
    ) -> Received {
        if !self.is_receiver() {
            return Received::Refused(DropReason::NotReady);
        }
        if !self.filter.takes(frame.destination) {
            return Received::NotTaken;
        }
        // Before anything is summed.
        if !self.has_buffers(memory) {
            return Received::NoBuffers;
        }
        let takes = Offloads::of_receiver(&self.transport);
        let Frame { content, bytes, header, .. } = frame;
        if let Some(passed) = header.pass(content, (*bytes).into(), takes) {
            let packet = Packet { headers: &[], content, payload: 0..(*bytes).into() };
            return self.receive_packet(memory, &packet, &passed);
        }
        let Some(segments) = Segments::of(header, content, (*bytes).into()) else {
            return Received::Refused(DropReason::Segments);
        };
        while *done < segments.count() {
            if !self.has_buffers(memory) {
                return Received::NoBuffers;
            }
            let segment = segments.segment(*done, content);
            let (headers, payload) = (segment.headers(), segment.payload.clone());
            let packet = Packet { headers, content, payload };
            let passed = Passed { header: Header::default(), checksum: None };
            match self.receive_packet(memory, &packet, &passed) {
                Received::Done => *done += 1,
                not_done => return not_done,
            }
        }
        Received::Done
    }

    fn receive_packet<M: GuestMemory>(
        &mut self,
        memory: &M,
        packet: &Packet<'_, M>,
        passed: &Passed,
    ) -> Received {
        let received = self.receive.fill(&mut self.transport, memory, packet, passed);
        if received == Received::Done {
            self.counts.count_received(packet.bytes() as u32);
        }
        received
    }
}

/// What goes into a receiver's buffers: headers made here, if any, and a part of a frame.
struct Packet<'a, M> {
    headers: &'a [u8],
    content: &'a Content<'a, M>,
    payload: Range<u64>,
}

impl<M: GuestMemory> Packet<'_, M> {
    fn bytes(&self) -> u64 {
        self.headers.len() as u64 + self.payload.end - self.payload.start
    }

    /// Copies `len` bytes from `offset` on to `skip` bytes into `to`.
    fn copy_to(
        &self,
        (offset, len): (u64, u64),
        (to, memory): (&[Buffer], &M),
        mut skip: u64,
        reader: &mut Cursor,
    ) {
        let from_headers = (self.headers.len() as u64).saturating_sub(offset).min(len);
        if from_headers > 0 {
            let headers = &self.headers[offset as usize..][..from_headers as usize];
            write_at((to, memory), skip, headers);
            skip += from_headers;
        }
        let left = len - from_headers;
        // Both sides were RAM when their chains were taken, and RAM does not go away.
        match self.content {
            Content::Guest { buffers, memory: sender } => {
                reader.copy((buffers, *sender), (to, memory), skip, left);
            }
            Content::Host(bytes) => {
                let done = (offset + from_headers).saturating_sub(self.headers.len() as u64);
                let from = (self.payload.start + done) as usize;
                write_at((to, memory), skip, &bytes[from..][..left as usize]);
            }
        }
    }
}

impl Buffers {
    /// Fills as many chains as the frame needs, and returns them; or leaves all of them available.
    fn fill<M: GuestMemory>(
        &mut self,
        transport: &mut Transport,
        memory: &M,
        packet: &Packet<'_, M>,
        passed: &Passed,
    ) -> Received {
        let queue = usize::from(RECEIVE);
        let merges = transport.has(MRG_RXBUF);
        let most = if merges { MAX_MERGED.min(transport.queue_size(queue).into()) } else { 1 };
        let whole = packet.bytes();
        let (mut done, mut count, mut count_at) = (0, 0, [0; 2]);
        let mut reader = match packet.content {
            Content::Guest { buffers, .. } => Cursor::at(buffers, packet.payload.start),
            Content::Host(_) => Cursor::default(),
        };
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
            packet.copy_to((done, len), (to, memory), skip, &mut reader);
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
