//! Virtio devices (Virtual I/O Device version 1.2; sections named here are its own) behind the
//! memory-mapped transport.
//!
//! ```text
//! registers -- Transport: features, status, interrupt ----> pin
//!                  |
//! notification -- Queue: rings in the guest's RAM -- Chain: buffers, checked
//!                  |
//!         Block, Net, Entropy, Console: what a chain asks for, and the answer
//! ```
//!
//! **A device never trusts a ring.** Every index, address and length is checked against the
//! guest's RAM when it is read, and a chain has at most [`MAX_BUFFERS`] buffers. A ring that breaks
//! a rule stops its device, which then asks for a reset (DEVICE_NEEDS_RESET, 2.1.2), and nothing
//! else. Memory comes in with the call that needs it ([`crate::memory::GuestMemory`]); no access
//! allocates.
//!
//! **A device does no I/O.** It makes a value of a chain ([`block::Request`]); its owner has it
//! carried out, now or later, and hands the result back. Until then the buffers are the device's.
//! A frame ([`net::Frame`]) goes from the sender's buffers to the receiver's.

mod chain;
mod cursor;
mod queue;
mod transport;

pub mod block;
pub mod console;
pub mod entropy;
pub mod net;

pub use chain::{Buffer, Chain, MAX_BUFFERS, cut, total};
pub use queue::{Queue, RingError};
pub use transport::{Event, Transport, WINDOW_BYTES};

use block::Block;
use console::Console;
use entropy::Entropy;
use net::Net;

/// What every device here offers (section 6): indirect descriptors, event index, version 1.
const COMMON_FEATURES: u64 = feature::INDIRECT_DESC | feature::EVENT_IDX | feature::VERSION_1;

/// Feature bits of the transport and the rings (section 6).
pub mod feature {
    /// VIRTIO_F_INDIRECT_DESC.
    pub const INDIRECT_DESC: u64 = 1 << 28;
    /// VIRTIO_F_EVENT_IDX.
    pub const EVENT_IDX: u64 = 1 << 29;
    /// VIRTIO_F_VERSION_1.
    pub const VERSION_1: u64 = 1 << 32;
}

/// A device of any kind.
#[derive(Clone, Debug)]
pub enum Device {
    /// A disk.
    Block(Block),
    /// A network interface.
    Net(Net),
    /// A source of random bytes.
    Entropy(Entropy),
    /// A console with several ports.
    Console(Console),
}

impl Device {
    /// What all kinds have in common.
    #[must_use]
    pub const fn transport(&self) -> &Transport {
        match self {
            Self::Block(device) => &device.transport,
            Self::Net(device) => &device.transport,
            Self::Entropy(device) => &device.transport,
            Self::Console(device) => &device.transport,
        }
    }

    /// The same, to change.
    pub const fn transport_mut(&mut self) -> &mut Transport {
        match self {
            Self::Block(device) => &mut device.transport,
            Self::Net(device) => &mut device.transport,
            Self::Entropy(device) => &mut device.transport,
            Self::Console(device) => &mut device.transport,
        }
    }

    /// A load of `size` bytes at `offset` of the window.
    #[must_use]
    pub fn read(&self, offset: u64, size: u8) -> u64 {
        let Some(at) = offset.checked_sub(transport::CONFIG) else {
            return self.transport().read(offset, size).into();
        };
        let mut bytes = [0; 8];
        let len = usize::from(size).min(bytes.len());
        let config = self.config();
        for (byte, at) in bytes[..len].iter_mut().zip(at..) {
            let at = usize::try_from(at).unwrap_or(usize::MAX);
            *byte = config.get(at).copied().unwrap_or(0);
        }
        u64::from_le_bytes(bytes)
    }

    /// A store of `size` bytes at `offset` of the window. Of the configuration spaces here only a
    /// console's has a field that can be written.
    pub fn write(&mut self, offset: u64, size: u8, value: u64) -> Option<Event> {
        if let Self::Console(device) = self {
            return device.store(offset, size, value as u32);
        }
        let event = self.transport_mut().write(offset, size, value as u32);
        match (event, self) {
            (Some(event), Self::Net(net)) => net.follow(event),
            (Some(Event::Reset | Event::Withdrawn(_)), Self::Block(block)) => block.give_up(),
            (Some(_) | None, _) => {}
        }
        event
    }

    /// The level of its interrupt (4.2.3.4).
    #[must_use]
    pub const fn pin(&self) -> bool {
        self.transport().pin()
    }

    /// Its configuration space.
    fn config(&self) -> &[u8] {
        match self {
            Self::Block(device) => device.config(),
            Self::Net(device) => device.config(),
            Self::Entropy(_) => &[],
            Self::Console(device) => device.config(),
        }
    }
}

#[cfg(test)]
mod tests;
