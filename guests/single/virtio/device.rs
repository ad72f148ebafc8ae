//! What drivers of all kinds of devices do: negotiation (Virtio 1.2, section 3.1.1), and waiting.

use super::registers::{
    ACKNOWLEDGE, DEVICE_FEATURES, DEVICE_FEATURES_SELECT, DRIVER, DRIVER_FEATURES,
    DRIVER_FEATURES_SELECT, DRIVER_OK, FEATURES_OK, STATUS, Window,
};
use crate::common::cpu;

/// Feature bits of every device (6).
pub const INDIRECT_DESC: u64 = 1 << 28;
pub const EVENT_IDX: u64 = 1 << 29;
pub const VERSION_1: u64 = 1 << 32;

/// Time-stamp counts, a minute at least: only an event that never comes is waited for so long.
const PATIENCE: u64 = 1 << 38;

/// What the device offers.
pub fn offered(window: Window) -> u64 {
    let half = |select| {
        window.write(DEVICE_FEATURES_SELECT, select);
        u64::from(window.read(DEVICE_FEATURES))
    };
    half(0) | half(1) << 32
}

/// Resets the device and accepts `features`; whether it works with them.
pub fn negotiate(window: Window, features: u64) -> bool {
    reset(window);
    window.write(STATUS, ACKNOWLEDGE);
    window.write(STATUS, ACKNOWLEDGE | DRIVER);
    for (select, half) in [(0, features as u32), (1, (features >> 32) as u32)] {
        window.write(DRIVER_FEATURES_SELECT, select);
        window.write(DRIVER_FEATURES, half);
    }
    window.write(STATUS, ACKNOWLEDGE | DRIVER | FEATURES_OK);
    window.read(STATUS) & FEATURES_OK != 0
}

/// The queues are set up: the device may use them.
pub fn go_live(window: Window) {
    window.write(STATUS, ACKNOWLEDGE | DRIVER | FEATURES_OK | DRIVER_OK);
}

/// Resets the device, which has no buffers of ours afterwards (2.4.1).
pub fn reset(window: Window) {
    window.write(STATUS, 0);
    wait_until(|| window.read(STATUS) == 0);
}

/// Waits for something to become true; false if it does not.
pub fn wait_until(mut is_so: impl FnMut() -> bool) -> bool {
    let start = cpu::time_stamp();
    while !is_so() {
        if cpu::time_stamp().wrapping_sub(start) > PATIENCE {
            return false;
        }
        core::hint::spin_loop();
    }
    true
}
