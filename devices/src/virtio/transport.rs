//! The memory-mapped transport, version 2 (4.2.2): registers of 32 bits, then the device's
//! configuration space.

use super::chain::Chain;
use super::queue::{Queue, RingError};
use super::{COMMON_FEATURES, feature};
use crate::memory::GuestMemory;
use alloc::boxed::Box;

/// Bytes of a device's window: a page, so that each could be granted apart.
pub const WINDOW_BYTES: u64 = 0x1000;

/// Registers (table 4.1).
const MAGIC: u64 = 0x000;
const VERSION: u64 = 0x004;
const DEVICE_ID: u64 = 0x008;
const VENDOR_ID: u64 = 0x00c;
const DEVICE_FEATURES: u64 = 0x010;
const DEVICE_FEATURES_SELECT: u64 = 0x014;
const DRIVER_FEATURES: u64 = 0x020;
const DRIVER_FEATURES_SELECT: u64 = 0x024;
const QUEUE_SELECT: u64 = 0x030;
const QUEUE_SIZE_MAX: u64 = 0x034;
const QUEUE_SIZE: u64 = 0x038;
const QUEUE_READY: u64 = 0x044;
const QUEUE_NOTIFY: u64 = 0x050;
const INTERRUPT_STATUS: u64 = 0x060;
const INTERRUPT_ACKNOWLEDGE: u64 = 0x064;
const STATUS: u64 = 0x070;
const QUEUE_DESCRIPTORS: u64 = 0x080;
const QUEUE_DESCRIPTORS_HIGH: u64 = 0x084;
const QUEUE_DRIVER: u64 = 0x090;
const QUEUE_DRIVER_HIGH: u64 = 0x094;
const QUEUE_DEVICE: u64 = 0x0a0;
const QUEUE_DEVICE_HIGH: u64 = 0x0a4;
/// Length and base of a shared memory region: all ones where there is none (4.2.2.1).
const SHARED_MEMORY: core::ops::RangeInclusive<u64> = 0x0b0..=0x0bc;
const CONFIG_GENERATION: u64 = 0x0fc;
/// Where the configuration space begins.
pub(super) const CONFIG: u64 = 0x100;

const MAGIC_VALUE: u32 = u32::from_le_bytes(*b"virt");
const VERSION_VALUE: u32 = 2;
/// Any value but 0 (4.2.2.1).
const VENDOR_VALUE: u32 = u32::from_le_bytes(*b"TNDM");

/// Device status (2.1).
const DRIVER_OK: u8 = 4;
const FEATURES_OK: u8 = 8;
const NEEDS_RESET: u8 = 64;
const FAILED: u8 = 128;

/// Interrupt status (table 4.1): a queue has used buffers; the configuration or the status has
/// changed.
const USED_BUFFERS: u8 = 1;
const CONFIG_CHANGED: u8 = 2;

/// What a store asks of the device besides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The driver has set DRIVER_OK: what it has put into the queues before may be used.
    Started,
    /// This queue has available buffers.
    Notified(u16),
    /// The driver has withdrawn this queue: its buffers are the driver's again.
    Withdrawn(u16),
    /// The driver has reset the device.
    Reset,
}

/// The registers, and the queues behind them.
#[derive(Clone, Debug)]
pub struct Transport {
    device_id: u32,
    offered: u64,
    accepted: u64,
    /// The driver has accepted a feature beyond those of `offered`.
    accepts_beyond: bool,
    offered_select: u32,
    accepted_select: u32,
    queue_select: u32,
    status: u8,
    interrupt: u8,
    generation: u32,
    queues: Box<[Queue]>,
    error: Option<RingError>,
}

impl Transport {
    /// A device of this kind (section 5) that offers `features` besides those of every device, with
    /// a queue of at most so many descriptors for each of `queues`.
    #[must_use]
    pub fn new(device_id: u32, features: u64, queues: &[u16]) -> Self {
        Self {
            device_id,
            offered: features | COMMON_FEATURES,
            accepted: 0,
            accepts_beyond: false,
            offered_select: 0,
            accepted_select: 0,
            queue_select: 0,
            status: 0,
            interrupt: 0,
            generation: 0,
            queues: queues.iter().map(|size| Queue::new(*size)).collect(),
            error: None,
        }
    }

    /// Device type (section 5).
    #[must_use]
    pub const fn device_id(&self) -> u32 {
        self.device_id
    }

    /// Whether the driver has accepted this feature, and is past doing so.
    #[must_use]
    pub const fn has(&self, feature: u64) -> bool {
        self.status & FEATURES_OK != 0 && self.accepted & feature != 0
    }

    /// Whether the queues are in use: not by a driver whose features were refused (2.2.2), or that
    /// has left the step out.
    #[must_use]
    pub const fn is_running(&self) -> bool {
        const RUNNING: u8 = DRIVER_OK | FEATURES_OK;
        self.status & (RUNNING | NEEDS_RESET | FAILED) == RUNNING
    }

    /// The rule that the driver broke, if the device has stopped for that.
    #[must_use]
    pub const fn error(&self) -> Option<RingError> {
        self.error
    }

    /// The level of its interrupt.
    #[must_use]
    pub const fn pin(&self) -> bool {
        self.interrupt != 0
    }

    /// The configuration space has changed: the driver reads it anew (4.2.3.4), and is interrupted
    /// for it if it knows the field.
    pub const fn config_changed(&mut self, is_known: bool) {
        self.generation = self.generation.wrapping_add(1);
        if is_known && self.is_running() {
            self.interrupt |= CONFIG_CHANGED;
        }
    }

    /// A load. Of 4 bytes at a multiple of 4, as the driver must (4.2.2.2); others give 0.
    pub(super) fn read(&self, offset: u64, size: u8) -> u32 {
        if size != 4 || !offset.is_multiple_of(4) {
            return 0;
        }
        let queue = self.selected();
        match offset {
            MAGIC => MAGIC_VALUE,
            VERSION => VERSION_VALUE,
            DEVICE_ID => self.device_id,
            VENDOR_ID => VENDOR_VALUE,
            DEVICE_FEATURES => half(self.offered, self.offered_select),
            QUEUE_SIZE_MAX => queue.map_or(0, |queue| queue.max_size().into()),
            QUEUE_READY => queue.is_some_and(|queue| queue.is_ready).into(),
            INTERRUPT_STATUS => self.interrupt.into(),
            STATUS => self.status.into(),
            CONFIG_GENERATION => self.generation,
            _ if SHARED_MEMORY.contains(&offset) => u32::MAX,
            _ => 0,
        }
    }

    /// A store, with the same rule.
    pub(super) fn write(&mut self, offset: u64, size: u8, value: u32) -> Option<Event> {
        if size != 4 || !offset.is_multiple_of(4) {
            return None;
        }
        match offset {
            DEVICE_FEATURES_SELECT => self.offered_select = value,
            DRIVER_FEATURES_SELECT => self.accepted_select = value,
            DRIVER_FEATURES if self.status & FEATURES_OK == 0 => {
                set_half(&mut self.accepted, self.accepted_select, value);
                self.accepts_beyond |= self.accepted_select > 1 && value != 0;
            }
            QUEUE_SELECT => self.queue_select = value,
            QUEUE_NOTIFY => return self.notified(value),
            INTERRUPT_ACKNOWLEDGE => self.interrupt &= !(value as u8),
            STATUS => return self.set_status(value as u8),
            QUEUE_READY => return self.set_ready(value & 1 != 0),
            _ => self.set_up_queue(offset, value),
        }
        None
    }

    /// The driver puts the selected queue to use, from its rings' begin on: it has zeroed them
    /// (4.2.3.2). Or it withdraws the queue, and waits until the register reads 0 (4.2.2.2).
    fn set_ready(&mut self, is_ready: bool) -> Option<Event> {
        let number = self.queue_select as u16;
        let queue = self.selected_mut().filter(|queue| queue.is_ready != is_ready)?;
        queue.set_ready(is_ready);
        (!is_ready).then_some(Event::Withdrawn(number))
    }

    /// Where a queue lies; a queue in use cannot be moved (4.2.2.2).
    fn set_up_queue(&mut self, offset: u64, value: u32) {
        let Some(queue) = self.selected_mut().filter(|queue| !queue.is_ready) else { return };
        match offset {
            // Checked with the rest when it is used: more than 16 bits are no size at all.
            QUEUE_SIZE => queue.size = u16::try_from(value).unwrap_or(0),
            QUEUE_DESCRIPTORS => set_half(&mut queue.descriptors, 0, value),
            QUEUE_DESCRIPTORS_HIGH => set_half(&mut queue.descriptors, 1, value),
            QUEUE_DRIVER => set_half(&mut queue.available, 0, value),
            QUEUE_DRIVER_HIGH => set_half(&mut queue.available, 1, value),
            QUEUE_DEVICE => set_half(&mut queue.used, 0, value),
            QUEUE_DEVICE_HIGH => set_half(&mut queue.used, 1, value),
            _ => {}
        }
    }

    /// The driver's progress (3.1.1). FEATURES_OK stays clear if the device cannot work with what
    /// was accepted: a bit that was not offered, or no version 1 (6.1).
    fn set_status(&mut self, value: u8) -> Option<Event> {
        if value == 0 {
            self.reset();
            return Some(Event::Reset);
        }
        let was_running = self.is_running();
        let mut status = value & !NEEDS_RESET | self.status & NEEDS_RESET;
        let is_new = status & !self.status & FEATURES_OK != 0;
        let is_offered = self.accepted & !self.offered == 0 && !self.accepts_beyond;
        let is_possible = is_offered && self.accepted & feature::VERSION_1 != 0;
        if is_new && !is_possible {
            status &= !FEATURES_OK;
        }
        self.status = status;
        (self.is_running() && !was_running).then_some(Event::Started)
    }

    fn reset(&mut self) {
        self.queues.iter_mut().for_each(Queue::reset);
        (self.accepted, self.accepts_beyond) = (0, false);
        (self.status, self.interrupt) = (0, 0);
        (self.offered_select, self.accepted_select, self.queue_select) = (0, 0, 0);
        self.error = None;
    }

    fn notified(&self, value: u32) -> Option<Event> {
        let queue = u16::try_from(value).ok()?;
        let is_there = usize::from(queue) < self.queues.len();
        (is_there && self.is_running()).then_some(Event::Notified(queue))
    }

    fn selected(&self) -> Option<&Queue> {
        self.queues.get(self.queue_select as usize)
    }

    fn selected_mut(&mut self) -> Option<&mut Queue> {
        self.queues.get_mut(self.queue_select as usize)
    }
}

/// The queues, for the device.
impl Transport {
    /// The next chain of a queue; false if there is none, or the device does not run. A ring that
    /// breaks a rule stops the device.
    pub(super) fn pop(
        &mut self,
        queue: usize,
        memory: &impl GuestMemory,
        chain: &mut Chain,
    ) -> bool {
        if !self.is_running() {
            return false;
        }
        let popped = self.queues[queue].pop(memory, self.accepted, chain);
        self.checked(popped).unwrap_or(false)
    }

    /// Returns a chain of a queue; nothing if the device does not run.
    pub(super) fn push(
        &mut self,
        queue: usize,
        memory: &impl GuestMemory,
        head: u16,
        written: u32,
    ) {
        if self.is_running() {
            let pushed = self.queues[queue].push(memory, head, written);
            self.checked(pushed);
        }
    }

    /// Whether the driver has made a chain of a queue available that has not been taken.
    pub(super) fn has_available(&self, queue: usize, memory: &impl GuestMemory) -> bool {
        self.is_running() && self.queues[queue].has_available(memory)
    }

    /// The last `chains` chains taken from a queue are available again.
    pub(super) fn rewind(&mut self, queue: usize, chains: u16) {
        self.queues[queue].rewind(chains);
    }

    /// How many chains a queue can hold, as the driver has set it up.
    pub(super) fn queue_size(&self, queue: usize) -> u16 {
        self.queues[queue].size
    }

    /// Raises the interrupt if the driver wants one for what was returned to this queue.
    pub(super) fn signal(&mut self, queue: usize, memory: &impl GuestMemory) {
        if self.is_running() {
            let wants = self.queues[queue].wants_interrupt(memory, self.accepted);
            if self.checked(wants) == Some(true) {
                self.interrupt |= USED_BUFFERS;
            }
        }
    }

    /// The driver broke a rule: the device stops until it is reset, and says so (2.1.2).
    pub(super) const fn fail(&mut self, error: RingError) {
        self.error = Some(error);
        self.status |= NEEDS_RESET;
        self.generation = self.generation.wrapping_add(1);
        if self.status & DRIVER_OK != 0 {
            self.interrupt |= CONFIG_CHANGED;
        }
    }

    fn checked<T>(&mut self, result: Result<T, RingError>) -> Option<T> {
        result.map_err(|error| self.fail(error)).ok()
    }
}

const fn half(value: u64, select: u32) -> u32 {
    match select {
        0 => value as u32,
        1 => (value >> 32) as u32,
        _ => 0,
    }
}

const fn set_half(value: &mut u64, select: u32, half: u32) {
    match select {
        0 => *value = *value & !0xffff_ffff | half as u64,
        1 => *value = *value & 0xffff_ffff | (half as u64) << 32,
        _ => {}
    }
}
