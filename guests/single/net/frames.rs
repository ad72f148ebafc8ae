//! Frames of all lengths and kinds, both ways: each has to arrive as it was sent.

use super::nic::NO_HEADER;
use super::packets::{BROADCAST, Mac, Writer, bytes_at, u16_at};
use super::station::{Packet, Station};
use super::{Verdict, expect};

/// IEEE 802's first type for local experiments.
const EXPERIMENT: u16 = 0x88B5;
/// The tag of a virtual LAN (IEEE 802.1Q).
const TAGGED: u16 = 0x8100;
const SHORTEST: usize = 14;
const LONGEST: usize = 1514;
/// Frames at a time: less than there are slots.
const GROUP: usize = 48;
const ALL_MULTICAST: Mac = [1, 0, 0x5E, 0, 0, 1];
const STRANGER: Mac = [0x52, 0x54, 0, 0x99, 0x99, 0x99];

/// The bytes that follow a frame's type.
fn pattern(len: usize) -> impl Iterator<Item = u8> {
    (0..).map(move |n: usize| (n * 5 + n / 251 + len) as u8)
}

/// Writes a frame of a length, its type and a pattern, from an address.
fn write(writer: &mut Writer<'_>, to: Mac, from: Mac, tag: Option<u16>, len: usize) {
    writer.put(&to).put(&from);
    if let Some(tag) = tag {
        writer.put16(TAGGED).put16(tag);
    }
    writer.put16(EXPERIMENT);
    let rest = len - writer.len;
    pattern(len).take(rest).for_each(|byte| {
        writer.put(&[byte]);
    });
}

/// Whether a frame is what [`write`] has written.
fn is_as_written(frame: &[u8], from: Mac) -> bool {
    let is_tagged = u16_at(frame, 12) == TAGGED;
    let kind_at = if is_tagged { 16 } else { 12 };
    let rest = frame.get(kind_at + 2..).unwrap_or(&[]);
    u16_at(frame, kind_at) == EXPERIMENT
        && bytes_at(frame, 6) == from
        && rest.iter().copied().eq(pattern(frame.len()).take(rest.len()))
}

/// A frame's number, if it is of the check.
type Number = fn(&[u8]) -> Option<usize>;

/// Both send frames with the numbers from `first` on, and meet when all have come.
fn exchange(
    station: &mut Station,
    first: usize,
    count: usize,
    send: impl Fn(&mut Station, usize),
    number: Number,
) -> Verdict {
    let mut missing = u64::MAX >> (u64::BITS as usize - count);
    let mut is_right = true;
    station.meet_after(
        |station| (first..first + count).for_each(|number| send(station, number)),
        |station, packet| {
            if let (Packet::Frame(len), Some(peer)) = (packet, station.peer) {
                let frame = station.frame.get(..len).unwrap_or(&[]);
                let is_ours = [12, 16].iter().any(|&at| u16_at(frame, at) == EXPERIMENT);
                if is_ours {
                    is_right &= is_as_written(frame, peer.0) && station.header_is_plain();
                    let place = number(frame).and_then(|number| number.checked_sub(first));
                    missing &= !place.filter(|&place| place < count).map_or(0, |place| 1 << place);
                }
            }
            missing == 0
        },
    );
    expect(is_right, "one is not as it was sent")
}

/// Every length that a usual frame may have.
pub fn lengths(station: &mut Station) -> Verdict {
    let mut first = SHORTEST;
    while first <= LONGEST {
        let count = GROUP.min(LONGEST + 1 - first);
        let send = |station: &mut Station, len| {
            let (own, Some(peer)) = (station.own, station.peer) else { return };
            station.send_frame(&NO_HEADER, |writer| write(writer, peer.0, own.0, None, len));
        };
        exchange(station, first, count, send, |frame| Some(frame.len()))?;
        first += count;
    }
    Ok(())
}

/// To all, to many, and to an address that no interface has.
pub fn destinations(station: &mut Station) -> Verdict {
    const DESTINATIONS: [Mac; 3] = [BROADCAST, ALL_MULTICAST, STRANGER];
    let send = |station: &mut Station, number: usize| {
        let own = station.own.0;
        let to = DESTINATIONS.get(number).copied().unwrap_or(BROADCAST);
        station.send_frame(&NO_HEADER, |writer| write(writer, to, own, None, 100 + number));
    };
    exchange(station, 0, DESTINATIONS.len(), send, |frame| {
        DESTINATIONS.iter().position(|to| *to == bytes_at(frame, 0))
    })
}

/// Tags of virtual LANs: identifier 5, 4094, and 0 with a priority; four bytes longer than usual.
pub fn tags(station: &mut Station) -> Verdict {
    const TAGS: [u16; 3] = [5, 4094, 0xE000];
    let send = |station: &mut Station, number: usize| {
        let (own, Some(peer)) = (station.own, station.peer) else { return };
        let tag = TAGS.get(number).copied();
        station.send_frame(&NO_HEADER, |writer| write(writer, peer.0, own.0, tag, LONGEST + 4));
    };
    exchange(station, 0, TAGS.len(), send, |frame| {
        TAGS.iter().position(|tag| *tag == u16_at(frame, 14))
    })
}

/// A header that asks for what was not negotiated: its frame goes nowhere (5.1.6.2.1), the next one
/// arrives.
pub fn bad_headers(station: &mut Station) -> Verdict {
    const BAD: usize = 200;
    const GOOD: usize = 300;
    const UNKNOWN_SEGMENTS: u8 = 0x7F;
    const TSO4: u8 = 1;
    let (mut has_sent, mut has_bad_come) = (false, false);
    station.meet_after(
        |station| {
            let (own, Some(peer)) = (station.own, station.peer) else { return };
            let mut send = |header, len| {
                station.send_frame(&header, |writer| write(writer, peer.0, own.0, None, len));
            };
            // Once, however often the good one has to be sent: its device counts them.
            let bad = [(UNKNOWN_SEGMENTS, 0), (TSO4, 0), (TSO4, 1), (0, 1)];
            let bad = bad.into_iter().filter(|_| !has_sent);
            for (kind, flags) in bad {
                send([flags, kind, 0, 0, 0, 0, 0xFF, 0xFF, 0, 0, 0, 0], BAD);
            }
            has_sent = true;
            send(NO_HEADER, GOOD);
        },
        |station, packet| {
            let Packet::Frame(len) = packet else { return false };
            let is_ours = u16_at(station.frame, 12) == EXPERIMENT;
            has_bad_come |= is_ours && len == BAD;
            is_ours && len == GOOD
        },
    );
    expect(!has_bad_come, "one with a bad header arrives")
}
