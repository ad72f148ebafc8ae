//! The loader's information (Multiboot 1, 0.6.96, section 3.3): memory map and modules.

use crate::carve::Region;

/// EAX at the entry.
pub const LOADED_MAGIC: u32 = 0x2bad_b002;
/// The most ranges of RAM that are used.
pub const MAX_RANGES: usize = 32;

/// Addresses from `begin` to `end`, less one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Range {
    /// First address.
    pub begin: u64,
    /// The first one after it.
    pub end: u64,
}

/// The loader's information, copied out.
#[derive(Clone, Copy, Debug, Default)]
pub struct Information {
    ranges: [Range; MAX_RANGES],
    count: usize,
    /// Where the first module lies, if there is one.
    pub module: Option<Range>,
    /// Where the command line lies; 0 if there is none.
    command_line: u64,
}

impl Information {
    /// Available RAM.
    #[must_use]
    pub fn ram(&self) -> &[Range] {
        &self.ranges[..self.count]
    }

    /// Reads the structure at `address` with `word(address)`, a load of 32 bits.
    #[must_use]
    pub fn read(address: u32, word: impl Fn(u64) -> u32) -> Self {
        const HAS_MEMORY_SIZES: u32 = 1 << 0;
        const HAS_COMMAND_LINE: u32 = 1 << 2;
        const HAS_MODULES: u32 = 1 << 3;
        const HAS_MAP: u32 = 1 << 6;
        let base = u64::from(address);
        let field = |offset: u64| word(base + offset);
        let mut information = Self::default();
        let flags = field(0);
        if flags & HAS_COMMAND_LINE != 0 {
            information.command_line = field(16).into();
        }
        if flags & HAS_MODULES != 0 && field(20) > 0 {
            let module = u64::from(field(24));
            let (begin, end) = (u64::from(word(module)), u64::from(word(module + 4)));
            information.module = Some(Range { begin, end: end.max(begin) });
        }
        if flags & HAS_MAP != 0 {
            let (mut at, end) = (u64::from(field(48)), u64::from(field(48)) + u64::from(field(44)));
            while at < end {
                information.add_map_entry(at, &word);
                at += u64::from(word(at)) + 4;
            }
        } else if flags & HAS_MEMORY_SIZES != 0 {
            information.add(0x10_0000, u64::from(field(8)) * 1024);
        }
        information
    }

    /// Whether the command line has `wanted` among its words; `word` as for [`Information::read`].
    pub fn has_word(&self, wanted: &str, word: impl Fn(u64) -> u32) -> bool {
        const LONGEST: u64 = 1024;
        let byte = |at: u64| word(self.command_line + at) as u8;
        if self.command_line == 0 {
            return false;
        }
        let is_end = |byte: u8| matches!(byte, 0 | b' ');
        let mut at = 0;
        while at < LONGEST && byte(at) != 0 {
            let matched = wanted.bytes().enumerate().all(|(i, c)| byte(at + i as u64) == c);
            if matched && is_end(byte(at + wanted.len() as u64)) {
                return true;
            }
            while !is_end(byte(at)) {
                at += 1;
            }
            at += u64::from(byte(at) == b' ');
        }
        false
    }

    /// `bytes` of RAM below 4 GiB that touch nothing reserved, found without allocating.
    pub(crate) fn first_gap(&self, reserved: &[Range], bytes: u64) -> Option<Region> {
        const BELOW: u64 = 1 << 32;
        let starts = self.ram().iter().map(|ram| ram.begin);
        let starts = starts.chain(reserved.iter().map(|range| range.end));
        let gap = |begin: u64| Range { begin, end: begin.saturating_add(bytes) };
        let is_ram = |gap: &Range| {
            self.ram().iter().any(|ram| ram.begin <= gap.begin && gap.end <= ram.end.min(BELOW))
        };
        let is_free = |gap: &Range| {
            reserved.iter().all(|range| range.end <= gap.begin || gap.end <= range.begin)
        };
        starts
            .map(|start| gap(start.next_multiple_of(0x1000)))
            .filter(is_ram)
            .find(is_free)
            .map(Region::of)
    }

    fn add_map_entry(&mut self, at: u64, word: &impl Fn(u64) -> u32) {
        const AVAILABLE: u32 = 1;
        let long = |at: u64| u64::from(word(at)) | u64::from(word(at + 4)) << 32;
        if word(at + 20) == AVAILABLE {
            self.add(long(at + 4), long(at + 12));
        }
    }

    fn add(&mut self, begin: u64, bytes: u64) {
        if self.count < MAX_RANGES && bytes > 0 {
            self.ranges[self.count] = Range { begin, end: begin.saturating_add(bytes) };
            self.count += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(words: &[(u64, u32)]) -> Information {
        let word = |at: u64| words.iter().find(|(of, _)| *of == at).map_or(0, |(_, word)| *word);
        Information::read(0x9000, word)
    }

    #[test]
    fn map_and_module_are_found() {
        let information = read(&[
            (0x9000, 1 << 6 | 1 << 3),
            (0x9014, 1),
            (0x9018, 0xa000),
            (0xa000, 0x20_0000),
            (0xa004, 0x20_1000),
            (0x902c, 48),
            (0x9030, 0xb000),
            (0xb000, 20),
            (0xb00c, 0x9fc00),
            (0xb014, 1),
            (0xb018, 20),
            (0xb01c, 0x10_0000),
            (0xb024, 0x700_0000),
            (0xb02c, 1),
        ]);
        assert_eq!(information.module, Some(Range { begin: 0x20_0000, end: 0x20_1000 }));
        let ram = [(0, 0x9fc00), (0x10_0000, 0x710_0000)].map(|(begin, end)| Range { begin, end });
        assert_eq!(information.ram(), ram);
    }

    #[test]
    fn memory_sizes_serve_where_there_is_no_map() {
        let information = read(&[(0x9000, 1), (0x9008, 1024)]);
        assert_eq!(information.ram(), [Range { begin: 0x10_0000, end: 0x20_0000 }]);
        assert_eq!(information.module, None);
    }

    #[test]
    fn an_empty_module_is_one() {
        let module = |begin, end| {
            read(&[(0x9000, 8), (0x9014, 1), (0x9018, 0xa000), (0xa000, begin), (0xa004, end)])
                .module
        };
        let empty = Some(Range { begin: 0x20_0000, end: 0x20_0000 });
        assert_eq!(module(0x20_0000, 0x20_0000), empty);
        assert_eq!(module(0x20_0000, 0x1f_0000), empty);
    }
}
