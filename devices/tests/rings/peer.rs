//! An interface beside the one that is looked at: frames for it, of all kinds.

use super::promises::{AVAILABLE, RAM_BYTES, Ram, SIZE, TABLE, set_up};
use devices::memory::GuestMemory;
use devices::virtio::net::{Net, TRANSMIT};
use devices::virtio::{Device, feature};

/// Frames by their headers' first bytes and their lengths: plain ones, one with its checksum left
/// out, one to be segmented.
const FRAMES: [([u8; 10], u32); 4] = [
    ([0; 10], 14),
    ([0; 10], 1514),
    ([1, 0, 0, 0, 0, 0, 14, 0, 6, 0], 60),
    ([1, 1, 54, 0, 0xa8, 5, 34, 0, 16, 0], 0x7000),
];
const FRAME: u64 = 0x8000;

pub struct Peer {
    net: Device,
    ram: Ram,
    sent: u16,
}

impl Peer {
    pub fn new() -> Self {
        let mut net = Device::Net(Net::new([2, 0, 0, 0, 0, 2]));
        let offered = net.read(0x010, 4) & 0xff_ffff;
        for (offset, value) in set_up(feature::VERSION_1 | offered, TRANSMIT.into()) {
            net.write(offset, 4, value);
        }
        net.write(0x070, 4, 15);
        Self { net, ram: Ram::new(vec![0; RAM_BYTES as usize]), sent: 0 }
    }

    /// Sends each of the frames to `other`, whose RAM is `ram`.
    pub fn send_to(&mut self, other: &mut Net, ram: &Ram) {
        let Device::Net(net) = &mut self.net else { unreachable!("it is made so") };
        for (header, len) in FRAMES {
            self.ram.write(FRAME, &header);
            self.ram.write(FRAME + 12, &[0xff; 12]);
            self.ram.write(TABLE, &FRAME.to_le_bytes());
            self.ram.write(TABLE + 8, &(12 + len).to_le_bytes());
            let slot = u64::from(self.sent) % SIZE;
            self.ram.write(AVAILABLE + 4 + 2 * slot, &[0; 2]);
            self.sent = self.sent.wrapping_add(1);
            self.ram.write(AVAILABLE + 2, &self.sent.to_le_bytes());
            let frame = net.next(&self.ram).expect("a frame by the book");
            let _ = other.receive(ram, &frame, &mut 0);
            net.finish(&self.ram);
        }
    }
}
