//! Resets while the device is at work (Virtio 1.2, section 2.4).

use super::device::reset;
use super::driver::{Data, Disk, SLOTS, T_IN};
use super::negotiation::works;
use super::ram::{DATA, fill, holds};
use super::registers::{STATUS, Window};
use super::{Verdict, expect};

const BLOCK: u32 = 4096;

/// 2.4.1: once the reset is over, the device touches no buffer.
pub fn under_way(window: Window) -> Verdict {
    for _ in 0..5 {
        let mut disk = Disk::start(window, super::FULL).ok_or("it does not start")?;
        for slot in 0..SLOTS {
            let at = DATA + BLOCK as usize * usize::from(slot);
            disk.submit(slot, T_IN, 8 * u64::from(slot), &[], &[Data { at, bytes: BLOCK }]);
        }
        disk.queue.notify();
        reset(window);
        expect(window.read(STATUS) == 0, "a status after the reset")?;
        let all = BLOCK as usize * usize::from(SLOTS);
        fill(DATA, all, |_| u64::MAX);
        works(window)?;
        fill(DATA, 512, |_| u64::MAX);
        expect(holds(DATA, all, |_| u64::MAX), "it writes to buffers after the reset")?;
    }
    Ok(())
}
