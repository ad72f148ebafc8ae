//! A driver's side: a megabyte of RAM, and one queue set up in it.

use crate::memory::GuestMemory;
use crate::virtio::{Device, Event};
use std::cell::RefCell;
use std::rc::Rc;

extern crate std;

/// Where the queue's parts and the first buffer are.
pub const TABLE: u64 = 0x1000;
pub const AVAILABLE: u64 = 0x3000;
pub const USED: u64 = 0x4000;
pub const DATA: u64 = 0x1_0000;
pub const RAM_BYTES: usize = 1 << 20;

pub const NEXT: u16 = 1;
pub const WRITE: u16 = 2;
pub const INDIRECT: u16 = 4;

#[derive(Clone, Debug)]
pub struct Ram(Rc<RefCell<std::vec::Vec<u8>>>);

impl Ram {
    pub fn new() -> Self {
        Self(Rc::new(RefCell::new(std::vec![0; RAM_BYTES])))
    }

    pub fn bytes(&self, address: u64, len: usize) -> std::vec::Vec<u8> {
        self.0.borrow()[address as usize..][..len].to_vec()
    }

    pub fn put(&self, address: u64, bytes: &[u8]) {
        assert!(self.write(address, bytes), "{address:#x} is no RAM");
    }

    pub fn u16_at(&self, address: u64) -> u16 {
        u16::from_le_bytes(self.bytes(address, 2).try_into().expect("2 bytes"))
    }

    pub fn u32_at(&self, address: u64) -> u32 {
        u32::from_le_bytes(self.bytes(address, 4).try_into().expect("4 bytes"))
    }
}

impl GuestMemory for Ram {
    fn read(&self, address: u64, to: &mut [u8]) -> bool {
        if !self.has(address, to.len() as u64) {
            return false;
        }
        to.copy_from_slice(&self.0.borrow()[address as usize..][..to.len()]);
        true
    }

    fn write(&self, address: u64, from: &[u8]) -> bool {
        if !self.has(address, from.len() as u64) {
            return false;
        }
        self.0.borrow_mut()[address as usize..][..from.len()].copy_from_slice(from);
        true
    }

    fn has(&self, address: u64, bytes: u64) -> bool {
        address.checked_add(bytes).is_some_and(|end| end <= RAM_BYTES as u64)
    }
}

/// A device whose driver is at work.
#[derive(Clone, Debug)]
pub struct Driver {
    pub device: Device,
    pub ram: Ram,
    pub size: u16,
    available: u16,
    used: u16,
}

impl Driver {
    /// Resets the device, accepts `features` of what it offers besides version 1, sets up queue 0
    /// with `size` descriptors, and starts (3.1.1).
    pub fn start(device: Device, size: u16, features: u64) -> Self {
        let mut driver = Self::at_work(device, Ram::new(), size);
        driver.negotiate(features);
        driver.set_up_queue(0);
        driver.put(0x070, 15);
        driver
    }

    /// One whose device has been set up, and whose rings are as they were at first.
    pub const fn at_work(device: Device, ram: Ram, size: u16) -> Self {
        Self { device, ram, size, available: 0, used: 0 }
    }

    pub fn negotiate(&mut self, features: u64) {
        self.put(0x070, 0);
        self.put(0x070, 1);
        self.put(0x070, 3);
        for half in 0..2 {
            self.put(0x024, half);
            self.put(0x020, ((features | 1 << 32) >> (32 * half)) as u32);
        }
        self.put(0x070, 11);
        assert_eq!(self.get(0x070), 11, "FEATURES_OK");
    }

    pub fn set_up_queue(&mut self, queue: u32) {
        self.put(0x030, queue);
        self.put(0x038, self.size.into());
        for (at, address) in [(0x080, TABLE), (0x090, AVAILABLE), (0x0a0, USED)] {
            self.put(at, address as u32);
            self.put(at + 4, (address >> 32) as u32);
        }
        self.put(0x044, 1);
    }

    pub fn get(&self, offset: u64) -> u32 {
        self.device.read(offset, 4) as u32
    }

    pub fn put(&mut self, offset: u64, value: u32) -> Option<Event> {
        self.device.write(offset, 4, value.into())
    }

    /// Writes a descriptor of the table at `table`.
    pub fn describe(&self, table: u64, index: u16, of: (u64, u32, u16, u16)) {
        let (address, bytes, flags, next) = of;
        let at = table + 16 * u64::from(index);
        self.ram.put(at, &address.to_le_bytes());
        self.ram.put(at + 8, &bytes.to_le_bytes());
        self.ram.put(at + 12, &flags.to_le_bytes());
        self.ram.put(at + 14, &next.to_le_bytes());
    }

    /// Makes the chain at descriptor `head` available.
    pub fn offer(&mut self, head: u16) {
        let slot = u64::from(self.available % self.size);
        self.ram.put(AVAILABLE + 4 + 2 * slot, &head.to_le_bytes());
        self.available = self.available.wrapping_add(1);
        self.ram.put(AVAILABLE + 2, &self.available.to_le_bytes());
    }

    /// A chain of `parts` from descriptor 0 on: address, bytes, whether the device writes it.
    pub fn chain(&mut self, parts: &[(u64, u32, bool)]) {
        for (index, (address, bytes, is_writable)) in (0_u16..).zip(parts) {
            let is_last = usize::from(index) + 1 == parts.len();
            let flags = if *is_writable { WRITE } else { 0 } | if is_last { 0 } else { NEXT };
            self.describe(TABLE, index, (*address, *bytes, flags, index + 1));
        }
        self.offer(0);
    }

    /// The next chain that the device has returned: its head, and how many bytes it wrote.
    pub fn returned(&mut self) -> Option<(u32, u32)> {
        if self.ram.u16_at(USED + 2) == self.used {
            return None;
        }
        let at = USED + 4 + 8 * u64::from(self.used % self.size);
        self.used = self.used.wrapping_add(1);
        Some((self.ram.u32_at(at), self.ram.u32_at(at + 4)))
    }

    /// The device has stopped and asks for a reset (2.1.2).
    pub fn needs_reset(&self) -> bool {
        self.get(0x070) & 64 != 0
    }
}
