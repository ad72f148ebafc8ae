//! String I/O, and instructions with page tables in a hole, where page tables allow it and where
//! they do not: each line has the fault (error code, CR2 as an offset), RCX behind it, and the
//! Accessed and Dirty flags.
#![no_std]
#![no_main]

#[path = "../common/mod.rs"]
mod common;

use common::descriptors::{self, Caller};
use common::global::Global;
use common::{console, interrupts, power};
use core::arch::{asm, global_asm};

const PAGE_FAULT: usize = 14;
/// Where `user_directory` is mapped, 2 MiB an entry.
const WINDOW: u64 = 1 << 30;
const LARGE_PAGE: u64 = 2 << 20;
const PAGE_BYTES: u64 = 4096;
/// Where no RAM is.
const HOLE: u64 = 0x5000_0000;
const WRITABLE: u64 = 2;
const PRESENT: u64 = 1;
/// COM1's scratch register keeps what is written.
const SCRATCH_REGISTER: u16 = 0x3FF;
const RET: u8 = 0xC3;
const LONGEST: usize = 8;

#[repr(align(4096))]
struct Table([u64; 512]);

static CODE: Global<[u8; LONGEST]> = Global::new([RET; LONGEST]);
static TABLE: Global<Table> = Global::new(Table([0; 512]));
static PAGES: Global<[Table; 4]> = Global::new([const { Table([0; 512]) }; 4]);

global_asm!(
    "
    .section .text.page_faults, \"ax\"
page_fault:                         // return as the RET behind the instruction would
    push rax
    push rcx
    mov rax, cr2
    mov [fault_address], rax
    mov rax, [rsp + 16]
    mov [fault_error], rax
    mov byte ptr [has_faulted], 1
    mov rax, [rsp + 48]             // the stack pointer, behind error code, RIP, CS and RFLAGS
    mov rcx, [rax]
    mov [rsp + 24], rcx
    add rax, 8
    mov [rsp + 48], rax
    pop rcx
    pop rax
    add rsp, 8
    iretq
    .section .bss.page_faults, \"aw\", @nobits
    .balign 8
fault_address: .skip 8
fault_error: .skip 8
has_faulted: .skip 1
    .section .text, \"ax\"
"
);

unsafe extern "C" {
    static mut user_directory: [u64; 512];
    static page_fault: u8;
    static mut fault_address: u64;
    static mut fault_error: u64;
    static mut has_faulted: u8;
}

/// A name, the instruction, and where its memory operand is.
type Attempt = (&'static str, &'static [u8], u64);

/// The pages: writable, read-only, absent, writable.
const RIGHTS: [u64; 4] = [PRESENT | WRITABLE, PRESENT, 0, PRESENT | WRITABLE];
const READ_ONLY: u64 = WINDOW + PAGE_BYTES;
const ABSENT: u64 = WINDOW + 2 * PAGE_BYTES;
const IN_HOLE: u64 = WINDOW + LARGE_PAGE + 0x777;

#[rustfmt::skip]
const ATTEMPTS: [Attempt; 14] = [
    ("INSB to a writable page", &[0x6C], WINDOW),
    ("INSB to a read-only page", &[0x6C], READ_ONLY + 5),
    ("INSB to an absent page", &[0x6C], ABSENT + 6),
    ("OUTSB from a read-only page", &[0x6E], READ_ONLY),
    ("OUTSB from an absent page", &[0x6E], ABSENT + 7),
    ("REP INSB into a read-only page", &[0xF3, 0x6C], READ_ONLY - 2),
    ("REP OUTSB into an absent page", &[0xF3, 0x6E], ABSENT - 1),
    ("INSD across into a read-only page", &[0x6D], READ_ONLY - 1),
    ("OUTSW across from an absent page", &[0x66, 0x6F], ABSENT + PAGE_BYTES - 1),
    ("a load by tables in a hole", &[0x8B, 0x07], IN_HOLE),
    ("a store by tables in a hole", &[0x89, 0x07], IN_HOLE),
    ("an AND by tables in a hole", &[0x83, 0x27, 0x01], IN_HOLE),
    ("STOSB by tables in a hole", &[0xAA], IN_HOLE),
    ("INSB by tables in a hole", &[0x6C], IN_HOLE),
];

#[unsafe(no_mangle)]
extern "C" fn guest_main() -> ! {
    console::initialise(console::COM1);
    interrupts::initialise();
    descriptors::set_gate(PAGE_FAULT, &raw const page_fault as u64, Caller::Hardware);
    common::cpu::out8(SCRATCH_REGISTER, 0x5A);
    for (name, code, address) in ATTEMPTS {
        let (left, flags) = attempt(code, address);
        let mut line = console::Line::new();
        line.text("page_faults: ").text(name).text(": ");
        match take_fault() {
            None => line.text("done"),
            Some((error, address)) => {
                line.text("error ").decimal(error).text(" at ").hexadecimal(address - WINDOW, 6)
            }
        };
        line.text(", ").decimal(left).text(" left, flags");
        for flag in flags {
            line.text(" ").hexadecimal(flag, 2);
        }
        line.print();
    }
    power::off(0)
}

/// Maps the pages anew and executes the code with RSI and RDI at `address` and RCX 3: RCX behind
/// it, and Accessed and Dirty of the four pages.
fn attempt(code: &[u8], address: u64) -> (u64, [u64; 4]) {
    const COUNT: u64 = 3;
    const ACCESSED_AND_DIRTY: u64 = 0x60;
    // SAFETY: the only reference to the table; the TLB is flushed below.
    let table = unsafe { &mut *TABLE.pointer() };
    for ((entry, rights), page) in table.0.iter_mut().zip(RIGHTS).zip(0..) {
        *entry = (PAGES.pointer() as u64 + page * PAGE_BYTES) | rights;
    }
    // SAFETY: the window is used here only.
    unsafe { user_directory[0] = TABLE.pointer() as u64 | PRESENT | WRITABLE };
    // SAFETY: as above.
    unsafe { user_directory[1] = HOLE | PRESENT | WRITABLE };
    // SAFETY: the only reference; the processor is not in there.
    let place = unsafe { &mut *CODE.pointer() };
    place.fill(RET);
    place[..code.len()].copy_from_slice(code);
    let mut left = COUNT;
    // SAFETY: one instruction on the window's pages, whose fault returns for it. Reloading CR3
    // makes the processor forget the old translations.
    unsafe {
        asm!(
            "mov {scratch}, cr3", "mov cr3, {scratch}", "cld",
            "call {code}",
            scratch = out(reg) _, code = in(reg) CODE.pointer(),
            in("dx") SCRATCH_REGISTER, inout("rcx") left,
            inout("rsi") address => _, inout("rdi") address => _, inout("rax") 0_u64 => _,
        );
    }
    (left, [0, 1, 2, 3].map(|page: usize| table.0[page] & ACCESSED_AND_DIRTY))
}

/// The last fault's error code and address, if there was one since the last call.
fn take_fault() -> Option<(u64, u64)> {
    let flag = &raw mut has_faulted;
    // SAFETY: only the handler above writes it, within an attempt before this.
    if unsafe { flag.read_volatile() } == 0 {
        return None;
    }
    // SAFETY: as above.
    unsafe { flag.write_volatile(0) };
    let (error, address) = (&raw const fault_error, &raw const fault_address);
    // SAFETY: as above.
    let error = unsafe { error.read_volatile() };
    // SAFETY: as above.
    Some((error, unsafe { address.read_volatile() }))
}
