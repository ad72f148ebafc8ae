//! A device's window (Virtio 1.2, section 4.2.2), and where windows are: the words
//! `virtio_mmio.device=SIZE@ADDRESS:IRQ` of the command line, as Linux takes them; without one the
//! places of Tandem's.

use crate::common::{boot, cpu};

pub const MAGIC: u64 = 0x000;
pub const VERSION: u64 = 0x004;
pub const DEVICE_ID: u64 = 0x008;
pub const VENDOR_ID: u64 = 0x00c;
pub const DEVICE_FEATURES: u64 = 0x010;
pub const DEVICE_FEATURES_SELECT: u64 = 0x014;
pub const DRIVER_FEATURES: u64 = 0x020;
pub const DRIVER_FEATURES_SELECT: u64 = 0x024;
pub const QUEUE_SELECT: u64 = 0x030;
pub const QUEUE_SIZE_MAX: u64 = 0x034;
pub const QUEUE_SIZE: u64 = 0x038;
pub const QUEUE_READY: u64 = 0x044;
pub const QUEUE_NOTIFY: u64 = 0x050;
pub const INTERRUPT_STATUS: u64 = 0x060;
pub const INTERRUPT_ACKNOWLEDGE: u64 = 0x064;
pub const STATUS: u64 = 0x070;
pub const QUEUE_DESCRIPTORS: u64 = 0x080;
pub const QUEUE_DRIVER: u64 = 0x090;
pub const QUEUE_DEVICE: u64 = 0x0a0;
/// The device's own configuration space.
pub const CONFIGURATION: u64 = 0x100;

/// Device status (2.1).
pub const ACKNOWLEDGE: u32 = 1;
pub const DRIVER: u32 = 2;
pub const DRIVER_OK: u32 = 4;
pub const FEATURES_OK: u32 = 8;
pub const NEEDS_RESET: u32 = 64;

pub const MAGIC_VALUE: u32 = u32::from_le_bytes(*b"virt");
pub const VERSION_VALUE: u32 = 2;

/// Windows that are looked at where the command line names none.
const BASE: u64 = 0xFEB0_0000;
const STRIDE: u64 = 0x1000;
const FIRST_PIN: u32 = 16;
/// The most devices.
pub const MOST: usize = 8;
/// What the boot tables map.
const MAPPED: core::ops::Range<u64> = 0xFEA0_0000..0xFEC0_0000;

/// A device.
#[derive(Clone, Copy)]
pub struct Window {
    base: u64,
    /// Its pin of the I/O APIC.
    pub pin: u32,
}

impl Window {
    /// The device with this number, if it is of this kind (5).
    pub fn of(kind: u32, number: usize) -> Option<Self> {
        let window = match named(number) {
            Some(window) => window,
            None if named(0).is_none() && number < MOST => {
                Self { base: BASE + STRIDE * number as u64, pin: FIRST_PIN + number as u32 }
            }
            None => return None,
        };
        let is_it = window.read(MAGIC) == MAGIC_VALUE && window.read(DEVICE_ID) == kind;
        is_it.then_some(window)
    }

    /// Reads a register.
    pub fn read(self, register: u64) -> u32 {
        // SAFETY: the boot tables map the window, uncached.
        unsafe { cpu::read_device32(self.base + register) }
    }

    /// Writes a register.
    pub fn write(self, register: u64, value: u32) {
        // SAFETY: as above. The device uses the arena alone (arena.rs).
        unsafe { cpu::write_device32(self.base + register, value) }
    }

    /// Writes a register and the one behind it.
    pub fn write64(self, register: u64, value: u64) {
        self.write(register, value as u32);
        self.write(register + 4, (value >> 32) as u32);
    }
}

/// The window that the command line names at this place.
fn named(place: usize) -> Option<Window> {
    let value = boot::values("virtio_mmio.device").nth(place)?;
    let at = value.iter().position(|&byte| byte == b'@')?;
    let colon = value.iter().position(|&byte| byte == b':')?;
    let base = number(value.get(at + 1..colon)?)?;
    let pin = number(value.get(colon + 1..)?)? as u32;
    MAPPED.contains(&base).then_some(Window { base, pin })
}

/// A number, decimal or hexadecimal with 0x.
fn number(text: &[u8]) -> Option<u64> {
    let (digits, base) = match text.strip_prefix(b"0x") {
        Some(digits) => (digits, 16),
        None => (text, 10),
    };
    digits.iter().try_fold(0_u64, |sum, &byte| {
        let digit = char::from(byte).to_digit(base)?;
        sum.checked_mul(base.into())?.checked_add(digit.into())
    })
}
