use super::*;
use crate::boot::tests::{RAM, Ram, map, place_with, samples, vm};
use crate::plan::BootKind;

/// Where the start info lies where no image does: beneath the stack, above the EBDA.
const START_INFO: u64 = 0x9_b000;
const EBDA: u64 = 0x9_ac00;

#[test]
fn the_kernel_is_entered_at_its_notes_address_with_ebx_at_the_start_info() {
    for is_64_bit in [false, true] {
        let kernel = samples::pvh(is_64_bit);
        let boot = place_with(&mut vm(BootKind::Pvh, "", RAM), &kernel, &[]).expect("well-formed");
        let registers = boot.registers;
        assert_eq!(registers.rip, 0x20_0020);
        assert_eq!(registers.general[general::RBX], START_INFO);
        assert_eq!(registers.general[general::RSP], 0xa_0000);
        assert_eq!((registers.cr0 & 1, registers.cr0 >> 31, registers.cr4), (1, 0, 0));
        assert_eq!((registers.efer, registers.rflags), (0, 2));
        let code = registers.segments[segment::CS];
        assert_eq!((code.base, code.limit, code.access), (0, u32::MAX, 0xc09b));
        let task = registers.segments[segment::TR];
        assert_eq!((task.base, task.limit, task.access), (0, 0x67, 0x8b));
    }
}

#[test]
fn the_start_info_points_to_command_line_root_pointer_and_map() {
    let kernel = samples::pvh(true);
    let mut vm = vm(BootKind::Pvh, "console=ttyS0", RAM);
    let boot = place_with(&mut vm, &kernel, &[]).expect("well-formed");
    let ram = Ram(&boot);
    assert_eq!((ram.u32(START_INFO), ram.u32(START_INFO + 4)), (0x336e_c578, 1));
    assert_eq!((ram.u32(START_INFO + 8), ram.u32(START_INFO + 12)), (0, 0), "flags, modules");
    assert_eq!(ram.text(ram.u64(START_INFO + 24)), "console=ttyS0");
    ram.assert_rsdp(ram.u64(START_INFO + 32));
    assert_eq!(ram.u32(START_INFO + 48), 4, "entries of the map");
    for (index, entry) in map(EBDA).into_iter().enumerate() {
        let at = ram.u64(START_INFO + 40) + index as u64 * 24;
        assert_eq!((ram.u64(at), ram.u64(at + 8), ram.u32(at + 16)), entry);
    }
}

#[test]
fn modules_are_listed_in_order_with_their_command_lines() {
    let kernel = samples::pvh(false);
    let modules: [(&[u8], &str); 2] = [(&[1; 0x1001], "first"), (&[2; 3], "")];
    let mut vm = vm(BootKind::Pvh, "", RAM);
    let boot = place_with(&mut vm, &kernel, &modules).expect("well-formed");
    let ram = Ram(&boot);
    assert_eq!(ram.u32(START_INFO + 12), 2);
    let list = ram.u64(START_INFO + 16);
    for (index, (bytes, cmdline)) in modules.iter().enumerate() {
        let at = list + index as u64 * 32;
        let address = ram.u64(at);
        let is_it = |piece: &crate::boot::Piece| {
            (piece.address, &piece.content) == (address, &crate::boot::Content::Module(index))
        };
        assert!(address.is_multiple_of(0x1000) && boot.pieces.iter().any(is_it), "{address:#x}");
        assert_eq!(ram.u64(at + 8), bytes.len() as u64);
        assert_eq!(ram.text(ram.u64(at + 16)), *cmdline);
    }
}

#[test]
fn a_file_without_the_note_is_not_entered() {
    let mut vm = vm(BootKind::Pvh, "", RAM);
    let error = place_with(&mut vm, &samples::vmlinux(), &[]).unwrap_err();
    assert!(error.why.contains("no note XEN_ELFNOTE_PHYS32_ENTRY; allowed"), "{error}");
}
