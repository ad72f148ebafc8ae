//! The registers of ring 0: control and debug registers, MSRs. They are loaded once and keep their
//! values to the end, so the patterns are such as this guest can run with.

use crate::common::cpu;
use crate::{Verdict, pattern};
use core::arch::x86_64::__cpuid_count;
use core::arch::{asm, global_asm};

const KINDS: usize = 29;

/// A register, its pattern and when a processor has it.
struct Register {
    name: &'static str,
    place: Place,
    /// From the seed.
    value: fn(u64) -> u64,
    is_offered: fn() -> bool,
}

#[derive(Clone, Copy)]
enum Place {
    Cr0,
    Cr2,
    Cr3,
    Cr4,
    Cr8,
    Dr0,
    Dr1,
    Dr2,
    Dr3,
    Dr6,
    Dr7,
    Msr(u32),
}

const fn always(name: &'static str, place: Place, value: fn(u64) -> u64) -> Register {
    Register { name, place, value, is_offered: || true }
}

/// The first 128 TiB: canonical, and not mapped.
fn address(seed: u64, index: u64) -> u64 {
    pattern(seed, index) >> 17
}

/// Selector bases and entry points whose upper half AMD's processors may drop.
fn low(seed: u64, index: u64) -> u64 {
    pattern(seed, index) >> 32
}

const EFER: u32 = 0xC000_0080;

const REGISTERS: [Register; KINDS] = [
    always("CR0", Place::Cr0, cr0),
    always("CR2", Place::Cr2, |seed| address(seed, 1)),
    always("CR3", Place::Cr3, |seed| &raw const world_tables as u64 + (seed & 3) * 4096),
    always("CR4", Place::Cr4, cr4),
    always("CR8", Place::Cr8, |seed| pattern(seed, 2) & 15),
    always("DR0", Place::Dr0, |seed| address(seed, 3)),
    always("DR1", Place::Dr1, |seed| address(seed, 4)),
    always("DR2", Place::Dr2, |seed| address(seed, 5)),
    always("DR3", Place::Dr3, |seed| address(seed, 6)),
    always("DR6", Place::Dr6, |seed| 0xFFFF_0FF0 | pattern(seed, 7) & 0x600F),
    // Lengths and kinds of four breakpoints, execution or data writes, none of them enabled.
    always("DR7", Place::Dr7, |seed| 0x400 | pattern(seed, 8) & 0xDDDD_0000),
    always("STAR", Place::Msr(0xC000_0081), |seed| pattern(seed, 9)),
    always("LSTAR", Place::Msr(0xC000_0082), |seed| address(seed, 10)),
    always("CSTAR", Place::Msr(0xC000_0083), |seed| address(seed, 11)),
    always("FMASK", Place::Msr(0xC000_0084), |seed| low(seed, 12)),
    always("FS base", Place::Msr(0xC000_0100), |seed| address(seed, 13)),
    always("GS base", Place::Msr(0xC000_0101), |seed| address(seed, 14)),
    always("kernel GS base", Place::Msr(0xC000_0102), |seed| address(seed, 15)),
    always("SYSENTER CS", Place::Msr(0x174), |seed| low(seed, 16) & 0xFFFF),
    always("SYSENTER ESP", Place::Msr(0x175), |seed| low(seed, 17)),
    always("SYSENTER EIP", Place::Msr(0x176), |seed| low(seed, 18)),
    always("PAT", Place::Msr(0x277), page_attributes),
    always("EFER", Place::Msr(EFER), efer),
    Register {
        name: "TSC_AUX",
        place: Place::Msr(0xC000_0103),
        value: |seed| low(seed, 19),
        is_offered: has_tsc_aux,
    },
    never("XSS"),
    never("PKRU"),
    never("UMWAIT_CONTROL"),
    never("DEBUGCTL"),
    never("CET"),
];

/// Not among what a Tandem machine shows (vmm-common's CPUID table), as none of the features that
/// XSS has bits for is; said, so that a reader of the lines does not take it for tested.
const fn never(name: &'static str) -> Register {
    Register { name, place: Place::Cr2, value: |_| 0, is_offered: || false }
}

global_asm!(
    "
    .section .bss.world_tables, \"aw\", @nobits
    .balign 4096
world_tables: .skip 4 * 4096
    .section .text, \"ax\"
    "
);

unsafe extern "C" {
    static mut world_tables: [[u64; 512]; 4];
    static boot_pml4: [u64; 512];
}

/// WP and AM change nothing here: no page is read-only, and all of ring 3's operands are aligned.
fn cr0(seed: u64) -> u64 {
    const PG_NE_ET_MP_PE: u64 = 0x8000_0033;
    PG_NE_ET_MP_PE | (seed & 1) << 16 | (seed >> 1 & 1) << 18
}

/// TSD, DE and PGE: no code in ring 3 reads the time, no breakpoint is on, no page is global.
fn cr4(seed: u64) -> u64 {
    read(Place::Cr4) & !(1 << 2 | 1 << 3 | 1 << 7) | (seed & 3) << 2 | (seed & 1) << 7
}

/// The upper four entries, which no page of ours uses.
fn page_attributes(seed: u64) -> u64 {
    const AFTER_RESET: u64 = 0x0007_0406;
    const KINDS: [u64; 4] = [0, 1, 5, 6];
    let kind = |place: u64| KINDS[(pattern(seed, 21) >> (2 * place) & 3) as usize];
    AFTER_RESET | (0..4).fold(0, |sum, place| sum | kind(place) << (32 + 8 * place))
}

/// SCE and, where there is one, NXE; no page has its bit 63 set.
fn efer(seed: u64) -> u64 {
    const SCE: u64 = 1 << 0;
    const NXE: u64 = 1 << 11;
    let has_nx = __cpuid_count(0x8000_0001, 0).edx & 1 << 20 != 0;
    let chosen = (seed & 1) | if has_nx { (seed >> 1 & 1) << 11 } else { 0 };
    read(Place::Msr(EFER)) & !(SCE | NXE) | chosen
}

fn has_tsc_aux() -> bool {
    const RDTSCP: u32 = 1 << 27;
    const RDPID: u32 = 1 << 22;
    __cpuid_count(0x8000_0001, 0).edx & RDTSCP != 0 || __cpuid_count(7, 0).ecx & RDPID != 0
}

/// The lines' names.
pub fn names() -> impl Iterator<Item = &'static &'static str> {
    REGISTERS.iter().map(|register| &register.name)
}

/// Loads all that are offered.
pub fn load(seed: u64) -> [Verdict; KINDS] {
    let tables = &raw mut world_tables;
    // SAFETY: the boot code's first entry is all that its table has, and no code writes it now.
    let entry = unsafe { boot_pml4[0] };
    // SAFETY: the only reference, before the processor uses any of the four.
    for table in unsafe { &mut *tables } {
        table[0] = entry;
    }
    REGISTERS.each_ref().map(|register| {
        let is_offered = (register.is_offered)();
        if is_offered {
            write(register.place, (register.value)(seed));
        }
        Verdict::of_offered(is_offered)
    })
}

/// Compares each with its pattern.
pub fn check(seed: u64, verdicts: &mut [Verdict; KINDS]) {
    for (register, verdict) in REGISTERS.iter().zip(verdicts) {
        if verdict.is_offered() {
            verdict.note((register.value)(seed), read(register.place));
        }
    }
}

macro_rules! read_register {
    ($name:literal) => {{
        let value: u64;
        // SAFETY: only reads.
        unsafe {
            asm!(concat!("mov {}, ", $name), out(reg) value, options(nomem, nostack))
        };
        value
    }};
}

macro_rules! write_register {
    ($name:literal, $value:expr) => {
        // SAFETY: `REGISTERS` has only values that leave memory and control flow as they are.
        unsafe { asm!(concat!("mov ", $name, ", {}"), in(reg) $value, options(nostack)) }
    };
}

fn read(place: Place) -> u64 {
    match place {
        Place::Cr0 => read_register!("cr0"),
        Place::Cr2 => read_register!("cr2"),
        Place::Cr3 => read_register!("cr3"),
        Place::Cr4 => read_register!("cr4"),
        Place::Cr8 => read_register!("cr8"),
        Place::Dr0 => read_register!("dr0"),
        Place::Dr1 => read_register!("dr1"),
        Place::Dr2 => read_register!("dr2"),
        Place::Dr3 => read_register!("dr3"),
        Place::Dr6 => read_register!("dr6"),
        Place::Dr7 => read_register!("dr7"),
        Place::Msr(index) => cpu::read_msr(index),
    }
}

fn write(place: Place, value: u64) {
    match place {
        Place::Cr0 => write_register!("cr0", value),
        Place::Cr2 => write_register!("cr2", value),
        Place::Cr3 => write_register!("cr3", value),
        Place::Cr4 => write_register!("cr4", value),
        Place::Cr8 => write_register!("cr8", value),
        Place::Dr0 => write_register!("dr0", value),
        Place::Dr1 => write_register!("dr1", value),
        Place::Dr2 => write_register!("dr2", value),
        Place::Dr3 => write_register!("dr3", value),
        Place::Dr6 => write_register!("dr6", value),
        Place::Dr7 => write_register!("dr7", value),
        // SAFETY: as above.
        Place::Msr(index) => unsafe { cpu::write_msr(index, value) },
    }
}
