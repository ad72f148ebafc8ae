//! Indices of the rings (2.7.6, 2.7.8): around the end, with interrupts by event index (2.7.7), and
//! anew.

use super::driver::{AVAILABLE, DATA, Driver, TABLE, USED, WRITE};
use super::rings::{serve, started};
use crate::virtio::{Event, feature};

const EVENT_IDX: u64 = feature::EVENT_IDX;

#[test]
fn indices_run_on_beyond_16_bits() {
    let mut driver = started(4, EVENT_IDX);
    driver.describe(TABLE, 1, (DATA, 1, WRITE, 0));
    for n in 0..70_000_u32 {
        driver.offer(1);
        assert_eq!(serve(&mut driver), 1, "{n}");
        assert_eq!(driver.returned(), Some((1, 1)), "{n}");
    }
}

#[test]
fn by_event_index_the_interrupt_comes_with_the_entry_named() {
    let mut driver = started(4, EVENT_IDX);
    driver.describe(TABLE, 0, (DATA, 1, WRITE, 0));
    // used_event, behind the ring: the third entry.
    driver.ram.put(AVAILABLE + 4 + 2 * 4, &2_u16.to_le_bytes());
    for expected in [false, false, true, false] {
        driver.offer(0);
        assert_eq!(serve(&mut driver), 1);
        assert_eq!(driver.device.pin(), expected);
        driver.put(0x064, 1);
    }
    // Several at once, the named one among them.
    driver.ram.put(AVAILABLE + 4 + 2 * 4, &5_u16.to_le_bytes());
    for _ in 0..3 {
        driver.offer(0);
    }
    assert_eq!(serve(&mut driver), 3);
    assert!(driver.device.pin());
    // avail_event, behind the used ring: the device wants to hear of the next entry.
    assert_eq!(driver.ram.u16_at(USED + 4 + 8 * 4), 7);
}

#[test]
fn the_event_index_is_right_where_indices_wrap_around() {
    let mut driver = started(4, EVENT_IDX);
    driver.describe(TABLE, 0, (DATA, 1, WRITE, 0));
    driver.ram.put(AVAILABLE + 4 + 2 * 4, &0xffff_u16.to_le_bytes());
    for n in 0..=0x1_0002_u32 {
        driver.offer(0);
        assert_eq!(serve(&mut driver), 1);
        assert_eq!(driver.returned(), Some((0, 1)));
        assert_eq!(driver.device.pin(), n == 0xffff, "{n:#x}");
        driver.put(0x064, 1);
        // Behind the used ring: notify of the entry after the last that was taken.
        assert_eq!(driver.ram.u16_at(USED + 4 + 8 * 4), (n + 1) as u16, "{n:#x}");
    }
    // Several at once, over the end.
    let mut driver = started(4, EVENT_IDX);
    driver.describe(TABLE, 0, (DATA, 1, WRITE, 0));
    driver.ram.put(AVAILABLE + 4 + 2 * 4, &0x8000_u16.to_le_bytes());
    for _ in 0..0xfffe {
        driver.offer(0);
        serve(&mut driver);
        driver.put(0x064, 1);
    }
    driver.ram.put(AVAILABLE + 4 + 2 * 4, &0_u16.to_le_bytes());
    (0..3).for_each(|_| driver.offer(0));
    assert_eq!(serve(&mut driver), 3);
    assert!(driver.device.pin(), "the entry with index 0 is the third");
}

#[test]
fn a_driver_asks_for_no_more_interrupts_than_it_has_been_given_chains() {
    let mut driver = started(4, EVENT_IDX);
    driver.describe(TABLE, 0, (DATA, 1, WRITE, 0));
    driver.ram.put(AVAILABLE + 4 + 2 * 4, &0xffff_u16.to_le_bytes());
    driver.offer(0);
    assert_eq!(serve(&mut driver), 1);
    assert!(!driver.device.pin(), "the entry before the first was not used now");
}

#[test]
fn a_queue_that_is_put_to_use_again_begins_anew() {
    [0, EVENT_IDX].into_iter().for_each(check_begins_anew);
}

fn check_begins_anew(features: u64) {
    let mut driver = started(4, features);
    driver.describe(TABLE, 0, (DATA, 1, WRITE, 0));
    for _ in 0..6 {
        driver.offer(0);
        assert_eq!(serve(&mut driver), 1);
    }
    driver.put(0x064, 3);
    assert_eq!(driver.put(0x044, 0), Some(Event::Withdrawn(0)));
    assert_eq!((driver.put(0x044, 0), driver.get(0x044)), (None, 0));
    driver.offer(0);
    assert_eq!(serve(&mut driver), 0, "not of a queue that is not ready");
    assert!(!driver.device.pin());
    // Its rings are zeroed before it is put to use (4.2.3.2).
    let Driver { device, ram, size, .. } = driver;
    ram.put(TABLE, &[0; 0x4000]);
    let mut driver = Driver::at_work(device, ram, size);
    assert_eq!(driver.put(0x044, 1), None);
    assert_eq!(driver.put(0x044, 1), None, "once more changes nothing");
    assert_eq!(serve(&mut driver), 0);
    assert!(!driver.device.pin(), "nothing of this ring was returned");
    driver.describe(TABLE, 2, (DATA, 9, WRITE, 0));
    driver.offer(2);
    assert_eq!(serve(&mut driver), 1);
    assert_eq!((driver.returned(), driver.device.pin()), (Some((2, 9)), true));
}
