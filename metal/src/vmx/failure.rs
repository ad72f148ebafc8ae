//! Why VMX cannot be used, and why an instruction of it failed (SDM vol. 3, 31.4).

use super::missing::Missing;
use crate::frames::OutOfFrames;
use core::fmt;

/// Why VMX or a vCPU cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// The processor or its firmware lacks something.
    Missing(Missing),
    /// No memory for a structure.
    OutOfFrames,
    /// An instruction of VMX failed.
    Instruction(Failure),
}

/// An instruction of VMX that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// VMfailInvalid: there is no current VMCS for an error number.
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

impl From<Missing> for Error {
    fn from(missing: Missing) -> Self {
        Self::Missing(missing)
    }
}

impl From<OutOfFrames> for Error {
    fn from(_: OutOfFrames) -> Self {
        Self::OutOfFrames
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        Self::Instruction(failure)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing(missing) => missing.fmt(f),
            Self::OutOfFrames => f.write_str("no memory left for VMX structures"),
            Self::Instruction(failure) => failure.fmt(f),
        }
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
