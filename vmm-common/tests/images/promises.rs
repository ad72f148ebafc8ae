//! What `boot::place` promises, whatever it is given.

use super::case::{Case, message};
use vmm_common::boot::{Boot, Content, Part};
use vmm_common::registers::{general, segment};

const BIOS_DATA_END: u64 = 0x500;
const LOW_END: u64 = 0xa_0000;
const MIB: u64 = 1 << 20;
const HOLE: u64 = 0xe000_0000;
const HIGH_RAM: u64 = 1 << 32;
/// What a kernel may push before it has a stack of its own.
const STACK_BYTES: u64 = 0x4000;

/// Places `case` and panics if a promise is broken.
pub fn hold(case: &Case) {
    let boot = match case.place() {
        Ok(boot) => boot,
        Err(error) => {
            let says_what_is_allowed = ["allowed", "needed"].iter().any(|w| error.why.contains(w));
            assert!(says_what_is_allowed, "{}", message(&error));
            if let Part::Module(index) = error.part {
                assert!(index < case.modules.len(), "{}", message(&error));
            }
            return;
        }
    };
    for piece in &boot.pieces {
        let is_in_range = match &piece.content {
            Content::Kernel { offset, len } => {
                offset.checked_add(*len).is_some_and(|end| end <= case.kernel.len())
            }
            Content::Module(index) => *index < case.modules.len(),
            Content::Bytes(_) => true,
        };
        assert!(is_in_range, "{piece:x?}");
    }
    let images = case.images();
    let entry = boot.registers.segments[segment::CS].base + boot.registers.rip;
    let mut taken: Vec<(u64, u64)> = Vec::new();
    for (address, bytes) in boot.contents(&images) {
        let end = address.checked_add(bytes.len() as u64).expect("the end is an address");
        let ram = case.ram_bytes;
        assert!(end <= ram, "{address:#x} to {end:#x} in {ram:#x}");
        let is_apart = |(begin, before): &(u64, u64)| *before <= address || end <= *begin;
        let is_free = address == end || taken.iter().all(is_apart);
        assert!(is_free, "{address:#x} to {end:#x} lies on one of {taken:x?}");
        if address < end {
            taken.push((address, end));
        }
    }
    let is_loaded = taken.iter().any(|(begin, end)| (*begin..*end).contains(&entry));
    assert!(is_loaded, "entered at {entry:#x}, loaded are {taken:x?}");
    let ram = Ram { boot: &boot, case };
    ram.check_bios_data();
    let map = ram.map();
    ram.check_map(&map);
    if boot.registers.cr0 & 1 != 0 {
        let end = boot.registers.general[general::RSP];
        let begin = end.checked_sub(STACK_BYTES).expect("a stack of 16 KiB");
        let is_apart = |(first, last): &(u64, u64)| *last <= begin || end <= *first;
        assert!(taken.iter().all(is_apart), "a stack at {begin:#x} on one of {taken:x?}");
        assert!(map.iter().any(|range| range.holds(begin, end) && range.kind == RESERVED));
    }
}

const USABLE: u32 = 1;
const RESERVED: u32 = 2;

/// An entry of a memory map.
#[derive(Clone, Copy, Debug)]
struct Range {
    begin: u64,
    end: u64,
    kind: u32,
}

impl Range {
    fn holds(&self, begin: u64, end: u64) -> bool {
        self.begin <= begin && end <= self.end
    }

    fn touches(&self, begin: u64, end: u64) -> bool {
        self.begin < end && begin < self.end
    }
}

/// What lies in RAM at first.
struct Ram<'a> {
    boot: &'a Boot,
    case: &'a Case,
}

impl Ram<'_> {
    fn byte(&self, address: u64) -> u8 {
        let images = self.case.images();
        let bytes = self.boot.contents(&images).find_map(|(begin, bytes)| {
            bytes.get(usize::try_from(address.checked_sub(begin)?).ok()?).copied()
        });
        bytes.unwrap_or(0)
    }

    fn number(&self, address: u64, bytes: u64) -> u64 {
        (0..bytes).map(|n| u64::from(self.byte(address + n)) << (8 * n)).sum()
    }

    /// Vectors lead to an IRET; conventional memory ends at an EBDA that says how long it is.
    fn check_bios_data(&self) {
        for vector in [0, 0x1c, 0xff] {
            let at = (self.number(vector * 4 + 2, 2) << 4) + self.number(vector * 4, 2);
            assert_eq!(self.byte(at), 0xcf, "vector {vector:#x} leads to {at:#x}");
        }
        let (ebda, base_kib) = (self.number(0x40e, 2) << 4, self.number(0x413, 2));
        assert_eq!((ebda, base_kib), (base_kib << 10, self.boot.base_memory_kib.into()));
        let end = ebda + (u64::from(self.byte(ebda)) << 10);
        assert!(ebda < end && end <= LOW_END, "an EBDA from {ebda:#x} to {end:#x}");
    }

    /// The map that the kernel is handed, by its protocol; a raw image gets none.
    fn map(&self) -> Vec<Range> {
        let register = |index: usize| self.boot.registers.general[index];
        let (info, params) = (register(general::RBX), register(general::RSI));
        if register(general::RAX) == 0x2bad_b002 {
            let (bytes, at) = (self.number(info + 44, 4), self.number(info + 48, 4));
            let entries = (at..at + bytes).step_by(24);
            return entries.map(|at| self.range(at + 4)).collect();
        }
        if info != 0 {
            let (count, at) = (self.number(info + 48, 4), self.number(info + 40, 8));
            return (0..count).map(|n| self.range(at + n * 24)).collect();
        }
        let count = if params == 0 { 0 } else { self.number(params + 0x1e8, 1) };
        (0..count).map(|n| self.range(params + 0x2d0 + n * 20)).collect()
    }

    fn range(&self, at: u64) -> Range {
        let (begin, bytes) = (self.number(at, 8), self.number(at + 8, 8));
        Range { begin, end: begin + bytes, kind: self.number(at + 16, 4) as u32 }
    }

    /// No byte is listed twice; RAM is RAM; what was made for the kernel is reserved, and the
    /// kernel itself is not.
    fn check_map(&self, map: &[Range]) {
        for pair in map.windows(2) {
            assert!(pair[0].begin < pair[0].end && pair[0].end <= pair[1].begin, "{map:x?}");
        }
        let ram = self.case.ram_bytes;
        let ram = [
            (0, LOW_END),
            (MIB, ram.min(HOLE)),
            (HIGH_RAM, HIGH_RAM.saturating_add(ram.saturating_sub(HOLE))),
        ];
        for range in map.iter().filter(|range| range.kind == USABLE) {
            let is_in = |(begin, end): &(u64, u64)| *begin <= range.begin && range.end <= *end;
            assert!(ram.iter().any(is_in), "{range:x?}");
        }
        let listed: u64 = map.iter().map(|range| range.end - range.begin).sum();
        let has: u64 = ram.iter().map(|(begin, end)| end - begin).sum();
        assert!(map.is_empty() || listed == has + (MIB - 0xe_0000), "{map:x?}");
        if let Some(first) = map.first() {
            let base = u64::from(self.boot.base_memory_kib) << 10;
            assert_eq!((first.begin, first.end, first.kind), (0, base, USABLE), "{map:x?}");
        }
        let images = self.case.images();
        for (piece, (begin, bytes)) in self.boot.pieces.iter().zip(self.boot.contents(&images)) {
            let end = begin + bytes.len() as u64;
            let is_firmware = end <= BIOS_DATA_END || (LOW_END <= begin && end <= MIB);
            let is_reserved = |range: &Range| range.kind == RESERVED && range.touches(begin, end);
            match &piece.content {
                Content::Kernel { .. } | Content::Module(_) => {
                    assert!(!is_firmware || begin == end, "{begin:#x} to {end:#x}");
                    assert!(!map.iter().any(is_reserved), "{begin:#x} to {end:#x} in {map:x?}");
                }
                Content::Bytes(_) if !is_firmware && !map.is_empty() => {
                    let holds = |range: &Range| range.kind == RESERVED && range.holds(begin, end);
                    assert!(map.iter().any(holds), "{begin:#x} to {end:#x} in {map:x?}");
                }
                Content::Bytes(_) => {}
            }
        }
    }
}
