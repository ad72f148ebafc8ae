//! The processors that firmware lists: in the MADT (ACPI 6.5, 5.2.12) and in the MP configuration
//! table (MultiProcessor Specification 1.4, chapter 4).

use core::ops::Range;

/// As many as a VM may have here.
pub const MOST: usize = 8;
/// Firmware's tables must lie in RAM that every image maps.
const MAPPED_BYTES: u64 = 128 << 20;
const BIOS_AREA: Range<u64> = 0xE_0000..0x10_0000;
/// MP 1.4, 4: the first KiB of the EBDA, the last KiB of base memory, the BIOS ROM.
const MP_BIOS_AREA: Range<u64> = 0xF_0000..0x10_0000;
const EBDA_SEGMENT: u64 = 0x40E;
const BASE_MEMORY_KIBIBYTES: u64 = 0x413;
const KIBIBYTE: u64 = 1024;

/// The APIC ids of processors that can be used, in the table's order.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct List {
    ids: [u8; MOST],
    count: usize,
}

impl List {
    const EMPTY: Self = Self { ids: [0; MOST], count: 0 };

    /// Processors beyond [`MOST`] are left out.
    fn add(&mut self, id: u8) {
        if let Some(place) = self.ids.get_mut(self.count) {
            *place = id;
            self.count += 1;
        }
    }

    pub fn ids(&self) -> &[u8] {
        self.ids.get(..self.count).unwrap_or(&[])
    }

    /// Puts the processor that runs this first.
    pub fn begin_with(&mut self, id: u8) {
        if let Some(at) = self.ids().iter().position(|&listed| listed == id) {
            self.ids[..=at].rotate_right(1);
        }
    }
}

/// What the MP configuration table says.
pub struct MpTable {
    pub processors: List,
    /// The APIC id of the one that is marked as the bootstrap processor.
    pub bootstrap: Option<u8>,
}

fn byte(address: u64) -> u8 {
    if address >= MAPPED_BYTES {
        return 0;
    }
    // The BIOS data area is no object of Rust's, and its first bytes lie in the first page.
    // SAFETY: mapped memory, which nothing else writes.
    unsafe { (address as *const u8).read_volatile() }
}

fn number(address: u64, bytes: u64) -> u64 {
    (0..bytes).rev().fold(0, |value, at| value << 8 | u64::from(byte(address + at)))
}

fn has_signature(address: u64, signature: &[u8]) -> bool {
    (address..).zip(signature).all(|(at, &expected)| byte(at) == expected)
}

fn sums_to_zero(address: u64, bytes: u64) -> bool {
    (0..bytes).fold(0_u8, |sum, at| sum.wrapping_add(byte(address + at))) == 0
}

fn find(area: Range<u64>, signature: &[u8], bytes: u64) -> Option<u64> {
    let mut places = area.step_by(16);
    places.find(|&at| has_signature(at, signature) && sums_to_zero(at, bytes))
}

/// The processors of the MADT; None without ACPI tables that hold together.
pub fn madt() -> Option<List> {
    const XSDT_SINCE: u8 = 2;
    const HEADER_BYTES: u64 = 36;
    let root = find(BIOS_AREA, b"RSD PTR ", 20)?;
    let (tables, entry_bytes) = match byte(root + 15) {
        XSDT_SINCE.. => (number(root + 24, 8), 8),
        _ => (number(root + 16, 4), 4),
    };
    let count = number(tables + 4, 4).saturating_sub(HEADER_BYTES) / entry_bytes;
    let mut entries =
        (0..count).map(|at| number(tables + HEADER_BYTES + at * entry_bytes, entry_bytes));
    let madt = entries.find(|&table| has_signature(table, b"APIC"))?;
    let bytes = number(madt + 4, 4);
    sums_to_zero(madt, bytes).then(|| madt_processors(madt, bytes))
}

fn madt_processors(madt: u64, bytes: u64) -> List {
    const FIRST_ENTRY: u64 = 44;
    const LOCAL_APIC: u8 = 0;
    const ENABLED: u64 = 1;
    let mut list = List::EMPTY;
    let mut at = FIRST_ENTRY;
    while at + 2 <= bytes {
        let (entry, length) = (madt + at, u64::from(byte(madt + at + 1)));
        if byte(entry) == LOCAL_APIC && number(entry + 4, 4) & ENABLED != 0 {
            list.add(byte(entry + 3));
        }
        if length == 0 {
            break;
        }
        at += length;
    }
    list
}

/// The MP configuration table, if there is one.
pub fn mp_table() -> Option<MpTable> {
    const SIGNATURE: &[u8] = b"_MP_";
    const POINTER_BYTES: u64 = 16;
    let ebda = number(EBDA_SEGMENT, 2) << 4;
    let last = (number(BASE_MEMORY_KIBIBYTES, 2) * KIBIBYTE).saturating_sub(KIBIBYTE);
    let areas = [ebda..ebda + KIBIBYTE, last..last + KIBIBYTE, MP_BIOS_AREA];
    let pointer = areas.into_iter().find_map(|area| find(area, SIGNATURE, POINTER_BYTES))?;
    let table = number(pointer + 4, 4);
    let is_whole = has_signature(table, b"PCMP") && sums_to_zero(table, number(table + 4, 2));
    is_whole.then(|| mp_processors(table))
}

fn mp_processors(table: u64) -> MpTable {
    const FIRST_ENTRY: u64 = 44;
    const PROCESSOR: u8 = 0;
    const PROCESSOR_BYTES: u64 = 20;
    const OTHER_BYTES: u64 = 8;
    const ENABLED: u8 = 1;
    const BOOTSTRAP: u8 = 2;
    let mut found = MpTable { processors: List::EMPTY, bootstrap: None };
    let mut entry = table + FIRST_ENTRY;
    for _ in 0..number(table + 34, 2) {
        if byte(entry) != PROCESSOR {
            entry += OTHER_BYTES;
            continue;
        }
        let (id, flags) = (byte(entry + 1), byte(entry + 3));
        if flags & ENABLED != 0 {
            found.processors.add(id);
        }
        if flags & BOOTSTRAP != 0 {
            found.bootstrap = Some(id);
        }
        entry += PROCESSOR_BYTES;
    }
    found
}
