//! The header of a frame (`virtio_net_hdr`, 5.1.6): what is left to be done to the frame.

use super::super::chain::Buffer;
use super::super::cursor::read_at;
use super::super::transport::Transport;
use super::{CSUM, GUEST_CSUM, GUEST_TSO4, GUEST_TSO6, HOST_TSO4, HOST_TSO6};
use crate::memory::GuestMemory;

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
    gso_size: u16,
    checksum_start: u16,
    checksum_offset: u16,
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

    /// Whether a driver that has accepted what `sender` has may leave this to be done to a frame of
    /// so many bytes (5.1.6.2.1).
    pub fn is_sound(&self, frame_bytes: u64, sender: &Transport) -> bool {
        let end = u64::from(self.checksum_start) + u64::from(self.checksum_offset) + 2;
        let needs_checksum = self.flags & NEEDS_CSUM != 0;
        let is_checksum_sound = !needs_checksum || sender.has(CSUM) && end <= frame_bytes;
        let is_gso_sound = match self.gso_type {
            GSO_NONE => true,
            GSO_TCPV4 => sender.has(HOST_TSO4) && needs_checksum && self.gso_size > 0,
            GSO_TCPV6 => sender.has(HOST_TSO6) && needs_checksum && self.gso_size > 0,
            _ => false,
        };
        is_checksum_sound && is_gso_sound
    }

    /// The header for `receiver`, of a frame that lies in `buffers`; None if the frame has to be
    /// segmented for it, which is not done here.
    pub fn pass(
        &self,
        buffers: &[Buffer],
        memory: &impl GuestMemory,
        receiver: &Transport,
    ) -> Option<Passed> {
        let takes_segments = match self.gso_type {
            GSO_TCPV4 => receiver.has(GUEST_TSO4) && receiver.has(GUEST_CSUM),
            GSO_TCPV6 => receiver.has(GUEST_TSO6) && receiver.has(GUEST_CSUM),
            _ => true,
        };
        if !takes_segments {
            return None;
        }
        if self.flags & NEEDS_CSUM == 0 {
            return Some(Passed { header: Self::default(), checksum: None });
        }
        if receiver.has(GUEST_CSUM) {
            // No other flag is a driver's to set.
            let header = Self { flags: NEEDS_CSUM, ..*self };
            return Some(Passed { header, checksum: None });
        }
        let at = u64::from(self.checksum_start) + u64::from(self.checksum_offset);
        let checksum = checksum(buffers, memory, self.checksum_start.into());
        Some(Passed { header: Self::default(), checksum: Some((at, checksum)) })
    }
}

/// The Internet checksum (RFC 1071) of a frame from `start` on. The checksum's own place holds the
/// sum of the pseudo header. A UDP checksum of 0 means none: its equal, all ones, is sent.
fn checksum(buffers: &[Buffer], memory: &impl GuestMemory, start: u64) -> [u8; 2] {
    let mut piece = [0; 256];
    let mut sum = 0_u64;
    let end = super::super::total(buffers);
    let mut at = start;
    while at < end {
        let len = (end - at).min(piece.len() as u64) as usize;
        // Its RAM was there when the frame was taken.
        let _ = read_at(buffers, memory, at, &mut piece[..len]);
        piece[len..].fill(0);
        let words = piece.chunks_exact(2).map(|word| u16::from_be_bytes([word[0], word[1]]));
        sum += words.map(u64::from).sum::<u64>();
        at += len as u64;
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    let folded = !(sum as u16);
    if folded == 0 { [0xff; 2] } else { folded.to_be_bytes() }
}
