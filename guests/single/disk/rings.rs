//! Rings that break the specification's rules: the device asks for a reset (DEVICE_NEEDS_RESET,
//! Virtio 1.2, section 2.1.2), and works after it.

use super::device::wait_until;
use super::driver::{Data, Disk, INDIRECT_DESC, PLACES, QUEUE, T_IN, VERSION_1};
use super::negotiation::works;
use super::queue::{INDIRECT_TABLE, NEXT, Rings, WRITE, describe};
use super::ram::{AVAILABLE, DATA, DESCRIPTORS, HEADERS, INDIRECT, USED, get, physical, put};
use super::registers::{INTERRUPT_STATUS, NEEDS_RESET, STATUS, Window};
use super::{Verdict, expect};

/// Of the interrupt status: configuration or status have changed.
const CHANGED: u32 = 2;
/// Where a malformed request's header and status lie.
const HEADER: usize = HEADERS;
const STATUS_BYTE: usize = HEADERS + 32;
/// No RAM of any machine that this runs on.
const OUTSIDE: u64 = 0xF_0000_0000;

/// Rings with these descriptors, of which the first is made available.
fn breaks(window: Window, features: u64, table: &[(u64, u32, u16, u16)]) -> Verdict {
    let mut disk = Disk::start(window, features).ok_or("it does not start")?;
    put(HEADER, u64::from(T_IN));
    put(HEADER + 8, 0_u64);
    for (index, &(address, bytes, flags, next)) in (0..).zip(table) {
        describe(DESCRIPTORS, index, address, bytes, flags, next);
    }
    disk.queue.make_available(0);
    is_broken(&disk)
}

/// After a notification the device needs a reset, says so, and works once it has had one.
fn is_broken(disk: &Disk) -> Verdict {
    let window = disk.window;
    disk.queue.notify();
    let needs_reset = || window.read(STATUS) & NEEDS_RESET != 0;
    expect(wait_until(needs_reset), "it takes it")?;
    expect(window.read(INTERRUPT_STATUS) & CHANGED != 0, "it does not say so")?;
    expect(get::<u16>(USED + 2) == 0, "it uses a buffer")?;
    disk.queue.notify();
    expect(needs_reset() && get::<u16>(USED + 2) == 0, "it goes on")?;
    works(window)
}

fn header() -> (u64, u32, u16, u16) {
    (physical(HEADER), 16, NEXT, 1)
}

fn status(flags: u16, next: u16) -> (u64, u32, u16, u16) {
    (physical(STATUS_BYTE), 1, WRITE | flags, next)
}

pub fn chain_loop(window: Window) -> Verdict {
    let data = (physical(DATA), 512, NEXT | WRITE, 1);
    breaks(window, VERSION_1, &[header(), data])
}

pub fn bad_head(window: Window) -> Verdict {
    let mut disk = Disk::start(window, VERSION_1).ok_or("it does not start")?;
    disk.queue.make_available(QUEUE);
    is_broken(&disk)
}

pub fn bad_next(window: Window) -> Verdict {
    let data = (physical(DATA), 512, NEXT | WRITE, QUEUE);
    breaks(window, VERSION_1, &[header(), data])
}

/// The index says that more entries are new than there are.
pub fn index_jump(window: Window) -> Verdict {
    let disk = Disk::start(window, VERSION_1).ok_or("it does not start")?;
    put(AVAILABLE + 2, QUEUE + 1);
    is_broken(&disk)
}

/// 2.7.4.2.
pub fn order(window: Window) -> Verdict {
    let data = (physical(DATA), 512, NEXT, 3);
    breaks(
        window,
        VERSION_1,
        &[header(), (physical(DATA), 512, NEXT | WRITE, 2), data, status(0, 0)],
    )
}

pub fn no_status(window: Window) -> Verdict {
    breaks(window, VERSION_1, &[(physical(HEADER), 16, 0, 0)])
}

pub fn no_header(window: Window) -> Verdict {
    breaks(window, VERSION_1, &[status(0, 0)])
}

/// 2.7.5.3.1: no table within another.
pub fn nested(window: Window) -> Verdict {
    describe(INDIRECT, 0, physical(INDIRECT), 16, INDIRECT_TABLE, 0);
    let table = (physical(INDIRECT), 16, INDIRECT_TABLE, 0);
    breaks(window, VERSION_1 | INDIRECT_DESC, &[table])
}

pub fn indirect_not_accepted(window: Window) -> Verdict {
    describe(INDIRECT, 0, physical(HEADER), 16, NEXT, 1);
    describe(INDIRECT, 1, physical(STATUS_BYTE), 1, WRITE, 0);
    breaks(window, VERSION_1, &[(physical(INDIRECT), 32, INDIRECT_TABLE, 0)])
}

pub fn partial_table(window: Window) -> Verdict {
    let table = (physical(INDIRECT), 24, INDIRECT_TABLE, 0);
    breaks(window, VERSION_1 | INDIRECT_DESC, &[table])
}

pub fn buffer_outside(window: Window) -> Verdict {
    let data = (OUTSIDE, 512, NEXT | WRITE, 2);
    breaks(window, VERSION_1, &[header(), data, status(0, 0)])
}

pub fn buffer_wraps(window: Window) -> Verdict {
    let data = (u64::MAX - 255, 512, NEXT | WRITE, 2);
    breaks(window, VERSION_1, &[header(), data, status(0, 0)])
}

pub fn rings_outside(window: Window) -> Verdict {
    let usual = PLACES.rings(QUEUE.into());
    for rings in [
        Rings { descriptors: OUTSIDE, ..usual },
        Rings { available: OUTSIDE, ..usual },
        Rings { available: u64::MAX - 1, ..usual },
        Rings { descriptors: 0xFEE0_0000, ..usual },
    ] {
        let mut disk = Disk::start_with(window, VERSION_1, rings).ok_or("it does not start")?;
        disk.queue.make_available(0);
        is_broken(&disk)?;
    }
    Ok(())
}

/// 2.7: a power of two, not more than the device offers.
pub fn queue_size(window: Window, size: u32) -> Verdict {
    let rings = PLACES.rings(size);
    let mut disk = Disk::start_with(window, VERSION_1, rings).ok_or("it does not start")?;
    disk.queue.make_available(0);
    is_broken(&disk)
}

/// No rule says what comes of it, but the device works after a reset.
pub fn over_each_other(window: Window) -> Verdict {
    let usual = PLACES.rings(QUEUE.into());
    for rings in [
        Rings { used: usual.available, ..usual },
        Rings { used: usual.descriptors, ..usual },
        Rings { available: usual.descriptors, used: usual.descriptors, ..usual },
    ] {
        let mut disk = Disk::start_with(window, VERSION_1, rings).ok_or("it does not start")?;
        disk.submit(0, T_IN, 0, &[], &[Data { at: DATA, bytes: 512 }]);
        disk.queue.notify();
        works(window)?;
    }
    Ok(())
}
