//! A frame of several TCP segments, cut for a receiver whose driver takes them one by one: as a
//! network card does it for its driver (RFC 791, 8200 and 9293 for the fields; RFC 3168, 6.1.2, for
//! CWR).

use super::frame::Content;
use super::header::{Header, fold, sum_of, sum_of_words};
use crate::memory::GuestMemory;
use core::ops::Range;

/// The longest headers: Ethernet with two tags, IPv4 or IPv6 with options, TCP with options.
const MAX_HEADER_BYTES: usize = 192;
/// The most segments of a frame: a sender may not make a receiver's buffers of single bytes.
const MAX_SEGMENTS: u64 = 256;

/// Ethernet types.
const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;
const TAGS: [u16; 2] = [0x8100, 0x88a8];
/// IP protocol number.
const TCP: u8 = 6;
/// Bytes of fixed headers.
const IPV6_BYTES: usize = 40;
const TCP_BYTES: usize = 20;
/// Where the checksum is in a TCP header, and its flags.
const CHECKSUM: usize = 16;
const FLAGS: usize = 13;
const FIN_PSH: u8 = 0x09;
const CWR: u8 = 0x80;

/// A frame that can be cut.
#[derive(Debug)]
pub struct Segments {
    headers: [u8; MAX_HEADER_BYTES],
    /// Bytes of all headers.
    len: usize,
    /// Where the IP header and the TCP header begin.
    network: usize,
    transport: usize,
    is_v6: bool,
    /// Payload bytes of a segment.
    size: u64,
    frame_bytes: u64,
}

/// One of them.
#[derive(Debug)]
pub struct Segment {
    headers: [u8; MAX_HEADER_BYTES],
    len: usize,
    /// Its part of the frame.
    pub payload: Range<u64>,
}

impl Segment {
    pub fn headers(&self) -> &[u8] {
        &self.headers[..self.len]
    }
}

impl Segments {
    /// Those of a frame with this content; None if its headers are not those of TCP, or it has too
    /// many segments.
    pub fn of<M: GuestMemory>(
        header: &Header,
        content: &Content<'_, M>,
        frame_bytes: u64,
    ) -> Option<Self> {
        let mut headers = [0; MAX_HEADER_BYTES];
        let read = frame_bytes.min(MAX_HEADER_BYTES as u64) as usize;
        let is_read = content.read_at(0, &mut headers[..read]);
        let word = |at: usize| u16::from_be_bytes([headers[at], headers[at + 1]]);
        let mut kind = 12;
        while TAGS.contains(&word(kind)) && kind < 20 {
            kind += 4;
        }
        let (network, transport) = (kind + 2, usize::from(header.checksum_start));
        if !is_read || transport + TCP_BYTES > read || transport < network {
            return None;
        }
        let version = headers[network] >> 4;
        let is_tcp = match (word(kind), version) {
            (IPV4, 4) => {
                let len = usize::from(headers[network] & 15) * 4;
                len >= 20 && network + len == transport && headers[network + 9] == TCP
            }
            // What may lie between is not changed.
            (IPV6, 6) => network + IPV6_BYTES <= transport,
            _ => false,
        };
        let len = transport + usize::from(headers[transport + 12] >> 4) * 4;
        let is_whole = (transport + TCP_BYTES..=read).contains(&len);
        let segments = Self {
            headers,
            len,
            network,
            transport,
            is_v6: version == 6,
            size: header.gso_size.into(),
            frame_bytes,
        };
        let is_sound = is_tcp && is_whole && usize::from(header.checksum_offset) == CHECKSUM;
        (is_sound && segments.size > 0 && segments.count() <= MAX_SEGMENTS).then_some(segments)
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        (self.frame_bytes - self.len as u64).div_ceil(self.size).max(1)
    }

    /// The segment with this number.
    pub fn segment<M: GuestMemory>(&self, number: u64, content: &Content<'_, M>) -> Segment {
        let Self { mut headers, len, network, transport, .. } = *self;
        let begin = len as u64 + number * self.size;
        let payload = begin..(begin + self.size).min(self.frame_bytes);
        let bytes = len + (payload.end - payload.start) as usize;
        let put = |headers: &mut [u8], at: usize, value: u16| {
            headers[at..at + 2].copy_from_slice(&value.to_be_bytes());
        };
        let word = |headers: &[u8], at: usize| u16::from_be_bytes([headers[at], headers[at + 1]]);
        let addresses = match self.is_v6 {
            true => {
                put(&mut headers, network + 4, (bytes - network - IPV6_BYTES) as u16);
                network + 8..network + IPV6_BYTES
            }
            false => {
                put(&mut headers, network + 2, (bytes - network) as u16);
                let identification = word(&headers, network + 4).wrapping_add(number as u16);
                put(&mut headers, network + 4, identification);
                put(&mut headers, network + 10, 0);
                let checksum = !fold(sum_of_words(&headers[network..transport]));
                put(&mut headers, network + 10, checksum);
                network + 12..network + 20
            }
        };
        let sequence = headers[transport + 4..transport + 8].first_chunk().copied();
        let sequence = u32::from_be_bytes(sequence.unwrap_or_default());
        let sequence = sequence.wrapping_add((number * self.size) as u32);
        headers[transport + 4..transport + 8].copy_from_slice(&sequence.to_be_bytes());
        let is_last = payload.end == self.frame_bytes;
        headers[transport + FLAGS] &= if is_last { 0xff } else { !FIN_PSH };
        headers[transport + FLAGS] &= if number == 0 { 0xff } else { !CWR };
        put(&mut headers, transport + CHECKSUM, 0);
        let pseudo =
            sum_of_words(&headers[addresses]) + u64::from(TCP) + (bytes - transport) as u64;
        let sum =
            pseudo + sum_of_words(&headers[transport..len]) + sum_of(content, payload.clone());
        put(&mut headers, transport + CHECKSUM, !fold(sum));
        Segment { headers, len, payload }
    }
}
