//! Drivers by the book, as inputs: what a fuzzer starts from.

use super::promises::{ALL_FEATURES, AVAILABLE, RAM_BYTES, STOP, TABLE, USED, net_queue};

const NEXT: u16 = 1;
const WRITE: u16 = 2;
const INDIRECT: u16 = 4;
const DATA: u64 = 0x6000;

/// One of each kind of device and request.
pub fn all() -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    // A disk, without and with indirect tables; one that is read-only; random bytes.
    // A console, each of whose queues is set up in turn.
    for queue in 0..6 {
        for features in [0, 0x80, 0x84, 0x88] {
            all.push(input(3 | queue << 4 | features, u32::from(features)));
        }
    }
    for kind in [0, 8, 4, 1, 2, 6] {
        for request in [0, 1, 4, 8, 11, 13] {
            all.push(input(kind, request));
        }
    }
    // Interfaces: a queue of frames received, of frames sent, of commands.
    for features in [0, 8, ALL_FEATURES, ALL_FEATURES | 12] {
        for queue in 0..3 {
            for request in [0, 1, 4] {
                all.push(input(2 | (queue + 1) << 4 | features, request));
            }
        }
    }
    all
}

/// A request of this type in two chains, then a reset, and a notification without a driver.
fn input(kind: u8, request: u32) -> Vec<u8> {
    let mut ram = vec![0; (0x8000 - TABLE) as usize];
    let mut put = |address: u64, bytes: &[u8]| {
        assert!(address < RAM_BYTES);
        ram[(address - TABLE) as usize..][..bytes.len()].copy_from_slice(bytes);
    };
    let mut describe = |at: u64, of: (u64, u32, u16, u16)| {
        put(at, &of.0.to_le_bytes());
        put(at + 8, &of.1.to_le_bytes());
        put(at + 12, &of.2.to_le_bytes());
        put(at + 14, &of.3.to_le_bytes());
    };
    let is_read = request == 0 || request == 8;
    let data = if is_read { WRITE } else { 0 };
    let bytes = if request > 8 { 16 } else { 512 };
    let is_received = net_queue(kind) == Some(0);
    let first = if is_received { WRITE } else { 0 };
    let data = data | first;
    let chain = [
        (DATA, 16, NEXT | first, 1),
        (DATA + 0x100, bytes, NEXT | data, 2),
        (DATA + 0x400, 1, WRITE, 0),
    ];
    let is_indirect = kind & 8 != 0;
    let table = if is_indirect { 0x4000 } else { TABLE };
    for (index, descriptor) in (0..).zip(chain) {
        describe(table + 16 * index, descriptor);
    }
    if is_indirect {
        describe(TABLE, (table, 48, INDIRECT, 0));
    }
    put(DATA, &request.to_le_bytes());
    put(DATA + 0x100, &[1, 0, 0, 0, 0, 0, 0, 0, 2]);
    put(AVAILABLE + 2, &2_u16.to_le_bytes());
    put(USED + 4, &[0; 8]);
    if net_queue(kind) == Some(2) {
        // A command: promiscuous mode on, or a table.
        put(DATA, &[u8::from(request == 4), 0, 1]);
    }
    // Register 8 is the status, 6 the notification.
    let stores = [[6, 0, 0, 0, 0, 0], [8, 0, 0, 0, 0, 0], [6, 0, 0, 0, 0, 0]].concat();
    [vec![kind], stores, vec![STOP], ram].concat()
}
