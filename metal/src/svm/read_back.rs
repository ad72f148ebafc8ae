//! What a VMCB lets its guest reach, read from the VMCB itself and from all that it points to.

use super::vmcb::{self, Vmcb, intercept3, virtual_interrupt};
use super::{ControlBlock, Svm};
use crate::architecture::{cr0, efer};
use crate::zero_bits::zeros;
use vmm_common::grant::Reach;

/// #DB, #AC, #MC; all words of instructions and events that are always intercepted (APM vol. 2,
/// appendix B).
const EXCEPTIONS: u32 = 0x6_0002;
const WORD3: u32 = 0x9d4c_802f;
const WORD4: u32 = 0x7e7f;
/// Bits of CR0 that CR0_SEL_WRITE lets pass.
const SELECTIVE_CR0: u64 = cr0::TS | cr0::MP;
/// Where the bits of MSRs lie in their map (APM vol. 2, 15.11).
const MSR_RANGES: [u32; 3] = [0, 0xc000_0000, 0xc001_0000];
/// Bits for a range of 0x2000 MSRs: one for reads, one for writes.
const MSRS_BITS: usize = 0x4000;

impl Svm {
    /// What the block lets its guest reach.
    ///
    /// # Errors
    /// An intercept, a control or a pointer is not as it must be: which.
    pub fn reach(&mut self, block: &ControlBlock) -> Result<Reach, &'static str> {
        let Vmcb { control, state } = Vmcb::of(&block.vmcb);
        let maps = self.maps.as_ref().ok_or("there are no permission maps")?;
        let needed = [
            (
                control.intercept_exceptions & EXCEPTIONS == EXCEPTIONS,
                "#DB, #AC or #MC is let pass",
            ),
            (control.intercept3 & WORD3 == WORD3, "an intercept in the word at 0x00c is off"),
            (control.intercept4 & WORD4 == WORD4, "an intercept in the word at 0x010 is off"),
            (control.nested_paging == vmcb::NESTED_PAGING, "nested paging is off"),
            (control.asid != 0, "the ASID is the host's"),
            (
                control.virtual_interrupt & virtual_interrupt::MASKING != 0,
                "the guest's IF masks the host's interrupts",
            ),
            (state.efer & efer::SVME != 0, "EFER.SVME is 0"),
            (
                control.nested_cr3 == block.tables.root()
                    && control.iopm_base == maps.ports.address()
                    && control.msrpm_base == maps.msrs.address(),
                "the VMCB points to another owner's tables or maps",
            ),
        ];
        if let Some((_, what)) = needed.iter().find(|(is_so, _)| !is_so) {
            return Err(what);
        }
        let writes_cr4 = control.intercept_control_registers & vmcb::INTERCEPT_WRITE_CR4 != 0;
        let selects_cr0 = control.intercept3 & intercept3::CR0_SEL_WRITE != 0;
        let msrs = |write: u32| {
            let of = zeros(maps.msrs.words()).filter(move |bit| bit % 2 == write);
            of.filter_map(|bit| {
                let range = MSR_RANGES.get(bit as usize / MSRS_BITS)?;
                Some(range + (bit % MSRS_BITS as u32) / 2)
            })
        };
        Ok(Reach {
            ram: block.tables.mappings()?,
            ports: zeros(maps.ports.words()).filter_map(|port| u16::try_from(port).ok()).collect(),
            msr_reads: msrs(0).collect(),
            msr_writes: msrs(1).collect(),
            cr0: if selects_cr0 { SELECTIVE_CR0 } else { u64::MAX },
            cr4: if writes_cr4 { 0 } else { u64::MAX },
        })
    }
}
