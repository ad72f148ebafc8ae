//! The fields of a new VMCS: controls, and the guest's registers at boot (SDM vol. 3, 25.4 to
//! 25.8).

use super::control_registers::Split;
use super::controls::{Controls, PAUSE_LOOP_EXITING, VPID, XSAVES};
use super::field::Field;
use crate::architecture::{reset, rflags, vector};
use vmm_common::registers::{CpuState, general};

const NO_LINK: u64 = u64::MAX;
/// Machine checks are the host's. Debug and alignment exceptions whose delivery raises them again
/// would hold the processor for ever. A debugger may want breakpoints.
const EXCEPTIONS: u64 = 1 << vector::DB | 1 << vector::BP | 1 << vector::AC | 1 << vector::MC;

/// PAUSEs at most so many ticks of the TSC apart are one loop, which exits after so many: Linux's
/// KVM has the same.
const PAUSE_GAP: u64 = 128;
const PAUSE_WINDOW: u64 = 4096;

/// Physical addresses and numbers that the controls refer to.
#[derive(Clone, Copy)]
pub struct Places {
    /// Two I/O bitmaps, then the MSR bitmap.
    pub bitmaps: u64,
    pub ept_pointer: u64,
    /// The page whose byte at 0x80 is the guest's task priority.
    pub virtual_apic: u64,
    pub vpid: u16,
}

/// The controls.
pub fn controls(controls: &Controls, split: &Split, places: &Places) -> [(Field, u64); 23] {
    [
        (Field::PinControls, controls.pin.into()),
        (Field::PrimaryControls, controls.primary.into()),
        (Field::SecondaryControls, controls.secondary.into()),
        (Field::ExitControls, controls.exit.into()),
        (Field::EntryControls, controls.entry.into()),
        (Field::ExceptionBitmap, EXCEPTIONS),
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
        // An exit of a write to CR4 always means #GP.
        (Field::Cr4Shadow, 0),
    ]
}

/// Those that exist where these controls are set.
pub fn optional_controls(
    controls: &Controls,
    places: &Places,
) -> impl Iterator<Item = (Field, u64)> {
    let is_set = |control: u32| controls.secondary & control != 0;
    let vpid = is_set(VPID).then_some((Field::Vpid, places.vpid.into()));
    // XSAVES and XRSTORS move the guest's own state only.
    let xss = is_set(XSAVES).then_some((Field::XssExitingBitmap, 0));
    let pauses = is_set(PAUSE_LOOP_EXITING)
        .then_some([(Field::PauseGap, PAUSE_GAP), (Field::PauseWindow, PAUSE_WINDOW)]);
    vpid.into_iter().chain(xss).chain(pauses.into_iter().flatten())
}

/// The guest's registers, but for control registers and segments. The general registers are not in
/// a VMCS.
pub fn registers(boot: &CpuState) -> [(Field, u64); 23] {
    [
        (Field::GuestCr3, boot.cr3),
        (Field::GuestPat, reset::PAT),
        (Field::GuestRip, boot.rip),
        (Field::GuestRsp, boot.general[general::RSP]),
        (Field::GuestRflags, boot.rflags | rflags::ALWAYS),
        (Field::GuestDr7, reset::DR7),
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
        (Field::TimerValue, 0),
    ]
}
