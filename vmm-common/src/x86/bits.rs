//! Values of a given size in bytes.

/// The bits of a value of `size` bytes, up to 8.
pub const fn mask(size: u8) -> u64 {
    match size {
        1 => 0xff,
        2 => 0xffff,
        4 => 0xffff_ffff,
        _ => u64::MAX,
    }
}

/// The bits of an address of 16, 32 or 64 bits.
pub const fn address_mask(bits: u8) -> u64 {
    mask(bits / 8)
}

/// The lower `size` bytes, sign-extended.
pub const fn sign_extend(value: u64, size: u8) -> u64 {
    let shift = 64 - 8 * size as u32;
    ((value << shift) as i64 >> shift) as u64
}

/// The highest bit of a value of `size` bytes.
pub const fn is_negative(value: u64, size: u8) -> bool {
    value >> (8 * size as u32 - 1) & 1 != 0
}

/// `old` with its lower `size` bytes replaced; those of 4 bytes clear the upper half (SDM vol. 1,
/// 3.4.1.1).
pub const fn merge(old: u64, value: u64, size: u8) -> u64 {
    match size {
        4 | 8 => value & mask(size),
        _ => (old & !mask(size)) | (value & mask(size)),
    }
}
