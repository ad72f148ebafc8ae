//! The virtual machine control block, one frame (APM vol. 2, appendix B): what is intercepted
//! and how in the first quarter, the guest's state from 0x400 on.

use crate::frames::{FRAME_BYTES, Frame};
use core::mem::{offset_of, size_of};
use vmm_common::registers::{Segment, segment};

/// Intercepts of the word at 0x000: MOV from CR0, SMSW.
pub(super) const INTERCEPT_READ_CR0: u32 = 1 << 0;
/// In the same word: MOV from CR4.
pub(super) const INTERCEPT_READ_CR4: u32 = 1 << 4;
/// In the same word: MOV to CR0, LMSW.
pub(super) const INTERCEPT_WRITE_CR0: u32 = 1 << 16;
/// In the same word: MOV to CR4.
pub(super) const INTERCEPT_WRITE_CR4: u32 = 1 << (16 + 4);
/// The same: MOV to CR8.
pub(super) const INTERCEPT_WRITE_CR8: u32 = 1 << (16 + 8);

/// Intercepts of the word at 0x00c.
#[allow(missing_docs)]
pub(super) mod intercept3 {
    pub const INTR: u32 = 1 << 0;
    pub const NMI: u32 = 1 << 1;
    pub const SMI: u32 = 1 << 2;
    pub const INIT: u32 = 1 << 3;
    pub const VINTR: u32 = 1 << 4;
    pub const CR0_SEL_WRITE: u32 = 1 << 5;
    pub const RDPMC: u32 = 1 << 15;
    pub const CPUID: u32 = 1 << 18;
    pub const RSM: u32 = 1 << 19;
    pub const IRET: u32 = 1 << 20;
    pub const INTN: u32 = 1 << 21;
    pub const INVD: u32 = 1 << 22;
    pub const PAUSE: u32 = 1 << 23;
    pub const HLT: u32 = 1 << 24;
    pub const INVLPGA: u32 = 1 << 26;
    pub const IOIO_PROT: u32 = 1 << 27;
    pub const MSR_PROT: u32 = 1 << 28;
    pub const SHUTDOWN: u32 = 1 << 31;
}

/// Intercepts of the word at 0x010.
#[allow(missing_docs)]
pub(super) mod intercept4 {
    pub const VMRUN: u32 = 1 << 0;
    pub const VMMCALL: u32 = 1 << 1;
    pub const VMLOAD: u32 = 1 << 2;
    pub const VMSAVE: u32 = 1 << 3;
    pub const STGI: u32 = 1 << 4;
    pub const CLGI: u32 = 1 << 5;
    pub const SKINIT: u32 = 1 << 6;
    pub const WBINVD: u32 = 1 << 9;
    pub const MONITOR: u32 = 1 << 10;
    pub const MWAIT: u32 = 1 << 11;
    pub const MWAIT_CONDITIONAL: u32 = 1 << 12;
    pub const XSETBV: u32 = 1 << 13;
    pub const RDPRU: u32 = 1 << 14;
}

/// Bits of [`Control::virtual_interrupt`].
#[allow(missing_docs)]
pub(super) mod virtual_interrupt {
    pub const TPR: u64 = 0xf;
    pub const IRQ: u64 = 1 << 8;
    pub const HIGHEST_PRIORITY: u64 = 0xf << 16;
    pub const IGNORE_TPR: u64 = 1 << 20;
    pub const MASKING: u64 = 1 << 24;
    pub const VECTOR_SHIFT: u32 = 32;
    /// A virtual interrupt that outranks everything.
    pub const REQUEST: u64 = IRQ | HIGHEST_PRIORITY | IGNORE_TPR;
}

/// Bits of EVENTINJ and EXITINTINFO (APM vol. 2, 15.20).
#[allow(missing_docs)]
pub mod event {
    pub const TYPE: u64 = 7 << 8;
    pub const INTERRUPT: u64 = 0 << 8;
    pub const NMI: u64 = 2 << 8;
    pub const EXCEPTION: u64 = 3 << 8;
    pub const SOFTWARE: u64 = 4 << 8;
    pub const HAS_ERROR: u64 = 1 << 11;
    pub const VALID: u64 = 1 << 31;
}

/// Of [`Control::tlb_control`]: flush the TLB, all ASIDs, at the next entry.
pub(super) const FLUSH_TLB: u32 = 1;
/// Of [`Control::interrupt_shadow`].
pub(super) const SHADOW: u64 = 1;
/// Of [`Control::nested_paging`].
pub(super) const NESTED_PAGING: u64 = 1;

/// A segment register or a descriptor table's.
#[allow(missing_docs)]
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VmcbSegment {
    pub selector: u16,
    /// Bits 7:0 and 11:8 are those of a descriptor, 7:0 and 15:12.
    pub attributes: u16,
    pub limit: u32,
    pub base: u64,
}

/// The control block.
#[repr(C, align(4096))]
#[derive(Debug)]
pub(super) struct Vmcb {
    pub(super) control: Control,
    pub(super) state: State,
}

/// What is intercepted and how; `_` fields are reserved or unused, and 0.
#[repr(C)]
#[derive(Debug)]
pub(super) struct Control {
    /// Reads of CR0 to CR15, then writes.
    pub(super) intercept_control_registers: u32,
    /// Reads of DR0 to DR15, then writes.
    pub(super) intercept_debug_registers: u32,
    /// A bit for each vector.
    pub(super) intercept_exceptions: u32,
    pub(super) intercept3: u32,
    pub(super) intercept4: u32,
    _intercept_5: [u8; 0x28],
    pub(super) pause_filter_threshold: u16,
    pub(super) pause_filter_count: u16,
    pub(super) iopm_base: u64,
    pub(super) msrpm_base: u64,
    pub(super) tsc_offset: u64,
    pub(super) asid: u32,
    pub(super) tlb_control: u32,
    pub(super) virtual_interrupt: u64,
    pub(super) interrupt_shadow: u64,
    pub(super) exit_code: u64,
    pub(super) exit_info1: u64,
    pub(super) exit_info2: u64,
    pub(super) exit_interrupt_info: u64,
    pub(super) nested_paging: u64,
    _avic_and_ghcb: [u64; 2],
    pub(super) event_injection: u64,
    pub(super) nested_cr3: u64,
    _lbr_virtualization: u64,
    /// No bit is ever set: the processor reloads everything.
    _clean: u64,
    pub(super) next_rip: u64,
    pub(super) fetched_len: u8,
    pub(super) fetched: [u8; 15],
    _control_end: [u8; 0x300],
    /// Bytes left to software: bits of CR0 that only the guest sees.
    pub(super) seen_cr0: u64,
    /// Whether the guest sees CR4.MCE set: 0 or 1.
    pub(super) sees_mce: u64,
    _software_end: [u64; 2],
}

/// The guest's registers.
#[allow(missing_docs)]
#[repr(C)]
#[derive(Debug)]
pub struct State {
    /// ES, CS, SS, DS, FS, GS.
    pub segments: [VmcbSegment; 6],
    pub gdtr: VmcbSegment,
    pub ldtr: VmcbSegment,
    pub idtr: VmcbSegment,
    pub tr: VmcbSegment,
    _before_cpl: [u8; 0x2b],
    pub cpl: u8,
    _behind_cpl: u32,
    pub efer: u64,
    _before_cr4: [u8; 0x70],
    pub(super) cr4: u64,
    pub cr3: u64,
    pub(super) cr0: u64,
    pub dr7: u64,
    pub dr6: u64,
    pub rflags: u64,
    pub rip: u64,
    _before_rsp: [u8; 0x58],
    pub rsp: u64,
    _before_rax: [u64; 3],
    pub rax: u64,
    /// STAR, LSTAR, CSTAR, SFMASK, KERNEL_GS_BASE, SYSENTER_CS, _ESP, _EIP.
    pub system_calls: [u64; 8],
    cr2: u64,
    _before_pat: [u64; 4],
    pub pat: u64,
    _save_end: [u8; 0x990],
}

const _: () = {
    const STATE: usize = 0x400;
    assert!(offset_of!(Vmcb, state) == STATE);
    assert!(size_of::<Vmcb>() == FRAME_BYTES as usize);
    assert!(offset_of!(Control, intercept_exceptions) == 0x008);
    assert!(offset_of!(Control, intercept3) == 0x00c);
    assert!(offset_of!(Control, iopm_base) == 0x040);
    assert!(offset_of!(Control, tsc_offset) == 0x050);
    assert!(offset_of!(Control, asid) == 0x058);
    assert!(offset_of!(Control, tlb_control) == 0x05c);
    assert!(offset_of!(Control, virtual_interrupt) == 0x060);
    assert!(offset_of!(Control, interrupt_shadow) == 0x068);
    assert!(offset_of!(Control, exit_code) == 0x070);
    assert!(offset_of!(Control, exit_interrupt_info) == 0x088);
    assert!(offset_of!(Control, nested_paging) == 0x090);
    assert!(offset_of!(Control, event_injection) == 0x0a8);
    assert!(offset_of!(Control, nested_cr3) == 0x0b0);
    assert!(offset_of!(Control, next_rip) == 0x0c8);
    assert!(offset_of!(Control, fetched_len) == 0x0d0);
    assert!(offset_of!(Control, seen_cr0) == 0x3e0);
    assert!(offset_of!(State, segments) == 0x400 - STATE);
    assert!(offset_of!(State, gdtr) == 0x460 - STATE);
    assert!(offset_of!(State, ldtr) == 0x470 - STATE);
    assert!(offset_of!(State, idtr) == 0x480 - STATE);
    assert!(offset_of!(State, tr) == 0x490 - STATE);
    assert!(offset_of!(State, cpl) == 0x4cb - STATE);
    assert!(offset_of!(State, efer) == 0x4d0 - STATE);
    assert!(offset_of!(State, cr4) == 0x548 - STATE);
    assert!(offset_of!(State, rflags) == 0x570 - STATE);
    assert!(offset_of!(State, rip) == 0x578 - STATE);
    assert!(offset_of!(State, rsp) == 0x5d8 - STATE);
    assert!(offset_of!(State, rax) == 0x5f8 - STATE);
    assert!(offset_of!(State, cr2) == 0x640 - STATE);
    assert!(offset_of!(State, pat) == 0x668 - STATE);
};

impl Vmcb {
    /// The control block in `frame`.
    pub(super) fn of(frame: &Frame) -> &Self {
        let words = frame.words();
        assert_eq!(size_of_val(words), size_of::<Self>(), "a VMCB is one frame");
        // SAFETY: a frame is aligned and, as just checked, large enough; any bits are a `Vmcb`.
        unsafe { &*words.as_ptr().cast() }
    }

    /// The control block in `frame`, to change.
    pub(super) fn of_mut(frame: &mut Frame) -> &mut Self {
        let words = frame.words_mut();
        assert_eq!(size_of_val(words), size_of::<Self>(), "a VMCB is one frame");
        // SAFETY: as for `of`; the frame is borrowed mutably for as long.
        unsafe { &mut *words.as_mut_ptr().cast() }
    }
}

impl State {
    /// CR2.
    #[must_use]
    pub const fn cr2(&self) -> u64 {
        self.cr2
    }

    /// Sets it; [`super::Loaded::set_cr2`] sets the processor's.
    pub(super) const fn set_cr2(&mut self, value: u64) {
        self.cr2 = value;
    }

    /// A segment register, by [`vmm_common::registers::segment`].
    #[must_use]
    pub const fn segment(&self, index: usize) -> &VmcbSegment {
        match index {
            segment::LDTR => &self.ldtr,
            segment::TR => &self.tr,
            _ => &self.segments[index],
        }
    }

    /// A segment register, to change.
    pub const fn segment_mut(&mut self, index: usize) -> &mut VmcbSegment {
        match index {
            segment::LDTR => &mut self.ldtr,
            segment::TR => &mut self.tr,
            _ => &mut self.segments[index],
        }
    }
}

const PRESENT: u32 = 1 << 7;
const UNUSABLE: u32 = 1 << 16;

impl From<Segment> for VmcbSegment {
    /// An unusable segment is not present here.
    fn from(segment: Segment) -> Self {
        let Segment { selector, base, limit, access } = segment;
        let attributes = match access & UNUSABLE {
            0 => (access & 0xff) | (access >> 4 & 0xf00),
            _ => 0,
        };
        Self { selector, attributes: attributes as u16, limit, base }
    }
}

impl From<VmcbSegment> for Segment {
    fn from(segment: VmcbSegment) -> Self {
        let VmcbSegment { selector, attributes, limit, base } = segment;
        let attributes = u32::from(attributes);
        let access = (attributes & 0xff) | (attributes & 0xf00) << 4;
        let unusable = if access & PRESENT == 0 { UNUSABLE } else { 0 };
        Self { selector, base, limit, access: access | unusable }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_of_a_64_bit_code_segment_are_packed_and_unpacked() {
        let code = Segment { selector: 8, base: 0, limit: 0xffff_ffff, access: 0xa09b };
        let packed = VmcbSegment::from(code);
        assert_eq!(packed.attributes, 0xa9b);
        assert_eq!(Segment::from(packed), code);
    }

    #[test]
    fn unusable_segment_is_not_present_and_back() {
        let unusable = Segment { selector: 0, base: 0, limit: 0, access: 0x1_0000 };
        assert_eq!(VmcbSegment::from(unusable).attributes, 0);
        assert_eq!(Segment::from(VmcbSegment::from(unusable)), unusable);
    }
}
