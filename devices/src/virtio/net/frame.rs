//! A frame on its way: in its sender's buffers, or in memory of the host.

use super::header::{HEADER_BYTES, Header};
use super::{MAX_FRAME_BYTES, MIN_FRAME_BYTES, Mac};
use crate::memory::GuestMemory;
use crate::virtio::chain::Buffer;
use crate::virtio::cursor::read_at;

/// A frame that its sender has made available.
#[derive(Debug)]
pub struct Frame<'a, M> {
    /// Whom it is for.
    pub destination: Mac,
    /// Whom it is from.
    pub source: Mac,
    /// Its length.
    pub bytes: u32,
    pub(super) header: Header,
    /// Its bytes.
    pub content: Content<'a, M>,
}

/// Where the bytes of a frame lie.
#[derive(Debug)]
pub enum Content<'a, M> {
    /// In RAM of a guest.
    Guest {
        /// The pieces, in order.
        buffers: &'a [Buffer],
        /// Where they are.
        memory: &'a M,
    },
    /// In memory of the host.
    Host(&'a [u8]),
}

impl<'a, M> Frame<'a, M> {
    /// What came from outside: a header of [`HEADER_BYTES`], and a frame. None if it is no frame,
    /// or its header asks for what is unknown.
    #[must_use]
    pub fn from_outside(bytes: &'a [u8]) -> Option<Self> {
        let (header, content) = bytes.split_first_chunk::<HEADER_BYTES>()?;
        let header = Header::parse(*header);
        let len = content.len() as u64;
        let is_sized = (MIN_FRAME_BYTES..=MAX_FRAME_BYTES).contains(&len);
        // The host leaves undone what the drivers here take, and may lag behind them.
        let is_sound = is_sized && header.is_sound(len, |_| true);
        let (destination, rest) = content.split_first_chunk()?;
        let (source, _) = rest.split_first_chunk()?;
        is_sound.then_some(Self {
            destination: *destination,
            source: *source,
            bytes: len as u32,
            header,
            content: Content::Host(content),
        })
    }

    /// The header, for the host: what is left to be done to the frame.
    #[must_use]
    pub fn header_bytes(&self) -> [u8; HEADER_BYTES] {
        self.header.of_driver().bytes(0)
    }
}

impl<M: GuestMemory> Content<'_, M> {
    /// Bytes from `offset` on; false if they end before.
    #[must_use]
    pub fn read_at(&self, offset: u64, to: &mut [u8]) -> bool {
        match self {
            Self::Guest { buffers, memory } => read_at(buffers, *memory, offset, to),
            Self::Host(bytes) => {
                let from = usize::try_from(offset).ok().and_then(|offset| bytes.get(offset..));
                let from = from.and_then(|from| from.get(..to.len()));
                from.map(|from| to.copy_from_slice(from)).is_some()
            }
        }
    }
}
