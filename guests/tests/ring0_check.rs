//! The check of ring-0 code finds what an interpreting KVM cannot run, and nothing else.

#[path = "../build/ring0.rs"]
mod ring0;

use ring0::{CodeRange, refusals};

fn refused(bytes: &[u8], bits: u32) -> Vec<String> {
    let code = CodeRange { address: 0x10_0000, bytes, bits };
    refusals(&code).into_iter().map(|refusal| refusal.instruction).collect()
}

#[test]
fn planted_instruction_is_found_with_its_address_and_bytes() {
    // nop; pxor xmm0, xmm1; ret
    let code =
        CodeRange { address: 0x10_0000, bytes: &[0x90, 0x66, 0x0F, 0xEF, 0xC1, 0xC3], bits: 64 };
    let found = refusals(&code);
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].address, 0x10_0001);
    assert_eq!(found[0].instruction, "pxor");
    assert_eq!(found[0].bytes, [0x66, 0x0F, 0xEF, 0xC1]);
}

#[test]
fn instructions_the_interpreter_lacks_are_refused() {
    let cases: &[(&[u8], &str)] = &[
        (&[0x0F, 0x57, 0xC0], "xorps"),
        (&[0x66, 0x0F, 0x6E, 0xC0], "movd"),
        (&[0x66, 0x48, 0x0F, 0x6E, 0xC0], "movq"),
        (&[0xF2, 0x0F, 0x10, 0x07], "movsd"),
        (&[0xF2, 0x0F, 0x58, 0xC1], "addsd"),
        (&[0xF2, 0x48, 0x0F, 0x2A, 0xC0], "cvtsi2sd"),
        (&[0xD9, 0xE8], "fld1"),
        (&[0xF3, 0x48, 0x0F, 0xB8, 0xC0], "popcnt"),
        (&[0x0F, 0x01, 0xF9], "rdtscp"),
        (&[0x0F, 0x01, 0xD0], "xgetbv"),
        (&[0x48, 0x0F, 0xC7, 0x0F], "cmpxchg16b"),
        (&[0x48, 0x0F, 0x38, 0xF0, 0x07], "movbe"),
        (&[0xCC], "int3"),
        (&[0xCD, 0x80], "int"),
        (&[0x0F, 0x01, 0xCA], "clac"),
        (&[0x66, 0x0F, 0x38, 0x82, 0x07], "invpcid"),
        (&[0x66, 0x0F, 0xAE, 0x37], "clwb"),
        (&[0xC5, 0xF8, 0x10, 0x07], "vmovups"),
        (&[0x06], "invalid"),
    ];
    for (bytes, name) in cases {
        assert_eq!(refused(bytes, 64), [*name], "{bytes:02x?}");
    }
}

#[test]
fn what_a_kernel_needs_is_allowed() {
    let cases: &[(&str, &[u8])] = &[
        ("movups", &[0x0F, 0x10, 0x07]),
        ("movaps", &[0x0F, 0x28, 0x07]),
        ("movdqu", &[0xF3, 0x0F, 0x6F, 0x07]),
        ("fxsave64", &[0x48, 0x0F, 0xAE, 0x07]),
        ("fxrstor64", &[0x48, 0x0F, 0xAE, 0x0F]),
        ("rep movsq", &[0xF3, 0x48, 0xA5]),
        ("lock cmpxchg", &[0xF0, 0x48, 0x0F, 0xB1, 0x0F]),
        ("cpuid", &[0x0F, 0xA2]),
        ("rdtsc", &[0x0F, 0x31]),
        ("rdmsr", &[0x0F, 0x32]),
        ("wrmsr", &[0x0F, 0x30]),
        ("mov cr3", &[0x0F, 0x22, 0xD8]),
        ("invlpg", &[0x0F, 0x01, 0x38]),
        ("swapgs", &[0x0F, 0x01, 0xF8]),
        ("iretq", &[0x48, 0xCF]),
        ("sti; hlt", &[0xFB, 0xF4]),
        ("pause", &[0xF3, 0x90]),
        ("ud2", &[0x0F, 0x0B]),
        ("cmovne", &[0x48, 0x0F, 0x45, 0xC1]),
        ("long nop", &[0x0F, 0x1F, 0x40, 0x00]),
    ];
    for (name, bytes) in cases {
        assert!(refused(bytes, 64).is_empty(), "{name}: {:?}", refused(bytes, 64));
    }
}

#[test]
fn code_is_decoded_for_its_own_mode() {
    // inc eax in 32-bit code; in 64-bit code a REX prefix that makes int3 of the next byte.
    assert!(refused(&[0x40, 0x90], 32).is_empty());
    assert_eq!(refused(&[0x40, 0xCC], 64), ["int3"]);
}
