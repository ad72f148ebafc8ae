//! Rings that obey the rules (2.7), and rings that break each of them.

use super::driver::{AVAILABLE, DATA, Driver, INDIRECT, NEXT, RAM_BYTES, TABLE, USED, WRITE};
use crate::virtio::entropy::Entropy;
use crate::virtio::{Device, RingError, feature};

extern crate std;
use std::vec::Vec;

const INDIRECT_DESC: u64 = feature::INDIRECT_DESC;

pub fn started(size: u16, features: u64) -> Driver {
    Driver::start(Device::Entropy(Entropy::new()), size, features)
}

/// Serves all that is available; how many chains that was.
pub fn serve(driver: &mut Driver) -> usize {
    let Device::Entropy(entropy) = &mut driver.device else { unreachable!("it is one") };
    let mut served = 0;
    while entropy.serve(&driver.ram, |to| to.fill(0xa5)) {
        served += 1;
    }
    entropy.signal(&driver.ram);
    served
}

/// Offers what `set_up` describes at descriptor 0, and expects the device to stop for this reason.
fn check_stops(name: &str, error: RingError, set_up: impl FnOnce(&mut Driver)) {
    let mut driver = started(8, INDIRECT_DESC);
    set_up(&mut driver);
    assert_eq!(serve(&mut driver), 0, "{name}");
    assert_eq!(driver.device.transport().error(), Some(error), "{name}");
    assert!(driver.needs_reset(), "{name}");
    assert_eq!(driver.get(0x060), 2, "{name}: the driver is interrupted for the change");
    assert_eq!(driver.put(0x050, 0), None, "{name}: nothing more is taken");
    assert_eq!(driver.returned(), None, "{name}");
    driver.negotiate(0);
    assert!(!driver.needs_reset(), "{name}: a reset ends it");
}

#[test]
fn chains_are_returned_in_order_with_what_was_written() {
    let mut driver = started(4, 0);
    // Three times around the ring.
    for round in 0..12_u16 {
        let head = round % 4;
        let len = 10 + u32::from(round);
        driver.describe(TABLE, head, (DATA + 0x100 * u64::from(head), len, WRITE, 0));
        driver.offer(head);
        assert_eq!(serve(&mut driver), 1);
        assert_eq!(driver.returned(), Some((head.into(), len)));
        assert_eq!(driver.get(0x060), 1, "it has used a buffer");
        driver.put(0x064, 1);
    }
    assert_eq!(driver.ram.bytes(DATA, 3), [0xa5; 3]);
    assert_eq!(serve(&mut driver), 0);
    assert!(!driver.device.pin(), "nothing was returned");
}

#[test]
fn a_full_ring_is_taken_at_once() {
    let mut driver = started(8, 0);
    for head in 0..8 {
        driver.describe(TABLE, head, (DATA, 4, WRITE, 0));
        driver.offer(head);
    }
    assert_eq!(serve(&mut driver), 8);
    let heads: Vec<u32> = core::iter::from_fn(|| driver.returned()).map(|(head, _)| head).collect();
    assert_eq!(heads, [0, 1, 2, 3, 4, 5, 6, 7]);
}

#[test]
fn an_indirect_table_may_be_longer_than_the_queue() {
    const FAR: u64 = 0x2_0000;
    let mut driver = started(2, INDIRECT_DESC);
    for index in 0..100_u16 {
        let next = if index < 99 { NEXT } else { 0 };
        driver.describe(FAR, index, (DATA + u64::from(index), 1, WRITE | next, index + 1));
    }
    driver.describe(TABLE, 0, (FAR, 1600, INDIRECT, 0));
    driver.offer(0);
    assert_eq!(serve(&mut driver), 1);
    assert_eq!(driver.returned(), Some((0, 100)));
    assert_eq!(driver.ram.bytes(DATA, 101)[99..], [0xa5, 0]);
}

#[test]
fn a_driver_that_wants_no_interrupt_gets_none() {
    let mut driver = started(4, 0);
    driver.describe(TABLE, 0, (DATA, 1, WRITE, 0));
    driver.ram.put(AVAILABLE, &1_u16.to_le_bytes());
    driver.offer(0);
    assert_eq!(serve(&mut driver), 1);
    assert!(!driver.device.pin());
    driver.ram.put(AVAILABLE, &0_u16.to_le_bytes());
    driver.offer(0);
    assert_eq!(serve(&mut driver), 1);
    assert!(driver.device.pin());
}

#[test]
fn each_broken_rule_stops_the_device_and_nothing_else() {
    const END: u64 = RAM_BYTES as u64;
    check_stops("a loop", RingError::TooLong, |driver| {
        driver.describe(TABLE, 0, (DATA, 1, WRITE | NEXT, 0));
        driver.offer(0);
    });
    check_stops("a head beyond the table", RingError::Descriptor { index: 8 }, |driver| {
        driver.offer(8);
    });
    check_stops("a successor beyond it", RingError::Descriptor { index: 500 }, |driver| {
        driver.describe(TABLE, 0, (DATA, 1, WRITE | NEXT, 500));
        driver.offer(0);
    });
    check_stops("a buffer over RAM's end", RingError::OutsideRam { address: END - 4 }, |driver| {
        driver.describe(TABLE, 0, (END - 4, 5, WRITE, 0));
        driver.offer(0);
    });
    check_stops("one that wraps around", RingError::OutsideRam { address: u64::MAX }, |driver| {
        driver.describe(TABLE, 0, (u64::MAX, 2, WRITE, 0));
        driver.offer(0);
    });
    check_stops("a device's registers", RingError::OutsideRam { address: 0xfeb0_0000 }, |driver| {
        driver.describe(TABLE, 0, (0xfeb0_0000, 4, WRITE, 0));
        driver.offer(0);
    });
    check_stops("read behind written", RingError::Order, |driver| {
        driver.describe(TABLE, 0, (DATA, 1, WRITE | NEXT, 1));
        driver.describe(TABLE, 1, (DATA, 1, 0, 0));
        driver.offer(0);
    });
    check_stops("an index that jumps", RingError::Index { index: 9 }, |driver| {
        driver.ram.put(AVAILABLE + 2, &9_u16.to_le_bytes());
    });
    check_stops("an index that falls", RingError::Index { index: 0xffff }, |driver| {
        driver.ram.put(AVAILABLE + 2, &0xffff_u16.to_le_bytes());
    });
}

#[test]
fn indirect_tables_that_are_none_stop_the_device() {
    const FAR: u64 = 0x2_0000;
    let indirect = |of: (u64, u32, u16, u16)| {
        move |driver: &mut Driver| {
            driver.describe(FAR, 0, (DATA, 1, WRITE, 0));
            driver.describe(TABLE, 0, of);
            driver.offer(0);
        }
    };
    check_stops("an empty one", RingError::Indirect, indirect((FAR, 0, INDIRECT, 0)));
    check_stops("one and a half", RingError::Indirect, indirect((FAR, 24, INDIRECT, 0)));
    check_stops("one with a successor", RingError::Indirect, indirect((FAR, 16, INDIRECT | 1, 1)));
    let outside = RingError::OutsideRam { address: RAM_BYTES as u64 - 8 };
    check_stops("one beyond RAM", outside, indirect((RAM_BYTES as u64 - 8, 16, INDIRECT, 0)));
    check_stops("one within another", RingError::Indirect, |driver| {
        driver.describe(FAR, 0, (FAR, 16, INDIRECT, 0));
        driver.describe(TABLE, 0, (FAR, 16, INDIRECT, 0));
        driver.offer(0);
    });
    check_stops("a loop in it", RingError::TooLong, |driver| {
        driver.describe(FAR, 0, (DATA, 1, WRITE | NEXT, 0));
        driver.describe(TABLE, 0, (FAR, 16, INDIRECT, 0));
        driver.offer(0);
    });
    let mut driver = started(8, 0);
    driver.describe(TABLE, 0, (FAR, 16, INDIRECT, 0));
    driver.offer(0);
    assert_eq!(serve(&mut driver), 0);
    assert_eq!(driver.device.transport().error(), Some(RingError::Indirect), "not accepted");
}

#[test]
fn queues_that_cannot_be_stop_the_device_when_they_are_used() {
    const END: u64 = RAM_BYTES as u64;
    let outside = |address| RingError::OutsideRam { address };
    for (size, table, available, used, error) in [
        (0, TABLE, AVAILABLE, USED, RingError::Unusable),
        (3, TABLE, AVAILABLE, USED, RingError::Unusable),
        (128, TABLE, AVAILABLE, USED, RingError::Unusable),
        (32768, TABLE, AVAILABLE, USED, RingError::Unusable),
        (65536 + 8, TABLE, AVAILABLE, USED, RingError::Unusable),
        (8, TABLE + 8, AVAILABLE, USED, RingError::Unusable),
        (8, TABLE, AVAILABLE + 1, USED, RingError::Unusable),
        (8, TABLE, AVAILABLE, USED + 2, RingError::Unusable),
        (8, u64::MAX - 15, AVAILABLE, USED, RingError::Unusable),
        (8, END, AVAILABLE, USED, outside(END)),
        (8, TABLE, END - 2, USED, outside(END)),
        (8, TABLE, 0xfee0_0000, USED, outside(0xfee0_0002)),
        (8, TABLE, AVAILABLE, END, outside(END + 4)),
        (8, TABLE, AVAILABLE, END - 8, outside(END - 4)),
    ] {
        let mut driver = started(8, 0);
        driver.negotiate(0);
        driver.put(0x030, 0);
        driver.put(0x038, size);
        for (at, address) in [(0x080, table), (0x090, available), (0x0a0, used)] {
            driver.put(at, address as u32);
            driver.put(at + 4, (address >> 32) as u32);
        }
        driver.put(0x044, 1);
        driver.put(0x070, 15);
        driver.describe(TABLE, 0, (DATA, 4, WRITE, 0));
        driver.offer(0);
        serve(&mut driver);
        let found = driver.device.transport().error();
        assert_eq!(found, Some(error), "{size} {table:#x} {available:#x} {used:#x}");
    }
}

#[test]
fn rings_over_one_another_harm_the_guest_alone() {
    let mut driver = started(8, 0);
    driver.negotiate(0);
    driver.put(0x030, 0);
    for at in [0x080, 0x090, 0x0a0] {
        driver.put(at, TABLE as u32);
    }
    driver.put(0x044, 1);
    driver.put(0x070, 15);
    for byte in 0..=u8::MAX {
        driver.ram.put(TABLE, &[byte; 160]);
        serve(&mut driver);
    }
    assert_eq!(driver.ram.bytes(0, TABLE as usize), std::vec![0; TABLE as usize]);
}

/// The flag of a table's second descriptor, and how the chain continues (2.7.5.3.2).
#[test]
fn descriptors_may_precede_an_indirect_table_whose_write_flag_means_nothing() {
    const FAR: u64 = 0x2_0000;
    for flags in [INDIRECT, INDIRECT | WRITE] {
        let mut driver = started(8, INDIRECT_DESC);
        driver.describe(TABLE, 5, (DATA, 3, WRITE | NEXT, 6));
        driver.describe(TABLE, 6, (DATA + 3, 0, WRITE | NEXT, 7));
        driver.describe(TABLE, 7, (FAR, 32, flags, 0));
        driver.describe(FAR, 0, (DATA + 3, 4, WRITE | NEXT, 1));
        driver.describe(FAR, 1, (DATA + 7, 5, WRITE, 0));
        driver.offer(5);
        assert_eq!(serve(&mut driver), 1);
        assert_eq!(driver.returned(), Some((5, 12)));
        assert_eq!(driver.ram.bytes(DATA, 13)[11..], [0xa5, 0]);
    }
}

#[test]
fn a_chain_has_256_buffers_and_not_one_more() {
    const FAR: u64 = 0x2_0000;
    for (count, served) in [(256, 1), (257, 0)] {
        let mut driver = started(8, INDIRECT_DESC);
        for index in 0..count {
            let next = if index + 1 < count { NEXT } else { 0 };
            driver.describe(FAR, index, (DATA, 1, WRITE | next, index + 1));
        }
        driver.describe(TABLE, 0, (FAR, 16 * u32::from(count), INDIRECT, 0));
        driver.offer(0);
        assert_eq!(serve(&mut driver), served);
        let error = (served == 0).then_some(RingError::TooLong);
        assert_eq!(driver.device.transport().error(), error);
    }
}
