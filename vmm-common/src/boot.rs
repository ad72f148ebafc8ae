//! How a machine starts, as data: what lies where in its RAM and what its processor's registers
//! hold. A backend copies the pieces and loads the registers; it knows no image format.

use crate::plan::BootKind;
use crate::registers::{CpuState, Segment, TableRegister, segment};
use alloc::vec::Vec;
use core::fmt;

pub mod flat;
pub mod multiboot;

/// A piece of the initial RAM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// Part of the kernel image.
    Kernel {
        /// Guest physical address.
        address: u64,
        /// First byte in the image.
        offset: usize,
        /// Bytes.
        len: usize,
    },
    /// Bytes made here.
    Bytes {
        /// Guest physical address.
        address: u64,
        /// What lies there.
        bytes: Vec<u8>,
    },
}

/// A machine's first moment.
#[derive(Clone, Debug)]
pub struct Boot {
    /// What is copied into RAM, which is zero elsewhere.
    pub pieces: Vec<Piece>,
    /// The processor's registers.
    pub registers: CpuState,
}

/// Why an image cannot be placed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BootError {
    /// The image has no byte.
    Empty,
    /// Multiboot was asked for, but the first 8 KiB hold no valid header.
    NoMultibootHeader,
    /// The header's address fields contradict each other or the file.
    BadAddresses {
        /// What is wrong.
        why: &'static str,
    },
    /// An ELF file that cannot be loaded.
    BadElf {
        /// What is wrong.
        why: &'static str,
    },
    /// It would lie where the multiboot information lies.
    OnInformation {
        /// Where that begins.
        begin: u64,
        /// The first address behind it.
        end: u64,
    },
    /// It does not fit into the machine's memory.
    TooLarge {
        /// First address beyond the image, once placed.
        end: u64,
        /// RAM of the machine, bytes.
        ram_bytes: u64,
    },
}

impl fmt::Display for BootError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => write!(f, "the image is empty"),
            Self::NoMultibootHeader => {
                write!(f, "no multiboot header in the first 8KiB; allowed: a multiboot 1 image")
            }
            Self::BadAddresses { why } => write!(f, "the multiboot header is wrong: {why}"),
            Self::BadElf { why } => write!(f, "the ELF file cannot be loaded: {why}"),
            Self::OnInformation { begin, end } => write!(
                f,
                "the image overlaps the multiboot information at {begin:#x} to {end:#x}; allowed: \
                an image elsewhere"
            ),
            Self::TooLarge { end, ram_bytes } => write!(
                f,
                "the image ends at {end:#x}, memory at {ram_bytes:#x}; allowed: an image that fits"
            ),
        }
    }
}

impl core::error::Error for BootError {}

/// Places `image` in `ram_bytes` of RAM.
///
/// `bios` is the stub of one's own for a flat image; None takes ours.
///
/// # Errors
/// The image is empty, malformed or larger than the memory.
pub fn place(
    kind: BootKind,
    image: &[u8],
    bios: Option<&[u8]>,
    cmdline: &str,
    ram_bytes: u64,
) -> Result<Boot, BootError> {
    if image.is_empty() {
        return Err(BootError::Empty);
    }
    let header = multiboot::Header::find(image);
    match (kind, header) {
        (BootKind::Multiboot | BootKind::Auto, Some(header)) => {
            multiboot::place(&header, image, cmdline, ram_bytes)
        }
        (BootKind::Multiboot, None) => Err(BootError::NoMultibootHeader),
        (BootKind::Flat, _) | (BootKind::Auto, None) => flat::place(image, bios, ram_bytes),
    }
}

/// `Ok` if a piece that ends at `end` lies in RAM.
fn check_end(end: Option<u64>, ram_bytes: u64) -> Result<(), BootError> {
    match end {
        Some(end) if end <= ram_bytes => Ok(()),
        Some(end) => Err(BootError::TooLarge { end, ram_bytes }),
        None => Err(BootError::TooLarge { end: u64::MAX, ram_bytes }),
    }
}

/// What every start has in common: the registers after INIT (SDM vol. 3, table 10-1).
fn reset_registers() -> CpuState {
    /// RFLAGS: bit 1 always reads 1.
    const RFLAGS_FIXED: u64 = 1 << 1;
    /// CR0: cache disabled and not write-through, extension type.
    const CR0_RESET: u64 = 0x6000_0010;
    /// Read/write data, accessed, present.
    const DATA: u32 = 0x93;
    /// Execute/read code, accessed, present.
    const CODE: u32 = 0x9b;
    /// LDT, present.
    const LDT: u32 = 0x82;
    /// Busy 32-bit TSS, present. (Hardware wants a busy one.)
    const TSS: u32 = 0x8b;
    let table = TableRegister { base: 0, limit: 0xffff };
    let data = Segment { selector: 0, base: 0, limit: 0xffff, access: DATA };
    let mut segments = [data; 8];
    segments[segment::CS].access = CODE;
    segments[segment::LDTR].access = LDT;
    segments[segment::TR].access = TSS;
    CpuState {
        rflags: RFLAGS_FIXED,
        cr0: CR0_RESET,
        segments,
        gdtr: table,
        idtr: table,
        ..CpuState::default()
    }
}
