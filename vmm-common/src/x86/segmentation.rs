//! From an offset in a segment to a linear address, with the checks that the processor makes (SDM
//! vol. 3, 5.3 to 5.5; vol. 1, 3.3.7.1 for canonical addresses).

use super::guest::Guest;
use super::outcome::Exception;
use super::paging::AccessKind;
use crate::architecture::cr0;
use crate::registers::{Segment, segment};

/// [`Segment::access`]: the type, D/B, unusable.
const ACCESSED_TYPE_CODE: u32 = 1 << 3;
const READABLE_OR_WRITABLE: u32 = 1 << 1;
const EXPAND_DOWN: u32 = 1 << 2;
const BIG: u32 = 1 << 14;
const UNUSABLE: u32 = 1 << 16;

/// The first of `len` bytes at `offset` in a segment, linear.
///
/// # Errors
/// #GP(0), or #SS(0) for the stack segment.
pub fn linear(
    guest: &impl Guest,
    index: u8,
    offset: u64,
    len: u64,
    kind: AccessKind,
) -> Result<u64, Exception> {
    let is_stack = usize::from(index) == segment::SS;
    let refused = if is_stack { Exception::STACK } else { Exception::GENERAL_PROTECTION };
    if guest.code_bits() == 64 {
        let has_base = usize::from(index) >= segment::FS;
        let base = if has_base { guest.segment(index).base } else { 0 };
        let linear = base.wrapping_add(offset);
        let last = linear.wrapping_add(len - 1);
        return if is_canonical(linear) && is_canonical(last) { Ok(linear) } else { Err(refused) };
    }
    let descriptor = guest.segment(index);
    if !allows(&descriptor, kind, is_protected(guest)) || !holds(&descriptor, offset, len) {
        return Err(refused);
    }
    Ok(descriptor.base.wrapping_add(offset) & 0xffff_ffff)
}

/// Bits 63:47 are alike.
#[must_use]
pub const fn is_canonical(linear: u64) -> bool {
    (linear << 16) as i64 >> 16 == linear as i64
}

/// Not in real mode.
fn is_protected(guest: &impl Guest) -> bool {
    guest.paging().cr0 & cr0::PE != 0
}

/// Real mode checks only limits.
const fn allows(descriptor: &Segment, kind: AccessKind, is_protected: bool) -> bool {
    if descriptor.access & UNUSABLE != 0 {
        return false;
    }
    let is_code = descriptor.access & ACCESSED_TYPE_CODE != 0;
    let is_open = descriptor.access & READABLE_OR_WRITABLE != 0;
    match kind {
        _ if !is_protected => true,
        AccessKind::Read => !is_code || is_open,
        AccessKind::Write => !is_code && is_open,
        AccessKind::Execute => is_code,
    }
}

/// Whether the limit allows `len` bytes from `offset` on.
const fn holds(descriptor: &Segment, offset: u64, len: u64) -> bool {
    let last = offset + (len - 1);
    let is_data = descriptor.access & ACCESSED_TYPE_CODE == 0;
    let limit = descriptor.limit as u64;
    if is_data && descriptor.access & EXPAND_DOWN != 0 {
        let most = if descriptor.access & BIG != 0 { 0xffff_ffff } else { 0xffff };
        return offset > limit && last <= most;
    }
    last <= limit
}
