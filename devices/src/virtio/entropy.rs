//! The entropy device (5.4): the driver's buffers, filled with random bytes.

use super::Transport;
use super::chain::{Chain, total};
use crate::memory::GuestMemory;
use alloc::boxed::Box;

const DEVICE_ID: u32 = 4;
const QUEUE_SIZE: u16 = 64;
/// The most bytes given for one request: a device may fill a buffer in part (5.4.6.1).
const MAX_BYTES: u64 = 4096;
/// Bytes asked of the source at once.
const PIECE_BYTES: usize = 64;

/// A source of random bytes, as the driver sees it.
#[derive(Clone, Debug)]
pub struct Entropy {
    pub(super) transport: Transport,
    chain: Box<Chain>,
    given_bytes: u64,
}

impl Default for Entropy {
    fn default() -> Self {
        Self::new()
    }
}

impl Entropy {
    /// A device that nothing has been asked of.
    #[must_use]
    pub fn new() -> Self {
        let transport = Transport::new(DEVICE_ID, 0, &[QUEUE_SIZE]);
        Self { transport, chain: Box::default(), given_bytes: 0 }
    }

    /// How many bytes it has given.
    #[must_use]
    pub const fn given_bytes(&self) -> u64 {
        self.given_bytes
    }

    /// Answers one request by `source`; false if there was none.
    pub fn serve(&mut self, memory: &impl GuestMemory, mut source: impl FnMut(&mut [u8])) -> bool {
        if !self.transport.pop(0, memory, &mut self.chain) {
            return false;
        }
        let wanted = total(self.chain.writable()).min(MAX_BYTES);
        let mut piece = [0; PIECE_BYTES];
        let mut done = 0;
        while done < wanted {
            let piece = &mut piece[..PIECE_BYTES.min((wanted - done) as usize)];
            source(piece);
            self.chain.write(memory, done, piece);
            done += piece.len() as u64;
        }
        self.given_bytes += wanted;
        self.transport.push(0, memory, self.chain.head(), wanted as u32);
        true
    }

    /// Raises the interrupt if the driver wants one for what was answered.
    pub fn signal(&mut self, memory: &impl GuestMemory) {
        self.transport.signal(0, memory);
    }
}
