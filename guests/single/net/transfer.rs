//! A transfer of data both ways at once, without loss: numbered pieces, as many at a time as the
//! window has, each of which is acknowledged, or sent again.

use super::station::{Kind, MESSAGE_BYTES, Packet, Station};
use super::{Verdict, expect, memory};
use crate::common::cpu;

/// Where the data lies: above the image, in the memory that ring 3 may use too.
const SENT_AT: usize = 4 << 20;
const RECEIVED_AT: usize = 6 << 20;
const CHECKSUM_BYTES: usize = 4;
/// The most bytes, in a machine of 8 MiB.
pub const MOST_BYTES: usize = RECEIVED_AT - SENT_AT - CHECKSUM_BYTES;

/// Bytes of an IP packet in a usual frame, and in the longest one.
pub const MTU: usize = 1500;
pub const MOST: usize = 65_535;

/// How data is sent.
#[derive(Clone, Copy)]
pub struct Plan {
    /// Data bytes.
    pub bytes: usize,
    /// Bytes of an IP packet.
    pub packet_bytes: usize,
    /// Pieces that are sent before the first is acknowledged.
    pub window: usize,
}

/// Sends, receives, and compares checksums. Both ends do that, with the same plan; `at_half` is
/// called once, when half of the data has come.
pub fn run(
    station: &mut Station,
    plan: Plan,
    at_half: &mut dyn FnMut(&mut Station) -> Verdict,
) -> Result<u32, &'static str> {
    let seed = u64::from(u32::from_be_bytes(station.own.1)) ^ u64::from(station.phase);
    let total = plan.bytes + CHECKSUM_BYTES;
    prepare(plan.bytes, seed);
    station.received = 0;
    let own_phase = station.phase;
    let piece = plan.packet_bytes - 28 - MESSAGE_BYTES;
    let (mut sent, mut acknowledged) = (0, 0);
    let (mut is_acknowledgement_due, mut is_half_over) = (false, false);
    let mut deadline = station.deadline();
    while acknowledged < total || (station.received as usize) < total || is_acknowledgement_due {
        let mut is_news = false;
        while let Some(packet) = station.next() {
            let Packet::Message { kind, phase, value, data } = packet else { continue };
            if phase != own_phase {
                continue;
            }
            match kind {
                Kind::Data => {
                    is_acknowledgement_due = true;
                    is_news |= take(station, value, data, total);
                    if !is_half_over && station.received as usize > total / 2 {
                        is_half_over = true;
                        at_half(station)?;
                    }
                }
                Kind::Acknowledgement => {
                    is_news |= value as usize > acknowledged;
                    acknowledged = acknowledged.max(value as usize);
                    sent = sent.max(acknowledged);
                }
                Kind::Phase => {}
            }
        }
        if is_acknowledgement_due {
            let received = station.received;
            is_acknowledgement_due = !station.tell(Kind::Acknowledgement, received, &[]);
        }
        let mut has_room = true;
        while has_room && sent < total && sent < acknowledged + plan.window * piece {
            let end = total.min(sent + piece);
            has_room = station.tell(Kind::Data, sent as u32, memory(SENT_AT + sent, end - sent));
            sent = if has_room { end } else { sent };
        }
        station.nic.notify();
        if is_news {
            deadline = station.deadline();
        } else if cpu::time_stamp() >= deadline {
            sent = acknowledged;
            deadline = station.deadline();
        } else {
            station.wait(deadline, !has_room || is_acknowledgement_due);
        }
    }
    station.completed = Some((own_phase, station.received));
    let sum = checksum(memory(RECEIVED_AT, plan.bytes));
    let is_right = *memory(RECEIVED_AT + plan.bytes, CHECKSUM_BYTES) == sum.to_le_bytes();
    expect(is_right, "the checksum is another")?;
    Ok(sum)
}

/// Takes a piece if it is the next one; whether it is.
fn take(station: &mut Station, at: u32, data: (usize, usize), total: usize) -> bool {
    let Some(bytes) = station.frame.get(data.0..data.1) else { return false };
    if at != station.received || at as usize + bytes.len() > total {
        return false;
    }
    memory(RECEIVED_AT + at as usize, bytes.len()).copy_from_slice(bytes);
    station.received += bytes.len() as u32;
    true
}

/// Pseudo-random bytes (xorshift), and their checksum behind them.
fn prepare(bytes: usize, seed: u64) {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let data = memory(SENT_AT, bytes);
    for word in data.chunks_mut(8) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        for (to, from) in word.iter_mut().zip(state.to_le_bytes()) {
            *to = from;
        }
    }
    let sum = checksum(data);
    memory(SENT_AT + bytes, CHECKSUM_BYTES).copy_from_slice(&sum.to_le_bytes());
}

/// CRC-32 (IEEE 802.3), four bits at a time.
fn checksum(bytes: &[u8]) -> u32 {
    const POLYNOMIAL: u32 = 0xEDB8_8320;
    const TABLE: [u32; 16] = {
        let mut table = [0; 16];
        let mut n = 0;
        while n < 16 {
            let mut sum = n as u32;
            let mut bit = 0;
            while bit < 4 {
                sum = if sum & 1 == 1 { sum >> 1 ^ POLYNOMIAL } else { sum >> 1 };
                bit += 1;
            }
            table[n] = sum;
            n += 1;
        }
        table
    };
    let entry = |sum: u32| TABLE.get(sum as usize & 15).copied().unwrap_or(0);
    let sum = bytes.iter().fold(u32::MAX, |sum, &byte| {
        let sum = sum ^ u32::from(byte);
        let sum = sum >> 4 ^ entry(sum);
        sum >> 4 ^ entry(sum)
    });
    !sum
}
