//! Writes to places throughout the RAM that the loader's map lists, from 32 MiB on, and reads all
//! of them back: RAM beyond the hole for devices lies at 4 GiB, and none of it is another part of
//! it.
#![no_std]
#![no_main]

#[path = "../common/mod.rs"]
mod common;

use common::{boot, console, cpu, interrupts, power};
use core::arch::asm;

const STATUS_WRONG: u32 = 1;
/// The image and what the loader brought lie below.
const BEGIN: u64 = 32 << 20;
const GIB: u64 = 1 << 30;
const LARGE_PAGE: u64 = 2 << 20;
/// Where `user_directory` is mapped.
const WINDOW: u64 = 1 << 30;
const PRESENT_WRITABLE_LARGE: u64 = 0x83;
const PATTERN: u64 = 0x9E37_79B9_7F4A_7C15;

unsafe extern "C" {
    static mut user_directory: [u64; 512];
}

#[unsafe(no_mangle)]
extern "C" fn guest_main() -> ! {
    console::initialise(console::COM1);
    interrupts::initialise();
    for address in places() {
        // SAFETY: just mapped, and RAM that nothing else uses.
        unsafe { cpu::write_device64(map(address), address ^ PATTERN) };
    }
    let mut count = 0;
    for address in places() {
        // SAFETY: as above.
        let value = unsafe { cpu::read_device64(map(address)) };
        if value != address ^ PATTERN {
            let mut line = console::Line::new();
            line.text("large_memory: ").hexadecimal(address, 16).text(" reads as ");
            line.hexadecimal(value, 16).print();
            power::off(STATUS_WRONG);
        }
        count += 1;
    }
    let bytes: u64 = boot::memory_ranges().map(|range| range.end - range.start).sum();
    let end = boot::memory_ranges().map(|range| range.end).max().unwrap_or(0);
    let mut line = console::Line::new();
    line.text("large_memory: ").decimal(count).text(" places in ").decimal(bytes >> 20);
    line.text(" MiB up to ").hexadecimal(end, 10).print();
    power::off(0)
}

/// The first and the last word of each GiB of RAM, as far as it is there.
fn places() -> impl Iterator<Item = u64> {
    boot::memory_ranges().filter(|range| range.end > BEGIN).flat_map(|range| {
        let begin = range.start.max(BEGIN);
        let whole = (begin / GIB + 1)..range.end.div_ceil(GIB);
        let middle = whole.flat_map(|gib| [gib * GIB - 8, gib * GIB]);
        [begin].into_iter().chain(middle).chain([range.end - 8])
    })
}

/// Where the address can be reached until the next one is.
fn map(address: u64) -> u64 {
    let page = address & !(LARGE_PAGE - 1);
    // SAFETY: the window is used for one place at a time.
    unsafe { user_directory[0] = page | PRESENT_WRITABLE_LARGE };
    // SAFETY: makes the processor forget the window's old translation.
    unsafe { asm!("invlpg [{}]", in(reg) WINDOW, options(nostack)) }
    WINDOW + address % LARGE_PAGE
}
