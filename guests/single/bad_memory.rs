//! Touches physical addresses beyond the RAM, up to the processor's limit: each must read as all
//! ones, before and after a write. The page of the IOAPIC, HPET and local APIC are left alone.
#![no_std]
#![no_main]

#[path = "../common/mod.rs"]
mod common;

use common::{boot, console, cpu, interrupts, power};
use core::arch::asm;

const STATUS_NOT_ALL_ONES: u32 = 1;
const ASSUMED_MEMORY_END: u64 = 16 << 20;
const RANDOM_ADDRESSES: u32 = 200;
const LARGE_PAGE: u64 = 2 << 20;
/// Where `user_directory` is mapped.
const WINDOW: u64 = 1 << 30;
const PRESENT_LARGE_UNCACHED: u64 = 0x9B;

unsafe extern "C" {
    static mut user_directory: [u64; 512];
}

#[unsafe(no_mangle)]
extern "C" fn guest_main() -> ! {
    console::initialise(console::COM1);
    interrupts::initialise();
    // A loader may keep the last few pages of RAM to itself.
    let memory_end = boot::memory_end().unwrap_or(ASSUMED_MEMORY_END).next_multiple_of(1 << 20);
    let bits = physical_address_bits();
    let mut count = 0;
    for address in [memory_end, memory_end + 0x1000, memory_end + LARGE_PAGE] {
        count += check(address, memory_end);
    }
    for bit in 20..bits {
        for address in [(1 << bit) - 8, 1 << bit, (1 << bit) + 0x1000, 3 << (bit - 1)] {
            count += check(address, memory_end);
        }
    }
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    for _ in 0..RANDOM_ADDRESSES {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        count += check(state & ((1 << bits) - 1) & !7, memory_end);
    }
    let mut line = console::Line::new();
    line.text("bad_memory: ").decimal(count).text(" addresses read as all ones").print();
    power::off(0)
}

fn physical_address_bits() -> u32 {
    const LEAF_LAST_EXTENDED: u32 = 0x8000_0000;
    const LEAF_ADDRESS_SIZES: u32 = 0x8000_0008;
    const ASSUMED: u32 = 36;
    if cpu::cpuid(LEAF_LAST_EXTENDED).eax < LEAF_ADDRESS_SIZES {
        return ASSUMED;
    }
    (cpu::cpuid(LEAF_ADDRESS_SIZES).eax & 0xFF).clamp(ASSUMED, 52)
}

/// RAM, the places where firmware may be (below 1 MiB and the last 16 MiB below 4 GiB).
fn may_be_something(address: u64, memory_end: u64) -> bool {
    address < memory_end || (0xFEC0_0000..1 << 32).contains(&address)
}

/// Gives the number of addresses checked.
fn check(address: u64, memory_end: u64) -> u64 {
    if may_be_something(address, memory_end) {
        return 0;
    }
    map(address & !(LARGE_PAGE - 1));
    let place = WINDOW + address % LARGE_PAGE;
    // SAFETY: just mapped, and no RAM that anything uses.
    let before = unsafe { cpu::read_device64(place) };
    // SAFETY: as above.
    unsafe { cpu::write_device64(place, 0x0123_4567_89AB_CDEF) };
    // SAFETY: as above.
    let after = unsafe { cpu::read_device32(place) };
    if before != u64::MAX || after != u32::MAX {
        let mut line = console::Line::new();
        line.text("bad_memory: ").hexadecimal(address, 16).text(" reads as ");
        line.hexadecimal(before, 16).text(", then ").hexadecimal(u64::from(after), 8).print();
        power::off(STATUS_NOT_ALL_ONES);
    }
    1
}

fn map(page: u64) {
    // SAFETY: the window is used by `check` only.
    unsafe { user_directory[0] = page | PRESENT_LARGE_UNCACHED };
    // SAFETY: makes the processor forget the window's old translation.
    unsafe { asm!("invlpg [{}]", in(reg) WINDOW, options(nostack)) }
}
