//! The network device (5.1): frames of a driver as values, and frames for it.
//!
//! Checksums and segments that a frame's sender leaves to the device go on to a receiver whose
//! driver takes them, with the header that says so, up to 64 KiB at a time. For one that does not,
//! a checksum is computed here, and the frame is cut into its segments.
//!
//! A frame may also be of the host: it lies in the host's memory, and comes from beyond the machine
//! by the same header.
//!
//! The device keeps a frame until its owner is done with it ([`Net::finish`]), and takes the next
//! one then: a receiver without buffers holds its sender back. No filter for virtual LANs is
//! offered, so all of them pass, and no MTU: the interfaces of a network may use any.

mod filter;
mod frame;
mod header;
mod receive;
mod segments;

pub use crate::switch::{Mac, is_multicast};
pub use frame::{Content, Frame};
pub use header::{HEADER_BYTES, Offloads};
pub use receive::Received;

use super::chain::{Chain, total};
use super::cursor::read_at;
use super::{Event, RingError, Transport};
use crate::memory::GuestMemory;
use alloc::boxed::Box;
use filter::Filter;
use header::Header;

const DEVICE_ID: u32 = 1;
/// Its queues (5.1.2), and the sizes of them.
pub const RECEIVE: u16 = 0;
/// The queue of frames to be sent.
pub const TRANSMIT: u16 = 1;
/// The queue of commands.
pub const CONTROL: u16 = 2;
const QUEUE_SIZES: [u16; 3] = [256, 256, 64];

/// Feature bits (5.1.3).
const CSUM: u64 = 1 << 0;
const GUEST_CSUM: u64 = 1 << 1;
const MAC: u64 = 1 << 5;
const GUEST_TSO4: u64 = 1 << 7;
const GUEST_TSO6: u64 = 1 << 8;
const HOST_TSO4: u64 = 1 << 11;
const HOST_TSO6: u64 = 1 << 12;
const MRG_RXBUF: u64 = 1 << 15;
const STATUS: u64 = 1 << 16;
const CTRL_VQ: u64 = 1 << 17;
const CTRL_RX: u64 = 1 << 18;
const CTRL_MAC_ADDR: u64 = 1 << 23;
const OFFLOADS: u64 =
    CSUM | GUEST_CSUM | GUEST_TSO4 | GUEST_TSO6 | HOST_TSO4 | HOST_TSO6 | MRG_RXBUF;

/// Bytes of the configuration space: address and status (5.1.4).
const CONFIG_BYTES: usize = 8;
/// VIRTIO_NET_S_LINK_UP.
const LINK_UP: u8 = 1;
/// Answers to commands (5.1.6.5).
const OK: u8 = 0;
const ERROR: u8 = 1;

/// The shortest frame: its addresses and its type.
const MIN_FRAME_BYTES: u64 = 14;
/// The longest frame: an IP packet of 65,535 bytes, with the tag of a virtual LAN.
pub const MAX_FRAME_BYTES: u64 = 65_535 + 14 + 4;

/// Why a frame, or a copy of it, did not arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DropReason {
    /// Too short, too long, or with a header that its driver may not use.
    Malformed,
    /// No interface took it, or its sender's link is down by the config.
    NoReceiver,
    /// The receiver's VM has ended.
    Ended,
    /// The receiver's driver does not run, or has broken a rule, or its link is down.
    NotReady,
    /// The receiver's buffers are too small for it.
    TooLarge,
    /// The receiver's driver takes no frame of several segments, and this one cannot be cut.
    Segments,
    /// The receiver had no buffers for longer than a sender is held.
    NoBuffers,
    /// The host's interface at the network refused it.
    TapRefused,
    /// The host's interface at the network is gone.
    TapGone,
}

impl DropReason {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Malformed,
        Self::NoReceiver,
        Self::Ended,
        Self::NotReady,
        Self::TooLarge,
        Self::Segments,
        Self::NoBuffers,
        Self::TapRefused,
        Self::TapGone,
    ];

    /// For a receipt, behind "dropped".
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Malformed => "frames dropped: malformed",
            Self::NoReceiver => "frames dropped: no receiver",
            Self::Ended => "frames dropped: receiver ended",
            Self::NotReady => "frames dropped: receiver not ready",
            Self::TooLarge => "frames dropped: too large for the receiver",
            Self::Segments => "frames dropped: receiver takes no segments",
            Self::NoBuffers => "frames dropped: no buffers for too long",
            Self::TapRefused => "frames dropped: the TAP refused it",
            Self::TapGone => "frames dropped: the TAP is gone",
        }
    }
}

/// What an interface did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Frames that its driver sent, and their bytes.
    pub sent: u64,
    /// Bytes of these.
    pub sent_bytes: u64,
    /// Frames that its driver received.
    pub received: u64,
    /// Bytes of these.
    pub received_bytes: u64,
    /// Of the frames sent, copies that did not arrive, in the order of [`DropReason::ALL`].
    dropped: [u64; DropReason::ALL.len()],
}

impl Counts {
    /// Copies of frames sent that did not arrive for this reason.
    #[must_use]
    pub const fn dropped(&self, reason: DropReason) -> u64 {
        self.dropped[reason as usize]
    }

    /// Counts a frame sent.
    pub const fn count_sent(&mut self, bytes: u32) {
        self.sent += 1;
        self.sent_bytes += bytes as u64;
    }

    /// Counts a frame received.
    pub const fn count_received(&mut self, bytes: u32) {
        self.received += 1;
        self.received_bytes += bytes as u64;
    }

    /// Counts a copy of a frame sent that did not arrive.
    pub const fn count_dropped(&mut self, reason: DropReason) {
        self.dropped[reason as usize] += 1;
    }
}

/// A network interface.
#[derive(Clone, Debug)]
pub struct Net {
    pub(super) transport: Transport,
    /// Its address before its driver has set another.
    mac: Mac,
    config: [u8; CONFIG_BYTES],
    /// Its cable is plugged in, and something is at the other end.
    is_plugged: bool,
    has_peer: bool,
    filter: Box<Filter>,
    /// The frame to be sent, if `held` has its header, length and addresses.
    transmit: Box<Chain>,
    held: Option<Held>,
    receive: Box<receive::Buffers>,
    counts: Counts,
}

#[derive(Clone, Copy, Debug)]
struct Held {
    header: Header,
    bytes: u32,
    destination: Mac,
    source: Mac,
}

impl Net {
    /// An interface with this address.
    #[must_use]
    pub fn new(mac: Mac) -> Self {
        let features = OFFLOADS | MAC | STATUS | CTRL_VQ | CTRL_RX | CTRL_MAC_ADDR;
        let mut config = [0; CONFIG_BYTES];
        config[..6].copy_from_slice(&mac);
        config[6] = LINK_UP;
        Self {
            transport: Transport::new(DEVICE_ID, features, &QUEUE_SIZES),
            mac,
            config,
            is_plugged: true,
            has_peer: true,
            filter: Box::new(Filter::new(mac)),
            transmit: Box::default(),
            held: None,
            receive: Box::default(),
            counts: Counts::default(),
        }
    }

    /// What it did so far.
    #[must_use]
    pub const fn counts(&self) -> Counts {
        self.counts
    }

    /// Whether its link is up.
    #[must_use]
    pub const fn is_link_up(&self) -> bool {
        self.config[6] & LINK_UP != 0
    }

    /// Plugs its cable in or pulls it out: without it, no frame goes in or out.
    pub const fn set_plugged(&mut self, is_plugged: bool) {
        self.is_plugged = is_plugged;
        self.publish_link();
    }

    /// There is something at its network that can receive, or nothing. Whether the link changes.
    pub const fn set_peer(&mut self, has_peer: bool) -> bool {
        self.has_peer = has_peer;
        self.publish_link()
    }

    /// Tells the driver of the link. One that has not accepted VIRTIO_NET_F_STATUS takes it for up
    /// (5.1.4.2), and may send.
    const fn publish_link(&mut self) -> bool {
        let has_changed = self.is_link_up() != (self.is_plugged && self.has_peer);
        if has_changed {
            self.config[6] ^= LINK_UP;
            self.transport.config_changed(self.transport.has(STATUS));
        }
        has_changed
    }

    /// Whether it can receive frames, once its driver has buffers for them.
    #[must_use]
    pub const fn is_receiver(&self) -> bool {
        self.is_plugged && self.transport.is_running()
    }

    /// Whether its driver has made buffers for frames available that have not been taken.
    #[must_use]
    pub fn has_buffers(&self, memory: &impl GuestMemory) -> bool {
        self.transport.has_available(RECEIVE.into(), memory)
    }

    /// What its driver takes undone; None while it does not run.
    #[must_use]
    pub fn takes(&self) -> Option<Offloads> {
        self.transport.is_running().then(|| Offloads::of_receiver(&self.transport))
    }

    pub(super) const fn config(&self) -> &[u8] {
        &self.config
    }

    /// Follows up what the driver did to the registers.
    pub(super) fn follow(&mut self, event: Event) {
        match event {
            Event::Reset => {
                self.held = None;
                *self.filter = Filter::new(self.mac);
                self.publish_address();
            }
            Event::Withdrawn(TRANSMIT) => self.held = None,
            Event::Withdrawn(_) | Event::Started | Event::Notified(_) => {}
        }
    }

    /// The configuration space has the address that the filter takes for its own.
    fn publish_address(&mut self) {
        self.config[..6].copy_from_slice(&self.filter.own);
    }

    /// The frame to be sent next: the same one until [`Self::finish`].
    pub fn next<'a, M: GuestMemory>(&'a mut self, memory: &'a M) -> Option<Frame<'a, M>> {
        while self.held.is_none() {
            if !self.transport.pop(TRANSMIT.into(), memory, &mut self.transmit) {
                return None;
            }
            let mut header = [0; HEADER_BYTES];
            if !self.transmit.take(memory, &mut header) {
                self.transport.fail(RingError::TooShort);
                return None;
            }
            let frame = match self.is_plugged {
                true => self.look(memory, Header::parse(header)).ok_or(DropReason::Malformed),
                false => Err(DropReason::NoReceiver),
            };
            match frame {
                Ok(held) => self.held = Some(held),
                Err(reason) => {
                    self.dropped(reason);
                    self.transport.push(TRANSMIT.into(), memory, self.transmit.head(), 0);
                }
            }
        }
        let Held { header, bytes, destination, source } = self.held?;
        // One that has stopped keeps its buffers until it is reset.
        let content = Content::Guest { buffers: self.transmit.readable(), memory };
        let is_running = self.transport.is_running();
        is_running.then_some(Frame { destination, source, bytes, header, content })
    }

    /// What lies in the chain behind the header, if that is a frame.
    fn look(&self, memory: &impl GuestMemory, header: Header) -> Option<Held> {
        let buffers = self.transmit.readable();
        let bytes = total(buffers);
        let is_sized = (MIN_FRAME_BYTES..=MAX_FRAME_BYTES).contains(&bytes);
        let mut addresses = [[0; 6]; 2];
        let is_read = read_at(buffers, memory, 0, addresses.as_flattened_mut());
        let is_sound = is_sized && is_read && header.is_sound(bytes, |bit| self.transport.has(bit));
        let [destination, source] = addresses;
        let header = header.within(bytes);
        is_sound.then_some(Held { header, bytes: bytes as u32, destination, source })
    }

    /// A copy of a frame that the driver sent did not arrive.
    pub const fn dropped(&mut self, reason: DropReason) {
        self.counts.count_dropped(reason);
    }

    /// The frame that [`Self::next`] gave needs its buffers no more.
    pub fn finish(&mut self, memory: &impl GuestMemory) {
        let Some(held) = self.held.take() else { return };
        self.counts.count_sent(held.bytes);
        self.transport.push(TRANSMIT.into(), memory, self.transmit.head(), 0);
    }

    /// Carries out what the driver asks for by the control queue.
    pub fn control(&mut self, memory: &impl GuestMemory) {
        // No frame is being received while a command is carried out.
        while self.transport.pop(CONTROL.into(), memory, &mut self.receive.chain) {
            let chain = &mut self.receive.chain;
            let Some(answer_at) = chain.take_last_writable() else {
                self.transport.fail(RingError::TooShort);
                return;
            };
            let answer = if self.filter.command(memory, chain) { OK } else { ERROR };
            self.publish_address();
            memory.write(answer_at, &[answer]);
            self.transport.push(CONTROL.into(), memory, self.receive.chain.head(), 1);
        }
    }

    /// Raises the interrupt if the driver wants one for what was returned.
    pub fn signal(&mut self, memory: &impl GuestMemory) {
        for queue in [RECEIVE, TRANSMIT, CONTROL] {
            self.transport.signal(queue.into(), memory);
        }
    }
}
