//! A raw kernel image at 0x200000, started as the seed does: a BIOS stub at 0x8000, entered in real
//! mode, switches to flat 32-bit protected mode and jumps to the kernel.

use super::layout::{Place, What};
use super::{Boot, BootError, Content, Ebda, Images, Layout, Part, put_firmware_tables};
use crate::plan::{BootKind, VmPlan};
use crate::registers::{CpuState, segment};
use alloc::format;

/// Where the kernel lies and is entered.
pub const KERNEL_ADDRESS: u64 = 0x20_0000;
/// Where the BIOS stub lies and is entered.
pub const BIOS_ADDRESS: u64 = 0x8000;
/// A user's stub may reach to the end of the boot sector area.
const BIOS_MAX_BYTES: usize = 0x8000;

/// The stub: 16-bit code at 0:0x8000, a GDT behind it.
///
/// ```text
/// 8000  fa                    cli
/// 8001  fc                    cld
/// 8002  31 c0                 xor   ax, ax
/// 8004  8e d8                 mov   ds, ax
/// 8006  0f 01 16 48 80        lgdt  [0x8048]
/// 800b  0f 20 c0              mov   eax, cr0
/// 800e  0c 01                 or    al, 1              ; PE
/// 8010  0f 22 c0              mov   cr0, eax
/// 8013  ea 18 80 08 00        jmp   08:8018
/// 8018  66 b8 10 00           mov   ax, 0x10           ; 32-bit from here
/// 801c  8e d8                 mov   ds, eax
/// 801e  8e c0                 mov   es, eax
/// 8020  8e d0                 mov   ss, eax
/// 8022  8e e0                 mov   fs, eax
/// 8024  8e e8                 mov   gs, eax
/// 8026  bc 00 70 00 00        mov   esp, 0x7000
/// 802b  b8 00 00 20 00        mov   eax, 0x200000
/// 8030  ff e0                 jmp   eax
/// ```
#[rustfmt::skip]
const STUB: [u8; 0x4e] = {
    let mut stub = [0; 0x4e];
    let code: [u8; 0x32] = [
        0xfa, 0xfc, 0x31, 0xc0, 0x8e, 0xd8, 0x0f, 0x01, 0x16, 0x48, 0x80, 0x0f,
        0x20, 0xc0, 0x0c, 0x01, 0x0f, 0x22, 0xc0, 0xea, 0x18, 0x80, 0x08, 0x00,
        0x66, 0xb8, 0x10, 0x00, 0x8e, 0xd8, 0x8e, 0xc0, 0x8e, 0xd0, 0x8e, 0xe0,
        0x8e, 0xe8, 0xbc, 0x00, 0x70, 0x00, 0x00, 0xb8, 0x00, 0x00, 0x20, 0x00,
        0xff, 0xe0,
    ];
    // Code and data descriptors: base 0, limit 4 GiB, 32-bit; the first, null one is the padding.
    let gdt: [u8; 16] = [
        0xff, 0xff, 0x00, 0x00, 0x00, 0x9b, 0xcf, 0x00,
        0xff, 0xff, 0x00, 0x00, 0x00, 0x93, 0xcf, 0x00,
    ];
    // Limit 23, base 0x8030: the null descriptor's bytes are never read.
    let gdtr: [u8; 6] = [0x17, 0x00, 0x30, 0x80, 0x00, 0x00];
    let mut i = 0;
    while i < code.len() { stub[i] = code[i]; i += 1; }
    i = 0;
    while i < gdt.len() { stub[0x38 + i] = gdt[i]; i += 1; }
    i = 0;
    while i < gdtr.len() { stub[0x48 + i] = gdtr[i]; i += 1; }
    stub
};

/// Places a flat image behind a BIOS stub, ours unless there is one.
///
/// # Errors
/// As [`super::place`].
pub fn place(vm: &VmPlan, images: &Images<'_>) -> Result<Boot, BootError> {
    let Images { kernel, bios, ref modules } = *images;
    if !modules.is_empty() {
        let why = "a raw image has no way to find it; allowed: modules of a multiboot, Linux or \
            PVH kernel";
        return Err(BootError { part: Part::Module(0), why: why.into() });
    }
    let bios = bios.unwrap_or(&STUB);
    if bios.is_empty() || bios.len() > BIOS_MAX_BYTES {
        let why = format!("it has {} bytes; allowed: 1 to {BIOS_MAX_BYTES}", bios.len());
        return Err(BootError { part: Part::Bios, why });
    }
    let mut layout = Layout::new(vm.memory_bytes);
    let len = kernel.len();
    let at = |part, what, address, len: usize| {
        let what = What::Image(what);
        Place { part, what, address, len: len as u64 }
    };
    layout.put(
        at(Part::Bios, "the BIOS stub", BIOS_ADDRESS, bios.len()),
        Content::Bytes(bios.to_vec()),
    )?;
    layout.put(
        at(Part::Kernel, "the image", KERNEL_ADDRESS, len),
        Content::Kernel { offset: 0, len },
    )?;
    put_firmware_tables(vm, &mut layout)?;
    let ebda = Ebda::add(&mut layout)?;
    ebda.put(&vm.serial, &mut layout)?;
    let mut registers = CpuState::after_init();
    registers.rip = BIOS_ADDRESS;
    registers.segments[segment::CS].selector = 0;
    let base_memory_kib = ebda.base_memory_kib();
    let pieces = layout.into_pieces();
    Ok(Boot { kind: BootKind::Flat, pieces, registers, base_memory_kib })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::boot::{Piece, tests::vm};
    use alloc::vec::Vec;

    const RAM: u64 = 0x100_0000;

    fn place(kernel: &[u8], bios: Option<&[u8]>, ram_bytes: u64) -> Result<Boot, BootError> {
        let images = Images { kernel, bios, modules: Vec::new() };
        super::place(&vm(BootKind::Flat, "", ram_bytes), &images)
    }

    #[test]
    fn the_kernel_lies_at_2_mib_and_the_stub_is_entered_in_real_mode() {
        let boot = place(&[0xf4; 100], None, RAM).expect("it fits");
        let content = Content::Kernel { offset: 0, len: 100 };
        assert_eq!(boot.pieces[1], Piece { address: 0x20_0000, content });
        assert_eq!((boot.registers.rip, boot.registers.cr0 & 1), (0x8000, 0));
        assert_eq!(boot.registers.segments[segment::CS].base, 0);
    }

    #[test]
    fn the_stubs_pointers_point_into_the_stub() {
        let at = |offset: usize| u16::from_le_bytes([STUB[offset], STUB[offset + 1]]);
        assert_eq!(at(9), 0x8048, "lgdt's operand");
        assert_eq!(at(0x14), 0x8018, "the far jump's target");
        assert_eq!(at(0x48), 23, "the GDT's limit");
        assert_eq!(at(0x4a), 0x8030, "the GDT's base, one null descriptor before the code one");
        assert_eq!(STUB[0x38 + 5], 0x9b);
    }

    #[test]
    fn an_image_larger_than_memory_is_refused() {
        let error = place(&[0; 0x1000], None, 0x20_0800).unwrap_err();
        assert_eq!(error.part, Part::Kernel);
        assert!(error.why.contains("ends at 0x201000, memory at 0x200800"), "{error}");
    }

    #[test]
    fn a_bios_of_ones_own_replaces_the_stub() {
        let boot = place(&[0], Some(&[0xeb, 0xfe]), RAM).expect("it fits");
        let content = Content::Bytes(alloc::vec![0xeb, 0xfe]);
        assert_eq!(boot.pieces[0], Piece { address: 0x8000, content });
    }
}
