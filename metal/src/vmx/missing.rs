//! What VMX needs and a processor or its firmware may lack, in words.

use core::fmt;

/// A missing requirement of this hypervisor.
#[allow(missing_docs)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    Vmx,
    Firmware,
    /// A control that cannot be set.
    Control {
        name: &'static str,
    },
    /// A control that cannot be cleared.
    Off {
        word: &'static str,
        bit: u32,
    },
    EptFourLevels,
    EptWriteBack,
    Invept,
    Invvpid,
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Vmx => f.write_str("the processor has no VMX (CPUID 1, ECX bit 5)"),
            Self::Firmware => f.write_str(
                "firmware has locked VMX off (IA32_FEATURE_CONTROL): switch it on in its setup",
            ),
            Self::Control { name } => write!(f, "the processor's VMX has no \"{name}\" control"),
            Self::Off { word, bit } => {
                write!(f, "the processor's VMX demands bit {bit} of the {word} controls")
            }
            Self::EptFourLevels => f.write_str("EPT has no tables of four levels"),
            Self::EptWriteBack => f.write_str("EPT tables cannot lie in write-back memory"),
            Self::Invept => f.write_str("the processor has no single-context INVEPT"),
            Self::Invvpid => f.write_str("the processor has no single-context INVVPID"),
        }
    }
}
