//! What an emulated instruction needs of devices, and how it ends.

/// An exception for the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exception {
    /// Below 32.
    pub vector: u8,
    /// For those that push one.
    pub error: Option<u32>,
    /// What CR2 becomes.
    pub cr2: Option<u64>,
}

impl Exception {
    /// Divide error.
    pub const DIVIDE: Self = Self::plain(0);
    /// Invalid opcode.
    pub const UNDEFINED: Self = Self::plain(6);
    /// Stack fault, error code 0.
    pub const STACK: Self = Self::coded(12, 0);
    /// General protection, error code 0.
    pub const GENERAL_PROTECTION: Self = Self::coded(13, 0);

    const fn plain(vector: u8) -> Self {
        Self { vector, error: None, cr2: None }
    }

    /// One with an error code.
    #[must_use]
    pub const fn coded(vector: u8, error: u32) -> Self {
        Self { vector, error: Some(error), cr2: None }
    }

    /// Page fault.
    #[must_use]
    pub const fn page_fault(error: u32, linear: u64) -> Self {
        Self { cr2: Some(linear), ..Self::coded(14, error) }
    }
}

/// A read that only a device can answer. Sizes in bytes.
#[allow(missing_docs)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Read {
    Memory { address: u64, size: u8 },
    Port { port: u16, size: u8 },
}

/// A write that goes to a device.
#[allow(missing_docs)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Write {
    Memory { address: u64, size: u8, value: u64 },
    Port { port: u16, size: u8, value: u32 },
}

/// An instruction's progress.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Call again with what this returns appended to the reads so far.
    Wants(Read),
    /// Done: registers and RAM are as after the instruction, or after one element of a repeated
    /// one, which `next_rip` leads back to. These writes are still pending for devices, in order.
    Done {
        /// The next RIP.
        next_rip: u64,
        /// For devices.
        writes: Writes,
    },
    /// Nothing has changed but Accessed flags.
    Exception(Exception),
}

/// An access that the processor has translated: the VM exit gave this address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resolved {
    /// Guest-physical.
    pub address: u64,
    /// It was a write.
    pub is_write: bool,
}

/// Parts of what an instruction reads: 16 bytes across a page are 7, 8 and 1; two strings of 8
/// bytes are 4 parts.
const MOST_READS: usize = 4;
/// An instruction writes to one place.
const MOST_WRITES: usize = 3;

/// What devices have returned so far for one instruction, in the order of its reads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reads {
    values: [u64; MOST_READS],
    len: u8,
}

impl Reads {
    /// Nothing yet.
    pub const NONE: Self = Self { values: [0; MOST_READS], len: 0 };

    /// What the last [`Read`] has returned.
    pub fn push(&mut self, value: u64) {
        if let Some(slot) = self.values.get_mut(usize::from(self.len)) {
            *slot = value;
            self.len += 1;
        }
    }

    /// Whether anything was read yet.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(super) fn get(&self, index: usize) -> Option<u64> {
        self.values[..usize::from(self.len)].get(index).copied()
    }
}

/// Writes for devices, in order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Writes {
    writes: [Option<Write>; MOST_WRITES],
}

impl Writes {
    pub(super) fn push(&mut self, write: Write) {
        let free = self.writes.iter_mut().find(|slot| slot.is_none());
        *free.expect("an instruction has no more parts than this") = Some(write);
    }

    /// Takes the first one.
    #[inline]
    pub fn take(&mut self) -> Option<Write> {
        let first = self.writes[0].take()?;
        self.writes.rotate_left(1);
        Some(first)
    }

    /// Whether all have been taken.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.writes[0].is_none()
    }
}
