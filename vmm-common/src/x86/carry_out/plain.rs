//! Fast path: a load or store of a general register by a MOV, which nearly all accesses to devices
//! are. The processor has translated the address and made all checks.

use super::{Execution, Guest, Memory};
use crate::x86::bits::{mask, sign_extend};
use crate::x86::instruction::{Instruction, Operand, Operation};
use crate::x86::outcome::{Reads, Resolved};
use crate::x86::paging::AccessKind;

/// A MOV, MOVZX or MOVSX that needs no further look at the guest's memory. Sizes in bytes.
#[allow(missing_docs)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plain {
    /// [`complete`] it with what the device returns.
    Load {
        size: u8,
    },
    Store {
        size: u8,
        value: u64,
    },
}

/// The instruction as one of these, if it is, and if `resolved` is its access.
#[must_use]
#[inline]
pub fn of<G: Guest>(guest: &mut G, instruction: &Instruction, resolved: Resolved) -> Option<Plain> {
    let is_plain = matches!(
        instruction.operation,
        Operation::Move | Operation::MoveZeroExtended | Operation::MoveSignExtended
    );
    let [destination, source] = instruction.operands;
    let is_store = destination == Operand::Memory;
    if !is_plain || is_store != resolved.is_write {
        return None;
    }
    let kind = if is_store { AccessKind::Write } else { AccessKind::Read };
    let memory = Memory::new(guest, &Reads::NONE, Some(resolved));
    let execution = Execution { memory, instruction };
    execution.resolved_place(kind)?;
    let size = instruction.memory_size;
    Some(match is_store {
        true => Plain::Store { size, value: execution.register(source) & mask(size) },
        false => Plain::Load { size },
    })
}

/// Completes a [`Plain::Load`].
#[inline]
pub fn complete<G: Guest>(guest: &mut G, instruction: &Instruction, value: u64) {
    let size = instruction.memory_size;
    let value = match instruction.operation {
        Operation::MoveSignExtended => sign_extend(value, size),
        _ => value & mask(size),
    };
    let memory = Memory::new(guest, &Reads::NONE, None);
    Execution { memory, instruction }.set_register(instruction.operands[0], value);
}
