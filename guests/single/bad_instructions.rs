//! Executes, in ring 0, the instructions that make or leave virtual machines, and others that no
//! guest may have its way with. Each must raise #UD or #GP; a few may do nothing instead. A line
//! says when only those to CR4 are left, which a VMM may end the VM for.
#![no_std]
#![no_main]

#[path = "../common/mod.rs"]
mod common;

use common::descriptors::{self, Caller, Global};
use common::{console, interrupts, power};
use core::arch::{asm, global_asm};

const INVALID_OPCODE: usize = 6;
const GENERAL_PROTECTION: usize = 13;
const STATUS_WAS_CARRIED_OUT: u32 = 1;
const RET: u8 = 0xC3;

/// What may happen besides a fault.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Otherwise {
    Nothing,
    Never,
}
use Otherwise::{Never, Nothing};

/// As bytes: the build refuses most of them in code. RAX is the address of a page of zeros, RCX is
/// 2^32 - 1 and RDX is 0.
#[rustfmt::skip]
const ATTEMPTS: &[(&str, &[u8], Otherwise)] = &[
    ("VMXON", &[0xF3, 0x0F, 0xC7, 0x30], Never),
    ("VMCLEAR", &[0x66, 0x0F, 0xC7, 0x30], Never),
    ("VMPTRLD", &[0x0F, 0xC7, 0x30], Never),
    ("VMPTRST", &[0x0F, 0xC7, 0x38], Never),
    ("VMREAD", &[0x0F, 0x78, 0x08], Never),
    ("VMWRITE", &[0x0F, 0x79, 0x08], Never),
    ("VMLAUNCH", &[0x0F, 0x01, 0xC2], Never),
    ("VMRESUME", &[0x0F, 0x01, 0xC3], Never),
    ("VMXOFF", &[0x0F, 0x01, 0xC4], Never),
    // A VMM may take these two for calls that it does not know.
    ("VMCALL", &[0x0F, 0x01, 0xC1], Nothing),
    ("VMMCALL", &[0x0F, 0x01, 0xD9], Nothing),
    ("VMFUNC", &[0x0F, 0x01, 0xD4], Never),
    ("INVEPT", &[0x66, 0x0F, 0x38, 0x80, 0x08], Never),
    ("INVVPID", &[0x66, 0x0F, 0x38, 0x81, 0x08], Never),
    ("VMRUN", &[0x0F, 0x01, 0xD8], Never),
    ("VMLOAD", &[0x0F, 0x01, 0xDA], Never),
    ("VMSAVE", &[0x0F, 0x01, 0xDB], Never),
    ("STGI", &[0x0F, 0x01, 0xDC], Never),
    ("CLGI", &[0x0F, 0x01, 0xDD], Never),
    ("SKINIT", &[0x0F, 0x01, 0xDE], Never),
    ("INVLPGA", &[0x0F, 0x01, 0xDF], Never),
    // MONITOR would refuse this RCX, MWAIT too.
    ("MONITOR", &[0x0F, 0x01, 0xC8], Nothing),
    ("MWAIT", &[0x0F, 0x01, 0xC9], Nothing),
    ("RDPMC", &[0x0F, 0x33], Never),
    ("GETSEC", &[0x0F, 0x37], Never),
    ("RSM", &[0x0F, 0xAA], Never),
    ("WBINVD", &[0x0F, 0x09], Nothing),
    ("INVD", &[0x0F, 0x08], Nothing),
    ("XSETBV of a register that is not there", &[0x0F, 0x01, 0xD1], Never),
    // XOR ECX, ECX; XOR EAX, EAX; XSETBV
    ("XSETBV without x87", &[0x31, 0xC9, 0x31, 0xC0, 0x0F, 0x01, 0xD1], Never),
    // MOV EAX, 16; MOV CR8, RAX. Of this and of CR0's, QEMU's processor takes the bits it has.
    ("CR8 of 16", &[0xB8, 16, 0, 0, 0, 0x44, 0x0F, 0x22, 0xC0], Nothing),
    // MOV RAX, CR0; MOV EDX, EAX; BTS EAX; MOV CR0, RAX; MOV CR0, RDX
    // NW without CD, and back: QEMU's processor takes it, but no VMRUN may find it in a guest.
    // (PG without PE would end Bochs itself, which lets SVM's guests have it.)
    ("CR0.NW", &[0x0F, 0x20, 0xC0, 0x89, 0xC2, 0x0F, 0xBA, 0xE8, 29, 0x0F, 0x22, 0xC0,
        0x0F, 0x22, 0xC2], Nothing),
    // MOV RAX, CR0; BTS RAX; MOV CR0, RAX
    ("CR0 bit 63", &[0x0F, 0x20, 0xC0, 0x48, 0x0F, 0xBA, 0xE8, 63, 0x0F, 0x22, 0xC0], Nothing),
    // MOV ECX, EFER; RDMSR; BTS or BTR EAX; WRMSR
    ("EFER.SVME", &[0xB9, 0x80, 0, 0, 0xC0, 0x0F, 0x32, 0x0F, 0xBA, 0xE8, 12, 0x0F, 0x30], Never),
    ("EFER bit 31", &[0xB9, 0x80, 0, 0, 0xC0, 0x0F, 0x32, 0x0F, 0xBA, 0xE8, 31, 0x0F, 0x30], Never),
    ("EFER without LME",
        &[0xB9, 0x80, 0, 0, 0xC0, 0x0F, 0x32, 0x0F, 0xBA, 0xF0, 8, 0x0F, 0x30], Never),
];

/// The last, since QEMU's SVM ends a VM for these. MOV RAX, CR4; OR EAX or BTS RAX; MOV CR4, RAX
#[rustfmt::skip]
const ATTEMPTS_AT_CR4: &[(&str, &[u8], Otherwise)] = &[
    ("CR4.VMXE", &[0x0F, 0x20, 0xE0, 0x0D, 0, 0x20, 0, 0, 0x0F, 0x22, 0xE0], Never),
    ("CR4.SMXE", &[0x0F, 0x20, 0xE0, 0x0D, 0, 0x40, 0, 0, 0x0F, 0x22, 0xE0], Never),
    ("CR4 bit 63", &[0x0F, 0x20, 0xE0, 0x48, 0x0F, 0xBA, 0xE8, 63, 0x0F, 0x22, 0xE0], Never),
];

/// With the RET behind it.
const LONGEST: usize = 16;

/// Where the instruction that is tried lies, and behind it a RET.
static CODE: Global<[u8; LONGEST]> = Global::new([RET; LONGEST]);
static PAGE: Global<Page> = Global::new(Page([0; 4096]));

#[repr(align(4096))]
struct Page(#[expect(dead_code)] [u8; 4096]);

global_asm!(
    "
    .section .text.refused, \"ax\"
refused_with_error:                 // #GP
    add rsp, 8
refused:                            // #UD: return as the RET behind the instruction would
    mov byte ptr [was_refused], 1
    push rax
    push rcx
    mov rax, [rsp + 40]             // the stack pointer, behind RIP, CS and RFLAGS
    mov rcx, [rax]
    mov [rsp + 16], rcx
    add rax, 8
    mov [rsp + 40], rax
    pop rcx
    pop rax
    iretq
    .section .bss.refused, \"aw\", @nobits
was_refused: .skip 1
    .section .text, \"ax\"
"
);

unsafe extern "C" {
    static refused_with_error: u8;
    static refused: u8;
    static mut was_refused: u8;
}

#[unsafe(no_mangle)]
extern "C" fn guest_main() -> ! {
    console::initialise(console::COM1);
    interrupts::initialise();
    descriptors::set_gate(INVALID_OPCODE, &raw const refused as u64, Caller::Hardware);
    let with_error = &raw const refused_with_error as u64;
    descriptors::set_gate(GENERAL_PROTECTION, with_error, Caller::Hardware);
    let mut counts = Counts { refused: 0, without_effect: 0 };
    try_all(ATTEMPTS, &mut counts);
    console::Line::new().text("bad_instructions: only CR4 left").print();
    try_all(ATTEMPTS_AT_CR4, &mut counts);
    let mut line = console::Line::new();
    line.text("bad_instructions: ").decimal(counts.refused).text(" refused, ");
    line.decimal(counts.without_effect).text(" without effect").print();
    power::off(0)
}

/// What came of the attempts.
struct Counts {
    refused: u64,
    without_effect: u64,
}

/// Counts what comes of each, and ends the VM when one is carried out that must not be.
fn try_all(attempts: &[(&str, &[u8], Otherwise)], counts: &mut Counts) {
    for &(name, bytes, otherwise) in attempts {
        match (is_refused(bytes), otherwise) {
            (true, _) => counts.refused += 1,
            (false, Nothing) => counts.without_effect += 1,
            (false, Never) => {
                let mut line = console::Line::new();
                line.text("bad_instructions: ").text(name).text(" was carried out").print();
                power::off(STATUS_WAS_CARRIED_OUT);
            }
        }
    }
}

/// Executes the instruction; whether it faulted.
fn is_refused(bytes: &[u8]) -> bool {
    // SAFETY: the only reference; the processor is not in there.
    let code = unsafe { &mut *CODE.pointer() };
    code.fill(RET);
    for (to, from) in code.iter_mut().zip(bytes) {
        *to = *from;
    }
    let flag = &raw mut was_refused;
    // SAFETY: only the handlers above write it, within the call below.
    unsafe { flag.write_volatile(0) };
    // SAFETY: the code changes no register but those named, and no memory but the page; if it
    // faults, the handler returns for it. CPUID makes sure that the new code is fetched.
    unsafe {
        asm!(
            "push rbx", "xor eax, eax", "cpuid", "pop rbx",
            "mov rax, {page}", "mov ecx, -1", "xor edx, edx",
            "call {code}",
            page = in(reg) PAGE.pointer(), code = in(reg) CODE.pointer(),
            out("rax") _, out("rcx") _, out("rdx") _,
        );
    }
    // SAFETY: as for the write.
    unsafe { flag.read_volatile() != 0 }
}
