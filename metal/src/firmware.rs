//! Reads the tables that firmware left in memory.

use crate::paging::DEVICES;

/// Copies memory at `address` to `to`; false if that may not be read: the first page, which our
/// tables do not map, a device's registers, or what lies beyond 4 GiB.
#[must_use]
pub fn read(address: u64, to: &mut [u8]) -> bool {
    const FIRST: u64 = 0x1000;
    let end = address.checked_add(to.len() as u64);
    if address < FIRST || end.is_none_or(|end| end > DEVICES.begin) {
        return false;
    }
    for (from, byte) in (address..).zip(to) {
        // SAFETY: all memory there is mapped, and reading it changes nothing. Every value of a byte
        // is valid, even while something writes it.
        *byte = unsafe { (from as *const u8).read_volatile() };
    }
    true
}
