//! Random bytes, decoded by ours and by iced-x86: the same instruction, or neither.

use crate::seed::{Random, for_each_seed};
use crate::translated::{normal, translated};
use iced_x86::{Decoder, DecoderOptions};
use vmm_common::registers::INSTRUCTION_BYTES;
use vmm_common::x86::{Refusal, decode};

const SEEDS: u64 = 64;
const STRINGS: u64 = 10_000;
const PREFIXES: [u8; 11] = [0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65, 0x66, 0x67, 0xf0, 0xf2, 0xf3];

/// Some prefixes, perhaps REX, an opcode of some map, whatever.
fn bytes(random: &Random) -> [u8; INSTRUCTION_BYTES] {
    let mut bytes = [0; INSTRUCTION_BYTES];
    bytes.fill_with(|| random.next() as u8);
    let mut at = 0;
    let mut put = |byte: u8| {
        bytes[at] = byte;
        at += 1;
    };
    for _ in 0..random.pick(&[0, 0, 0, 1, 1, 2, 3]) {
        put(random.pick(&PREFIXES));
    }
    if random.once_in(3) {
        put(0x40 | random.below(16) as u8);
    }
    match random.below(4) {
        0 | 1 => {}
        2 => put(0x0f),
        _ => {
            put(0x0f);
            put(0x38);
        }
    }
    bytes
}

fn check(bits: u8, bytes: &[u8]) {
    let ours = decode(bits, bytes).map(normal);
    let theirs = Decoder::new(bits.into(), bytes, DecoderOptions::NONE).decode();
    let expected = translated(&theirs, bits);
    let name = format!("{bits} bits, {bytes:02x?}: {:?}", theirs.code());
    assert_eq!(ours.ok(), expected, "{name}");
    if let Ok(instruction) = ours {
        // Every shorter string is cut off.
        for len in 0..usize::from(instruction.len) {
            assert_eq!(decode(bits, &bytes[..len]), Err(Refusal::Truncated), "{name}, {len} bytes");
        }
    }
}

#[test]
fn random_bytes_are_the_instruction_that_iced_finds() {
    for_each_seed(SEEDS, |random| {
        for _ in 0..STRINGS {
            let bytes = bytes(random);
            for bits in [16, 32, 64] {
                check(bits, &bytes);
            }
        }
    });
}

/// All opcodes of three maps with all ModRM bytes that have a memory operand and one that has none.
#[test]
fn every_opcode_is_the_instruction_that_iced_finds() {
    let mandatory: [&[u8]; 6] = [&[], &[0x66], &[0xf2], &[0xf3], &[0x48], &[0xf0]];
    for map in [&[][..], &[0x0f], &[0x0f, 0x38]] {
        for (opcode, prefix) in
            (0..=255).flat_map(|opcode| mandatory.map(|prefix| (opcode, prefix)))
        {
            for mod_rm in
                [0x00, 0x45, 0x84, 0xc0].into_iter().flat_map(|m| (0..8).map(move |r| m | r << 3))
            {
                let mut bytes = [0x11; INSTRUCTION_BYTES];
                let start = [prefix, map, &[opcode, mod_rm, 0x25]].concat();
                bytes[..start.len()].copy_from_slice(&start);
                for bits in [16, 32, 64] {
                    check(bits, &bytes);
                }
            }
        }
    }
}

#[test]
fn more_than_fifteen_bytes_are_too_long_and_lock_is_refused_where_it_is_not_allowed() {
    assert_eq!(decode(64, &[0x66; 15]), Err(Refusal::TooLong));
    assert_eq!(decode(64, &[0x66; 14]), Err(Refusal::Truncated));
    // LOCK CMP, LOCK MOV, LOCK ADD to a register from memory.
    for bytes in [[0xf0, 0x39, 0x07], [0xf0, 0x89, 0x07], [0xf0, 0x03, 0x07]] {
        assert_eq!(decode(64, &bytes), Err(Refusal::Undefined), "{bytes:02x?}");
    }
}
