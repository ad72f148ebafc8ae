//! The block device (5.2).

use super::driver::{DATA, Driver, Ram, TABLE, USED};
use crate::memory::GuestMemory;
use crate::virtio::block::{Block, MOST_AT_ONCE, Operation, Status};
use crate::virtio::{Buffer, Device, Event, RingError, feature, total};

extern crate std;
use std::vec::Vec;

const SECTORS: u64 = 64;
/// Where the header and the status byte are.
const HEADER: u64 = 0x8000;
const STATUS: u64 = 0x9000;
const FLUSH: u64 = 1 << 9;

fn disk(is_read_only: bool, features: u64) -> Driver {
    let block = Block::new(SECTORS, is_read_only, b"a name of more than twenty bytes");
    Driver::start(Device::Block(block), 8, features)
}

/// Offers a request with these data buffers.
fn ask(driver: &mut Driver, kind: u32, sector: u64, data: &[(u64, u32, bool)]) {
    driver.ram.put(HEADER, &kind.to_le_bytes());
    driver.ram.put(HEADER + 8, &sector.to_le_bytes());
    driver.ram.put(STATUS, &[0xff]);
    let parts: Vec<_> = [&[(HEADER, 16, false)], data, &[(STATUS, 1, true)]].concat();
    driver.chain(&parts);
}

/// What comes of it: the operation and its buffers, after which it ends with `status`.
fn next(driver: &mut Driver, status: Status) -> Option<(Operation, Vec<Buffer>)> {
    let Driver { device: Device::Block(block), ram, .. } = driver else { unreachable!("a disk") };
    let request = block.next(ram)?;
    let (operation, token) = (request.operation, request.token);
    let buffers = request.buffers.to_vec();
    block.finish(ram, operation, token, status);
    block.signal(ram);
    Some((operation, buffers))
}

fn check_answered(driver: &mut Driver, what: &str, code: u8, written: u32) {
    assert_eq!(driver.ram.bytes(STATUS, 1), [code], "{what}: status");
    assert_eq!(driver.returned(), Some((0, written)), "{what}: returned");
}

#[test]
fn a_read_fills_the_buffers_and_a_write_takes_them() {
    let mut driver = disk(false, FLUSH);
    ask(&mut driver, 0, 3, &[(DATA, 512, true), (DATA + 0x1000, 1024, true)]);
    let (operation, buffers) = next(&mut driver, Status::Ok).expect("a read");
    assert_eq!(operation, Operation::Read { offset: 3 * 512, bytes: 1536 });
    let at = |address, bytes| Buffer { address, bytes };
    assert_eq!(buffers, [at(DATA, 512), at(DATA + 0x1000, 1024), at(STATUS, 0)]);
    check_answered(&mut driver, "a read", 0, 1537);
    ask(&mut driver, 1, 63, &[(DATA, 512, false)]);
    let (operation, buffers) = next(&mut driver, Status::Ok).expect("a write");
    assert_eq!(operation, Operation::Write { offset: 63 * 512, bytes: 512, is_durable: false });
    assert_eq!(total(&buffers), 512);
    check_answered(&mut driver, "a write", 0, 1);
    let Device::Block(block) = &driver.device else { unreachable!("a disk") };
    let counts = block.counts();
    assert_eq!((counts.requests, counts.read_bytes, counts.written_bytes), (2, 1536, 512));
    assert_eq!((counts.errors, block.under_way()), (0, 0));
}

#[test]
fn a_driver_that_cannot_flush_writes_through() {
    let mut driver = disk(false, 0);
    ask(&mut driver, 1, 0, &[(DATA, 512, false)]);
    let (operation, _) = next(&mut driver, Status::Ok).expect("a write");
    assert_eq!(operation, Operation::Write { offset: 0, bytes: 512, is_durable: true });
}

#[test]
fn header_and_status_may_lie_anyhow() {
    // The header in three pieces, with the data behind it in the last, the status in the data's
    // buffer (2.7.4.1).
    let mut driver = disk(false, FLUSH);
    driver.ram.put(HEADER + 0x100, &[0; 16]);
    driver.chain(&[(HEADER + 0x100, 3, false), (HEADER + 0x103, 13, false), (DATA, 513, true)]);
    let (operation, buffers) = next(&mut driver, Status::IoError).expect("a read");
    assert_eq!(operation, Operation::Read { offset: 0, bytes: 512 });
    assert_eq!(buffers, [Buffer { address: DATA, bytes: 512 }]);
    assert_eq!(driver.ram.bytes(DATA + 512, 1), [1], "VIRTIO_BLK_S_IOERR");
    assert_eq!(driver.returned(), Some((0, 1)));
}

#[test]
fn transfers_beyond_the_disk_or_of_parts_of_sectors_end_with_an_error() {
    let mut driver = disk(false, FLUSH);
    for (kind, is_writable) in [(0, true), (1, false)] {
        for (sector, bytes) in [(64, 512), (63, 1024), (u64::MAX, 512), (0, 511), (0, 513)] {
            ask(&mut driver, kind, sector, &[(DATA, bytes, is_writable)]);
            assert_eq!(next(&mut driver, Status::Ok), None, "{kind} {sector} {bytes}");
            check_answered(&mut driver, "beyond", 1, 1);
        }
    }
}

#[test]
fn what_it_does_not_know_is_unsupported() {
    let mut driver = disk(false, FLUSH);
    for kind in [2, 3, 5, 9, 10, 12, 14, 15, 0x8000_0000, u32::MAX] {
        ask(&mut driver, kind, 0, &[]);
        assert_eq!(next(&mut driver, Status::Ok), None, "{kind}");
        check_answered(&mut driver, "unknown", 2, 1);
    }
}

#[test]
fn its_name_is_twenty_bytes() {
    let mut driver = disk(false, FLUSH);
    ask(&mut driver, 8, 0, &[(DATA, 20, true)]);
    assert_eq!(next(&mut driver, Status::Ok), None);
    check_answered(&mut driver, "an identifier", 0, 21);
    assert_eq!(driver.ram.bytes(DATA, 21), b"a name of more than \0");
    ask(&mut driver, 8, 0, &[(DATA, 19, true)]);
    assert_eq!(next(&mut driver, Status::Ok), None);
    check_answered(&mut driver, "too short for it", 1, 1);
}

#[test]
fn sectors_are_cleared_by_one_segment() {
    let mut driver = disk(false, FLUSH);
    let segment = |driver: &Driver, sector: u64, sectors: u32, flags: u32| {
        driver.ram.put(DATA, &sector.to_le_bytes());
        driver.ram.put(DATA + 8, &sectors.to_le_bytes());
        driver.ram.put(DATA + 12, &flags.to_le_bytes());
    };
    let range = (512, 1024);
    for (kind, flags, expected) in [
        (11, 0, Ok(Operation::Discard { offset: range.0, bytes: range.1 })),
        (11, 1, Err(2)),
        (13, 0, Ok(Operation::WriteZeroes { offset: 512, bytes: 1024, may_unmap: false })),
        (13, 1, Ok(Operation::WriteZeroes { offset: 512, bytes: 1024, may_unmap: true })),
        (13, 2, Err(2)),
    ] {
        segment(&driver, 1, 2, flags);
        ask(&mut driver, kind, 0, &[(DATA, 16, false)]);
        let operation = next(&mut driver, Status::Ok).map(|(operation, _)| operation);
        assert_eq!(operation, expected.ok(), "{kind} {flags}");
        check_answered(&mut driver, "cleared", expected.err().unwrap_or(0), 1);
    }
    for (sector, sectors, bytes) in [(64, 1, 16), (63, 2, 16), (0, u32::MAX, 16), (0, 1, 32)] {
        segment(&driver, sector, sectors, 0);
        ask(&mut driver, 11, 0, &[(DATA, bytes, false)]);
        assert_eq!(next(&mut driver, Status::Ok), None, "{sector} {sectors}");
        check_answered(&mut driver, "not cleared", 1, 1);
    }
}

#[test]
fn a_read_only_disk_is_not_written() {
    let mut driver = disk(true, 1 << 5);
    for (kind, data) in [(1, (DATA, 512, false)), (11, (DATA, 16, false)), (13, (DATA, 16, false))]
    {
        ask(&mut driver, kind, 0, &[data]);
        assert_eq!(next(&mut driver, Status::Ok), None, "{kind}");
        check_answered(&mut driver, "a write", 1, 1);
    }
    ask(&mut driver, 0, 0, &[(DATA, 512, true)]);
    assert!(next(&mut driver, Status::Ok).is_some());
}

#[test]
fn a_chain_without_header_or_status_stops_the_device() {
    for parts in [
        &[(HEADER, 15, false), (STATUS, 1, true)][..],
        &[(HEADER, 16, false)],
        &[(STATUS, 512, true)],
        &[(HEADER, 16, false), (STATUS, 0, true)],
    ] {
        let mut driver = disk(false, FLUSH);
        driver.chain(parts);
        assert_eq!(next(&mut driver, Status::Ok), None);
        assert_eq!(driver.device.transport().error(), Some(RingError::TooShort), "{parts:?}");
    }
}

#[test]
fn several_requests_come_back_in_any_order() {
    let mut driver = disk(false, FLUSH);
    for n in 0..3_u16 {
        let header = HEADER + 0x20 * u64::from(n);
        driver.ram.put(header + 8, &u64::from(n).to_le_bytes());
        let data = DATA + 0x1000 * u64::from(n);
        driver.describe(TABLE, n * 2, (header, 16, 1, n * 2 + 1));
        driver.describe(TABLE, n * 2 + 1, (data, 513, 2, 0));
        driver.offer(n * 2);
    }
    let Driver { device: Device::Block(block), ram, .. } = &mut driver else { unreachable!() };
    let mut tokens = Vec::new();
    while let Some(request) = block.next(ram) {
        tokens.push((request.operation, request.token));
    }
    assert_eq!(block.under_way(), 3);
    for index in [1, 2, 0] {
        let (operation, token) = tokens[index];
        block.finish(ram, operation, token, Status::Ok);
    }
    block.signal(ram);
    assert!(driver.device.pin());
    assert_eq!(driver.returned(), Some((2, 513)));
    assert_eq!(driver.returned(), Some((4, 513)));
    assert_eq!(driver.returned(), Some((0, 513)));
}

/// A read of two and a half times what is asked for at once, in buffers cut anyhow, and a read of a
/// sector behind it. Its parts, as far as they come back with these statuses.
fn long_read(statuses: &[Status]) -> (Driver, Vec<(Operation, Vec<Buffer>)>) {
    const LONG: u32 = 5 * (MOST_AT_ONCE / 2) as u32;
    let block = Block::new(1 << 20, false, b"");
    let mut driver = Driver::start(Device::Block(block), 16, FLUSH);
    driver.ram.put(HEADER + 8, &7_u64.to_le_bytes());
    // RAM is smaller: buffers lie over one another.
    let half = 1 << 19;
    let data = [half - 512, half, half, half + 256, half + 256].map(|bytes| (DATA, bytes, true));
    assert_eq!(data.iter().map(|(_, bytes, _)| bytes).sum::<u32>(), LONG);
    driver.chain(&[&[(HEADER, 16, false)], &data[..], &[(STATUS, 1, true)]].concat());
    driver.ram.put(HEADER + 0x100, &[0; 16]);
    driver.describe(TABLE, 8, (HEADER + 0x100, 16, 1, 9));
    driver.describe(TABLE, 9, (DATA, 513, 2, 0));
    driver.offer(8);
    let mut parts = Vec::new();
    let Driver { device: Device::Block(block), ram, .. } = &mut driver else { unreachable!() };
    for status in statuses {
        let request = block.next(ram).expect("a part");
        let (operation, token) = (request.operation, request.token);
        parts.push((operation, request.buffers.to_vec()));
        assert!(block.is_in_parts());
        assert_eq!(block.next(ram), None, "one part at a time, and nothing overtakes it");
        assert_eq!(block.under_way(), 1);
        block.finish(ram, operation, token, *status);
    }
    (driver, parts)
}

#[test]
fn a_long_transfer_is_asked_for_in_parts() {
    let (mut driver, parts) = long_read(&[Status::Ok; 3]);
    let sum = parts.iter().map(|(operation, buffers)| {
        assert_eq!(operation.transferred(), Some(total(buffers)));
        total(buffers)
    });
    assert_eq!(sum.collect::<Vec<_>>(), [MOST_AT_ONCE, MOST_AT_ONCE, MOST_AT_ONCE / 2]);
    let offset = |n: usize| 7 * 512 + n as u64 * MOST_AT_ONCE;
    for (n, (operation, _)) in parts.iter().enumerate() {
        let Operation::Read { offset: at, .. } = operation else { unreachable!("a read") };
        assert_eq!(*at, offset(n));
    }
    let at = |address, bytes| Buffer { address, bytes };
    let half = 1 << 19;
    assert_eq!(parts[0].1, [at(DATA, half - 512), at(DATA, half), at(DATA, 512)]);
    assert_eq!(
        parts[1].1,
        [at(DATA + 512, half - 512), at(DATA, half + 256), at(DATA, 256)],
        "where the part before has ended"
    );
    check_answered(&mut driver, "a long read", 0, 5 * (MOST_AT_ONCE / 2) as u32 + 1);
    assert_eq!(next(&mut driver, Status::Ok).map(|(operation, _)| operation), {
        Some(Operation::Read { offset: 0, bytes: 512 })
    });
    assert_eq!(driver.returned(), Some((8, 513)));
    let Device::Block(block) = &driver.device else { unreachable!("a disk") };
    let counts = block.counts();
    assert_eq!((counts.requests, counts.read_bytes), (2, 5 * MOST_AT_ONCE / 2 + 512));
    assert_eq!((counts.errors, block.under_way()), (0, 0));
}

#[test]
fn a_part_that_fails_ends_a_long_transfer() {
    let (mut driver, _) = long_read(&[Status::Ok, Status::IoError]);
    check_answered(&mut driver, "a long read", 1, 1);
    let (operation, _) = next(&mut driver, Status::Ok).expect("the next request");
    assert_eq!(operation, Operation::Read { offset: 0, bytes: 512 });
    let Device::Block(block) = &driver.device else { unreachable!("a disk") };
    assert_eq!((block.counts().errors, block.counts().read_bytes), (1, 512));
}

#[test]
fn a_reset_ends_a_long_transfer_and_so_does_a_withdrawal_of_its_queue() {
    for (register, value) in [(0x070, 0), (0x044, 0)] {
        let (mut driver, _) = long_read(&[Status::Ok]);
        driver.put(register, value);
        let Driver { device: Device::Block(block), ram, .. } = &mut driver else { unreachable!() };
        assert!(!block.is_in_parts());
        assert_eq!(block.next(ram), None);
    }
}

#[test]
fn no_more_requests_are_under_way_than_the_queue_has_descriptors() {
    let mut driver = disk(false, FLUSH);
    driver.ram.put(HEADER, &[0; 16]);
    driver.describe(TABLE, 0, (HEADER, 16, 1, 1));
    driver.describe(TABLE, 1, (DATA, 513, 2, 0));
    (0..8).for_each(|_| driver.offer(0));
    let Driver { device: Device::Block(block), ram, .. } = &mut driver else { unreachable!() };
    let mut token = None;
    while let Some(request) = block.next(ram) {
        token = Some((request.operation, request.token));
    }
    assert_eq!((block.under_way(), block.transport.error()), (8, None));
    // One comes back, and another one may follow, but not two.
    let (operation, token) = token.expect("a request");
    block.finish(ram, operation, token, Status::Ok);
    assert_eq!(block.under_way(), 7);
    driver.offer(0);
    let Driver { device: Device::Block(block), ram, .. } = &mut driver else { unreachable!() };
    assert!(block.next(ram).is_some());
    driver.offer(0);
    let Driver { device: Device::Block(block), ram, .. } = &mut driver else { unreachable!() };
    assert!(block.next(ram).is_none());
    assert_eq!(
        (block.under_way(), block.transport.error()),
        (8, Some(RingError::Index { index: 10 }))
    );
}

#[test]
fn a_request_that_comes_back_after_its_queue_was_withdrawn_is_not_in_the_next_ring() {
    let mut driver = disk(false, FLUSH);
    ask(&mut driver, 0, 0, &[(DATA, 512, true)]);
    let Driver { device: Device::Block(block), ram, .. } = &mut driver else { unreachable!() };
    let request = block.next(ram).expect("a read");
    let (operation, token) = (request.operation, request.token);
    assert_eq!(driver.put(0x044, 0), Some(Event::Withdrawn(0)));
    let Driver { device: Device::Block(block), ram, .. } = &mut driver else { unreachable!() };
    block.finish(ram, operation, token, Status::Ok);
    block.signal(ram);
    assert_eq!((block.under_way(), driver.returned(), driver.device.pin()), (0, None, false));
}

#[test]
fn a_request_without_data_or_with_buffers_of_no_bytes_is_one() {
    let mut driver = disk(false, FLUSH);
    for (kind, is_writable) in [(0, true), (1, false)] {
        ask(&mut driver, kind, 64, &[]);
        assert!(next(&mut driver, Status::Ok).is_some(), "nothing, at the end");
        check_answered(&mut driver, "nothing", 0, 1);
        let data = [(DATA, 0, is_writable), (DATA, 512, is_writable), (DATA, 0, is_writable)];
        ask(&mut driver, kind, 63, &data);
        let (_, buffers) = next(&mut driver, Status::Ok).expect("a sector");
        assert_eq!(total(&buffers), 512);
        check_answered(&mut driver, "a sector", 0, if is_writable { 513 } else { 1 });
    }
}

/// RAM that goes on for ever; of the bytes beyond the first megabyte nothing is kept.
struct Huge(Ram);

impl GuestMemory for Huge {
    fn read(&self, address: u64, to: &mut [u8]) -> bool {
        self.0.read(address, to)
    }

    fn write(&self, address: u64, from: &[u8]) -> bool {
        self.0.write(address, from)
    }

    fn has(&self, _address: u64, _bytes: u64) -> bool {
        true
    }
}

#[test]
fn a_transfer_has_no_more_bytes_than_its_length_can_say() {
    for (last, is_done) in [(0x7fff_fc00, true), (0x8000_0000, false)] {
        let block = Block::new(u64::MAX / 512, false, b"");
        let mut driver = Driver::start(Device::Block(block), 8, FLUSH);
        ask(&mut driver, 0, 0, &[(DATA, 0x8000_0000, true), (DATA, last, true)]);
        let ram = Huge(driver.ram.clone());
        let Driver { device: Device::Block(block), .. } = &mut driver else { unreachable!() };
        while let Some(part) = block.next(&ram) {
            assert!(is_done, "too many");
            let (operation, token) = (part.operation, part.token);
            block.finish(&ram, operation, token, Status::Ok);
        }
        match is_done {
            true => check_answered(&mut driver, "as many as can be", 0, 0xffff_fc01),
            false => check_answered(&mut driver, "too many", 1, 1),
        }
    }
}

#[test]
fn the_most_sectors_of_a_segment_are_a_gigabyte_and_a_mebibyte_of_zeroes() {
    for (kind, sectors, code) in
        [(11, 1 << 21, 0), (11, (1 << 21) + 1, 1), (13, 1 << 11, 0), (13, (1 << 11) + 1, 1)]
    {
        let block = Block::new(1 << 30, false, b"");
        let mut driver = Driver::start(Device::Block(block), 8, FLUSH);
        driver.ram.put(DATA + 8, &u32::to_le_bytes(sectors));
        ask(&mut driver, kind, 0, &[(DATA, 16, false)]);
        assert_eq!(next(&mut driver, Status::Ok).is_some(), code == 0);
        check_answered(&mut driver, "cleared", code, 1);
    }
}

#[test]
fn errors_are_counted_and_a_request_that_fails_has_written_its_status_alone() {
    let mut driver = disk(false, FLUSH);
    ask(&mut driver, 0, 0, &[(DATA, 512, true)]);
    assert!(next(&mut driver, Status::IoError).is_some());
    check_answered(&mut driver, "a read", 1, 1);
    ask(&mut driver, 77, 0, &[]);
    assert!(next(&mut driver, Status::Ok).is_none());
    check_answered(&mut driver, "unknown", 2, 1);
    let Device::Block(block) = &driver.device else { unreachable!("a disk") };
    let counts = block.counts();
    assert_eq!((counts.requests, counts.read_bytes, counts.errors), (1, 0, 2));
    let Device::Block(read_only) = disk(true, 1 << 5).device else { unreachable!("a disk") };
    let device = Device::Block(read_only);
    assert_eq!(device.read(0x010, 4), 1 << 2 | 1 << 5 | 1 << 6 | 1 << 28 | 1 << 29, "no FLUSH");
}

#[test]
fn the_driver_is_to_notify_behind_what_was_taken_though_it_has_not_come_back() {
    let mut driver = disk(false, FLUSH | feature::EVENT_IDX);
    for _ in 0..2 {
        ask(&mut driver, 0, 0, &[(DATA, 512, true)]);
    }
    let Driver { device: Device::Block(block), ram, .. } = &mut driver else { unreachable!() };
    while block.next(ram).is_some() {}
    assert_eq!((block.under_way(), ram.u16_at(USED + 4 + 8 * 8)), (2, 2), "avail_event");
}
