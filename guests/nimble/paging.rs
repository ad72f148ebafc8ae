//! The address space after the boot tables: pages of 4 KiB only, none both writable and executable.
//!
//! | virtual                               | physical   |                                      |
//! |---------------------------------------|------------|--------------------------------------|
//! | 0 to 16 MiB                           | same       | ring 0, global                       |
//! | [`USER_CODE`]                         | `.ring3`   | ring 3                               |
//! | [`USER_HEAP`]                         | taken anew | ring 3, mapped when touched          |
//! | up to [`USER_STACK_END`]              | taken anew | ring 3                               |
//! | 0xFEC0_0000, 0xFED0_0000, 0xFEE0_0000 | same       | IOAPIC, HPET, APIC; ring 0, uncached |

use crate::common::global::Global;
use crate::entry::{CR0, CR4, HIGH_ALIAS};
use crate::report::{Verdict, expect};
use crate::{hpet, registers};
use core::ops::Range;

/// Where ring 3's code lies.
pub const USER_CODE: u64 = 0x4000_0000;
/// Where ring 3 may touch pages that are not there yet.
pub const USER_HEAP: Range<u64> = 0x4010_0000..0x4018_0000;
/// The end of ring 3's stack.
pub const USER_STACK_END: u64 = 0x4020_0000;
/// The first page of ring 0's code.
pub const KERNEL: u64 = 0x20_0000;

const PAGE: u64 = 4096;
const USER_STACK_BYTES: u64 = 4 * PAGE;
/// RAM of every machine that this guest runs on; it does not ask how much there is.
const MEMORY_END: u64 = 16 << 20;
const DEVICES: [u64; 3] = [0xFEC0_0000, hpet::ADDRESS, 0xFEE0_0000];

const PRESENT: u64 = 1 << 0;
const WRITABLE: u64 = 1 << 1;
const USER: u64 = 1 << 2;
const UNCACHED: u64 = 3 << 3;
const GLOBAL: u64 = 1 << 8;
const NO_EXECUTE: u64 = 1 << 63;
const ADDRESS: u64 = 0x000F_FFFF_FFFF_F000;

/// The next free page of RAM.
static NEXT_FRAME: Global<u64> = Global::new(0);
/// Where the first table lies.
static ROOT: Global<u64> = Global::new(0);

unsafe extern "C" {
    static image_code_end: u8;
    static image_bss_end: u8;
    static ring3_code_start: u8;
}

/// Looks at what the boot tables do, then changes to its own.
pub fn step() -> Verdict {
    expect("CR0", CR0 | 1 << 4, registers::cr0())?; // ET always reads 1
    expect("CR4", CR4, registers::cr4())?;
    expect("the alias", read(KERNEL), read(HIGH_ALIAS + KERNEL))?;
    let capabilities = hpet::read(hpet::CAPABILITIES);
    build();
    // SAFETY: `build` wrote it.
    let root = unsafe { *ROOT.pointer() };
    registers::set_cr3(root);
    expect("CR3", root, registers::cr3())?;
    expect("ring 3's code", read(&raw const ring3_code_start as u64), read(USER_CODE))?;
    expect("the HPET by 4 KiB pages", capabilities, hpet::read(hpet::CAPABILITIES))
}

/// Maps a page of zeroes for ring 3.
pub fn map_user_page(address: u64) {
    map(address & !(PAGE - 1), take_frame(), PRESENT | WRITABLE | USER | NO_EXECUTE);
}

fn build() {
    // SAFETY: the only reference, and no frame is taken yet.
    unsafe { *NEXT_FRAME.pointer() = &raw const image_bss_end as u64 };
    // SAFETY: the only reference, and no table is in use yet.
    unsafe { *ROOT.pointer() = take_frame() };
    let (code_start, code_end) = (&raw const ring3_code_start as u64, &raw const image_code_end);
    let code_end = code_end as u64;
    for page in (0..MEMORY_END).step_by(PAGE as usize) {
        let rights = if (KERNEL..code_end).contains(&page) { 0 } else { WRITABLE | NO_EXECUTE };
        map(page, page, PRESENT | GLOBAL | rights);
    }
    for page in (code_start..code_end).step_by(PAGE as usize) {
        map(USER_CODE + page - code_start, page, PRESENT | USER);
    }
    for page in (USER_STACK_END - USER_STACK_BYTES..USER_STACK_END).step_by(PAGE as usize) {
        map_user_page(page);
    }
    for page in DEVICES {
        map(page, page, PRESENT | WRITABLE | UNCACHED | NO_EXECUTE);
    }
}

/// Maps a page that is not mapped; so there is nothing for the processor to forget.
fn map(address: u64, physical: u64, flags: u64) {
    // SAFETY: `build` wrote it.
    let mut table = unsafe { *ROOT.pointer() };
    for level in (1..4).rev() {
        let entry = entry(table, address, level);
        // SAFETY: `entry` points into a table, and there is no reference to it.
        if unsafe { entry.read() } & PRESENT == 0 {
            // SAFETY: as above.
            unsafe { entry.write(take_frame() | PRESENT | WRITABLE | USER) };
        }
        // SAFETY: as above.
        table = unsafe { entry.read() } & ADDRESS;
    }
    // SAFETY: as above.
    unsafe { entry(table, address, 0).write(physical | flags) };
}

fn entry(table: u64, address: u64, level: u64) -> *mut u64 {
    (table + (address >> (12 + 9 * level) & 511) * 8) as *mut u64
}

/// A page of RAM, mapped where it is, all zeroes.
fn take_frame() -> u64 {
    // SAFETY: the only reference.
    let next = unsafe { &mut *NEXT_FRAME.pointer() };
    let frame = *next;
    assert!(frame < MEMORY_END, "out of memory");
    *next += PAGE;
    // SAFETY: free RAM behind the image.
    unsafe { (frame as *mut u8).write_bytes(0, PAGE as usize) };
    frame
}

fn read(address: u64) -> u64 {
    // SAFETY: the callers' addresses are mapped; volatile, as the tables change under the compiler.
    unsafe { (address as *const u64).read_volatile() }
}
