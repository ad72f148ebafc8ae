//! A driver of a network interface: two queues, and frames (Virtio 1.2, section 5.1).

use super::arena::{copy_in, copy_out, physical};
use super::device::{EVENT_IDX, INDIRECT_DESC, go_live, negotiate, offered, wait_until};
use super::queue::{INDIRECT_TABLE, NEXT, Places, Queue, WRITE, describe};
use super::registers::{CONFIGURATION, INTERRUPT_ACKNOWLEDGE, INTERRUPT_STATUS, MOST, Window};

/// Feature bits (5.1.3).
pub const CSUM: u64 = 1 << 0;
pub const GUEST_CSUM: u64 = 1 << 1;
pub const MAC: u64 = 1 << 5;
pub const GUEST_TSO4: u64 = 1 << 7;
pub const HOST_TSO4: u64 = 1 << 11;
pub const MRG_RXBUF: u64 = 1 << 15;
pub const STATUS: u64 = 1 << 16;

/// Bytes of a frame's header (5.1.6).
pub const HEADER_BYTES: usize = 12;
/// A header that leaves nothing to be done.
pub const NO_HEADER: [u8; HEADER_BYTES] = [0; HEADER_BYTES];

const RECEIVE: u32 = 0;
const TRANSMIT: u32 = 1;
const QUEUE: u16 = 128;
const RECEIVE_PLACES: Places = Places { descriptors: 0, available: 0x1000, used: 0x2000 };
const TRANSMIT_PLACES: Places = Places { descriptors: 0x3000, available: 0x4000, used: 0x5000 };
/// Tables of two descriptors, one for each slot.
const TABLES: usize = 0x6000;
const TABLE_BYTES: usize = 32;
/// Buffers for receiving, and slots for sending.
const BUFFERS: usize = 0x8000;
const SLOTS: usize = BUFFERS + AREA_BYTES;
const AREA_BYTES: usize = 0x4_4000;
/// The most slots: each has two descriptors.
const MOST_SLOTS: u16 = QUEUE / 2;

/// Bytes of a buffer or a slot that takes a frame of 1514 bytes, and of one that takes 64 KiB.
pub const SMALL: usize = 2048;
pub const LARGE: usize = 0x1_1000;

/// How the interface is driven.
#[derive(Clone, Copy)]
pub struct Way {
    /// Of these features those that are offered.
    pub features: u64,
    /// Bytes of a buffer for receiving, and how many there are.
    pub buffer_bytes: usize,
    pub buffers: u16,
    /// Whether buffers are made available again only once all of them are used.
    pub is_late: bool,
    /// Bytes of a slot for sending.
    pub slot_bytes: usize,
}

/// An interface at work.
pub struct Nic {
    pub window: Window,
    way: Way,
    receive: Queue,
    transmit: Queue,
    /// Bit n: buffer n waits to be made available again.
    kept: u128,
    /// Bit n: slot n is free.
    free: u64,
    all_free: u64,
    /// What the device did that it may not.
    pub fault: Option<&'static str>,
}

/// The first interface.
pub fn find() -> Option<Window> {
    const NET: u32 = 1;
    (0..MOST).find_map(|number| Window::of(NET, number))
}

/// Its Ethernet address (5.1.4).
pub fn address(window: Window) -> [u8; 6] {
    let [low, high] = [CONFIGURATION, CONFIGURATION + 4].map(|at| window.read(at).to_le_bytes());
    let ([a, b, c, d], [e, f, ..]) = (low, high);
    [a, b, c, d, e, f]
}

/// Whether its link is up.
pub fn is_link_up(window: Window) -> bool {
    const LINK_UP: u32 = 1;
    window.read(CONFIGURATION + 4) >> 16 & LINK_UP != 0
}

impl Nic {
    /// Takes the device over, with all buffers for receiving.
    pub fn start(window: Window, way: Way) -> Option<Self> {
        let way = Way { features: way.features & offered(window), ..way };
        if !negotiate(window, way.features) {
            return None;
        }
        let queue = |number, places: Places| {
            Queue::set_up(window, number, QUEUE, places, places.rings(QUEUE.into()))
        };
        let (receive, transmit) =
            (queue(RECEIVE, RECEIVE_PLACES), queue(TRANSMIT, TRANSMIT_PLACES));
        go_live(window);
        let slots = (AREA_BYTES / way.slot_bytes).min(MOST_SLOTS.into());
        let all_free = u64::MAX >> (u64::BITS as usize - slots);
        let free = all_free;
        let mut nic = Self { window, way, receive, transmit, kept: 0, free, all_free, fault: None };
        (0..way.buffers).for_each(|buffer| nic.give(buffer));
        nic.receive.notify_if_wanted(nic.has(EVENT_IDX));
        Some(nic)
    }

    /// Whether both sides have agreed on a feature.
    pub fn has(&self, feature: u64) -> bool {
        self.way.features & feature != 0
    }

    fn buffer_at(&self, buffer: u16) -> usize {
        BUFFERS + self.way.buffer_bytes * usize::from(buffer)
    }

    /// Makes a buffer available for receiving; no notification yet.
    fn give(&mut self, buffer: u16) {
        let address = physical(self.buffer_at(buffer));
        let bytes = self.way.buffer_bytes as u32;
        describe(RECEIVE_PLACES.descriptors, buffer, address, bytes, WRITE, 0);
        self.receive.make_available(buffer);
    }

    /// The next frame that came, and its header; its length.
    pub fn receive(&mut self, header: &mut [u8; HEADER_BYTES], to: &mut [u8]) -> Option<usize> {
        let (mut buffers, mut skip, mut len) = (1, HEADER_BYTES, 0);
        while buffers > 0 {
            let is_first = skip > 0;
            if !is_first {
                // The others of a frame are there, or come at once (5.1.6.4.1).
                wait_until(|| self.receive.has_used());
            }
            let (buffer, written) = self.receive.take_used()?;
            let (at, written) = (self.buffer_at(buffer), written as usize);
            if written > self.way.buffer_bytes || written < skip {
                self.fault = Some("a buffer has another length");
                return None;
            }
            if is_first {
                copy_out(at, header);
                buffers = if self.has(MRG_RXBUF) { merged(header) } else { 1 };
            }
            let room = to.get_mut(len..len + written - skip);
            room.map_or_else(
                || self.fault = Some("a frame is too long"),
                |to| copy_out(at + skip, to),
            );
            (len, skip, buffers) = (len + written - skip, 0, buffers - 1);
            match self.way.is_late {
                true => self.kept |= 1 << (buffer % QUEUE),
                false => self.give(buffer),
            }
        }
        self.receive.notify_if_wanted(self.has(EVENT_IDX));
        Some(len)
    }

    /// Makes a frame available for sending, if a slot is free; no notification yet.
    pub fn send(&mut self, header: &[u8; HEADER_BYTES], frame: &[u8]) -> bool {
        self.reclaim();
        if self.free == 0 {
            return false;
        }
        let slot = self.free.trailing_zeros() as u16;
        self.free &= self.free - 1;
        let at = SLOTS + self.way.slot_bytes * usize::from(slot);
        copy_in(at, header);
        copy_in(at + HEADER_BYTES, frame);
        let table = TABLES + TABLE_BYTES * usize::from(slot);
        let is_indirect = self.has(INDIRECT_DESC);
        let (parts, first) =
            if is_indirect { (table, 0) } else { (TRANSMIT_PLACES.descriptors, 2 * slot) };
        describe(parts, first, physical(at), HEADER_BYTES as u32, NEXT, first + 1);
        let frame_at = physical(at + HEADER_BYTES);
        describe(parts, first + 1, frame_at, frame.len() as u32, 0, 0);
        if is_indirect {
            let (descriptors, bytes) = (TRANSMIT_PLACES.descriptors, TABLE_BYTES as u32);
            describe(descriptors, 2 * slot, physical(table), bytes, INDIRECT_TABLE, 0);
        }
        self.transmit.make_available(2 * slot);
        true
    }

    /// Tells the device of what was made available for sending, if it wants to know.
    pub fn notify(&mut self) {
        self.transmit.notify_if_wanted(self.has(EVENT_IDX));
    }

    fn reclaim(&mut self) {
        while let Some((head, _)) = self.transmit.take_used() {
            let slot = 1_u64 << (head / 2 % MOST_SLOTS);
            if self.free & slot != 0 || self.all_free & slot == 0 {
                self.fault = Some("a slot comes back twice");
            }
            self.free |= slot & self.all_free;
        }
    }

    /// Whether the device is done with all that was sent.
    pub fn is_idle(&mut self) -> bool {
        self.reclaim();
        self.free == self.all_free
    }

    /// Makes the buffers available that were kept.
    fn give_kept(&mut self) {
        while self.kept != 0 {
            let buffer = self.kept.trailing_zeros() as u16;
            self.kept &= self.kept - 1;
            self.give(buffer);
        }
        self.receive.notify_if_wanted(self.has(EVENT_IDX));
    }

    /// Asks for interrupts; false if there is something to do already.
    pub fn arm(&mut self, waits_for_slots: bool) -> bool {
        self.give_kept();
        let has_event_index = self.has(EVENT_IDX);
        self.receive.want_interrupt(true, has_event_index);
        self.transmit.want_interrupt(waits_for_slots, has_event_index);
        !(self.receive.has_used() || waits_for_slots && self.transmit.has_used())
    }

    /// Acknowledges the interrupt, and asks for none while frames are handled.
    pub fn disarm(&mut self) {
        let status = self.window.read(INTERRUPT_STATUS);
        if status != 0 {
            self.window.write(INTERRUPT_ACKNOWLEDGE, status);
        }
        self.receive.want_interrupt(false, self.has(EVENT_IDX));
    }
}

/// The header's number of buffers.
fn merged(header: &[u8; HEADER_BYTES]) -> u16 {
    let [.., low, high] = *header;
    u16::from_le_bytes([low, high])
}
