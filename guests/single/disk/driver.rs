//! A driver of a disk: negotiation (Virtio 1.2, section 3.1.1), a split virtqueue (2.7), and
//! requests (5.2.6). It is no crate's: images are compiled without any, and half of what is asked
//! of a disk here no driver would ask.

use super::ram::{AVAILABLE, DESCRIPTORS, HEADERS, INDIRECT, USED, get, physical, put};
use super::registers::{
    ACKNOWLEDGE, DEVICE_FEATURES, DEVICE_FEATURES_SELECT, DRIVER, DRIVER_FEATURES,
    DRIVER_FEATURES_SELECT, DRIVER_OK, FEATURES_OK, INTERRUPT_ACKNOWLEDGE, INTERRUPT_STATUS,
    QUEUE_DESCRIPTORS, QUEUE_DEVICE, QUEUE_DRIVER, QUEUE_NOTIFY, QUEUE_READY, QUEUE_SELECT,
    QUEUE_SIZE, STATUS, Window,
};
use crate::common::cpu;
use core::sync::atomic::{Ordering, fence};

/// Feature bits (5.2.3, 6).
pub const READ_ONLY: u64 = 1 << 5;
pub const FLUSH: u64 = 1 << 9;
pub const DISCARD: u64 = 1 << 13;
pub const WRITE_ZEROES: u64 = 1 << 14;
pub const INDIRECT_DESC: u64 = 1 << 28;
pub const EVENT_IDX: u64 = 1 << 29;
pub const VERSION_1: u64 = 1 << 32;

/// Request types (5.2.6).
pub const T_IN: u32 = 0;
pub const T_OUT: u32 = 1;
pub const T_FLUSH: u32 = 4;
pub const T_GET_ID: u32 = 8;
pub const T_DISCARD: u32 = 11;
pub const T_WRITE_ZEROES: u32 = 13;

/// Status bytes.
pub const OK: u8 = 0;
pub const IO_ERROR: u8 = 1;
pub const UNSUPPORTED: u8 = 2;
const NOT_YET: u8 = 0xFF;

/// Descriptor flags (2.7.5).
pub const NEXT: u16 = 1;
pub const WRITE: u16 = 2;
pub const INDIRECT_TABLE: u16 = 4;

/// Descriptors of the queue: those of a request are its slot's.
pub const QUEUE: u16 = 64;
const SLOT_DESCRIPTORS: u16 = 4;
/// Requests at a time.
pub const SLOTS: u16 = QUEUE / SLOT_DESCRIPTORS;
/// Bytes of a slot in the areas of headers and of indirect tables.
const SLOT_BYTES: usize = 64;
const SEGMENT_AT: usize = 16;
const STATUS_AT: usize = 32;
/// Time-stamp counts, a minute at least: only an event that never comes is waited for so long.
const PATIENCE: u64 = 1 << 38;

/// A place in RAM and its bytes.
#[derive(Clone, Copy)]
pub struct Data {
    pub at: usize,
    pub bytes: u32,
}

/// A disk that works.
pub struct Disk {
    pub window: Window,
    pub features: u64,
    /// Descriptors of its queue.
    pub size: u16,
    /// The next entry of the available ring, and of the used one.
    pub next_available: u16,
    next_used: u16,
}

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

/// Resets the device, which has no buffers of ours afterwards (2.4.1).
pub fn reset(window: Window) {
    window.write(STATUS, 0);
    wait_until(|| window.read(STATUS) == 0);
}

/// Where a queue lies, physically.
#[derive(Clone, Copy)]
pub struct Rings {
    pub size: u32,
    pub descriptors: u64,
    pub available: u64,
    pub used: u64,
}

impl Rings {
    /// Of so many descriptors, at their places in the arena.
    pub fn usual(size: u32) -> Self {
        Self {
            size,
            descriptors: physical(DESCRIPTORS),
            available: physical(AVAILABLE),
            used: physical(USED),
        }
    }
}

impl Disk {
    /// Takes the device over with these features, of those that it offers.
    pub fn start(window: Window, features: u64) -> Option<Self> {
        Self::start_with(window, features, Rings::usual(QUEUE.into()))
    }

    /// The same, with rings anywhere.
    pub fn start_with(window: Window, features: u64, rings: Rings) -> Option<Self> {
        let features = features & offered(window);
        if !negotiate(window, features) {
            return None;
        }
        for at in [AVAILABLE, USED] {
            // Flags, index, and the event index at the end of either.
            put(at, 0_u32);
        }
        put(AVAILABLE + 4 + 2 * usize::from(QUEUE), 0_u16);
        put(USED + 4 + 8 * usize::from(QUEUE), 0_u16);
        window.write(QUEUE_SELECT, 0);
        window.write(QUEUE_SIZE, rings.size);
        window.write64(QUEUE_DESCRIPTORS, rings.descriptors);
        window.write64(QUEUE_DRIVER, rings.available);
        window.write64(QUEUE_DEVICE, rings.used);
        window.write(QUEUE_READY, 1);
        window.write(STATUS, ACKNOWLEDGE | DRIVER | FEATURES_OK | DRIVER_OK);
        let size = if rings.size == 1 { 1 } else { QUEUE };
        Some(Self { window, features, size, next_available: 0, next_used: 0 })
    }

    /// Writes a descriptor of the table at `table`.
    pub fn describe(table: usize, index: u16, address: u64, bytes: u32, flags: u16, next: u16) {
        let at = table + 16 * usize::from(index);
        put(at, address);
        let rest = u64::from(bytes) | u64::from(flags) << 32 | u64::from(next) << 48;
        put(at + 8, rest);
    }

    /// Makes a request of a slot available: its header, `out`, what the device is to write to
    /// `into`, and its status. No notification yet.
    pub fn submit(&mut self, slot: u16, kind: u32, sector: u64, out: &[Data], into: &[Data]) {
        let header = HEADERS + SLOT_BYTES * usize::from(slot);
        put(header, u64::from(kind));
        put(header + 8, sector);
        put(header + STATUS_AT, NOT_YET);
        let is_indirect = self.features & INDIRECT_DESC != 0;
        let table = INDIRECT + SLOT_BYTES * usize::from(slot);
        let head = if self.size == 1 { 0 } else { slot * SLOT_DESCRIPTORS };
        let (table, first) = if is_indirect { (table, 0) } else { (DESCRIPTORS, head) };
        let parts = [Data { at: header, bytes: 16 }].into_iter().chain(out.iter().copied());
        let parts = parts.map(|part| (part, 0));
        let status = Data { at: header + STATUS_AT, bytes: 1 };
        let parts = parts.chain(into.iter().copied().chain([status]).map(|part| (part, WRITE)));
        let last = (out.len() + into.len() + 1) as u16;
        for (n, (part, flags)) in (0..).zip(parts) {
            let (flags, next) = if n == last { (flags, 0) } else { (flags | NEXT, first + n + 1) };
            Self::describe(table, first + n, physical(part.at), part.bytes, flags, next);
        }
        if is_indirect {
            let bytes = u32::from(last + 1) * 16;
            Self::describe(DESCRIPTORS, head, physical(table), bytes, INDIRECT_TABLE, 0);
        }
        self.make_available(head);
    }

    /// Puts a chain into the available ring.
    pub fn make_available(&mut self, head: u16) {
        let entry = usize::from(self.next_available % self.size);
        put(AVAILABLE + 4 + 2 * entry, head);
        self.next_available = self.next_available.wrapping_add(1);
        fence(Ordering::SeqCst);
        put(AVAILABLE + 2, self.next_available);
        fence(Ordering::SeqCst);
    }

    /// The device is to look at the queue.
    pub fn notify(&self) {
        self.window.write(QUEUE_NOTIFY, 0);
    }

    /// The next chain that has come back: its head and the bytes written to it.
    pub fn take_used(&mut self) -> Option<(u16, u32)> {
        if get::<u16>(USED + 2) == self.next_used {
            return None;
        }
        fence(Ordering::SeqCst);
        let entry = USED + 4 + 8 * usize::from(self.next_used % self.size);
        self.next_used = self.next_used.wrapping_add(1);
        Some((get::<u32>(entry) as u16, get::<u32>(entry + 4)))
    }

    /// The status byte of a slot's last request.
    pub fn status(slot: u16) -> u8 {
        get(HEADERS + SLOT_BYTES * usize::from(slot) + STATUS_AT)
    }

    /// Waits for the next chain to come back.
    pub fn wait(&mut self) -> Option<(u16, u32)> {
        let mut used = None;
        wait_until(|| {
            used = self.take_used();
            used.is_some()
        });
        let pending = self.window.read(INTERRUPT_STATUS);
        self.window.write(INTERRUPT_ACKNOWLEDGE, pending);
        used
    }

    /// Carries out one request and gives its status byte; None if it does not come back, or with
    /// another number of bytes written than `into` and the status have (less on an error).
    pub fn ask(&mut self, kind: u32, sector: u64, out: &[Data], into: &[Data]) -> Option<u8> {
        self.submit(0, kind, sector, out, into);
        self.notify();
        let (head, written) = self.wait()?;
        let status = Self::status(0);
        let whole = into.iter().map(|data| data.bytes).sum::<u32>() + 1;
        let is_right = written == whole || status != OK && written <= whole;
        (head == 0 && is_right).then_some(status)
    }

    /// Reads into the arena.
    pub fn read(&mut self, sector: u64, at: usize, bytes: u32) -> Option<u8> {
        self.ask(T_IN, sector, &[], &[Data { at, bytes }])
    }

    /// Writes out of the arena.
    pub fn write(&mut self, sector: u64, at: usize, bytes: u32) -> Option<u8> {
        self.ask(T_OUT, sector, &[Data { at, bytes }], &[])
    }

    /// Discards or zeroes sectors.
    pub fn clear(&mut self, kind: u32, sector: u64, sectors: u32, flags: u32) -> Option<u8> {
        let segment = HEADERS + SEGMENT_AT;
        put(segment, sector);
        put(segment + 8, u64::from(sectors) | u64::from(flags) << 32);
        self.ask(kind, 0, &[Data { at: segment, bytes: 16 }], &[])
    }
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
