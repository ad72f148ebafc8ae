//! The fields of a VMCS (SDM vol. 3, appendix B). Their encodings are the `x86` crate's.

use x86::vmx::vmcs::{control, guest, host, ro};

/// A field by its encoding, in the manual's order.
#[allow(missing_docs)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Field {
    Vpid = control::VPID,
    GuestEs = guest::ES_SELECTOR,
    HostEs = host::ES_SELECTOR,
    HostCs = host::CS_SELECTOR,
    HostSs = host::SS_SELECTOR,
    HostDs = host::DS_SELECTOR,
    HostFs = host::FS_SELECTOR,
    HostGs = host::GS_SELECTOR,
    HostTr = host::TR_SELECTOR,
    IoBitmapA = control::IO_BITMAP_A_ADDR_FULL,
    IoBitmapB = control::IO_BITMAP_B_ADDR_FULL,
    MsrBitmap = control::MSR_BITMAPS_ADDR_FULL,
    TscOffset = control::TSC_OFFSET_FULL,
    VirtualApicAddress = control::VIRT_APIC_ADDR_FULL,
    EptPointer = control::EPTP_FULL,
    XssExitingBitmap = control::XSS_EXITING_BITMAP_FULL,
    GuestPhysicalAddress = ro::GUEST_PHYSICAL_ADDR_FULL,
    LinkPointer = guest::LINK_PTR_FULL,
    GuestDebugctl = guest::IA32_DEBUGCTL_FULL,
    GuestPat = guest::IA32_PAT_FULL,
    GuestEfer = guest::IA32_EFER_FULL,
    GuestPdpte0 = guest::PDPTE0_FULL,
    GuestPdpte1 = guest::PDPTE1_FULL,
    GuestPdpte2 = guest::PDPTE2_FULL,
    GuestPdpte3 = guest::PDPTE3_FULL,
    HostPat = host::IA32_PAT_FULL,
    HostEfer = host::IA32_EFER_FULL,
    PinControls = control::PINBASED_EXEC_CONTROLS,
    PrimaryControls = control::PRIMARY_PROCBASED_EXEC_CONTROLS,
    ExceptionBitmap = control::EXCEPTION_BITMAP,
    PageFaultMask = control::PAGE_FAULT_ERR_CODE_MASK,
    PageFaultMatch = control::PAGE_FAULT_ERR_CODE_MATCH,
    Cr3TargetCount = control::CR3_TARGET_COUNT,
    ExitControls = control::VMEXIT_CONTROLS,
    ExitMsrStoreCount = control::VMEXIT_MSR_STORE_COUNT,
    ExitMsrLoadCount = control::VMEXIT_MSR_LOAD_COUNT,
    EntryControls = control::VMENTRY_CONTROLS,
    EntryMsrLoadCount = control::VMENTRY_MSR_LOAD_COUNT,
    EntryInterruption = control::VMENTRY_INTERRUPTION_INFO_FIELD,
    EntryErrorCode = control::VMENTRY_EXCEPTION_ERR_CODE,
    EntryInstructionLength = control::VMENTRY_INSTRUCTION_LEN,
    TprThreshold = control::TPR_THRESHOLD,
    SecondaryControls = control::SECONDARY_PROCBASED_EXEC_CONTROLS,
    PauseGap = control::PLE_GAP,
    PauseWindow = control::PLE_WINDOW,
    InstructionError = ro::VM_INSTRUCTION_ERROR,
    ExitReason = ro::EXIT_REASON,
    ExitInterruption = ro::VMEXIT_INTERRUPTION_INFO,
    ExitErrorCode = ro::VMEXIT_INTERRUPTION_ERR_CODE,
    IdtVectoring = ro::IDT_VECTORING_INFO,
    IdtVectoringErrorCode = ro::IDT_VECTORING_ERR_CODE,
    InstructionLength = ro::VMEXIT_INSTRUCTION_LEN,
    InstructionInformation = ro::VMEXIT_INSTRUCTION_INFO,
    GuestEsLimit = guest::ES_LIMIT,
    GuestGdtrLimit = guest::GDTR_LIMIT,
    GuestIdtrLimit = guest::IDTR_LIMIT,
    GuestEsAccess = guest::ES_ACCESS_RIGHTS,
    GuestInterruptibility = guest::INTERRUPTIBILITY_STATE,
    GuestActivity = guest::ACTIVITY_STATE,
    GuestSysenterCs = guest::IA32_SYSENTER_CS,
    TimerValue = guest::VMX_PREEMPTION_TIMER_VALUE,
    HostSysenterCs = host::IA32_SYSENTER_CS,
    Cr0Mask = control::CR0_GUEST_HOST_MASK,
    Cr4Mask = control::CR4_GUEST_HOST_MASK,
    Cr0Shadow = control::CR0_READ_SHADOW,
    Cr4Shadow = control::CR4_READ_SHADOW,
    Qualification = ro::EXIT_QUALIFICATION,
    GuestLinearAddress = ro::GUEST_LINEAR_ADDR,
    GuestCr0 = guest::CR0,
    GuestCr3 = guest::CR3,
    GuestCr4 = guest::CR4,
    GuestEsBase = guest::ES_BASE,
    GuestGdtrBase = guest::GDTR_BASE,
    GuestIdtrBase = guest::IDTR_BASE,
    GuestDr7 = guest::DR7,
    GuestRsp = guest::RSP,
    GuestRip = guest::RIP,
    GuestRflags = guest::RFLAGS,
    GuestPendingDebug = guest::PENDING_DBG_EXCEPTIONS,
    GuestSysenterEsp = guest::IA32_SYSENTER_ESP,
    GuestSysenterEip = guest::IA32_SYSENTER_EIP,
    HostCr0 = host::CR0,
    HostCr3 = host::CR3,
    HostCr4 = host::CR4,
    HostFsBase = host::FS_BASE,
    HostGsBase = host::GS_BASE,
    HostTrBase = host::TR_BASE,
    HostGdtrBase = host::GDTR_BASE,
    HostIdtrBase = host::IDTR_BASE,
    HostSysenterEsp = host::IA32_SYSENTER_ESP,
    HostSysenterEip = host::IA32_SYSENTER_EIP,
    HostRip = host::RIP,
}

impl Field {
    /// Whether it is of the guest-state area: bits 11:10 of an encoding (SDM vol. 3, appendix B).
    #[must_use]
    #[inline]
    pub const fn is_guest_state(self) -> bool {
        const GUEST_STATE: u32 = 2;
        self as u32 >> 10 & 3 == GUEST_STATE
    }
}

#[cfg(test)]
mod tests {
    use super::Field;

    /// From the manual's tables B-1 to B-17.
    const ENCODINGS: [(Field, u32); 23] = [
        (Field::Vpid, 0x0000),
        (Field::GuestEs, 0x0800),
        (Field::TscOffset, 0x2010),
        (Field::XssExitingBitmap, 0x202c),
        (Field::GuestPhysicalAddress, 0x2400),
        (Field::LinkPointer, 0x2800),
        (Field::GuestPdpte3, 0x2810),
        (Field::HostEfer, 0x2c02),
        (Field::EntryInterruption, 0x4016),
        (Field::SecondaryControls, 0x401e),
        (Field::ExitReason, 0x4402),
        (Field::InstructionInformation, 0x440e),
        (Field::GuestEsLimit, 0x4800),
        (Field::GuestEsAccess, 0x4814),
        (Field::TimerValue, 0x482e),
        (Field::HostSysenterCs, 0x4c00),
        (Field::Cr0Mask, 0x6000),
        (Field::Qualification, 0x6400),
        (Field::GuestLinearAddress, 0x640a),
        (Field::GuestCr0, 0x6800),
        (Field::GuestPendingDebug, 0x6822),
        (Field::HostCr0, 0x6c00),
        (Field::HostRip, 0x6c16),
    ];

    #[test]
    fn encodings_are_the_manuals() {
        for (field, encoding) in ENCODINGS {
            assert_eq!(field as u32, encoding, "{field:?}");
            let is_guest_state = matches!(encoding >> 8 & 0xf, 0x8..=0xb);
            assert_eq!(field.is_guest_state(), is_guest_state, "{field:?}");
        }
    }
}
