//! An access to a device's registers in memory: the processor names the address only, so the instruction
//! is decoded for its size and its register. The moves that drivers use; nothing else.

use crate::hardware::General;
use alloc::string::String;
use iced_x86::{Code, Decoder, DecoderOptions, FastFormatter, Instruction, Mnemonic, OpKind};

/// What the instruction does with the memory operand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Loads `size` bytes into a general register.
    Load {
        /// Bytes.
        size: u8,
        /// Where they go.
        to: Target,
    },
    /// Stores `size` bytes.
    Store {
        /// Bytes.
        size: u8,
        /// What is stored.
        value: u64,
    },
}

/// The register that a load changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    register: iced_x86::Register,
    /// Sign-extended from the size of the load.
    is_signed: bool,
}

/// A decoded instruction.
#[derive(Clone, Copy, Debug)]
pub struct Decoded {
    /// What it does.
    pub access: Access,
    /// Its bytes.
    pub len: u64,
}

/// Builds the decoder's and the formatter's tables, millions of instructions of work, which the first use
/// would do in some guest's slice.
pub fn prepare() {
    let _ = decode(64, &[], &[0; 16]);
    let _ = disassembly(64, 0, &[]);
}

/// Decodes `bytes`, in 16-, 32- or 64-bit code; None if it is not such a move.
#[must_use]
pub fn decode(bits: u32, bytes: &[u8], general: &General) -> Option<Decoded> {
    let instruction = Decoder::new(bits, bytes, DecoderOptions::NONE).decode();
    if instruction.code() == Code::INVALID || instruction.has_rep_prefix() {
        return None;
    }
    let size = u8::try_from(instruction.memory_size().size()).ok()?;
    let access = match (instruction.op0_kind(), instruction.op1_kind()) {
        (OpKind::Register, OpKind::Memory) => {
            let is_signed = match instruction.mnemonic() {
                Mnemonic::Mov | Mnemonic::Movzx => false,
                Mnemonic::Movsx | Mnemonic::Movsxd => true,
                _ => return None,
            };
            Access::Load { size, to: Target { register: instruction.op0_register(), is_signed } }
        }
        (OpKind::Memory, _) if instruction.mnemonic() == Mnemonic::Mov => {
            Access::Store { size, value: source(&instruction, general)? }
        }
        _ => return None,
    };
    let is_general = |to: Target| to.register.is_gpr();
    match access {
        Access::Load { to, .. } if !is_general(to) => None,
        Access::Load { .. } | Access::Store { .. } => {
            Some(Decoded { access, len: instruction.len() as u64 })
        }
    }
}

/// The first instruction of `bytes`, which lie at `rip`, as an assembler writes it.
#[must_use]
pub fn disassembly(bits: u32, rip: u64, bytes: &[u8]) -> String {
    let instruction = Decoder::with_ip(bits, bytes, rip, DecoderOptions::NONE).decode();
    let mut text = String::new();
    FastFormatter::new().format(&instruction, &mut text);
    text
}

fn source(instruction: &Instruction, general: &General) -> Option<u64> {
    match instruction.op1_kind() {
        OpKind::Register => {
            let register = instruction.op1_register();
            register.is_gpr().then(|| read(register, general))
        }
        _ => instruction.try_immediate(1).ok(),
    }
}

/// Bits 15:8 of their register: AH, CH, DH, BH.
fn high_byte(register: iced_x86::Register) -> Option<usize> {
    use iced_x86::Register;
    [Register::AH, Register::CH, Register::DH, Register::BH].iter().position(|r| *r == register)
}

fn read(register: iced_x86::Register, general: &General) -> u64 {
    match high_byte(register) {
        Some(index) => general[index] >> 8 & 0xff,
        None => general[register.full_register().number()],
    }
}

impl Target {
    /// Puts what was loaded, `size` bytes of `value`, into the register. The upper half of a 64-bit
    /// register is cleared by a 32-bit result, and kept by a smaller one.
    pub fn store(&self, general: &mut General, size: u8, value: u64) {
        let shift = 64 - 8 * u32::from(size.clamp(1, 8));
        let value = match self.is_signed {
            true => ((value << shift) as i64 >> shift) as u64,
            false => value << shift >> shift,
        };
        if let Some(index) = high_byte(self.register) {
            general[index] = (general[index] & !0xff00) | (value & 0xff) << 8;
            return;
        }
        let slot = &mut general[self.register.full_register().number()];
        *slot = match self.register.size() {
            1 => (*slot & !0xff) | (value & 0xff),
            2 => (*slot & !0xffff) | (value & 0xffff),
            4 => value & 0xffff_ffff,
            _ => value,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GENERAL: General = [0x1122_3344_5566_7788; 16];

    fn check_store(bytes: &[u8], size: u8, value: u64) {
        let decoded = decode(64, bytes, &GENERAL).expect("it is a move");
        assert_eq!(decoded.access, Access::Store { size, value }, "{bytes:x?}");
        assert_eq!(decoded.len, bytes.len() as u64);
    }

    fn check_load(bytes: &[u8], size: u8, value: u64, index: usize, expected: u64) {
        let decoded = decode(64, bytes, &GENERAL).expect("it is a move");
        let Access::Load { size: decoded_size, to } = decoded.access else { panic!("no load") };
        assert_eq!(decoded_size, size);
        let mut general = GENERAL;
        to.store(&mut general, size, value);
        assert_eq!(general[index], expected, "{bytes:x?}");
    }

    #[test]
    fn stores_of_registers_and_immediates() {
        check_store(&[0x89, 0x07], 4, 0x1122_3344_5566_7788);
        check_store(&[0x48, 0x89, 0x07], 8, 0x1122_3344_5566_7788);
        check_store(&[0x88, 0x27], 1, 0x77);
        check_store(&[0xc7, 0x07, 0x78, 0x56, 0x34, 0x12], 4, 0x1234_5678);
        check_store(&[0x48, 0xc7, 0x07, 0xff, 0xff, 0xff, 0xff], 8, u64::MAX);
    }

    #[test]
    fn loads_extend_as_the_instruction_says() {
        check_load(&[0x8b, 0x07], 4, u64::MAX, 0, 0xffff_ffff);
        check_load(&[0x48, 0x8b, 0x0f], 8, 0x1234, 1, 0x1234);
        check_load(&[0x8a, 0x27], 1, 0xab, 0, 0x1122_3344_5566_ab88);
        check_load(&[0x0f, 0xb6, 0x07], 1, 0xffff, 0, 0xff);
        check_load(&[0x0f, 0xbe, 0x07], 1, 0x80, 0, 0xffff_ff80);
        check_load(&[0x66, 0x8b, 0x07], 2, 0x1_abcd, 0, 0x1122_3344_5566_abcd);
    }

    #[test]
    fn what_is_refused_is_shown_as_an_assembler_writes_it() {
        assert_eq!(disassembly(64, 0x1000, &[0x0f, 0x11, 0x07]), "movups [rdi],xmm0");
        assert_eq!(disassembly(16, 0x1000, &[0xeb, 0xfe]), "jmp 1000h");
        assert_eq!(disassembly(64, 0x1000, &[]), "(bad)");
    }

    #[test]
    fn all_else_is_refused() {
        for bytes in [&[0xf3, 0xa4][..], &[0x01, 0x07], &[0x0f, 0x11, 0x07], &[0xff], &[]] {
            assert!(decode(64, bytes, &GENERAL).is_none(), "{bytes:x?}");
        }
    }
}
