//! Registers (4.2.2) and the device's status (2.1).

use super::driver::Driver;
use crate::virtio::block::Block;
use crate::virtio::{Device, Event, entropy::Entropy};

fn disk() -> Device {
    Device::Block(Block::new(2048, false, b"id"))
}

#[test]
fn a_driver_finds_out_what_the_device_is() {
    let device = disk();
    let get = |offset| device.read(offset, 4);
    assert_eq!(get(0x000), 0x7472_6976, "magic: \"virt\"");
    assert_eq!(get(0x004), 2, "version");
    assert_eq!(get(0x008), 2, "a block device");
    assert_ne!(get(0x00c), 0, "vendor");
    assert_eq!(get(0x034), 256, "the most descriptors of queue 0");
    assert_eq!(get(0x0b0), 0xffff_ffff, "no shared memory: its length is all ones");
    assert_eq!(Device::Entropy(Entropy::new()).read(0x008, 4), 4, "an entropy source");
}

#[test]
fn features_come_in_halves_and_beyond_them_there_are_none() {
    let mut device = disk();
    let mut half = |select| {
        device.write(0x014, 4, select);
        device.read(0x010, 4)
    };
    // SEG_MAX, BLK_SIZE, FLUSH, DISCARD, WRITE_ZEROES; INDIRECT_DESC, EVENT_IDX.
    assert_eq!(half(0), 1 << 2 | 1 << 6 | 1 << 9 | 1 << 13 | 1 << 14 | 1 << 28 | 1 << 29);
    assert_eq!(half(1), 1, "VERSION_1");
    assert_eq!(half(2), 0);
    assert_eq!(half(0xffff_ffff), 0);
}

#[test]
fn features_are_refused_without_version_1_or_with_one_that_is_not_offered() {
    for (low, high, beyond, is_accepted) in [
        (0, 1, 0, true),
        (1 << 9, 1, 0, true),
        (0, 0, 0, false),
        (1, 1, 0, false),
        (0, 3, 0, false),
        (0, 1, 1, false),
    ] {
        let mut device = disk();
        device.write(0x070, 4, 3);
        for (select, value) in [(0, low), (1, high), (2, beyond)] {
            device.write(0x024, 4, select);
            device.write(0x020, 4, value);
        }
        device.write(0x070, 4, 11);
        let status = if is_accepted { 11 } else { 3 };
        assert_eq!(device.read(0x070, 4), status, "{low:#x} {high:#x} {beyond:#x}");
        // Nothing is accepted any more once it is settled.
        device.write(0x024, 4, 0);
        device.write(0x020, 4, if is_accepted { 1 << 6 } else { low });
        let started = device.write(0x070, 4, status | 4);
        assert_eq!(device.read(0x070, 4), status | 4);
        // One whose driver goes on without does not run (2.2.2).
        assert_eq!(started, is_accepted.then_some(Event::Started));
        let notified = device.write(0x050, 4, 0);
        assert_eq!(notified, is_accepted.then_some(Event::Notified(0)));
        assert_eq!(device.transport().has(1 << 9), is_accepted && low == 1 << 9);
        assert!(!device.transport().has(1 << 6));
    }
}

#[test]
fn a_driver_that_leaves_feature_negotiation_out_gets_no_device() {
    let mut device = disk();
    device.write(0x024, 4, 1);
    device.write(0x020, 4, 1);
    assert_eq!(device.write(0x070, 4, 7), None);
    assert_eq!((device.read(0x070, 4), device.write(0x050, 4, 0)), (7, None));
    assert_eq!(device.write(0x070, 4, 15), Some(Event::Started), "it may still do so");
}

#[test]
fn a_reset_leaves_nothing_of_the_driver_before() {
    let mut driver = Driver::start(disk(), 8, 1 << 9);
    driver.device.transport_mut().config_changed(true);
    driver.put(0x070, 3);
    driver.put(0x024, 2);
    driver.put(0x020, 1);
    for select in [0x014, 0x024] {
        driver.put(select, 1);
    }
    driver.put(0x030, 7);
    driver.put(0x070, 0);
    assert!(!driver.device.pin(), "no interrupt");
    assert_eq!((driver.get(0x070), driver.get(0x060), driver.get(0x0fc)), (0, 0, 1));
    assert_eq!(driver.get(0x010) & 0xff, 1 << 2 | 1 << 6, "the first word of features");
    assert_eq!(driver.get(0x034), 256, "queue 0");
    driver.put(0x070, 3);
    driver.put(0x070, 11);
    assert_eq!(driver.get(0x070), 3, "it has accepted nothing");
    driver.put(0x020, 1 << 9);
    driver.put(0x024, 1);
    driver.put(0x020, 1);
    driver.put(0x070, 11);
    assert_eq!(driver.get(0x070), 11);
    assert!(driver.device.transport().has(1 << 9), "the selector was 0");
}

#[test]
fn a_change_of_the_configuration_interrupts_a_driver_that_is_at_work_and_knows_the_field() {
    for (status, is_known, interrupt) in [(11, true, 0), (15, false, 0), (15, true, 2)] {
        let mut driver = Driver::start(disk(), 8, 0);
        driver.negotiate(0);
        driver.put(0x070, status);
        driver.device.transport_mut().config_changed(is_known);
        assert_eq!((driver.get(0x060), driver.get(0x0fc)), (interrupt, 1), "{status} {is_known}");
    }
}

#[test]
fn a_driver_cannot_clear_or_set_that_the_device_needs_a_reset() {
    let mut driver = Driver::start(disk(), 8, 0);
    driver.put(0x070, 79);
    assert_eq!(driver.get(0x070), 15);
    driver.ram.put(super::driver::AVAILABLE + 2, &99_u16.to_le_bytes());
    let Driver { device: Device::Block(block), ram, .. } = &mut driver else { unreachable!() };
    assert!(block.next(ram).is_none());
    assert_eq!(driver.get(0x0fc), 1, "the status has changed");
    driver.put(0x070, 15);
    assert_eq!(driver.get(0x070), 79);
    assert_eq!(driver.put(0x050, 0), None);
    driver.put(0x070, 0);
    assert_eq!((driver.get(0x070), driver.device.transport().error()), (0, None));
}

#[test]
fn only_aligned_accesses_of_four_bytes_reach_registers() {
    let mut device = disk();
    for (offset, size) in [(0x000, 1), (0x000, 2), (0x000, 8), (0x001, 4), (0x002, 4)] {
        assert_eq!(device.read(offset, size), 0, "{offset:#x}, {size} bytes");
        device.write(0x070 + offset, size, 1);
    }
    assert_eq!(device.read(0x070, 4), 0, "the status");
}

#[test]
fn the_configuration_space_takes_any_size_and_ends() {
    let device = disk();
    assert_eq!(device.read(0x100, 8), 2048, "capacity");
    assert_eq!(device.read(0x101, 1), 8);
    assert_eq!(device.read(0x10c, 4), 254, "seg_max");
    assert_eq!(device.read(0x114, 4), 512, "blk_size");
    assert_eq!(device.read(0x138, 1), 1, "write_zeroes_may_unmap");
    assert_eq!(device.read(0x139, 8), 0);
    assert_eq!(device.read(0xffc, 4), 0);
}

#[test]
fn a_queue_that_is_ready_stays_where_it_is() {
    let mut driver = Driver::start(disk(), 8, 0);
    assert_eq!(driver.get(0x044), 1);
    driver.put(0x080, 0xdead_0000);
    driver.put(0x038, 4);
    driver.chain(&[(super::driver::DATA, 16, false), (super::driver::DATA + 16, 1, true)]);
    let Device::Block(block) = &mut driver.device else { unreachable!("it is a disk") };
    assert!(block.next(&driver.ram).is_some(), "it looks where the queue was");
    assert!(!driver.needs_reset());
}

#[test]
fn queues_beyond_the_last_are_not_there() {
    let mut driver = Driver::start(disk(), 8, 0);
    driver.put(0x030, 1);
    assert_eq!(driver.get(0x034), 0);
    driver.put(0x044, 1);
    assert_eq!(driver.get(0x044), 0);
    assert_eq!(driver.put(0x050, 0), Some(Event::Notified(0)));
    assert_eq!(driver.put(0x050, 1), None);
    assert_eq!(driver.put(0x050, 0x1_0000), None);
}

#[test]
fn a_device_is_notified_only_while_it_runs() {
    let mut driver = Driver::start(disk(), 8, 0);
    driver.put(0x070, 0x8f);
    assert_eq!(driver.put(0x050, 0), None, "the driver has given up (FAILED)");
    driver.put(0x070, 0);
    assert_eq!(driver.put(0x050, 0), None);
    driver.negotiate(0);
    assert_eq!(driver.put(0x070, 15), Some(Event::Started));
    assert_eq!(driver.put(0x070, 15), None, "it has been started");
    assert_eq!(driver.put(0x070, 0), Some(Event::Reset));
    assert_eq!(driver.get(0x044), 0, "no queue is ready");
}

#[test]
fn an_acknowledgement_lowers_the_pin() {
    let mut driver = Driver::start(disk(), 8, 0);
    driver.device.transport_mut().config_changed(true);
    assert!(driver.device.pin());
    assert_eq!(driver.get(0x060), 2);
    assert_eq!(driver.get(0x0fc), 1, "the configuration's generation");
    driver.put(0x064, 1);
    assert!(driver.device.pin(), "another bit");
    driver.put(0x064, 0xffff_fffc);
    assert_eq!(driver.get(0x060), 2, "bits that are none");
    driver.put(0x064, 2);
    assert!(!driver.device.pin());
}
