//! The header of a frame (`virtio_net_hdr`, 5.1.6): what is left to be done to the frame.

use super::super::transport::Transport;
use super::frame::Content;
use super::{CSUM, GUEST_CSUM, GUEST_TSO4, GUEST_TSO6, HOST_TSO4, HOST_TSO6};
use crate::memory::GuestMemory;
use core::ops::Range;

/// Bytes of the header under version 1.
pub const HEADER_BYTES: usize = 12;

/// The checksum is to be computed (VIRTIO_NET_HDR_F_NEEDS_CSUM).
const NEEDS_CSUM: u8 = 1;
/// Kinds of segments (VIRTIO_NET_HDR_GSO_...).
const GSO_NONE: u8 = 0;
const GSO_TCPV4: u8 = 1;
const GSO_TCPV6: u8 = 4;

/// What is left to be done to a frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Header {
    flags: u8,
    gso_type: u8,
    header_len: u16,
    pub gso_size: u16,
    pub checksum_start: u16,
    pub checksum_offset: u16,
}

/// What a receiver takes of frames that are not finished.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offloads {
    /// Checksums may be left to be computed.
    pub has_checksum: bool,
    /// TCP over IPv4 may come in segments of several packets.
    pub has_tso4: bool,
    /// TCP over IPv6 may.
    pub has_tso6: bool,
}

impl Offloads {
    /// All of them.
    pub const ALL: Self = Self { has_checksum: true, has_tso4: true, has_tso6: true };

    /// What both take.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self {
            has_checksum: self.has_checksum && other.has_checksum,
            has_tso4: self.has_tso4 && other.has_tso4,
            has_tso6: self.has_tso6 && other.has_tso6,
        }
    }

    pub(super) const fn of_receiver(receiver: &Transport) -> Self {
        let has_checksum = receiver.has(GUEST_CSUM);
        Self {
            has_checksum,
            has_tso4: has_checksum && receiver.has(GUEST_TSO4),
            has_tso6: has_checksum && receiver.has(GUEST_TSO6),
        }
    }
}

/// A header as a receiver gets it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Passed {
    pub header: Header,
    /// The checksum that its sender left to be computed: where it belongs in the frame, and its
    /// bytes there.
    pub checksum: Option<(u64, [u8; 2])>,
}

impl Header {
    pub fn parse(bytes: [u8; HEADER_BYTES]) -> Self {
        let u16_at = |at: usize| u16::from_le_bytes([bytes[at], bytes[at + 1]]);
        Self {
            flags: bytes[0],
            gso_type: bytes[1],
            header_len: u16_at(2),
            gso_size: u16_at(4),
            checksum_start: u16_at(6),
            checksum_offset: u16_at(8),
        }
    }

    /// That of a frame of so many bytes. The length of its headers is a hint, which is not passed
    /// on where it cannot be right; a frame that is one packet has no size of packets.
    pub fn within(self, frame_bytes: u64) -> Self {
        let header_len = u64::from(self.header_len).min(frame_bytes) as u16;
        let gso_size = if self.gso_type == GSO_NONE { 0 } else { self.gso_size };
        Self { header_len, gso_size, ..self }
    }

    /// With `num_buffers` in its last two bytes.
    pub fn bytes(&self, num_buffers: u16) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        (bytes[0], bytes[1]) = (self.flags, self.gso_type);
        let words = [
            self.header_len,
            self.gso_size,
            self.checksum_start,
            self.checksum_offset,
            num_buffers,
        ];
        for (word, at) in words.into_iter().zip((2..).step_by(2)) {
            bytes[at..at + 2].copy_from_slice(&word.to_le_bytes());
        }
        bytes
    }

    /// Without what a driver may not set.
    pub const fn of_driver(&self) -> Self {
        Self { flags: self.flags & NEEDS_CSUM, ..*self }
    }

    /// Whether a sender that has these feature bits may leave this to be done to a frame of so many
    /// bytes (5.1.6.2.1).
    pub fn is_sound(&self, frame_bytes: u64, has: impl Fn(u64) -> bool) -> bool {
        let end = u64::from(self.checksum_start) + u64::from(self.checksum_offset) + 2;
        let needs_checksum = self.flags & NEEDS_CSUM != 0;
        let is_checksum_sound = !needs_checksum || has(CSUM) && end <= frame_bytes;
        let is_gso_sound = match self.gso_type {
            GSO_NONE => true,
            GSO_TCPV4 => has(HOST_TSO4) && needs_checksum && self.gso_size > 0,
            GSO_TCPV6 => has(HOST_TSO6) && needs_checksum && self.gso_size > 0,
            _ => false,
        };
        is_checksum_sound && is_gso_sound
    }

    /// The header for a receiver that takes this, of a frame with this content; None if the frame
    /// has to be cut into segments for it.
    pub fn pass<M: GuestMemory>(
        &self,
        content: &Content<'_, M>,
        frame_bytes: u64,
        receiver: Offloads,
    ) -> Option<Passed> {
        let takes_segments = match self.gso_type {
            GSO_TCPV4 => receiver.has_tso4,
            GSO_TCPV6 => receiver.has_tso6,
            _ => true,
        };
        if !takes_segments {
            return None;
        }
        if self.flags & NEEDS_CSUM == 0 {
            return Some(Passed { header: Self::default(), checksum: None });
        }
        if receiver.has_checksum {
            return Some(Passed { header: self.of_driver(), checksum: None });
        }
        let at = u64::from(self.checksum_start) + u64::from(self.checksum_offset);
        let checksum = checksum(content, frame_bytes, self.checksum_start.into());
        Some(Passed { header: Self::default(), checksum: Some((at, checksum)) })
    }
}

/// The Internet checksum (RFC 1071) of a frame from `start` to its `end`. The checksum's own place
/// holds the sum of the pseudo header. A UDP checksum of 0 means none: its equal, all ones, is
/// sent.
fn checksum<M: GuestMemory>(content: &Content<'_, M>, end: u64, start: u64) -> [u8; 2] {
    match !fold(sum_of(content, start..end)) {
        0 => [0xff; 2],
        checksum => checksum.to_be_bytes(),
    }
}

/// The sum of 16-bit words, the first of them at the start of the range, 0 behind its end.
pub(super) fn sum_of<M: GuestMemory>(content: &Content<'_, M>, range: Range<u64>) -> u64 {
    let mut piece = [0; 256];
    let (mut sum, mut at) = (0, range.start);
    while at < range.end {
        let len = (range.end - at).min(piece.len() as u64) as usize;
        // Its RAM was there when the frame was taken.
        let _ = content.read_at(at, &mut piece[..len]);
        sum += sum_of_words(&piece[..len]);
        at += len as u64;
    }
    sum
}

/// The same of bytes at hand.
pub(super) fn sum_of_words(bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks();
    let sum: u64 = words.iter().map(|word| u64::from(u16::from_be_bytes(*word))).sum();
    sum + rest.first().map_or(0, |byte| u64::from(*byte) << 8)
}

/// A sum in 16 bits, the carries added (RFC 1071, 1).
pub(super) fn fold(mut sum: u64) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}
