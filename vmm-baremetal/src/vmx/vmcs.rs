//! The VMCS: its fields, and the instructions that reach it (SDM vol. 3, appendix B and ch. 31).

use core::arch::{asm, naked_asm};
use core::fmt;

/// A field by its encoding, in the manual's order.
#[allow(missing_docs)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Field {
    Vpid = 0x0000,
    GuestEs = 0x0800,
    HostEs = 0x0c00,
    HostCs = 0x0c02,
    HostSs = 0x0c04,
    HostDs = 0x0c06,
    HostFs = 0x0c08,
    HostGs = 0x0c0a,
    HostTr = 0x0c0c,
    IoBitmapA = 0x2000,
    IoBitmapB = 0x2002,
    MsrBitmap = 0x2004,
    TscOffset = 0x2010,
    VirtualApicAddress = 0x2012,
    EptPointer = 0x201a,
    XssExitingBitmap = 0x202c,
    GuestPhysicalAddress = 0x2400,
    LinkPointer = 0x2800,
    GuestDebugctl = 0x2802,
    GuestPat = 0x2804,
    GuestEfer = 0x2806,
    GuestPdpte0 = 0x280a,
    GuestPdpte1 = 0x280c,
    GuestPdpte2 = 0x280e,
    GuestPdpte3 = 0x2810,
    HostPat = 0x2c00,
    HostEfer = 0x2c02,
    PinControls = 0x4000,
    PrimaryControls = 0x4002,
    ExceptionBitmap = 0x4004,
    PageFaultMask = 0x4006,
    PageFaultMatch = 0x4008,
    Cr3TargetCount = 0x400a,
    ExitControls = 0x400c,
    ExitMsrStoreCount = 0x400e,
    ExitMsrLoadCount = 0x4010,
    EntryControls = 0x4012,
    EntryMsrLoadCount = 0x4014,
    EntryInterruption = 0x4016,
    EntryErrorCode = 0x4018,
    EntryInstructionLength = 0x401a,
    TprThreshold = 0x401c,
    SecondaryControls = 0x401e,
    InstructionError = 0x4400,
    ExitReason = 0x4402,
    ExitInterruption = 0x4404,
    ExitErrorCode = 0x4406,
    IdtVectoring = 0x4408,
    IdtVectoringErrorCode = 0x440a,
    InstructionLength = 0x440c,
    InstructionInformation = 0x440e,
    GuestEsLimit = 0x4800,
    GuestGdtrLimit = 0x4810,
    GuestIdtrLimit = 0x4812,
    GuestEsAccess = 0x4814,
    GuestInterruptibility = 0x4824,
    GuestActivity = 0x4826,
    GuestSysenterCs = 0x482a,
    TimerValue = 0x482e,
    HostSysenterCs = 0x4c00,
    Cr0Mask = 0x6000,
    Cr4Mask = 0x6002,
    Cr0Shadow = 0x6004,
    Cr4Shadow = 0x6006,
    Qualification = 0x6400,
    GuestLinearAddress = 0x640a,
    GuestCr0 = 0x6800,
    GuestCr3 = 0x6802,
    GuestCr4 = 0x6804,
    GuestEsBase = 0x6806,
    GuestGdtrBase = 0x6816,
    GuestIdtrBase = 0x6818,
    GuestDr7 = 0x681a,
    GuestRsp = 0x681c,
    GuestRip = 0x681e,
    GuestRflags = 0x6820,
    GuestPendingDebug = 0x6822,
    GuestSysenterEsp = 0x6824,
    GuestSysenterEip = 0x6826,
    HostCr0 = 0x6c00,
    HostCr3 = 0x6c02,
    HostCr4 = 0x6c04,
    HostFsBase = 0x6c06,
    HostGsBase = 0x6c08,
    HostTrBase = 0x6c0a,
    HostGdtrBase = 0x6c0c,
    HostIdtrBase = 0x6c0e,
    HostSysenterEsp = 0x6c10,
    HostSysenterEip = 0x6c12,
    HostRip = 0x6c16,
}

/// An instruction of VMX that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// There is no current VMCS to tell why.
    Invalid,
    /// VM-instruction error (SDM vol. 3, 31.4).
    Numbered(u32),
}

/// Names of VM-instruction errors, by number.
const ERRORS: [&str; 29] = [
    "no error",
    "VMCALL in VMX root operation",
    "VMCLEAR with invalid address",
    "VMCLEAR with VMXON pointer",
    "VMLAUNCH with a VMCS that is not clear",
    "VMRESUME with a VMCS that was not launched",
    "VMRESUME after VMXOFF",
    "VM entry with invalid control fields",
    "VM entry with invalid host-state fields",
    "VMPTRLD with invalid address",
    "VMPTRLD with VMXON pointer",
    "VMPTRLD with a wrong revision",
    "VMREAD or VMWRITE of a field that does not exist",
    "VMWRITE to a read-only field",
    "unassigned error 14",
    "VMXON in VMX root operation",
    "VM entry with an invalid executive-VMCS pointer",
    "VM entry with an executive VMCS that was not launched",
    "VM entry with an executive-VMCS pointer that is not the VMXON pointer",
    "VMCALL with a VMCS that is not clear",
    "VMCALL with invalid VM-exit controls",
    "unassigned error 21",
    "VMCALL with a wrong MSEG revision",
    "VMXOFF under dual-monitor treatment",
    "VMCALL with invalid SMM-monitor features",
    "VM entry with invalid control fields in the executive VMCS",
    "VM entry with events blocked by MOV SS",
    "unassigned error 27",
    "invalid operand to INVEPT or INVVPID",
];

/// The name of a VM-instruction error.
#[must_use]
pub fn error_name(number: u32) -> &'static str {
    ERRORS.get(number as usize).unwrap_or(&"unassigned error")
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Invalid => f.write_str("a VMX instruction failed without a current VMCS"),
            Self::Numbered(number) => write!(f, "VMX: {} ({number})", error_name(*number)),
        }
    }
}

/// Reads a field of the current VMCS. Without one, that is our bug.
#[must_use]
pub fn read(field: Field) -> u64 {
    read_at(field as u32)
}

/// Reads the field `index` steps of 2 behind `first`: the segment registers' fields lie so.
#[must_use]
pub fn read_nth(first: Field, index: usize) -> u64 {
    read_at(first as u32 + 2 * index as u32)
}

#[inline]
fn read_at(encoding: u32) -> u64 {
    let value: u64;
    // SAFETY: reading a VMCS changes nothing but flags; outside VMX operation #UD ends the program
    // with a report, and a failure ends it here.
    unsafe {
        asm!(
            "vmread {value}, {field}",
            "jbe {failed}",
            value = out(reg) value,
            field = in(reg) u64::from(encoding),
            failed = sym access_failed,
        );
    }
    value
}

/// Where a VMREAD or VMWRITE goes on that failed. Jumped to, so that the stack has to be aligned.
#[unsafe(naked)]
extern "sysv64" fn access_failed() -> ! {
    extern "sysv64" fn report() -> ! {
        panic!("VMREAD or VMWRITE: {}", error_name(read(Field::InstructionError) as u32));
    }
    naked_asm!("and rsp, -16", "call {report}", "ud2", report = sym report)
}

/// Writes a field of the current VMCS. Without one, that is our bug.
///
/// # Safety
/// The value must not let the guest reach what is not its own, and a field of the host must hold
/// what this program can go on with after an exit.
pub unsafe fn write(field: Field, value: u64) {
    // SAFETY: the caller's promise.
    unsafe { write_at(field as u32, value) }
}

/// [`write`] to the field `index` steps of 2 behind `first`.
///
/// # Safety
/// As for [`write`].
pub unsafe fn write_nth(first: Field, index: usize, value: u64) {
    // SAFETY: the caller's promise.
    unsafe { write_at(first as u32 + 2 * index as u32, value) }
}

#[inline]
unsafe fn write_at(encoding: u32, value: u64) {
    // SAFETY: the caller's promise; a failure ends the program.
    unsafe {
        asm!(
            "vmwrite {field}, {value}",
            "jbe {failed}",
            value = in(reg) value,
            field = in(reg) u64::from(encoding),
            failed = sym access_failed,
        );
    }
}

/// The instructions that take an address in memory that holds a physical address.
macro_rules! with_pointer {
    ($($name:ident $instruction:literal $what:literal;)*) => {$(
        #[doc = $what]
        ///
        /// # Errors
        /// [`Failure`], as the instruction's page of the manual lists them.
        ///
        /// # Safety
        /// The region at `address` must be the processor's own until it is cleared or VMX ends.
        pub unsafe fn $name(address: u64) -> Result<(), Failure> {
            let (is_invalid, is_numbered): (u8, u8);
            // SAFETY: the caller's promise.
            unsafe {
                asm!(
                    concat!($instruction, " [{address}]"),
                    "setc {is_invalid}",
                    "setz {is_numbered}",
                    address = in(reg) &raw const address,
                    is_invalid = out(reg_byte) is_invalid,
                    is_numbered = out(reg_byte) is_numbered,
                    options(nostack),
                );
            }
            outcome(is_invalid, is_numbered)
        }
    )*};
}

with_pointer! {
    vmxon "vmxon" "Enters VMX operation.";
    vmclear "vmclear" "Makes a VMCS clear: not current, not launched, all in memory.";
    vmptrld "vmptrld" "Makes a VMCS the current one.";
}

/// VMXOFF.
///
/// # Safety
/// The processor must be in VMX root operation, and no VMCS used after this.
pub unsafe fn vmxoff() {
    // SAFETY: the caller's promise.
    unsafe { asm!("vmxoff", options(nostack)) };
}

/// INVEPT or INVVPID of a single context.
macro_rules! invalidate {
    ($($name:ident $instruction:literal $context:literal;)*) => {$(
        #[doc = concat!("Drops the cached translations of one ", $context, ".")]
        ///
        /// # Errors
        /// [`Failure`] if the processor does not take the operand.
        pub fn $name(context: u64) -> Result<(), Failure> {
            const SINGLE_CONTEXT: u64 = 1;
            let descriptor = [context, 0];
            let (is_invalid, is_numbered): (u8, u8);
            // SAFETY: translations that are dropped are made anew from the tables.
            unsafe {
                asm!(
                    concat!($instruction, " {kind}, [{descriptor}]"),
                    "setc {is_invalid}",
                    "setz {is_numbered}",
                    kind = in(reg) SINGLE_CONTEXT,
                    descriptor = in(reg) &raw const descriptor,
                    is_invalid = out(reg_byte) is_invalid,
                    is_numbered = out(reg_byte) is_numbered,
                    options(nostack),
                );
            }
            outcome(is_invalid, is_numbered)
        }
    )*};
}

invalidate! {
    invept "invept" "EPT pointer";
    invvpid "invvpid" "VPID";
}

fn outcome(is_invalid: u8, is_numbered: u8) -> Result<(), Failure> {
    match (is_invalid, is_numbered) {
        (0, 0) => Ok(()),
        (0, _) => Err(Failure::Numbered(read(Field::InstructionError) as u32)),
        (_, _) => Err(Failure::Invalid),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_have_their_manuals_numbers() {
        assert_eq!(error_name(7), "VM entry with invalid control fields");
        assert_eq!(error_name(26), "VM entry with events blocked by MOV SS");
        assert_eq!(error_name(28), "invalid operand to INVEPT or INVVPID");
        assert_eq!(error_name(99), "unassigned error");
    }
}
