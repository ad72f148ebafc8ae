//! A split virtqueue (2.7): three rings in the guest's RAM, of which none is trusted.

use super::chain::{Buffer, Chain};
use super::feature;
use crate::memory::GuestMemory;
use core::fmt;

/// Descriptor flags (2.7.5).
const NEXT: u16 = 1;
const WRITE: u16 = 2;
const INDIRECT: u16 = 4;
/// Bytes of a descriptor.
const DESCRIPTOR_BYTES: u64 = 16;
/// Flag of the available ring: no interrupt, please (2.7.7).
const NO_INTERRUPT: u16 = 1;
/// Where the rings' entries begin; before it are flags and index.
const RING: u64 = 4;

/// A rule of the rings that the driver has broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RingError {
    /// A size that is 0, no power of two or more than the device offers, or a ring that is not
    /// aligned (2.7).
    Unusable,
    /// A ring, a table or a buffer is not all RAM.
    OutsideRam {
        /// Where it begins, guest-physical.
        address: u64,
    },
    /// The available ring's index is further on than the chains that a ring has room for, those
    /// that were taken and not returned among them.
    Index {
        /// As the driver wrote it.
        index: u16,
    },
    /// A descriptor's index is beyond the table's end.
    Descriptor {
        /// The index.
        index: u16,
    },
    /// More buffers than a queue has descriptors, or a loop.
    TooLong,
    /// A buffer to be read follows one to be written (2.7.4.2).
    Order,
    /// An indirect table within another, with a successor, not a multiple of 16 bytes, empty, or
    /// without the feature (2.7.5.3.1).
    Indirect,
    /// The chain is too short for its device.
    TooShort,
}

impl fmt::Display for RingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unusable => write!(f, "a size or an alignment that no ring may have"),
            Self::OutsideRam { address } => write!(f, "{address:#x} is not all RAM"),
            Self::Index { index } => write!(f, "the available index jumps to {index}"),
            Self::Descriptor { index } => write!(f, "descriptor {index} is beyond the table"),
            Self::TooLong => write!(f, "a chain that is too long, or a loop"),
            Self::Order => write!(f, "a buffer to be read behind one to be written"),
            Self::Indirect => write!(f, "an indirect table where none may be"),
            Self::TooShort => write!(f, "a chain that is too short"),
        }
    }
}

/// A queue, as the driver has set it up.
#[derive(Clone, Copy, Debug)]
pub struct Queue {
    /// The most descriptors it may have; a power of two.
    max_size: u16,
    pub(super) size: u16,
    pub(super) is_ready: bool,
    /// Guest-physical: descriptor table, available ring ("driver area"), used ring ("device area").
    pub(super) descriptors: u64,
    pub(super) available: u64,
    pub(super) used: u64,
    /// The available ring's next entry, and the used ring's.
    next_available: u16,
    next_used: u16,
    /// `next_used` when the last interrupt was considered.
    signalled: u16,
}

impl Queue {
    /// Not set up.
    #[must_use]
    pub const fn new(max_size: u16) -> Self {
        Self {
            max_size,
            size: max_size,
            is_ready: false,
            descriptors: 0,
            available: 0,
            used: 0,
            next_available: 0,
            next_used: 0,
            signalled: 0,
        }
    }

    /// The most descriptors it may have.
    #[must_use]
    pub const fn max_size(&self) -> u16 {
        self.max_size
    }

    /// Back to the state before the driver came.
    pub(super) const fn reset(&mut self) {
        *self = Self::new(self.max_size);
    }

    /// The driver puts it to use, or withdraws it.
    pub(super) const fn set_ready(&mut self, is_ready: bool) {
        (self.next_available, self.next_used, self.signalled) = (0, 0, 0);
        self.is_ready = is_ready;
    }

    /// Whether there is a chain to be taken, or a rule is broken, which [`Self::pop`] says.
    pub(super) fn has_available(&self, memory: &impl GuestMemory) -> bool {
        let index = self.check().and_then(|()| self.driver_index(memory));
        self.is_ready && !index.is_ok_and(|index| index == self.next_available)
    }

    /// Takes the next chain that the driver has made available; false if there is none.
    ///
    /// # Errors
    /// The rings break a rule; nothing has been taken.
    pub(super) fn pop(
        &mut self,
        memory: &impl GuestMemory,
        features: u64,
        chain: &mut Chain,
    ) -> Result<bool, RingError> {
        if !self.is_ready {
            return Ok(false);
        }
        self.check()?;
        let index = self.driver_index(memory)?;
        if index == self.next_available {
            return self.ask_for_notification(memory, features).map(|()| false);
        }
        let entry = self.available + RING + 2 * self.slot(self.next_available);
        let head = u16_at(memory, entry)?;
        self.gather(memory, features, head, chain)?;
        self.next_available = self.next_available.wrapping_add(1);
        Ok(true)
    }

    /// The last `chains` chains taken are available again.
    pub(super) const fn rewind(&mut self, chains: u16) {
        self.next_available = self.next_available.wrapping_sub(chains);
    }

    /// Returns the chain that begins at descriptor `head` with `written` bytes written to it.
    /// Nothing if the driver has withdrawn the queue since.
    ///
    /// # Errors
    /// The used ring is not RAM, or the queue was set up anew and breaks a rule.
    pub(super) fn push(
        &mut self,
        memory: &impl GuestMemory,
        head: u16,
        written: u32,
    ) -> Result<(), RingError> {
        if !self.is_ready {
            return Ok(());
        }
        self.check()?;
        let entry = self.used + RING + 8 * self.slot(self.next_used);
        let element = u64::from(head) | u64::from(written) << 32;
        put(memory, entry, &element.to_le_bytes())?;
        self.next_used = self.next_used.wrapping_add(1);
        put(memory, self.used + 2, &self.next_used.to_le_bytes())
    }

    /// Whether the driver wants an interrupt for what has been returned since the last call
    /// (2.7.7).
    ///
    /// # Errors
    /// The available ring is not RAM.
    pub(super) fn wants_interrupt(
        &mut self,
        memory: &impl GuestMemory,
        features: u64,
    ) -> Result<bool, RingError> {
        let before = core::mem::replace(&mut self.signalled, self.next_used);
        let returned = self.next_used.wrapping_sub(before);
        if returned == 0 {
            return Ok(false);
        }
        if features & feature::EVENT_IDX == 0 {
            return Ok(u16_at(memory, self.available)? & NO_INTERRUPT == 0);
        }
        // The driver waits for the entry with this index to be used (2.7.7.2).
        let event = u16_at(memory, self.available + RING + 2 * u64::from(self.size))?;
        Ok(self.next_used.wrapping_sub(event).wrapping_sub(1) < returned)
    }

    /// The driver is to notify of the next entry (2.7.10).
    fn ask_for_notification(
        &self,
        memory: &impl GuestMemory,
        features: u64,
    ) -> Result<(), RingError> {
        if features & feature::EVENT_IDX == 0 {
            // The flags of the used ring are 0 from the start and stay so.
            return Ok(());
        }
        let event = self.used + RING + 8 * u64::from(self.size);
        put(memory, event, &self.next_available.to_le_bytes())
    }

    /// 2.7: the size is a power of two; alignments are 16, 2 and 4 bytes.
    const fn check(&self) -> Result<(), RingError> {
        let is_sized = self.size.is_power_of_two() && self.size <= self.max_size;
        let is_aligned = self.descriptors.is_multiple_of(16)
            && self.available.is_multiple_of(2)
            && self.used.is_multiple_of(4);
        // No ring reaches so far beyond its begin that an address could wrap around.
        let highest = u64::MAX >> 1;
        let is_low = self.descriptors < highest && self.available < highest && self.used < highest;
        if is_sized && is_aligned && is_low { Ok(()) } else { Err(RingError::Unusable) }
    }

    /// The available ring's index.
    fn driver_index(&self, memory: &impl GuestMemory) -> Result<u16, RingError> {
        let index = u16_at(memory, self.available + 2)?;
        // Each chain has a descriptor at least, which is free again once the chain is returned.
        let taken = self.next_available.wrapping_sub(self.next_used);
        match index.wrapping_sub(self.next_available) <= self.size.saturating_sub(taken) {
            true => Ok(index),
            false => Err(RingError::Index { index }),
        }
    }

    /// The entry of a ring that an index names.
    fn slot(&self, index: u16) -> u64 {
        u64::from(index & (self.size - 1))
    }

    /// The buffers of the chain at `head`.
    fn gather(
        &self,
        memory: &impl GuestMemory,
        features: u64,
        head: u16,
        chain: &mut Chain,
    ) -> Result<(), RingError> {
        chain.start(head);
        let mut table = Table { address: self.descriptors, entries: self.size.into() };
        let mut index = head;
        let mut is_indirect = false;
        // A chain visits no descriptor twice; the bound is that of the chain's buffers.
        loop {
            let descriptor = table.read(memory, index)?;
            if descriptor.flags & INDIRECT != 0 {
                let has_feature = features & feature::INDIRECT_DESC != 0;
                if is_indirect || !has_feature || descriptor.flags & NEXT != 0 {
                    return Err(RingError::Indirect);
                }
                table = Table::indirect(&descriptor, memory)?;
                (index, is_indirect) = (0, true);
                continue;
            }
            let Descriptor { address, bytes, flags, next } = descriptor;
            if !memory.has(address, bytes.into()) {
                return Err(RingError::OutsideRam { address });
            }
            if !chain.add(Buffer { address, bytes }, flags & WRITE != 0) {
                let is_ordered = flags & WRITE != 0 || chain.writable().is_empty();
                return Err(if is_ordered { RingError::TooLong } else { RingError::Order });
            }
            if flags & NEXT == 0 {
                return Ok(());
            }
            index = next;
        }
    }
}

/// A descriptor table.
struct Table {
    address: u64,
    entries: u32,
}

struct Descriptor {
    address: u64,
    bytes: u32,
    flags: u16,
    next: u16,
}

impl Table {
    /// The table that an indirect descriptor names (2.7.5.3).
    fn indirect(descriptor: &Descriptor, memory: &impl GuestMemory) -> Result<Self, RingError> {
        let &Descriptor { address, bytes, .. } = descriptor;
        if bytes == 0 || !bytes.is_multiple_of(DESCRIPTOR_BYTES as u32) {
            return Err(RingError::Indirect);
        }
        if !memory.has(address, bytes.into()) {
            return Err(RingError::OutsideRam { address });
        }
        Ok(Self { address, entries: bytes / DESCRIPTOR_BYTES as u32 })
    }

    fn read(&self, memory: &impl GuestMemory, index: u16) -> Result<Descriptor, RingError> {
        if u32::from(index) >= self.entries {
            return Err(RingError::Descriptor { index });
        }
        let address = self.address + DESCRIPTOR_BYTES * u64::from(index);
        let mut bytes = [0; DESCRIPTOR_BYTES as usize];
        if !memory.read(address, &mut bytes) {
            return Err(RingError::OutsideRam { address });
        }
        let [word, rest] = [0, 8].map(|at| {
            let bytes = bytes[at..at + 8].try_into().expect("8 bytes");
            u64::from_le_bytes(bytes)
        });
        Ok(Descriptor {
            address: word,
            bytes: rest as u32,
            flags: (rest >> 32) as u16,
            next: (rest >> 48) as u16,
        })
    }
}

fn u16_at(memory: &impl GuestMemory, address: u64) -> Result<u16, RingError> {
    let mut bytes = [0; 2];
    match memory.read(address, &mut bytes) {
        true => Ok(u16::from_le_bytes(bytes)),
        false => Err(RingError::OutsideRam { address }),
    }
}

fn put(memory: &impl GuestMemory, address: u64, bytes: &[u8]) -> Result<(), RingError> {
    match memory.write(address, bytes) {
        true => Ok(()),
        false => Err(RingError::OutsideRam { address }),
    }
}
