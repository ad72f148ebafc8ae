//! What a sender may leave to the device, where that is offered: checksums and segments (Virtio
//! 1.2, section 5.1.6.2). Where it is not, as in a network that carries frames alone, the sender
//! does it, and the receiver finds the same.

use super::nic::{CSUM, GUEST_CSUM, GUEST_TSO4, HEADER_BYTES, HOST_TSO4, LARGE, NO_HEADER, Way};
use super::packets::{ETHERNET_BYTES, IP_BYTES, TYPE_IP, u16_at};
use super::registers::Window;
use super::station::{Packet, Station};
use super::{USUAL, Verdict, expect};

const NEEDS_CSUM: u8 = 1;
const TSO4: u8 = 1;
const PORTS: (u16, u16) = (4713, 4714);
const DATAGRAM: [u8; 999] = [0x5A; 999];
/// A segment's bytes, and those of the TCP header before it.
const SEGMENT_BYTES: u16 = 1448;
const TCP_BYTES: usize = 20;
const CHECKSUM_START: u8 = (ETHERNET_BYTES + IP_BYTES) as u8;

/// A header that leaves the checksum at `offset` to the device.
const fn needs_checksum(offset: u8) -> [u8; HEADER_BYTES] {
    [NEEDS_CSUM, 0, 0, 0, 0, 0, CHECKSUM_START, 0, offset, 0, 0, 0]
}

/// Checksums of datagrams: to a receiver that takes them as they are, and to one that does not, for
/// which the device computes them. The packet's own check is [`super::packets::parse`].
pub fn checksums(station: &mut Station, window: Window) -> Verdict {
    for guest_csum in [GUEST_CSUM, 0] {
        let features = USUAL.features | CSUM | guest_csum;
        station.restart(window, Way { features, ..USUAL })?;
        station.meet();
        let is_left = station.nic.has(CSUM);
        let header = if is_left { needs_checksum(6) } else { NO_HEADER };
        let (mut is_right, is_passed) = (true, is_left && guest_csum != 0);
        station.meet_after(
            |station| {
                let Some(between) = station.between() else { return };
                station.send_frame(&header, |writer| {
                    writer.udp(&between, PORTS, [&DATAGRAM, &[]]);
                    if is_left {
                        writer.leave_checksum(&between);
                    }
                });
            },
            |station, packet| {
                let Packet::Datagram { data } = packet else { return false };
                let [flags, ..] = station.header;
                is_right &= station.frame.get(data.0..data.1) == Some(&DATAGRAM);
                is_right &= (flags & NEEDS_CSUM != 0) == is_passed;
                true
            },
        );
        expect(is_right, "another datagram or header comes")?;
    }
    Ok(())
}

/// A packet of many segments, which a receiver that takes segments gets in one piece.
pub fn segments(station: &mut Station, window: Window) -> Verdict {
    const BYTES: usize = 64_000;
    let wanted = CSUM | GUEST_CSUM | HOST_TSO4 | GUEST_TSO4;
    let features = USUAL.features | wanted;
    station.restart(window, Way { features, slot_bytes: LARGE, ..USUAL })?;
    station.meet();
    let is_left = [CSUM, GUEST_CSUM, HOST_TSO4, GUEST_TSO4].iter().all(|&f| station.nic.has(f));
    let mut header = if is_left { needs_checksum(16) } else { NO_HEADER };
    if is_left {
        let [low, high] = SEGMENT_BYTES.to_le_bytes();
        let [_, kind, length, _, size, size_high, ..] = &mut header;
        (*kind, *length) = (TSO4, CHECKSUM_START + TCP_BYTES as u8);
        (*size, *size_high) = (low, high);
    }
    let segment = super::memory(super::solo::DATA_AT, BYTES);
    segment.iter_mut().enumerate().for_each(|(n, byte)| *byte = (n + n / 255) as u8);
    let mut is_right = true;
    station.meet_after(
        |station| {
            let Some(between) = station.between() else { return };
            station.send_frame(&header, |writer| {
                writer.tcp(&between, segment);
            });
        },
        |station, packet| {
            let Packet::Frame(len) = packet else { return false };
            let start = ETHERNET_BYTES + IP_BYTES;
            let is_it = len == start + BYTES && u16_at(station.frame, 12) == TYPE_IP;
            if is_it {
                is_right &= station.frame.get(start..len) == Some(&*segment);
                is_right &= station.header.get(..10) == header.get(..10);
            }
            is_it
        },
    );
    expect(is_right, "another packet or header comes")
}
