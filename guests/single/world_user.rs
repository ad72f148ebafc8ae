//! The registers that ring 3 works with: general ones, flags, and what XSAVE has. Each is loaded,
//! left alone for a while with interrupts on, and stored; ring 0 compares.

use crate::common::descriptors::Global;
use crate::common::ring3;
use crate::{Verdict, pattern};
use core::arch::x86_64::__cpuid_count;
use core::arch::{asm, global_asm};

const KINDS: usize = 6;
/// The lines' names, in the order of the verdicts.
pub const NAMES: [&str; KINDS] =
    ["general registers", "RFLAGS", "x87", "SSE", "avx", "avx512 and opmasks"];

/// Turns of the loops that wait: about 50 us on a processor, a slice or more in an emulator.
const TURNS: u64 = 20_000;
/// The loop of the general registers has some thirty instructions.
const GENERAL_TURNS: u64 = TURNS / 10;

const X87_AND_SSE: u64 = 3;
const AVX: u64 = 4;
const AVX512: u64 = 0xE0;

/// Not compared: ring 3 cannot change it, and a KVM that runs ring 3 in its own shows it as 0.
const IOPL: u64 = 3 << 12;

/// What FXSAVE or XSAVE stores, in words of 64 bits.
#[repr(C, align(64))]
struct Area([u64; 512]);

global_asm!(
    "
    .section .ring3, \"ax\"
world_general:                      // (turns)
    push rbx
    push rbp
    push r12
    push r13
    push r14
    push r15
    mov [world_turns], rdi
    mov rax, [world_values]
    mov rbx, [world_values + 8]
    mov rcx, [world_values + 16]
    mov rdx, [world_values + 24]
    mov rsi, [world_values + 32]
    mov rdi, [world_values + 40]
    mov rbp, [world_values + 48]
    mov r8, [world_values + 56]
    mov r9, [world_values + 64]
    mov r10, [world_values + 72]
    mov r11, [world_values + 80]
    mov r12, [world_values + 88]
    mov r13, [world_values + 96]
    mov r14, [world_values + 104]
    mov r15, [world_values + 112]
2:  cmp rax, [world_values]
    jne 3f
    cmp rbx, [world_values + 8]
    jne 3f
    cmp rcx, [world_values + 16]
    jne 3f
    cmp rdx, [world_values + 24]
    jne 3f
    cmp rsi, [world_values + 32]
    jne 3f
    cmp rdi, [world_values + 40]
    jne 3f
    cmp rbp, [world_values + 48]
    jne 3f
    cmp r8, [world_values + 56]
    jne 3f
    cmp r9, [world_values + 64]
    jne 3f
    cmp r10, [world_values + 72]
    jne 3f
    cmp r11, [world_values + 80]
    jne 3f
    cmp r12, [world_values + 88]
    jne 3f
    cmp r13, [world_values + 96]
    jne 3f
    cmp r14, [world_values + 104]
    jne 3f
    cmp r15, [world_values + 112]
    jne 3f
    dec qword ptr [world_turns]
    jnz 2b
3:  mov [world_found], rax
    mov [world_found + 8], rbx
    mov [world_found + 16], rcx
    mov [world_found + 24], rdx
    mov [world_found + 32], rsi
    mov [world_found + 40], rdi
    mov [world_found + 48], rbp
    mov [world_found + 56], r8
    mov [world_found + 64], r9
    mov [world_found + 72], r10
    mov [world_found + 80], r11
    mov [world_found + 88], r12
    mov [world_found + 96], r13
    mov [world_found + 104], r14
    mov [world_found + 112], r15
    pop r15
    pop r14
    pop r13
    pop r12
    pop rbp
    pop rbx
    ret

world_flags:                        // (turns) -> RFLAGS; LOOP changes none
    mov rcx, rdi
    pushfq
    push qword ptr [world_values + 120]
    popfq
2:  loop 2b
    pushfq
    pop rax
    popfq
    ret

world_fxsave:                       // (turns)
    mov rcx, rdi
    fxrstor64 [{loaded}]
2:  loop 2b
    fxsave64 [{stored}]
    ret

world_xsave:                        // (turns)
    mov rcx, rdi
    mov eax, [world_components]
    xor edx, edx
    xrstor64 [{loaded}]
2:  loop 2b
    xsave64 [{stored}]
    ret

world_set_xcr0:                     // (value): ring 0's, kept here from the check of ring-0 code,
    mov eax, edi                    // as it runs only where CPUID shows XSAVE
    xor edx, edx
    xor ecx, ecx
    xsetbv
    ret

    .section .bss.world_user, \"aw\", @nobits
    .balign 16
world_values: .skip 128
world_found: .skip 128
world_turns: .skip 8
world_components: .skip 8
    .section .text, \"ax\"
    ",
    loaded = sym LOADED,
    stored = sym STORED,
);

static LOADED: Global<Area> = Global::new(Area([0; 512]));
static STORED: Global<Area> = Global::new(Area([0; 512]));

unsafe extern "C" {
    static mut world_values: [u64; 16];
    static mut world_found: [u64; 16];
    static mut world_components: u64;
    fn world_set_xcr0(value: u64);
}

macro_rules! ring_3_functions {
    ($($name:ident)*) => {
        unsafe extern "C" { $(safe fn $name(turns: u64) -> u64;)* }
    };
}
ring_3_functions!(world_general world_flags world_fxsave world_xsave);

/// The patterns go to memory; XCR0 gets all that is offered and tested.
pub fn load(seed: u64) -> [Verdict; KINDS] {
    const FLAGS: u64 = 0x24_0CD5; // ID, AC, OF, DF, SF, ZF, AF, PF, CF
    const FLAGS_ALWAYS: u64 = 0x3202; // IOPL 3, IF
    let values = &raw mut world_values;
    // SAFETY: the only reference; ring 3 runs later.
    let values = unsafe { &mut *values };
    for (index, value) in values.iter_mut().enumerate() {
        *value = pattern(seed, 100 + index as u64);
    }
    values[15] = FLAGS_ALWAYS | values[15] & FLAGS;
    // SAFETY: the only reference.
    let area = unsafe { &mut (*LOADED.pointer()).0 };
    for (index, word) in area.iter_mut().enumerate() {
        *word = pattern(seed, 200 + index as u64);
    }
    let components = enable_components();
    // SAFETY: as for the values.
    unsafe { world_components = components };
    // FCW: rounding varies, all masked; FSW: conditions; FTW: all in use.
    area[0] = 0xFF_0000_037F | (seed & 3) << 10 | (area[0] & 0x4700_0000);
    area[1] = 0;
    area[2] = 0;
    area[3] = 0x1F80 | area[3] & 0xE03F; // MXCSR: all masked; rounding, flush, flags vary
    area[64] = components; // XSTATE_BV; the rest of the header is zero
    for word in &mut area[65..72] {
        *word = 0;
    }
    let has = |component: u64| Verdict::of_offered(components & component == component);
    let always = Verdict::Passed;
    [always, always, always, always, has(AVX), has(AVX512)]
}

/// The components to test, 0 without XSAVE; CR4.OSXSAVE and XCR0 are set for them.
fn enable_components() -> u64 {
    const XSAVE: u32 = 1 << 26;
    const OSXSAVE: u64 = 1 << 18;
    if __cpuid_count(1, 0).ecx & XSAVE == 0 {
        return 0;
    }
    let offered = u64::from(__cpuid_count(0xD, 0).eax);
    let has_avx = __cpuid_count(1, 0).ecx & 1 << 28 != 0 && offered & AVX != 0;
    let has_avx512 =
        has_avx && __cpuid_count(7, 0).ebx & 1 << 16 != 0 && offered & AVX512 == AVX512;
    let chosen = match (has_avx512, has_avx) {
        (true, _) => X87_AND_SSE | AVX | AVX512,
        (false, true) => X87_AND_SSE | AVX,
        (false, false) => X87_AND_SSE,
    };
    // SAFETY: allows XSAVE, which CPUID shows.
    unsafe {
        asm!("mov {0}, cr4", "or {0}, {1}", "mov cr4, {0}", out(reg) _,
            in(reg) OSXSAVE, options(nostack));
    }
    // SAFETY: the components are offered, and each with those that it needs.
    unsafe { world_set_xcr0(chosen) };
    chosen
}

/// One stretch in ring 3 for each kind, and the comparison.
pub fn check(verdicts: &mut [Verdict; KINDS]) {
    let [general, flags, x87, sse, avx, avx512] = verdicts;
    ring3::run(world_general, GENERAL_TURNS);
    let values = &raw const world_values;
    // SAFETY: only `load` writes them.
    let values = unsafe { &*values };
    let found = &raw const world_found;
    // SAFETY: ring 3 writes them, which does not run now.
    let found = unsafe { &*found };
    for (expected, found) in values.iter().zip(found).take(15) {
        general.note(*expected, *found);
    }
    flags.note(values[15] & !IOPL, ring3::run(world_flags, TURNS) & !IOPL);
    // SAFETY: only `load` sets it.
    let components = unsafe { world_components };
    ring3::run(if components == 0 { world_fxsave } else { world_xsave }, TURNS);
    // SAFETY: only `load` writes it.
    let loaded = unsafe { &(*LOADED.pointer()).0 };
    // SAFETY: ring 3 writes it, which does not run now.
    let stored = unsafe { &(*STORED.pointer()).0 };
    let compare = |verdict: &mut Verdict, from: usize, to: usize, mask: u64| {
        for (expected, found) in loaded.iter().zip(stored).take(to).skip(from) {
            verdict.note(expected & mask, found & mask);
        }
    };
    compare(x87, 0, 1, 0xFF_FFFF_FFFF); // FCW, FSW, FTW
    for register in 0..8 {
        compare(x87, 4 + register * 2, 5 + register * 2, u64::MAX);
        compare(x87, 5 + register * 2, 6 + register * 2, 0xFFFF);
    }
    compare(sse, 3, 4, 0xFFFF_FFFF); // MXCSR
    compare(sse, 20, 52, u64::MAX);
    for (component, verdict) in [(2, avx), (5, &mut *avx512)] {
        compare_component(verdict, component, compare);
    }
    for component in [6, 7] {
        compare_component(avx512, component, compare);
    }
}

/// Compares one component where CPUID says that XSAVE puts it.
fn compare_component(
    verdict: &mut Verdict,
    component: u32,
    compare: impl Fn(&mut Verdict, usize, usize, u64),
) {
    if verdict.is_offered() {
        let place = __cpuid_count(0xD, component);
        let (from, length) = (place.ebx as usize / 8, place.eax as usize / 8);
        compare(verdict, from, from + length, u64::MAX);
    }
}
