//! A driver of a disk: its queue, and requests (Virtio 1.2, section 5.2.6). It is no crate's:
//! images are compiled without any, and half of what is asked of a disk here no driver would ask.

pub use super::device::{EVENT_IDX, INDIRECT_DESC, VERSION_1};
use super::device::{go_live, negotiate, offered, wait_until};
use super::queue::{INDIRECT_TABLE, NEXT, Places, Queue, Rings, WRITE, describe};
use super::ram::{AVAILABLE, DESCRIPTORS, HEADERS, INDIRECT, USED, get, physical, put};
use super::registers::{CONFIGURATION, INTERRUPT_ACKNOWLEDGE, INTERRUPT_STATUS, Window};

/// Feature bits (5.2.3).
pub const READ_ONLY: u64 = 1 << 5;
pub const FLUSH: u64 = 1 << 9;
pub const DISCARD: u64 = 1 << 13;
pub const WRITE_ZEROES: u64 = 1 << 14;

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

/// Where the queue lies.
pub const PLACES: Places = Places { descriptors: DESCRIPTORS, available: AVAILABLE, used: USED };
/// Descriptors of the queue: those of a request are its slot's.
pub const QUEUE: u16 = 64;
const SLOT_DESCRIPTORS: u16 = 4;
/// Requests at a time.
pub const SLOTS: u16 = QUEUE / SLOT_DESCRIPTORS;
/// Bytes of a slot in the areas of headers and of indirect tables.
const SLOT_BYTES: usize = 64;
const SEGMENT_AT: usize = 16;
const STATUS_AT: usize = 32;

/// A place in RAM and its bytes.
#[derive(Clone, Copy)]
pub struct Data {
    pub at: usize,
    pub bytes: u32,
}

/// A disk that works.
pub struct Disk {
    pub window: Window,
    features: u64,
    pub queue: Queue,
}

/// The disk with this number.
pub fn disk(number: usize) -> Option<Window> {
    const BLOCK: u32 = 2;
    Window::of(BLOCK, number)
}

/// A disk's sectors (5.2.4).
pub fn sectors(window: Window) -> u64 {
    let [low, high] = [CONFIGURATION, CONFIGURATION + 4].map(|at| u64::from(window.read(at)));
    low | high << 32
}

impl Disk {
    /// Takes the device over with these features, of those that it offers.
    pub fn start(window: Window, features: u64) -> Option<Self> {
        Self::start_with(window, features, PLACES.rings(QUEUE.into()))
    }

    /// The same, with rings anywhere.
    pub fn start_with(window: Window, features: u64, rings: Rings) -> Option<Self> {
        let features = features & offered(window);
        if !negotiate(window, features) {
            return None;
        }
        let size = if rings.size == 1 { 1 } else { QUEUE };
        let queue = Queue::set_up(window, 0, size, PLACES, rings);
        go_live(window);
        Some(Self { window, features, queue })
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
        let head = if self.queue.size == 1 { 0 } else { slot * SLOT_DESCRIPTORS };
        let (table, first) = if is_indirect { (table, 0) } else { (DESCRIPTORS, head) };
        let parts = [Data { at: header, bytes: 16 }].into_iter().chain(out.iter().copied());
        let parts = parts.map(|part| (part, 0));
        let status = Data { at: header + STATUS_AT, bytes: 1 };
        let parts = parts.chain(into.iter().copied().chain([status]).map(|part| (part, WRITE)));
        let last = (out.len() + into.len() + 1) as u16;
        for (n, (part, flags)) in (0..).zip(parts) {
            let (flags, next) = if n == last { (flags, 0) } else { (flags | NEXT, first + n + 1) };
            describe(table, first + n, physical(part.at), part.bytes, flags, next);
        }
        if is_indirect {
            let bytes = u32::from(last + 1) * 16;
            describe(DESCRIPTORS, head, physical(table), bytes, INDIRECT_TABLE, 0);
        }
        self.queue.make_available(head);
    }

    /// The status byte of a slot's last request.
    pub fn status(slot: u16) -> u8 {
        get(HEADERS + SLOT_BYTES * usize::from(slot) + STATUS_AT)
    }

    /// Waits for the next chain to come back.
    pub fn wait(&mut self) -> Option<(u16, u32)> {
        let mut used = None;
        wait_until(|| {
            used = self.queue.take_used();
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
        self.queue.notify();
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
