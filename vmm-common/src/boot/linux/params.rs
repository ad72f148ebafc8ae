//! The boot parameters ("zero page", Documentation/arch/x86/zero-page.rst): a bzImage's setup
//! header, or one made for a kernel without, and what a loader adds to it.

use super::super::memory_map::Range;
use super::setup::{HEADER, HEADER_MAX_END};
use alloc::vec;
use alloc::vec::Vec;

/// Their length.
pub(super) const BYTES: usize = 0x1000;
/// initrd_addr_max of a kernel without header: that of all 64-bit ones.
pub(super) const INITRD_MAX: u32 = 0x7fff_ffff;
/// cmdline_size of a kernel without header: COMMAND_LINE_SIZE, less the zero.
pub(super) const CMDLINE_MAX: u32 = 2047;

/// Where an initrd lies; no length if there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Initrd {
    pub(super) address: u32,
    pub(super) len: u32,
}

/// Addresses that the loader fills in.
#[derive(Debug)]
pub(super) struct Loaded {
    /// Where the command line lies.
    pub(super) cmdline: u64,
    pub(super) initrd: Initrd,
    /// ACPI's root pointer.
    pub(super) rsdp: u64,
    pub(super) map: Vec<Range>,
    /// There is a text screen to be seen.
    pub(super) has_screen: bool,
}

/// The page as it fills up.
#[derive(Debug)]
pub(super) struct Params {
    bytes: Vec<u8>,
}

impl Params {
    /// With a bzImage's header.
    pub(super) fn with_header(header: &[u8]) -> Self {
        let mut params = Self { bytes: vec![0; BYTES] };
        params.set(HEADER, &header[..header.len().min(HEADER_MAX_END - HEADER)]);
        params
    }

    /// For a kernel that has no header: the fields it reads.
    pub(super) fn without_header() -> Self {
        /// 2.12, as Linux's own code for such entries says.
        const VERSION: u16 = 0x020c;
        const LOADED_HIGH: u8 = 1;
        const ALIGNMENT: u32 = 0x100_0000;
        let mut params = Self { bytes: vec![0; BYTES] };
        params.set(0x1fe, &[0x55, 0xaa]);
        params.set(0x202, b"HdrS");
        params.set(0x206, &VERSION.to_le_bytes());
        params.set(0x211, &[LOADED_HIGH]);
        params.set(0x22c, &INITRD_MAX.to_le_bytes());
        params.set(0x230, &ALIGNMENT.to_le_bytes());
        params.set(0x238, &CMDLINE_MAX.to_le_bytes());
        params
    }

    /// Adds the loader's fields.
    pub(super) fn complete(mut self, loaded: &Loaded) -> Vec<u8> {
        /// type_of_loader: one without an assigned number. With 0 there is no initrd.
        const UNDEFINED_LOADER: u8 = 0xff;
        const MAP_ENTRY_BYTES: usize = 20;
        /// screen_info from orig_video_mode on: mode 3, 80 columns; 25 rows, a VGA, characters of
        /// 16 lines (include/uapi/linux/screen_info.h).
        const SCREEN: [(usize, &[u8]); 2] = [(0x06, &[3, 80]), (0x0e, &[25, 1, 16, 0])];
        let Loaded { cmdline, initrd, rsdp, map, has_screen } = loaded;
        for (at, bytes) in SCREEN.into_iter().filter(|_| *has_screen) {
            self.set(at, bytes);
        }
        self.set(0x70, &rsdp.to_le_bytes());
        self.set(0x210, &[UNDEFINED_LOADER]);
        self.set(0x218, &initrd.address.to_le_bytes());
        self.set(0x21c, &initrd.len.to_le_bytes());
        self.set(0x228, &(*cmdline as u32).to_le_bytes());
        self.set(0x1e8, &[map.len() as u8]);
        for (index, range) in map.iter().enumerate() {
            let at = 0x2d0 + index * MAP_ENTRY_BYTES;
            self.set(at, &range.begin.to_le_bytes());
            self.set(at + 8, &range.len.to_le_bytes());
            self.set(at + 16, &(range.kind as u32).to_le_bytes());
        }
        self.bytes
    }

    fn set(&mut self, at: usize, bytes: &[u8]) {
        self.bytes[at..at + bytes.len()].copy_from_slice(bytes);
    }
}
