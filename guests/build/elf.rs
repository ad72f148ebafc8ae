//! As much of ELF64 as the images need: what is loaded where, which sections are code, and which
//! function an address belongs to. The file comes from our own linker run; a malformed one panics.

/// A linked image.
pub struct Elf<'a> {
    file: &'a [u8],
}

/// A section of code.
pub struct CodeSection<'a> {
    pub name: &'a str,
    pub address: u64,
    pub bytes: &'a [u8],
}

const SECTION_SYMBOLS: u64 = 2;
const SECTION_NO_BITS: u64 = 8;
const FLAG_EXECUTABLE: u64 = 4;
const SEGMENT_LOAD: u64 = 1;
const SYMBOL_BYTES: usize = 24;

impl<'a> Elf<'a> {
    /// Takes the bytes of an ELF64 file.
    pub fn new(file: &'a [u8]) -> Self {
        assert!(file.starts_with(b"\x7FELF\x02\x01"), "the linker made no 64-bit ELF file");
        Self { file }
    }

    /// The bytes that belong in memory, from the first loaded address on.
    pub fn flat(&self) -> Vec<u8> {
        let mut flat = Vec::new();
        let mut first_address = None;
        let (start, size, count) = (self.field(0x20, 8), self.field(0x36, 2), self.field(0x38, 2));
        for header in (0..count).map(|index| (start + index * size) as usize) {
            let bytes_in_file = self.field(header + 0x20, 8);
            if self.field(header, 4) != SEGMENT_LOAD || bytes_in_file == 0 {
                continue;
            }
            let address = self.field(header + 0x10, 8);
            let offset = address - *first_address.get_or_insert(address);
            flat.resize(offset as usize, 0);
            flat.extend_from_slice(self.bytes(self.field(header + 8, 8), bytes_in_file));
        }
        flat
    }

    /// The sections that can be executed.
    pub fn code(&self) -> Vec<CodeSection<'a>> {
        let names = self.sections().nth(self.field(0x3E, 2) as usize).expect("a name section");
        let names = self.field(names + 0x18, 8) as usize;
        self.sections()
            .filter(|section| self.field(section + 8, 8) & FLAG_EXECUTABLE != 0)
            .filter(|section| self.field(section + 4, 4) != SECTION_NO_BITS)
            .map(|section| CodeSection {
                name: self.text(names + self.field(section, 4) as usize),
                address: self.field(section + 0x10, 8),
                bytes: self.bytes(self.field(section + 0x18, 8), self.field(section + 0x20, 8)),
            })
            .collect()
    }

    /// The name of the nearest symbol at or before an address, and the distance from it.
    pub fn symbol_before(&self, address: u64) -> Option<(&'a str, u64)> {
        let symbols =
            self.sections().find(|section| self.field(section + 4, 4) == SECTION_SYMBOLS)?;
        let names = self.sections().nth(self.field(symbols + 0x28, 4) as usize)?;
        let names = self.field(names + 0x18, 8) as usize;
        let table = self.field(symbols + 0x18, 8) as usize;
        let count = self.field(symbols + 0x20, 8) as usize / SYMBOL_BYTES;
        (0..count)
            .map(|index| table + index * SYMBOL_BYTES)
            .map(|symbol| (self.field(symbol + 8, 8), self.field(symbol, 4) as usize))
            .filter(|&(value, name)| value != 0 && value <= address && name != 0)
            .max_by_key(|&(value, _)| value)
            .map(|(value, name)| (self.text(names + name), address - value))
    }

    fn sections(&self) -> impl Iterator<Item = usize> + use<'_, 'a> {
        let (start, size, count) = (self.field(0x28, 8), self.field(0x3A, 2), self.field(0x3C, 2));
        (0..count).map(move |index| (start + index * size) as usize)
    }

    fn field(&self, offset: usize, bytes: usize) -> u64 {
        let mut value = [0; 8];
        value[..bytes].copy_from_slice(&self.file[offset..offset + bytes]);
        u64::from_le_bytes(value)
    }

    fn bytes(&self, offset: u64, length: u64) -> &'a [u8] {
        &self.file[offset as usize..(offset + length) as usize]
    }

    fn text(&self, offset: usize) -> &'a str {
        let rest = &self.file[offset..];
        let end = rest.iter().position(|&byte| byte == 0).expect("names end with a zero");
        str::from_utf8(&rest[..end]).expect("our symbols are text")
    }
}
