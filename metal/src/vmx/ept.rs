//! Extended page tables: their entries and the pointer to them (SDM vol. 3, 29.3). What builds them
//! is [`crate::second_level`].

use crate::second_level::Format;

const READ_WRITE_EXECUTE: u64 = 0b111;
const WRITE_BACK: u64 = 6 << 3;
/// In the pointer: tables in write-back memory, four levels.
const POINTER_FLAGS: u64 = 6 | 3 << 3;

/// The entries; not every processor has pages larger than 4 KiB.
pub const FORMAT: Format = Format {
    table: READ_WRITE_EXECUTE,
    page: READ_WRITE_EXECUTE | WRITE_BACK,
    has_2m: false,
    has_1g: false,
};

/// The EPT pointer to tables with this root.
#[must_use]
pub const fn pointer(root: u64) -> u64 {
    root | POINTER_FLAGS
}
