//! Interrupts of the device, through the I/O APIC, and notifications: when they come, and when they
//! are not wanted (Virtio 1.2, sections 2.7.7, 2.7.10 and 4.2.3.4).

use super::device::wait_until;
use super::driver::{Data, Disk, EVENT_IDX, OK, PLACES, QUEUE, T_IN, VERSION_1};
use super::io_apic::{VECTOR, close, route};
use super::ram::{AVAILABLE, DATA, get, put};
use super::registers::{INTERRUPT_ACKNOWLEDGE, INTERRUPT_STATUS, Window};
use super::{Verdict, expect};
use crate::common::interrupt_controller::{LocalApic, Register, mask_8259};
use crate::common::interrupts;

/// A used buffer notification.
const USED_BUFFERS: u32 = 1;
/// Flag of the available ring.
const NO_INTERRUPT: u16 = 1;

/// Only the disks' interrupts are to come.
pub fn initialise() {
    mask_8259();
    LocalApic::enable();
}

fn begin(disk: &mut Disk) {
    disk.submit(0, T_IN, 0, &[], &[Data { at: DATA, bytes: 512 }]);
    disk.queue.notify();
}

/// Whether the request that has begun comes back, with an interrupt if one is wanted, and with none
/// otherwise. (The interrupt may come behind the buffer.)
fn comes_back(disk: &mut Disk, is_wanted: bool) -> Verdict {
    let window = disk.window;
    expect(wait_until(|| disk.queue.take_used().is_some()), "the request does not come back")?;
    expect(Disk::status(0) == OK, "an error")?;
    if is_wanted {
        wait_until(|| window.read(INTERRUPT_STATUS) != 0);
    }
    let status = window.read(INTERRUPT_STATUS);
    window.write(INTERRUPT_ACKNOWLEDGE, status);
    match (is_wanted, status) {
        (false, 0) | (true, USED_BUFFERS) => Ok(()),
        (false, _) => Err("one comes that is not wanted"),
        (true, _) => Err("none comes, or another"),
    }
}

/// A processor that halts is woken, and the level falls by the acknowledgement.
pub fn comes(window: Window) -> Verdict {
    let apic = LocalApic::enable().ok_or("there is no local APIC")?;
    let mut disk = Disk::start(window, VERSION_1).ok_or("it does not start")?;
    for _ in 0..3 {
        route(window);
        begin(&mut disk);
        let vector = interrupts::halt_until_interrupt();
        expect(vector == VECTOR, "another interrupt comes")?;
        expect(window.read(INTERRUPT_STATUS) == USED_BUFFERS, "another interrupt status")?;
        expect(disk.queue.take_used().is_some(), "it comes before the buffer is used")?;
        window.write(INTERRUPT_ACKNOWLEDGE, USED_BUFFERS);
        expect(window.read(INTERRUPT_STATUS) == 0, "it stays after the acknowledgement")?;
        apic.write(Register::EndOfInterrupt, 0);
        close(window);
    }
    Ok(())
}

pub fn suppressed(window: Window) -> Verdict {
    let mut disk = Disk::start(window, VERSION_1).ok_or("it does not start")?;
    for (flags, is_wanted) in [(NO_INTERRUPT, false), (0, true), (NO_INTERRUPT, false)] {
        put(AVAILABLE, flags);
        begin(&mut disk);
        comes_back(&mut disk, is_wanted)?;
    }
    Ok(())
}

/// The driver waits for the first buffer, and then for the fourth. (QEMU raises one for the first
/// buffer after a reset, whatever the driver waits for.)
pub fn event_index(window: Window) -> Verdict {
    let features = VERSION_1 | EVENT_IDX;
    let mut disk = Disk::start(window, features).ok_or("it does not start")?;
    for (event, is_wanted) in [(0_u16, true), (3, false), (3, false), (3, true), (3, false)] {
        put(PLACES.used_event(QUEUE), event);
        begin(&mut disk);
        comes_back(&mut disk, is_wanted)?;
    }
    Ok(())
}

/// The device says from which entry on it wants to be notified: the next one.
pub fn notification(window: Window) -> Verdict {
    let features = VERSION_1 | EVENT_IDX;
    let mut disk = Disk::start(window, features).ok_or("it does not start")?;
    for n in 0..3 {
        begin(&mut disk);
        comes_back(&mut disk, n == 0)?;
        let next = disk.queue.next_available;
        let is_next = wait_until(|| get::<u16>(PLACES.available_event(QUEUE)) == next);
        expect(is_next, "it asks for another entry")?;
    }
    Ok(())
}
