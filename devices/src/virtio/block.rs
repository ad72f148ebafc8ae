//! The block device (5.2): requests of a driver, as values.

mod long;

pub use long::MOST_AT_ONCE;

use super::chain::{Buffer, Chain, total};
use super::{RingError, Transport};
use crate::memory::GuestMemory;
use alloc::boxed::Box;
use long::{Ended, Long};

/// Bytes of a sector, the unit of all requests.
pub const SECTOR_BYTES: u64 = 512;
/// Bytes of the identifier (5.2.6).
pub const ID_BYTES: usize = 20;

const DEVICE_ID: u32 = 2;
const QUEUE_SIZE: u16 = 256;

/// Feature bits (5.2.3).
const SEG_MAX: u64 = 1 << 2;
const READ_ONLY: u64 = 1 << 5;
const BLK_SIZE: u64 = 1 << 6;
const FLUSH: u64 = 1 << 9;
const DISCARD: u64 = 1 << 13;
const WRITE_ZEROES: u64 = 1 << 14;

/// Request types (5.2.6).
const T_IN: u32 = 0;
const T_OUT: u32 = 1;
const T_FLUSH: u32 = 4;
const T_GET_ID: u32 = 8;
const T_DISCARD: u32 = 11;
const T_WRITE_ZEROES: u32 = 13;
/// Flag of a write-zeroes segment: the sectors may be deallocated.
const UNMAP: u32 = 1;

/// Bytes of a request's header: type, reserved, sector.
const HEADER_BYTES: usize = 16;
/// Bytes of a segment of a discard or write-zeroes request: sector, number of sectors, flags.
const SEGMENT_BYTES: usize = 16;
/// The most sectors that one discard request may name: 1 GiB. Their bytes are not copied.
const MAX_DISCARD_SECTORS: u32 = 1 << 21;
/// The most sectors that one write-zeroes request may name.
const MAX_WRITE_ZEROES_SECTORS: u32 = (MOST_AT_ONCE / SECTOR_BYTES) as u32;
/// The most data buffers of a request: a chain has header and status besides.
const MAX_SEGMENTS: u32 = super::MAX_BUFFERS as u32 - 2;

/// How a request ended (5.2.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// VIRTIO_BLK_S_OK.
    Ok,
    /// VIRTIO_BLK_S_IOERR: the device or the driver is at fault.
    IoError,
    /// VIRTIO_BLK_S_UNSUPP.
    Unsupported,
}

/// What a request wants of the disk. Offsets are in bytes, multiples of [`SECTOR_BYTES`], and
/// nothing ends beyond the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Fills the buffers from `offset` on.
    Read {
        /// First byte.
        offset: u64,
        /// Bytes of all buffers.
        bytes: u64,
    },
    /// Writes the buffers from `offset` on.
    Write {
        /// First byte.
        offset: u64,
        /// Bytes of all buffers.
        bytes: u64,
        /// It is on the disk before it is done, as the driver cannot flush.
        is_durable: bool,
    },
    /// What was written and done before is on the disk when this is done.
    Flush,
    /// The sectors are zero from now on.
    WriteZeroes {
        /// First byte.
        offset: u64,
        /// Bytes.
        bytes: u64,
        /// They need not take room.
        may_unmap: bool,
    },
    /// What the sectors hold is not needed any more.
    Discard {
        /// First byte.
        offset: u64,
        /// Bytes.
        bytes: u64,
    },
}

impl Operation {
    /// Bytes of the buffers of a transfer; None of anything else.
    #[must_use]
    pub const fn transferred(self) -> Option<u64> {
        match self {
            Self::Read { bytes, .. } | Self::Write { bytes, .. } => Some(bytes),
            Self::Flush | Self::WriteZeroes { .. } | Self::Discard { .. } => None,
        }
    }

    /// The data of the chain that asks for it.
    fn data(self, chain: &Chain) -> &[Buffer] {
        match self {
            Self::Read { .. } => chain.writable(),
            Self::Write { .. } => chain.readable(),
            Self::Flush | Self::WriteZeroes { .. } | Self::Discard { .. } => &[],
        }
    }

    /// Of a transfer, what is behind its first `done` bytes, up to `most`.
    fn part(self, done: u64, most: u64) -> Self {
        let of = |all: u64| all.saturating_sub(done).min(most);
        match self {
            Self::Read { offset, bytes } => Self::Read { offset: offset + done, bytes: of(bytes) },
            Self::Write { offset, bytes, is_durable } => {
                // What is written before its last part is durable with that.
                let is_durable = is_durable && bytes.saturating_sub(done) <= most;
                Self::Write { offset: offset + done, bytes: of(bytes), is_durable }
            }
            Self::Flush | Self::WriteZeroes { .. } | Self::Discard { .. } => self,
        }
    }
}

/// Identifies a request that is under way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Token {
    head: u16,
    /// Where its status byte goes.
    status_at: u64,
}

impl Token {
    /// Of the chain that begins with descriptor `head`, whose status byte is at `status_at`.
    #[must_use]
    pub const fn new(head: u16, status_at: u64) -> Self {
        Self { head, status_at }
    }
}

/// A request for the disk: the driver's buffers are the disk's until [`Block::finish`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request<'a> {
    /// What is wanted.
    pub operation: Operation,
    /// The data, of whole sectors together: to fill for a read, to read for a write.
    pub buffers: &'a [Buffer],
    /// For [`Block::finish`].
    pub token: Token,
}

/// What a block device did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Requests that the disk was given.
    pub requests: u64,
    /// Bytes read well.
    pub read_bytes: u64,
    /// Bytes written well.
    pub written_bytes: u64,
    /// Requests that ended with an error.
    pub errors: u64,
}

/// A disk's device.
#[derive(Clone, Debug)]
pub struct Block {
    pub(super) transport: Transport,
    config: [u8; CONFIG_BYTES],
    sectors: u64,
    is_read_only: bool,
    id: [u8; ID_BYTES],
    chain: Box<Chain>,
    long: Long,
    counts: Counts,
    /// Requests that were given out and have not come back.
    under_way: u16,
}

/// Bytes of the configuration space: up to `write_zeroes_may_unmap` and its padding (5.2.4).
const CONFIG_BYTES: usize = 60;

impl Block {
    /// A device for a disk of so many whole sectors, that `id` names to the driver.
    #[must_use]
    pub fn new(sectors: u64, is_read_only: bool, id: &[u8]) -> Self {
        let writes = if is_read_only { READ_ONLY } else { FLUSH | DISCARD | WRITE_ZEROES };
        let mut own_id = [0; ID_BYTES];
        let len = id.len().min(ID_BYTES);
        own_id[..len].copy_from_slice(&id[..len]);
        Self {
            transport: Transport::new(DEVICE_ID, SEG_MAX | BLK_SIZE | writes, &[QUEUE_SIZE]),
            config: config(sectors),
            sectors,
            is_read_only,
            id: own_id,
            chain: Box::default(),
            long: Long::default(),
            counts: Counts::default(),
            under_way: 0,
        }
    }

    /// What it did so far.
    #[must_use]
    pub const fn counts(&self) -> Counts {
        self.counts
    }

    /// How many requests are with the disk.
    #[must_use]
    pub const fn under_way(&self) -> u16 {
        self.under_way
    }

    /// Whether a transfer goes on in parts: there is something to do when one has come back, and
    /// the chains behind it have not been looked at.
    #[must_use]
    pub const fn is_in_parts(&self) -> bool {
        self.long.is_under_way()
    }

    pub(super) const fn config(&self) -> &[u8] {
        &self.config
    }

    /// The driver takes back what it has made available.
    pub(super) const fn give_up(&mut self) {
        self.long.forget();
    }

    /// The next request for the disk, or part of one. Those that it can answer itself it has
    /// answered; call [`Self::signal`] once there is no more.
    pub fn next(&mut self, memory: &impl GuestMemory) -> Option<Request<'_>> {
        if self.long.is_under_way() {
            return self.next_part();
        }
        let (operation, token) = loop {
            if !self.transport.pop(0, memory, &mut self.chain) {
                return None;
            }
            match self.request(memory) {
                Ok((Wanted::Disk(operation), token)) => break (operation, token),
                Ok((Wanted::Id, token)) => {
                    let is_whole = self.chain.write(memory, 0, &self.id);
                    let status = if is_whole { Status::Ok } else { Status::IoError };
                    self.answer(memory, token, status, ID_BYTES as u32);
                }
                Ok((Wanted::Nothing(status), token)) => self.answer(memory, token, status, 0),
                Err(error) => {
                    self.transport.fail(error);
                    return None;
                }
            }
        };
        self.counts.requests += 1;
        self.long.begin(operation, token);
        if self.long.is_under_way() {
            return self.next_part();
        }
        self.under_way += 1;
        Some(Request { operation, buffers: operation.data(&self.chain), token })
    }

    fn next_part(&mut self) -> Option<Request<'_>> {
        let part = self.long.next_part(&self.chain)?;
        self.under_way += 1;
        Some(part)
    }

    /// A request has come back from the disk.
    pub fn finish(
        &mut self,
        memory: &impl GuestMemory,
        operation: Operation,
        token: Token,
        status: Status,
    ) {
        self.under_way = self.under_way.saturating_sub(1);
        let Ended::Whole(operation) = self.long.ended(operation, token, status) else { return };
        let (read, written) = match operation {
            Operation::Read { bytes, .. } => (bytes, 0),
            Operation::Write { bytes, .. } => (0, bytes),
            Operation::Flush | Operation::WriteZeroes { .. } | Operation::Discard { .. } => (0, 0),
        };
        self.answer(memory, token, status, read as u32);
        if status == Status::Ok {
            self.counts.read_bytes += read;
            self.counts.written_bytes += written;
        }
    }

    /// Raises the interrupt if the driver wants one for what has come back.
    pub fn signal(&mut self, memory: &impl GuestMemory) {
        self.transport.signal(0, memory);
    }

    /// Writes the status, and returns the chain with `written` bytes of data in it, if all is well.
    fn answer(&mut self, memory: &impl GuestMemory, token: Token, status: Status, written: u32) {
        self.counts.errors += u64::from(status != Status::Ok);
        let code = match status {
            Status::Ok => 0,
            Status::IoError => 1,
            Status::Unsupported => 2,
        };
        // The address was RAM when the chain was taken, and RAM does not go away.
        memory.write(token.status_at, &[code]);
        let written = if status == Status::Ok { written } else { 0 };
        self.transport.push(0, memory, token.head, written + 1);
    }
}

/// What a chain asks for.
enum Wanted {
    Disk(Operation),
    /// The identifier.
    Id,
    /// It is answered like this.
    Nothing(Status),
}

impl Block {
    /// Takes header and status byte off the chain, and reads what is wanted.
    fn request(&mut self, memory: &impl GuestMemory) -> Result<(Wanted, Token), RingError> {
        let mut header = [0; HEADER_BYTES];
        let has_header = self.chain.take(memory, &mut header);
        let status_at = self.chain.take_last_writable();
        let status_at = status_at.filter(|_| has_header).ok_or(RingError::TooShort)?;
        let kind = u32_at(&header, 0);
        let sector = u64_at(&header, 8);
        let wanted = match kind {
            T_IN => {
                let read = |offset, bytes| Operation::Read { offset, bytes };
                self.transfer(sector, self.chain.writable(), read)
            }
            T_OUT => {
                let is_durable = !self.transport.has(FLUSH);
                let write = |offset, bytes| Operation::Write { offset, bytes, is_durable };
                self.unless_read_only(self.transfer(sector, self.chain.readable(), write))
            }
            // Also where the feature was not accepted, as QEMU does.
            T_FLUSH => Wanted::Disk(Operation::Flush),
            T_GET_ID => Wanted::Id,
            T_DISCARD | T_WRITE_ZEROES if !self.is_read_only => self.clear(memory, kind),
            T_DISCARD | T_WRITE_ZEROES => Wanted::Nothing(Status::IoError),
            _ => Wanted::Nothing(Status::Unsupported),
        };
        Ok((wanted, Token::new(self.chain.head(), status_at)))
    }

    /// A transfer of whole sectors within the disk.
    fn transfer(
        &self,
        sector: u64,
        buffers: &[Buffer],
        of: impl FnOnce(u64, u64) -> Operation,
    ) -> Wanted {
        let bytes = total(buffers);
        let is_whole = bytes.is_multiple_of(SECTOR_BYTES) && bytes < u32::MAX.into();
        match is_whole && self.holds(sector, bytes / SECTOR_BYTES) {
            true => Wanted::Disk(of(sector * SECTOR_BYTES, bytes)),
            false => Wanted::Nothing(Status::IoError),
        }
    }

    /// One segment of sectors to be cleared (5.2.6): the device offers one a request.
    fn clear(&mut self, memory: &impl GuestMemory, kind: u32) -> Wanted {
        let mut segment = [0; SEGMENT_BYTES];
        let is_one = total(self.chain.readable()) == SEGMENT_BYTES as u64;
        if !is_one || !self.chain.take(memory, &mut segment) {
            return Wanted::Nothing(Status::IoError);
        }
        let (sector, sectors) = (u64_at(&segment, 0), u32_at(&segment, 8));
        let flags = u32_at(&segment, 12);
        let (allowed, most) = match kind {
            T_WRITE_ZEROES => (UNMAP, MAX_WRITE_ZEROES_SECTORS),
            _ => (0, MAX_DISCARD_SECTORS),
        };
        if flags & !allowed != 0 {
            return Wanted::Nothing(Status::Unsupported);
        }
        if sectors > most || !self.holds(sector, sectors.into()) {
            return Wanted::Nothing(Status::IoError);
        }
        let (offset, bytes) = (sector * SECTOR_BYTES, u64::from(sectors) * SECTOR_BYTES);
        Wanted::Disk(match kind {
            T_DISCARD => Operation::Discard { offset, bytes },
            _ => Operation::WriteZeroes { offset, bytes, may_unmap: flags & UNMAP != 0 },
        })
    }

    fn holds(&self, sector: u64, sectors: u64) -> bool {
        sector.checked_add(sectors).is_some_and(|end| end <= self.sectors)
    }

    const fn unless_read_only(&self, wanted: Wanted) -> Wanted {
        if self.is_read_only { Wanted::Nothing(Status::IoError) } else { wanted }
    }
}

/// The configuration space (5.2.4) of a disk of so many sectors.
fn config(sectors: u64) -> [u8; CONFIG_BYTES] {
    let mut config = [0; CONFIG_BYTES];
    let mut put = |at: usize, bytes: &[u8]| config[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, &sectors.to_le_bytes());
    put(12, &MAX_SEGMENTS.to_le_bytes());
    put(20, &(SECTOR_BYTES as u32).to_le_bytes());
    // Discard: most sectors, most segments, alignment. Write zeroes: the same, and that it may
    // unmap.
    put(36, &MAX_DISCARD_SECTORS.to_le_bytes());
    put(40, &1_u32.to_le_bytes());
    put(44, &1_u32.to_le_bytes());
    put(48, &MAX_WRITE_ZEROES_SECTORS.to_le_bytes());
    put(52, &1_u32.to_le_bytes());
    put(56, &[1]);
    config
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("4 bytes"))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("8 bytes"))
}
