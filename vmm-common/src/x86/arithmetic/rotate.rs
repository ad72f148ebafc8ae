//! Shifts and rotates (SDM vol. 2, RCL/RCR/ROL/ROR, SAL/SAR/SHL/SHR, SHLD, SHRD).

use super::{Computed, flag_if, of_result, with};
use crate::x86::bits::{is_negative, mask, sign_extend};
use crate::x86::flag::{CF, OF, PF, SF, ZF};

/// In the order of their encoding, less the second code for SHL.
#[allow(missing_docs)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rotation {
    Rol,
    Ror,
    Rcl,
    Rcr,
    Shl,
    Shr,
    Sar,
}

/// The operands of SHLD and SHRD: what comes in from the other register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DoubleShift {
    /// SHLD.
    pub is_left: bool,
    /// The register whose bits come in.
    pub incoming: u64,
}

impl Rotation {
    /// By the number in ModRM.
    #[must_use]
    pub const fn from_number(number: u8) -> Self {
        match number & 7 {
            0 => Self::Rol,
            1 => Self::Ror,
            2 => Self::Rcl,
            3 => Self::Rcr,
            4 | 6 => Self::Shl,
            5 => Self::Shr,
            _ => Self::Sar,
        }
    }
}

/// The count as the processor takes it: 5 bits, of 8-byte operands 6.
const fn masked(count: u64, size: u8) -> u32 {
    count as u32 & if size == 8 { 0x3f } else { 0x1f }
}

/// A shift or rotate of `size` bytes by `count`; 0 changes nothing. OF, defined for a count of
/// 1, follows the same rule for others.
#[must_use]
pub const fn rotate(kind: Rotation, a: u64, count: u64, size: u8, flags: u64) -> Computed {
    let count = masked(count, size);
    let a = a & mask(size);
    if count == 0 {
        return Computed { value: a, flags };
    }
    match kind {
        Rotation::Rol | Rotation::Ror => turn(kind, a, count, size, flags),
        Rotation::Rcl | Rotation::Rcr => turn_through_carry(kind, a, count, size, flags),
        Rotation::Shl | Rotation::Shr | Rotation::Sar => shift(kind, a, count, size, flags),
    }
}

const fn turn(kind: Rotation, a: u64, count: u32, size: u8, flags: u64) -> Computed {
    let bits = 8 * size as u32;
    let count = count % bits;
    let left = if matches!(kind, Rotation::Rol) { count } else { (bits - count) % bits };
    let value = if left == 0 { a } else { (a << left | a >> (bits - left)) & mask(size) };
    let is_high = is_negative(value, size);
    let (carry, overflow) = if matches!(kind, Rotation::Rol) {
        (value & 1 != 0, is_high != (value & 1 != 0))
    } else {
        (is_high, is_high != (value >> (bits - 2) & 1 != 0))
    };
    let new = flag_if(carry, CF) | flag_if(overflow, OF);
    Computed { value, flags: with(flags, CF | OF, new) }
}

/// Rotates the operand and CF, one bit more than the operand has.
const fn turn_through_carry(kind: Rotation, a: u64, count: u32, size: u8, flags: u64) -> Computed {
    let bits = 8 * size as u32 + 1;
    let count = count % bits;
    if count == 0 {
        return Computed { value: a, flags };
    }
    let left = if matches!(kind, Rotation::Rcl) { count } else { bits - count };
    let whole = a as u128 | ((flags & CF) as u128) << (bits - 1);
    let turned = whole << left | whole >> (bits - left);
    let value = turned as u64 & mask(size);
    let carry = turned >> (bits - 1) & 1 != 0;
    let overflow = if matches!(kind, Rotation::Rcl) {
        is_negative(value, size) != carry
    } else {
        is_negative(value, size) != (value >> (bits - 3) & 1 != 0)
    };
    let new = flag_if(carry, CF) | flag_if(overflow, OF);
    Computed { value, flags: with(flags, CF | OF, new) }
}

const fn shift(kind: Rotation, a: u64, count: u32, size: u8, flags: u64) -> Computed {
    let bits = 8 * size as u32;
    let (value, carry, overflow) = if matches!(kind, Rotation::Shl) {
        let wide = (a as u128) << count;
        let (value, carry) = (wide as u64 & mask(size), wide >> bits & 1 != 0);
        (value, carry, is_negative(value, size) != carry)
    } else if matches!(kind, Rotation::Sar) {
        let wide = sign_extend(a, size) as i64 as i128;
        ((wide >> count) as u64 & mask(size), wide >> (count - 1) & 1 != 0, false)
    } else {
        let carry = a as u128 >> (count - 1) & 1 != 0;
        let value = (a as u128 >> count) as u64;
        // The sign was the bit that a shift by one more brings down last.
        (value, carry, count == 1 && is_negative(a, size))
    };
    let new = of_result(value, size) | flag_if(carry, CF) | flag_if(overflow, OF);
    Computed { value, flags: with(flags, SF | ZF | PF | CF | OF, new) }
}

/// SHLD or SHRD. By more bits than there are, which only operands of 2 bytes allow, the result is
/// undefined; here the operand itself follows the incoming bits, as on Intel's processors.
#[must_use]
pub const fn double_shift(kind: DoubleShift, a: u64, count: u64, size: u8, flags: u64) -> Computed {
    let DoubleShift { is_left, incoming } = kind;
    let (bits, count) = (8 * size as u32, masked(count, size));
    let (a, incoming) = (a & mask(size), incoming & mask(size));
    if count == 0 {
        return Computed { value: a, flags };
    }
    let again = if count > bits { a as u128 } else { 0 };
    let (value, carry) = if is_left {
        let wide = ((a as u128) << bits | incoming as u128) << count >> bits;
        let carry = if count > bits { incoming >> (2 * bits - count) } else { a >> (bits - count) };
        (wide | again << count >> 32, carry & 1 != 0)
    } else {
        let wide = again << 32 | (incoming as u128) << bits | a as u128;
        (wide >> count, wide >> (count - 1) & 1 != 0)
    };
    let value = value as u64 & mask(size);
    let overflow = is_negative(value ^ a, size);
    let new = of_result(value, size) | flag_if(carry, CF) | flag_if(overflow, OF);
    Computed { value, flags: with(flags, SF | ZF | PF | CF | OF, new) }
}
