//! Interrupts of the device, through the I/O APIC, and notifications: when they come, and when they
//! are not wanted (Virtio 1.2, sections 2.7.7, 2.7.10 and 4.2.3.4).

use super::driver::{Data, Disk, EVENT_IDX, OK, QUEUE, T_IN, VERSION_1, wait_until};
use super::ram::{AVAILABLE, DATA, USED, get, put};
use super::registers::{INTERRUPT_ACKNOWLEDGE, INTERRUPT_STATUS, Window};
use super::{Verdict, expect};
use crate::common::interrupt_controller::{LocalApic, Register, mask_8259};
use crate::common::{cpu, interrupts};

const VECTOR: u64 = 57;
const IO_APIC: u64 = 0xFEC0_0000;
const IO_APIC_DATA: u64 = IO_APIC + 0x10;
const LEVEL: u32 = 1 << 15;
const MASKED: u32 = 1 << 16;
/// A used buffer notification.
const USED_BUFFERS: u32 = 1;
/// Flag of the available ring.
const NO_INTERRUPT: u16 = 1;
const USED_EVENT: usize = AVAILABLE + 4 + 2 * QUEUE as usize;
const AVAILABLE_EVENT: usize = USED + 4 + 8 * QUEUE as usize;

fn write_io_apic(index: u32, value: u32) {
    // SAFETY: the boot tables map the page, uncached.
    unsafe { cpu::write_device32(IO_APIC, index) };
    // SAFETY: as above; handlers preserve what they interrupt.
    unsafe { cpu::write_device32(IO_APIC_DATA, value) };
}

/// Only the disks' interrupts are to come.
pub fn initialise() {
    mask_8259();
    LocalApic::enable();
}

/// Opens the way for the device's interrupt, to this processor.
fn route(window: Window) {
    let entry = 0x10 + 2 * window.pin;
    write_io_apic(entry, MASKED);
    write_io_apic(entry + 1, 0);
    write_io_apic(entry, LEVEL | VECTOR as u32);
}

fn close(window: Window) {
    write_io_apic(0x10 + 2 * window.pin, MASKED);
}

fn begin(disk: &mut Disk) {
    disk.submit(0, T_IN, 0, &[], &[Data { at: DATA, bytes: 512 }]);
    disk.notify();
}

/// Whether the request that has begun comes back, with an interrupt if one is wanted, and with none
/// otherwise. (The interrupt may come behind the buffer.)
fn comes_back(disk: &mut Disk, is_wanted: bool) -> Verdict {
    let window = disk.window;
    expect(wait_until(|| disk.take_used().is_some()), "the request does not come back")?;
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
        expect(disk.take_used().is_some(), "it comes before the buffer is used")?;
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
        put(USED_EVENT, event);
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
        let next = disk.next_available;
        let is_next = wait_until(|| get::<u16>(AVAILABLE_EVENT) == next);
        expect(is_next, "it asks for another entry")?;
    }
    Ok(())
}
