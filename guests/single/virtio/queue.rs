//! A split virtqueue (Virtio 1.2, section 2.7), the driver's side.

use super::arena::{get, physical, put};
use super::registers::{
    QUEUE_DESCRIPTORS, QUEUE_DEVICE, QUEUE_DRIVER, QUEUE_NOTIFY, QUEUE_READY, QUEUE_SELECT,
    QUEUE_SIZE, Window,
};
use core::sync::atomic::{Ordering, fence};

/// Descriptor flags (2.7.5).
pub const NEXT: u16 = 1;
pub const WRITE: u16 = 2;
pub const INDIRECT_TABLE: u16 = 4;

/// Where the parts of a queue lie in the arena.
#[derive(Clone, Copy)]
pub struct Places {
    pub descriptors: usize,
    pub available: usize,
    pub used: usize,
}

/// What the device is told of a queue: its size, and where its parts lie, physically.
#[derive(Clone, Copy)]
pub struct Rings {
    pub size: u32,
    pub descriptors: u64,
    pub available: u64,
    pub used: u64,
}

/// A queue.
pub struct Queue {
    window: Window,
    number: u32,
    /// Its descriptors.
    pub size: u16,
    places: Places,
    /// The next entry of the available ring, and of the used one.
    pub next_available: u16,
    next_used: u16,
    /// `next_available` at the last [`Self::notify_if_wanted`].
    notified: u16,
}

impl Places {
    /// A queue of so many descriptors here.
    pub fn rings(self, size: u32) -> Rings {
        Rings {
            size,
            descriptors: physical(self.descriptors),
            available: physical(self.available),
            used: physical(self.used),
        }
    }

    /// From which used buffer on the driver wants an interrupt, of a queue of so many descriptors.
    pub fn used_event(self, size: u16) -> usize {
        self.available + 4 + 2 * usize::from(size)
    }

    /// From which available buffer on the device wants to be notified.
    pub fn available_event(self, size: u16) -> usize {
        self.used + 4 + 8 * usize::from(size)
    }
}

impl Queue {
    /// Empties the rings at `places`, and gives the device these, which may be others.
    pub fn set_up(window: Window, number: u32, size: u16, places: Places, rings: Rings) -> Self {
        for at in [places.available, places.used] {
            // Flags and index.
            put(at, 0_u32);
        }
        put(places.used_event(size), 0_u16);
        put(places.available_event(size), 0_u16);
        window.write(QUEUE_SELECT, number);
        window.write(QUEUE_SIZE, rings.size);
        window.write64(QUEUE_DESCRIPTORS, rings.descriptors);
        window.write64(QUEUE_DRIVER, rings.available);
        window.write64(QUEUE_DEVICE, rings.used);
        window.write(QUEUE_READY, 1);
        Self { window, number, size, places, next_available: 0, next_used: 0, notified: 0 }
    }

    /// Puts a chain into the available ring.
    pub fn make_available(&mut self, head: u16) {
        let entry = usize::from(self.next_available % self.size);
        put(self.places.available + 4 + 2 * entry, head);
        self.next_available = self.next_available.wrapping_add(1);
        fence(Ordering::SeqCst);
        put(self.places.available + 2, self.next_available);
        fence(Ordering::SeqCst);
    }

    /// Asks for an interrupt for the next used buffer, or for none (2.7.7).
    pub fn want_interrupt(&self, is_wanted: bool, has_event_index: bool) {
        const NO_INTERRUPT: u16 = 1;
        if has_event_index {
            let event = if is_wanted { self.next_used } else { self.next_used.wrapping_sub(1) };
            put(self.places.used_event(self.size), event);
        } else {
            put(self.places.available, if is_wanted { 0 } else { NO_INTERRUPT });
        }
        fence(Ordering::SeqCst);
    }

    /// Notifies the device of what was made available since the last time, if it wants that.
    pub fn notify_if_wanted(&mut self, has_event_index: bool) {
        let before = core::mem::replace(&mut self.notified, self.next_available);
        if self.notified != before && self.is_notification_wanted(before, has_event_index) {
            self.notify();
        }
    }

    /// Whether the device wants to be notified of what was made available since `before` (2.7.10).
    fn is_notification_wanted(&self, before: u16, has_event_index: bool) -> bool {
        const NO_NOTIFY: u16 = 1;
        if !has_event_index {
            return get::<u16>(self.places.used) & NO_NOTIFY == 0;
        }
        let event = get::<u16>(self.places.available_event(self.size));
        let since = self.next_available.wrapping_sub(before);
        self.next_available.wrapping_sub(event).wrapping_sub(1) < since
    }

    /// Whether a chain has come back that was not taken yet.
    pub fn has_used(&self) -> bool {
        get::<u16>(self.places.used + 2) != self.next_used
    }

    /// The device is to look at the queue.
    pub fn notify(&self) {
        self.window.write(QUEUE_NOTIFY, self.number);
    }

    /// The next chain that has come back: its head and the bytes written to it.
    pub fn take_used(&mut self) -> Option<(u16, u32)> {
        if !self.has_used() {
            return None;
        }
        fence(Ordering::SeqCst);
        let entry = self.places.used + 4 + 8 * usize::from(self.next_used % self.size);
        self.next_used = self.next_used.wrapping_add(1);
        Some((get::<u32>(entry) as u16, get::<u32>(entry + 4)))
    }
}

/// Writes a descriptor of the table at `table`.
pub fn describe(table: usize, index: u16, address: u64, bytes: u32, flags: u16, next: u16) {
    let at = table + 16 * usize::from(index);
    put(at, address);
    let rest = u64::from(bytes) | u64::from(flags) << 32 | u64::from(next) << 48;
    put(at + 8, rest);
}
