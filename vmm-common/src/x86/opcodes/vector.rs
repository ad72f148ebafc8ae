//! Moves of 4, 8 and 16 bytes between memory and XMM registers.

use super::{Decoded, Decoder, Operand, Operation, Refusal, Repeat};

/// 0F and this opcode.
pub fn two_bytes(decoder: &mut Decoder<'_>, opcode: u8) -> Decoded {
    let repeat = decoder.prefixes.repeat;
    let has_66 = decoder.prefixes.has_operand_size;
    let word = if decoder.is_wide() { 8 } else { 4 };
    let (size, must_be_aligned, is_load) = match (opcode, repeat, has_66) {
        // MOVUPS, MOVUPD; MOVSS; MOVSD.
        (0x10 | 0x11, Repeat::Once, _) => (16, false, opcode == 0x10),
        (0x10 | 0x11, Repeat::WhileEqual, _) => (4, false, opcode == 0x10),
        (0x10 | 0x11, Repeat::WhileNotEqual, _) => (8, false, opcode == 0x10),
        // MOVAPS, MOVAPD; MOVNTPS, MOVNTPD.
        (0x28 | 0x29, Repeat::Once, _) => (16, true, opcode == 0x28),
        (0x2b, Repeat::Once, _) => (16, true, false),
        // MOVD, MOVQ.
        (0x6e | 0x7e, Repeat::Once, true) => (word, false, opcode == 0x6e),
        (0x7e, Repeat::WhileEqual, _) => (8, false, true),
        (0xd6, Repeat::Once, true) => (8, false, false),
        // MOVDQA, MOVDQU; MOVNTDQ; LDDQU.
        (0x6f | 0x7f, Repeat::Once, true) => (16, true, opcode == 0x6f),
        (0x6f | 0x7f, Repeat::WhileEqual, _) => (16, false, opcode == 0x6f),
        (0xe7, Repeat::Once, true) => (16, true, false),
        (0xf0, Repeat::WhileNotEqual, _) => (16, false, true),
        _ => return Err(Refusal::Unknown),
    };
    moved(decoder, size, must_be_aligned, is_load)
}

/// MOVNTDQA.
pub fn load_aligned(decoder: &mut Decoder<'_>) -> Decoded {
    moved(decoder, 16, true, true)
}

fn moved(decoder: &mut Decoder<'_>, size: u8, must_be_aligned: bool, is_load: bool) -> Decoded {
    let register = Operand::Vector(decoder.mod_rm()?);
    let operands = if is_load { [register, Operand::Memory] } else { [Operand::Memory, register] };
    decoder.set(Operation::MoveVector { must_be_aligned }, size, operands);
    Ok(())
}
