//! Results and flags of integer arithmetic (SDM vol. 1, appendix A; vol. 2, each instruction).
//!
//! A flag that the manual leaves undefined is as an AMD or Intel processor of today leaves it where
//! they agree, and else unchanged.

use super::bits::{is_negative, mask, sign_extend};
use super::flag::{AF, CF, OF, PF, SF, STATUS, ZF};

mod rotate;

pub use rotate::{DoubleShift, Rotation, double_shift, rotate};

/// Instructions of two operands, in the order of their encoding.
#[allow(missing_docs)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alu {
    Add,
    Or,
    Adc,
    Sbb,
    And,
    Sub,
    Xor,
    Cmp,
}

impl Alu {
    /// By the number in opcodes and in ModRM.
    #[must_use]
    pub const fn from_number(number: u8) -> Self {
        match number & 7 {
            0 => Self::Add,
            1 => Self::Or,
            2 => Self::Adc,
            3 => Self::Sbb,
            4 => Self::And,
            5 => Self::Sub,
            6 => Self::Xor,
            _ => Self::Cmp,
        }
    }
}

/// BT, BTS, BTR, BTC.
#[allow(missing_docs)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BitOperation {
    Test,
    Set,
    Reset,
    Complement,
}

/// A condition of Jcc, SETcc, CMOVcc: its number there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Condition(pub u8);

impl Condition {
    /// Whether it holds (SDM vol. 1, appendix B).
    #[must_use]
    pub fn holds(self, flags: u64) -> bool {
        let is_set = |flag: u64| flags & flag != 0;
        let is_less = is_set(SF) != is_set(OF);
        let holds = match self.0 >> 1 & 7 {
            0 => is_set(OF),
            1 => is_set(CF),
            2 => is_set(ZF),
            3 => is_set(CF) || is_set(ZF),
            4 => is_set(SF),
            5 => is_set(PF),
            6 => is_less,
            _ => is_less || is_set(ZF),
        };
        holds != (self.0 & 1 != 0)
    }
}

/// A result, and RFLAGS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Computed {
    /// As many bytes as the operands.
    pub value: u64,
    /// All of RFLAGS.
    pub flags: u64,
}

/// SF, ZF and PF of a result.
const fn of_result(value: u64, size: u8) -> u64 {
    let value = value & mask(size);
    let zero = if value == 0 { ZF } else { 0 };
    let sign = if is_negative(value, size) { SF } else { 0 };
    let parity = if (value as u8).count_ones().is_multiple_of(2) { PF } else { 0 };
    zero | sign | parity
}

const fn flag_if(is_set: bool, flag: u64) -> u64 {
    if is_set { flag } else { 0 }
}

const fn with(flags: u64, changed: u64, new: u64) -> u64 {
    (flags & !changed) | (new & changed)
}

/// `a + b`, and one more for a carry.
const fn add(a: u64, b: u64, carry: bool, size: u8, flags: u64) -> Computed {
    let (a, b) = (a & mask(size), b & mask(size));
    let wide = a as u128 + b as u128 + carry as u128;
    let value = wide as u64 & mask(size);
    let new = of_result(value, size)
        | flag_if(wide >> (8 * size as u32) != 0, CF)
        | flag_if((a ^ b ^ value) & 0x10 != 0, AF)
        | flag_if(is_negative((a ^ value) & (b ^ value), size), OF);
    Computed { value, flags: with(flags, STATUS, new) }
}

/// `a - b`, and one less for a borrow.
const fn subtract(a: u64, b: u64, borrow: bool, size: u8, flags: u64) -> Computed {
    let (a, b) = (a & mask(size), b & mask(size));
    let value = a.wrapping_sub(b).wrapping_sub(borrow as u64) & mask(size);
    let new = of_result(value, size)
        | flag_if((a as u128) < b as u128 + borrow as u128, CF)
        | flag_if((a ^ b ^ value) & 0x10 != 0, AF)
        | flag_if(is_negative((a ^ b) & (a ^ value), size), OF);
    Computed { value, flags: with(flags, STATUS, new) }
}

const fn logical(value: u64, size: u8, flags: u64) -> Computed {
    Computed { value: value & mask(size), flags: with(flags, STATUS, of_result(value, size)) }
}

/// An instruction of two operands of `size` bytes. CMP's value is its difference.
#[must_use]
pub const fn alu(operation: Alu, a: u64, b: u64, size: u8, flags: u64) -> Computed {
    let carry = flags & CF != 0;
    match operation {
        Alu::Add => add(a, b, false, size, flags),
        Alu::Adc => add(a, b, carry, size, flags),
        Alu::Sub | Alu::Cmp => subtract(a, b, false, size, flags),
        Alu::Sbb => subtract(a, b, carry, size, flags),
        Alu::Or => logical(a | b, size, flags),
        Alu::And => logical(a & b, size, flags),
        Alu::Xor => logical(a ^ b, size, flags),
    }
}

/// INC; CF stays.
#[must_use]
pub const fn increment(a: u64, size: u8, flags: u64) -> Computed {
    let Computed { value, flags: new } = add(a, 1, false, size, flags);
    Computed { value, flags: with(new, CF, flags) }
}

/// DEC; CF stays.
#[must_use]
pub const fn decrement(a: u64, size: u8, flags: u64) -> Computed {
    let Computed { value, flags: new } = subtract(a, 1, false, size, flags);
    Computed { value, flags: with(new, CF, flags) }
}

/// BT and the like: CF is bit `number` of `a`.
#[must_use]
pub const fn bit(operation: BitOperation, a: u64, number: u64, size: u8, flags: u64) -> Computed {
    let bit = 1 << (number % (8 * size as u64));
    let value = match operation {
        BitOperation::Test => a,
        BitOperation::Set => a | bit,
        BitOperation::Reset => a & !bit,
        BitOperation::Complement => a ^ bit,
    };
    Computed { value, flags: with(flags, CF, flag_if(a & bit != 0, CF)) }
}

/// BSF, or BSR; None where there is no bit, and the destination stays.
#[must_use]
pub const fn scan(a: u64, is_reverse: bool, size: u8, flags: u64) -> (Option<u64>, u64) {
    let a = a & mask(size);
    let found = match (a, is_reverse) {
        (0, _) => None,
        (_, false) => Some(a.trailing_zeros() as u64),
        (_, true) => Some(63 - a.leading_zeros() as u64),
    };
    (found, with(flags, ZF, flag_if(a == 0, ZF)))
}

/// TZCNT.
#[must_use]
pub const fn trailing_zeros(a: u64, size: u8, flags: u64) -> Computed {
    let a = a & mask(size);
    let value = if a == 0 { 8 * size as u64 } else { a.trailing_zeros() as u64 };
    counted(value, a == 0, flags)
}

/// LZCNT.
#[must_use]
pub const fn leading_zeros(a: u64, size: u8, flags: u64) -> Computed {
    let a = a & mask(size);
    let value = a.leading_zeros() as u64 - (64 - 8 * size as u64);
    counted(value, a == 0, flags)
}

const fn counted(value: u64, is_zero: bool, flags: u64) -> Computed {
    let new = flag_if(is_zero, CF) | flag_if(value == 0, ZF);
    Computed { value, flags: with(flags, CF | ZF, new) }
}

/// POPCNT.
#[must_use]
pub const fn ones(a: u64, size: u8, flags: u64) -> Computed {
    let value = (a & mask(size)).count_ones() as u64;
    Computed { value, flags: with(flags, STATUS, flag_if(value == 0, ZF)) }
}

/// CRC32 of `size` bytes, onto `sum` (SDM vol. 2, CRC32: the polynomial 11EDC6F41, bits reflected).
#[must_use]
pub const fn crc32(sum: u32, bytes: u64, size: u8) -> u32 {
    const REFLECTED: u32 = 0x82f6_3b78;
    let (mut sum, bits) = (sum as u64 ^ (bytes & mask(size)), 8 * size as u32);
    let mut bit = 0;
    while bit < bits {
        sum = if sum & 1 != 0 { sum >> 1 ^ REFLECTED as u64 } else { sum >> 1 };
        bit += 1;
    }
    sum as u32
}

/// The product of two operands, lower and upper half, and flags: CF and OF are set if the upper
/// half is significant.
#[must_use]
pub const fn multiply(a: u64, b: u64, is_signed: bool, size: u8, flags: u64) -> (u64, u64, u64) {
    let bits = 8 * size as u32;
    let (product, is_large) = if is_signed {
        let product = sign_extend(a, size) as i64 as i128 * sign_extend(b, size) as i64 as i128;
        (product as u128, sign_extend(product as u64, size) as i64 as i128 != product)
    } else {
        let product = (a & mask(size)) as u128 * (b & mask(size)) as u128;
        (product, product >> bits != 0)
    };
    let (low, high) = (product as u64 & mask(size), (product >> bits) as u64 & mask(size));
    let new = flag_if(is_large, CF | OF);
    (low, high, with(flags, CF | OF, new))
}

/// Quotient and remainder; None is a divide error.
#[must_use]
pub const fn divide(dividend: u128, divisor: u64, is_signed: bool, size: u8) -> Option<(u64, u64)> {
    let bits = 8 * size as u32;
    if is_signed {
        let shift = 128 - 2 * bits;
        let dividend = (dividend << shift) as i128 >> shift;
        let divisor = sign_extend(divisor, size) as i64 as i128;
        if divisor == 0 {
            return None;
        }
        // -2^127 / -1 overflows the quotient of 8 bytes as well.
        let (quotient, is_overflow) = dividend.overflowing_div(divisor);
        if is_overflow || sign_extend(quotient as u64, size) as i64 as i128 != quotient {
            return None;
        }
        let remainder = dividend.wrapping_rem(divisor);
        return Some((quotient as u64 & mask(size), remainder as u64 & mask(size)));
    }
    let divisor = (divisor & mask(size)) as u128;
    if divisor == 0 || dividend / divisor > mask(size) as u128 {
        return None;
    }
    Some(((dividend / divisor) as u64, (dividend % divisor) as u64))
}
