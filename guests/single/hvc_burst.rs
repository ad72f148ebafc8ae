//! Floods a virtio console: N bytes (default 20,000) of numbered lines, 64 lines for each
//! notification. The console is the VM's only virtio device. With `reset` the guest ends by one.
#![no_std]
#![no_main]

#[path = "../common/mod.rs"]
mod common;

use common::{boot, console, cpu, power};
use core::cell::UnsafeCell;
use core::{mem, ptr};

const DEFAULT_BYTES: u64 = 20_000;
const LINE_BYTES: usize = 64;
const CHAIN_BYTES: usize = 64 * LINE_BYTES;
const DIGITS: core::ops::Range<usize> = 10..15;
const LINE: &[u8; LINE_BYTES] =
    b"hvc_burst 00000 abcdefghijklmnopqrstuvwxyz ABCDEFGHIJKLMNOPQRST\n";

/// Where the device's registers lie (Virtio 1.2, 4.2.2), and those that are used.
const WINDOW: u64 = 0xfeb0_0000;
const DEVICE_ID: u64 = 0x008;
const DRIVER_FEATURES: u64 = 0x020;
const DRIVER_FEATURES_SELECT: u64 = 0x024;
const QUEUE_SELECT: u64 = 0x030;
const QUEUE_SIZE: u64 = 0x038;
const QUEUE_READY: u64 = 0x044;
const QUEUE_NOTIFY: u64 = 0x050;
const STATUS: u64 = 0x070;
const DESCRIPTORS: u64 = 0x080;
const DRIVER_AREA: u64 = 0x090;
const DEVICE_AREA: u64 = 0x0a0;

const CONSOLE: u32 = 3;
/// Port 0's queue for transmitting (5.3.2).
const TRANSMIT: u32 = 1;

/// A queue of one descriptor (2.7), and the bytes that it names.
#[repr(C, align(16))]
struct Rings {
    descriptor: (u64, u32, u32),
    /// Flags and index, the one entry.
    available: [u16; 4],
    /// Flags and index, the one entry.
    used: [u32; 4],
    bytes: [u8; CHAIN_BYTES],
}

struct Shared(UnsafeCell<Rings>);
// SAFETY: one processor runs this, without interrupts.
unsafe impl Sync for Shared {}

static RINGS: Shared = Shared(UnsafeCell::new(Rings {
    descriptor: (0, 0, 0),
    available: [0; 4],
    used: [0; 4],
    bytes: [0; CHAIN_BYTES],
}));

#[unsafe(no_mangle)]
extern "C" fn guest_main() -> ! {
    // SAFETY: the boot tables map the window, uncached; the device changes what it is given alone.
    if unsafe { cpu::read_device32(WINDOW + DEVICE_ID) } != CONSOLE {
        console::write(b"hvc_burst: no virtio console\n");
        power::off(1)
    }
    start();
    let mut left = boot::number(0).unwrap_or(DEFAULT_BYTES) as usize;
    let mut line = *LINE;
    let mut sent = 0_u16;
    while left > 0 {
        let mut filled = 0;
        while filled < CHAIN_BYTES && left > 0 {
            let len = left.min(LINE_BYTES);
            let to = part(mem::offset_of!(Rings, bytes)).wrapping_add(filled);
            // SAFETY: within the buffer, which the device does not hold now.
            unsafe { ptr::copy_nonoverlapping(line.as_ptr(), to, len) };
            filled += len;
            left -= len;
            increment(&mut line);
        }
        sent = sent.wrapping_add(1);
        send(filled as u32, sent);
    }
    boot::end(0)
}

/// Version 1 and nothing else, and the one queue (3.1.1).
fn start() {
    put(STATUS, 0);
    put(STATUS, 3);
    put(DRIVER_FEATURES_SELECT, 1);
    put(DRIVER_FEATURES, 1);
    put(STATUS, 11);
    put(QUEUE_SELECT, TRANSMIT);
    put(QUEUE_SIZE, 1);
    let parts = [
        (DESCRIPTORS, mem::offset_of!(Rings, descriptor)),
        (DRIVER_AREA, mem::offset_of!(Rings, available)),
        (DEVICE_AREA, mem::offset_of!(Rings, used)),
    ];
    let parts = parts.map(|(register, offset)| (register, part(offset).addr() as u64));
    for (register, address) in parts {
        put(register, address as u32);
        put(register + 4, (address >> 32) as u32);
    }
    put(QUEUE_READY, 1);
    put(STATUS, 15);
}

/// Sends the first `len` bytes, the `count`th time, and waits until they are taken.
fn send(len: u32, count: u16) {
    let bytes = part(mem::offset_of!(Rings, bytes)).addr() as u64;
    let descriptor = part(mem::offset_of!(Rings, descriptor)).cast();
    let available = part(mem::offset_of!(Rings, available)).cast();
    let used = part(mem::offset_of!(Rings, used)).cast::<[u32; 4]>();
    // SAFETY: it is a field of the rings; the device reads nothing until the notification.
    unsafe { ptr::write_volatile(descriptor, (bytes, len, 0_u32)) };
    // SAFETY: as above.
    unsafe { ptr::write_volatile(available, [0, count, 0, 0]) };
    put(QUEUE_NOTIFY, TRANSMIT);
    // SAFETY: it is a field of the rings, which the device writes while the processor does not run.
    while (unsafe { ptr::read_volatile(used) }[0] >> 16) as u16 != count {}
}

/// A field of the rings.
fn part(offset: usize) -> *mut u8 {
    RINGS.0.get().cast::<u8>().wrapping_add(offset)
}

fn put(register: u64, value: u32) {
    // SAFETY: the boot tables map the window, uncached; what the device reads is set up before.
    unsafe { cpu::write_device32(WINDOW + register, value) };
}

fn increment(line: &mut [u8; LINE_BYTES]) {
    for digit in line[DIGITS].iter_mut().rev() {
        if *digit < b'9' {
            *digit += 1;
            return;
        }
        *digit = b'0';
    }
}
