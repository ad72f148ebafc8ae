//! A new VMCS: controls, and the guest's registers at boot (SDM vol. 3, 25.4 to 25.8).

use super::control_registers::Split;
use super::controls::{Controls, IA32E_GUEST, VPID, XSAVES};
use super::vmcs::{Field, write, write_nth};
use crate::cpu::efer;
use crate::cpu::register::{DR7_RESET, PAT_RESET};
use vmm_common::registers::CpuState;

/// The bit of RFLAGS that is always set.
pub const RFLAGS_ALWAYS: u64 = 1 << 1;
const NO_LINK: u64 = u64::MAX;

/// Physical addresses and numbers that the controls refer to.
pub struct Places {
    /// Two I/O bitmaps, then the MSR bitmap.
    pub bitmaps: u64,
    pub ept_pointer: u64,
    /// The page whose byte at 0x80 is the guest's task priority.
    pub virtual_apic: u64,
    pub vpid: u16,
    pub exceptions: u64,
}

/// Fills the controls of the current VMCS.
pub fn write_controls(controls: &Controls, split: &Split, places: &Places) {
    let fields = [
        (Field::PinControls, controls.pin.into()),
        (Field::PrimaryControls, controls.primary.into()),
        (Field::SecondaryControls, controls.secondary.into()),
        (Field::ExitControls, controls.exit.into()),
        (Field::EntryControls, controls.entry.into()),
        (Field::ExceptionBitmap, places.exceptions),
        (Field::PageFaultMask, 0),
        (Field::PageFaultMatch, 0),
        (Field::Cr3TargetCount, 0),
        (Field::ExitMsrStoreCount, 0),
        (Field::ExitMsrLoadCount, 0),
        (Field::EntryMsrLoadCount, 0),
        (Field::EntryInterruption, 0),
        (Field::IoBitmapA, places.bitmaps),
        (Field::IoBitmapB, places.bitmaps + 0x1000),
        (Field::MsrBitmap, places.bitmaps + 0x2000),
        (Field::EptPointer, places.ept_pointer),
        (Field::TscOffset, 0),
        (Field::VirtualApicAddress, places.virtual_apic),
        (Field::TprThreshold, 0),
        (Field::Cr0Mask, split.cr0_mask),
        (Field::Cr4Mask, split.cr4_mask),
    ];
    for (field, value) in fields {
        // SAFETY: the controls deny everything but the guest's own RAM and registers.
        unsafe { write(field, value) };
    }
    if controls.secondary & VPID != 0 {
        // SAFETY: no other vCPU has this one.
        unsafe { write(Field::Vpid, places.vpid.into()) };
    }
    if controls.secondary & XSAVES != 0 {
        // SAFETY: XSAVES and XRSTORS move the guest's own state only.
        unsafe { write(Field::XssExitingBitmap, 0) };
    }
}

/// Fills the guest's registers in the current VMCS. The general registers are not in it.
pub fn write_guest(boot: &CpuState, split: &Split, controls: &Controls) {
    let is_long = boot.efer & efer::LMA != 0;
    let entry = controls.entry | if is_long { IA32E_GUEST } else { 0 };
    let fields = [
        (Field::EntryControls, entry.into()),
        (Field::GuestCr0, split.real_cr0(boot.cr0)),
        (Field::Cr0Shadow, boot.cr0),
        (Field::GuestCr3, boot.cr3),
        (Field::GuestCr4, split.real_cr4(boot.cr4)),
        (Field::Cr4Shadow, 0),
        (Field::GuestEfer, boot.efer),
        (Field::GuestPat, PAT_RESET),
        (Field::GuestRip, boot.rip),
        (Field::GuestRsp, boot.general[vmm_common::registers::general::RSP]),
        (Field::GuestRflags, boot.rflags | RFLAGS_ALWAYS),
        (Field::GuestDr7, DR7_RESET),
        (Field::GuestDebugctl, 0),
        (Field::GuestSysenterCs, 0),
        (Field::GuestSysenterEsp, 0),
        (Field::GuestSysenterEip, 0),
        (Field::GuestGdtrBase, boot.gdtr.base),
        (Field::GuestGdtrLimit, boot.gdtr.limit.into()),
        (Field::GuestIdtrBase, boot.idtr.base),
        (Field::GuestIdtrLimit, boot.idtr.limit.into()),
        (Field::GuestInterruptibility, 0),
        (Field::GuestActivity, 0),
        (Field::GuestPendingDebug, 0),
        (Field::GuestPdpte0, 0),
        (Field::GuestPdpte1, 0),
        (Field::GuestPdpte2, 0),
        (Field::GuestPdpte3, 0),
        (Field::LinkPointer, NO_LINK),
    ];
    for (field, value) in fields {
        // SAFETY: the guest's registers are its own; what it reaches, the controls decide.
        unsafe { write(field, value) };
    }
    for (index, segment) in boot.segments.iter().enumerate() {
        for (first, value) in [
            (Field::GuestEs, segment.selector.into()),
            (Field::GuestEsBase, segment.base),
            (Field::GuestEsLimit, segment.limit.into()),
            (Field::GuestEsAccess, segment.access.into()),
        ] {
            // SAFETY: as above.
            unsafe { write_nth(first, index, value) };
        }
    }
}
