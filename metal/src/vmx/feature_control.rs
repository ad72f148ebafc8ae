//! Whether firmware allows VMX (SDM vol. 3, 24.7).

use super::missing::Missing;
use x86::msr::IA32_FEATURE_CONTROL;

const FEATURE_LOCKED: u64 = 1 << 0;
const FEATURE_VMX_OUTSIDE_SMX: u64 = 1 << 2;

/// Firmware's setting for VMX, where it does not forbid it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Firmware {
    /// It allows it.
    Allowed,
    /// It sets nothing: this is to be written to IA32_FEATURE_CONTROL.
    Unlocked {
        /// What it holds, with VMX allowed and the lock set.
        value: u64,
    },
}

/// Whether CPUID leaf 1 announces VMX.
#[must_use]
pub const fn has_vmx(leaf_1_ecx: u32) -> bool {
    leaf_1_ecx & 1 << 5 != 0
}

/// What IA32_FEATURE_CONTROL says (SDM vol. 3, 24.7).
///
/// # Errors
/// [`Missing::Firmware`] if VMX is locked off.
pub fn firmware(read_msr: impl Fn(u32) -> u64) -> Result<Firmware, Missing> {
    let value = read_msr(IA32_FEATURE_CONTROL);
    match (value & FEATURE_LOCKED != 0, value & FEATURE_VMX_OUTSIDE_SMX != 0) {
        (true, true) => Ok(Firmware::Allowed),
        (true, false) => Err(Missing::Firmware),
        (false, _) => {
            Ok(Firmware::Unlocked { value: value | FEATURE_LOCKED | FEATURE_VMX_OUTSIDE_SMX })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn firmware_allows_forbids_or_says_nothing() {
        assert_eq!(firmware(|_| 5), Ok(Firmware::Allowed));
        assert_eq!(firmware(|_| 1), Err(Missing::Firmware));
        assert_eq!(firmware(|_| 0), Ok(Firmware::Unlocked { value: 5 }));
    }
}
