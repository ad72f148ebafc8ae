//! What a guest does that stops its own VM, and the message for it.

/// What a guest did that stops its own VM.
#[allow(missing_docs)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The processor or its emulator could not carry out the instruction; with the backend's
    /// code (KVM: `internal.suberror`).
    CannotEmulate { code: u32 },
    /// An instruction that accesses a device and is not carried out by software: `len` of the
    /// bytes at CS:RIP.
    UnknownInstruction { bytes: [u8; SHOWN_BYTES], len: u8 },
    /// An instruction's bytes are where no RAM is.
    FetchOutsideRam { address: u64 },
    /// A page table is where no RAM is, and the instruction is not carried out by software.
    PageTableOutsideRam { address: u64 },
    /// An event was delivered by a table or to a stack where no RAM is.
    DeliveryOutsideRam { address: u64 },
    /// The processor refused the guest's state; with the hardware's reason.
    EntryFailed { reason: u64 },
    /// An exit that no grant covers; with the backend's number.
    Unexpected { exit: u32 },
    /// The host failed to run the vCPU; with its error number.
    Host { errno: i32 },
}

/// Of an instruction, in [`Fault::UnknownInstruction`]: with one more all exits would be larger.
pub const SHOWN_BYTES: usize = 14;

impl Fault {
    /// [`Fault::UnknownInstruction`] with the first of these bytes.
    #[must_use]
    pub fn unknown_instruction(from: &[u8]) -> Self {
        let mut bytes = [0; SHOWN_BYTES];
        let len = from.len().min(SHOWN_BYTES);
        bytes[..len].copy_from_slice(&from[..len]);
        Self::UnknownInstruction { bytes, len: len as u8 }
    }
}

impl core::fmt::Display for Fault {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::CannotEmulate { code } => {
                write!(f, "the processor could not carry out the instruction (code {code})")
            }
            Self::UnknownInstruction { bytes, len } => {
                write!(f, "an instruction that is not carried out accessed a device:")?;
                bytes.iter().take((*len).into()).try_for_each(|byte| write!(f, " {byte:02x}"))
            }
            Self::FetchOutsideRam { address } => {
                write!(f, "an instruction was fetched from {address:#x}, where no RAM is")
            }
            Self::PageTableOutsideRam { address } => {
                write!(f, "a page table lies at {address:#x}, where no RAM is")
            }
            Self::DeliveryOutsideRam { address } => {
                write!(
                    f,
                    "an event was delivered by way of {address:#x}, where no RAM is (IDT, GDT, \
                    TSS, stack or a page table)"
                )
            }
            Self::EntryFailed { reason } => {
                write!(f, "the processor refused the guest's state (reason {reason:#x})")
            }
            Self::Unexpected { exit } => write!(f, "an unexpected exit (number {exit})"),
            Self::Host { errno } => write!(f, "the host failed to run the vCPU (errno {errno})"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seam::ExitReason;
    use alloc::string::ToString;

    #[test]
    fn what_stops_a_vm_is_said_in_words() {
        let check = |fault: Fault, text: &str| assert_eq!(fault.to_string(), text);
        check(
            Fault::unknown_instruction(&[0xdd, 0x00]),
            "an instruction that is not carried out accessed a device: dd 00",
        );
        check(
            Fault::unknown_instruction(&[0x90; 15]),
            "an instruction that is not carried out accessed a device: \
             90 90 90 90 90 90 90 90 90 90 90 90 90 90",
        );
        check(
            Fault::FetchOutsideRam { address: 0xfed0_00f0 },
            "an instruction was fetched from 0xfed000f0, where no RAM is",
        );
        check(
            Fault::PageTableOutsideRam { address: 0x5000_0000 },
            "a page table lies at 0x50000000, where no RAM is",
        );
        check(
            Fault::DeliveryOutsideRam { address: 0x5000_0060 },
            "an event was delivered by way of 0x50000060, where no RAM is (IDT, GDT, TSS, stack or \
             a page table)",
        );
    }

    /// Every exit is copied, and recorded in the trace.
    #[test]
    fn no_fault_makes_all_exits_larger() {
        assert_eq!((size_of::<Fault>(), size_of::<ExitReason>()), (16, 24));
    }
}
