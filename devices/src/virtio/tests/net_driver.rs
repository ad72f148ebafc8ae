//! A driver of a network device (5.1), and what it sends.

use super::driver::{NEXT, Ram, WRITE};
use crate::virtio::net::{CONTROL, Net, Received, TRANSMIT};
use crate::virtio::{Device, Event};

extern crate std;
use std::vec::Vec;

pub const MAC: [u8; 6] = [0x52, 0x54, 0, 0, 0, 1];
pub const PEER: [u8; 6] = [0x52, 0x54, 0, 0, 0, 2];
pub const GROUP: [u8; 6] = [0x33, 0x33, 0, 0, 0, 9];
pub const SIZE: u16 = 16;

/// Feature bits, by their numbers in 5.1.3.
pub const CSUM: u64 = 1 << 0;
pub const GUEST_CSUM: u64 = 1 << 1;
pub const GUEST_TSO4: u64 = 1 << 7;
pub const HOST_TSO4: u64 = 1 << 11;
pub const GUEST_TSO6: u64 = 1 << 8;
pub const HOST_TSO6: u64 = 1 << 12;
pub const MRG_RXBUF: u64 = 1 << 15;
pub const STATUS: u64 = 1 << 16;
pub const CTRL_VQ: u64 = 1 << 17;
pub const CTRL_RX: u64 = 1 << 18;
pub const CTRL_MAC_ADDR: u64 = 1 << 23;
pub const ALL: u64 = CSUM | GUEST_CSUM | GUEST_TSO4 | HOST_TSO4 | MRG_RXBUF | CTRL_VQ | CTRL_RX;

/// Where received frames go, and where frames to be sent and commands are.
pub const ROOM: u64 = 0x4_0000;
pub const OUT: u64 = 0x1_0000;
pub const COMMAND: u64 = 0x8000;

pub struct Driver {
    pub net: Net,
    pub ram: Ram,
    /// Of each queue: chains made available, chains seen returned, descriptors used.
    available: [u16; 3],
    used: [u16; 3],
    described: [u16; 3],
}

/// The table of a queue, with its rings behind it.
pub fn base(queue: u16) -> u64 {
    0x1000 + u64::from(queue) * 0x1000
}

impl Driver {
    pub fn start(mac: [u8; 6], features: u64) -> Self {
        Self::take_over(Net::new(mac), features)
    }

    /// Resets it, and starts.
    pub fn take_over(net: Net, features: u64) -> Self {
        let mut device = Device::Net(net);
        let mut put = |offset, value: u64| device.write(offset, 4, value);
        put(0x070, 0);
        put(0x070, 3);
        for half in 0..2 {
            put(0x024, half);
            put(0x020, (features | 1 << 32) >> (32 * half) & 0xffff_ffff);
        }
        put(0x070, 11);
        for queue in 0..3_u16 {
            put(0x030, queue.into());
            put(0x038, SIZE.into());
            put(0x080, base(queue));
            put(0x090, base(queue) + 0x400);
            put(0x0a0, base(queue) + 0x800);
            put(0x044, 1);
        }
        assert_eq!(put(0x070, 15), Some(Event::Started));
        let Device::Net(net) = device else { unreachable!("it is made so") };
        let (available, used, described) = Default::default();
        Self { net, ram: Ram::new(), available, used, described }
    }

    /// Makes a chain available: address, bytes, whether the device writes it.
    pub fn offer(&mut self, queue: u16, parts: &[(u64, u32, bool)]) {
        let n = usize::from(queue);
        let first = self.described[n] % SIZE;
        for (index, (address, bytes, is_writable)) in parts.iter().enumerate() {
            let is_last = index + 1 == parts.len();
            let slot = self.described[n] % SIZE;
            let flags = if *is_writable { WRITE } else { 0 } | if is_last { 0 } else { NEXT };
            let at = base(queue) + 16 * u64::from(slot);
            self.ram.put(at, &address.to_le_bytes());
            self.ram.put(at + 8, &bytes.to_le_bytes());
            self.ram.put(at + 12, &flags.to_le_bytes());
            self.ram.put(at + 14, &((slot + 1) % SIZE).to_le_bytes());
            self.described[n] += 1;
        }
        let slot = u64::from(self.available[n] % SIZE);
        self.ram.put(base(queue) + 0x404 + 2 * slot, &first.to_le_bytes());
        self.available[n] += 1;
        self.ram.put(base(queue) + 0x402, &self.available[n].to_le_bytes());
    }

    /// How many chains of a queue were made available, and were seen returned.
    pub fn made_available(&self, queue: u16) -> u16 {
        self.available[usize::from(queue)]
    }

    pub fn seen_returned(&self, queue: u16) -> u16 {
        self.used[usize::from(queue)]
    }

    /// Bytes written to the next chain that was returned.
    pub fn returned(&mut self, queue: u16) -> Option<u32> {
        let n = usize::from(queue);
        if self.ram.u16_at(base(queue) + 0x802) == self.used[n] {
            return None;
        }
        let slot = u64::from(self.used[n] % SIZE);
        self.used[n] += 1;
        Some(self.ram.u32_at(base(queue) + 0x804 + 8 * slot + 4))
    }

    /// Sends a frame with this header.
    pub fn send(&mut self, header: [u8; 12], frame: &[u8]) {
        self.ram.put(OUT, &header);
        self.ram.put(OUT + 12, frame);
        self.offer(TRANSMIT, &[(OUT, 12 + frame.len() as u32, false)]);
    }

    /// Gives a command; its answer.
    pub fn command(&mut self, class: u8, command: u8, data: &[u8]) -> u8 {
        self.ram.put(COMMAND, &[class, command]);
        self.ram.put(COMMAND + 2, data);
        self.ram.put(COMMAND + 0xfff, &[0xee]);
        let len = data.len() as u32;
        let parts = [(COMMAND, 2, false), (COMMAND + 2, len, false), (COMMAND + 0xfff, 1, true)];
        self.offer(CONTROL, &parts);
        self.net.control(&self.ram);
        assert_eq!(self.returned(CONTROL), Some(1));
        self.ram.bytes(COMMAND + 0xfff, 1)[0]
    }
}

pub fn frame(destination: [u8; 6], len: usize) -> Vec<u8> {
    let mut frame = [destination, PEER].concat();
    frame.extend((12..len).map(|at| (at * 7) as u8));
    frame
}

/// The header of a frame to be segmented: checksum, TCPv4, 1448 bytes each.
pub const SEGMENTS: [u8; 12] = [1, 1, 54, 0, 0xa8, 5, 34, 0, 16, 0, 0, 0];

/// Passes the next frame on.
pub fn pass(from: &mut Driver, to: &mut Driver) -> Received {
    let frame = from.net.next(&from.ram).expect("a frame");
    let received = to.net.receive(&to.ram, &frame, &mut 0);
    if received != Received::NoBuffers {
        from.net.finish(&from.ram);
    }
    received
}
