//! What a VMCS lets its guest reach, read with VMREAD from the VMCS itself and from all that it
//! points to.

use super::bitmaps::{HIGH, IO_WORDS, PART_MSRS, PART_WORDS};
use super::field::Field;
use super::{ControlBlock, Vmx, ept, instructions};
use crate::frames::{FRAME_BYTES, Frame};
use crate::second_level::Tables;
use crate::zero_bits::zeros;
use vmm_common::grant::Reach;

/// Controls without which the bitmaps or the tables would not be obeyed, or the guest would keep
/// the processor (SDM vol. 3, 25.6).
const NEEDED: [(Field, u64, &str); 4] = [
    (Field::PinControls, 0x49, "external-interrupt, NMI exiting or the timer is off"),
    (Field::PrimaryControls, 0x9200_0000, "I/O bitmaps, MSR bitmaps or secondary controls are off"),
    (Field::SecondaryControls, 0xc2, "EPT, WBINVD exiting or unrestricted guest is off"),
    (Field::ExceptionBitmap, 0x6_0002, "#DB, #AC or #MC does not exit"),
];

/// What a VMCS points to.
pub(crate) struct Parts<'a> {
    pub bitmaps: &'a Frame,
    pub tables: &'a Tables,
}

impl Vmx {
    /// What the block lets its guest reach.
    ///
    /// # Errors
    /// A control or a pointer is not as it must be: which.
    pub fn reach(&mut self, block: &ControlBlock) -> Result<Reach, &'static str> {
        self.make_current(block.vmcs.address());
        let parts = Parts { bitmaps: &block.bitmaps, tables: &block.tables };
        reach(instructions::read, &parts)
    }
}

/// What a VMCS whose fields are these, and which points there, lets its guest reach.
pub(crate) fn reach(read: impl Fn(Field) -> u64, parts: &Parts<'_>) -> Result<Reach, &'static str> {
    let Parts { bitmaps, tables } = parts;
    for (field, bits, what) in NEEDED {
        if read(field) & bits != bits {
            return Err(what);
        }
    }
    let pointers = [
        (Field::EptPointer, ept::pointer(tables.root())),
        (Field::IoBitmapA, bitmaps.address()),
        (Field::IoBitmapB, bitmaps.address() + FRAME_BYTES),
        (Field::MsrBitmap, bitmaps.address() + 2 * FRAME_BYTES),
    ];
    if pointers.iter().any(|&(field, address)| read(field) != address) {
        return Err("the VMCS points to another owner's tables or bitmaps");
    }
    let (io, msr) = bitmaps.words().split_at(IO_WORDS);
    let part = |number: usize, base: u32| {
        let words = &msr[number * PART_WORDS..][..PART_WORDS];
        zeros(words).map(move |bit| base + bit).filter(move |msr| *msr < base + PART_MSRS)
    };
    let msrs = |first: usize| part(first, 0).chain(part(first + 1, HIGH)).collect();
    Ok(Reach {
        ram: tables.mappings()?,
        ports: zeros(io).map(|port| port as u16).collect(),
        msr_reads: msrs(0),
        msr_writes: msrs(2),
        cr0: !read(Field::Cr0Mask),
        cr4: !read(Field::Cr4Mask),
    })
}
