//! Nested page tables, in the format of the host's own (APM vol. 2, 15.25).

use crate::paging::{PRESENT, WRITABLE};
use crate::second_level::Format;

/// Every access of a guest counts as a user's.
const USER: u64 = 1 << 2;
/// Set in advance, so that the processor need not.
const ACCESSED: u64 = 1 << 5;
const DIRTY: u64 = 1 << 6;
const TABLE: u64 = PRESENT | WRITABLE | USER | ACCESSED;

/// The entries; not every processor has pages of 1 GiB.
pub const FORMAT: Format =
    Format { table: TABLE, page: TABLE | DIRTY, has_2m: true, has_1g: false };
