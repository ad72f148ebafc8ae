//! What the processor's VMX can do, from its capability MSRs (SDM vol. 3, appendix A).

use super::controls::{self, Controls};
use super::missing::Missing;
use x86::msr::{
    IA32_VMX_BASIC, IA32_VMX_CR0_FIXED0, IA32_VMX_CR0_FIXED1, IA32_VMX_CR4_FIXED0,
    IA32_VMX_CR4_FIXED1, IA32_VMX_ENTRY_CTLS, IA32_VMX_EPT_VPID_CAP, IA32_VMX_EXIT_CTLS,
    IA32_VMX_MISC, IA32_VMX_PINBASED_CTLS, IA32_VMX_PROCBASED_CTLS, IA32_VMX_PROCBASED_CTLS2,
    IA32_VMX_TRUE_ENTRY_CTLS, IA32_VMX_TRUE_EXIT_CTLS, IA32_VMX_TRUE_PINBASED_CTLS,
    IA32_VMX_TRUE_PROCBASED_CTLS,
};

const BASIC_STRING_INFORMATION: u64 = 1 << 54;
const BASIC_TRUE_CONTROLS: u64 = 1 << 55;

const EPT_4_LEVELS: u64 = 1 << 6;
const EPT_WRITE_BACK: u64 = 1 << 14;
const EPT_2M: u64 = 1 << 16;
const EPT_1G: u64 = 1 << 17;
/// EPT can map more than 4 KiB at once.
pub(super) const EPT_LARGE: u64 = EPT_2M | EPT_1G;
const INVEPT_SINGLE: u64 = 1 << 20 | 1 << 25;
const INVVPID_SINGLE: u64 = 1 << 32 | 1 << 41;

/// The capability MSRs that matter here. Those of controls hold the bits that must be 1 in their
/// low half, those that may be 1 in their high half.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// IA32_VMX_BASIC.
    pub basic: u64,
    /// Pin-based controls.
    pub pin: u64,
    /// Primary processor-based controls.
    pub primary: u64,
    /// Secondary processor-based controls.
    pub secondary: u64,
    /// VM-exit controls.
    pub exit: u64,
    /// VM-entry controls.
    pub entry: u64,
    /// IA32_VMX_MISC.
    pub misc: u64,
    /// Bits of CR0 that must be 1.
    pub cr0_fixed0: u64,
    /// Bits of CR0 that may be 1.
    pub cr0_fixed1: u64,
    /// Bits of CR4 that must be 1.
    pub cr4_fixed0: u64,
    /// Bits of CR4 that may be 1.
    pub cr4_fixed1: u64,
    /// IA32_VMX_EPT_VPID_CAP.
    pub ept_vpid: u64,
}

impl Capabilities {
    /// Reads them. A register that the processor does not have is not read, and is 0 here.
    pub fn read(read_msr: impl Fn(u32) -> u64) -> Self {
        const HAS_SECONDARY: u64 = 1 << (32 + 31);
        const HAS_EPT_OR_VPID: u64 = (1 << 1 | 1 << 5) << 32;
        let basic = read_msr(IA32_VMX_BASIC);
        let has_true = basic & BASIC_TRUE_CONTROLS != 0;
        let either = |old, new| read_msr(if has_true { new } else { old });
        let primary = either(IA32_VMX_PROCBASED_CTLS, IA32_VMX_TRUE_PROCBASED_CTLS);
        let secondary =
            if primary & HAS_SECONDARY != 0 { read_msr(IA32_VMX_PROCBASED_CTLS2) } else { 0 };
        Self {
            basic,
            pin: either(IA32_VMX_PINBASED_CTLS, IA32_VMX_TRUE_PINBASED_CTLS),
            primary,
            secondary,
            exit: either(IA32_VMX_EXIT_CTLS, IA32_VMX_TRUE_EXIT_CTLS),
            entry: either(IA32_VMX_ENTRY_CTLS, IA32_VMX_TRUE_ENTRY_CTLS),
            misc: read_msr(IA32_VMX_MISC),
            cr0_fixed0: read_msr(IA32_VMX_CR0_FIXED0),
            cr0_fixed1: read_msr(IA32_VMX_CR0_FIXED1),
            cr4_fixed0: read_msr(IA32_VMX_CR4_FIXED0),
            cr4_fixed1: read_msr(IA32_VMX_CR4_FIXED1),
            ept_vpid: if secondary & HAS_EPT_OR_VPID != 0 {
                read_msr(IA32_VMX_EPT_VPID_CAP)
            } else {
                0
            },
        }
    }

    /// Whether everything that is needed is there.
    ///
    /// # Errors
    /// The first thing that is not.
    pub fn check(&self) -> Result<(), Missing> {
        Controls::new(self, false)?;
        let has_vpid = self.secondary >> 32 & u64::from(controls::VPID) != 0;
        let invvpid = if has_vpid { INVVPID_SINGLE } else { 0 };
        let all = |bits| self.ept_vpid & bits == bits;
        for (bits, missing) in [
            (EPT_4_LEVELS, Missing::EptFourLevels),
            (EPT_WRITE_BACK, Missing::EptWriteBack),
            (INVEPT_SINGLE, Missing::Invept),
            (invvpid, Missing::Invvpid),
        ] {
            if !all(bits) {
                return Err(missing);
            }
        }
        Ok(())
    }

    /// What the first word of a VMCS or VMXON region holds.
    #[must_use]
    pub const fn revision(&self) -> u32 {
        self.basic as u32 & 0x7fff_ffff
    }

    /// INS and OUTS exits report segment and address size.
    #[must_use]
    pub const fn has_string_information(&self) -> bool {
        self.basic & BASIC_STRING_INFORMATION != 0
    }

    /// The preemption timer counts once for each 2 to this power of the TSC.
    #[must_use]
    pub const fn timer_shift(&self) -> u32 {
        self.misc as u32 & 0x1f
    }

    /// EPT can map 2 MiB at once.
    #[must_use]
    pub const fn has_2m_pages(&self) -> bool {
        self.ept_vpid & EPT_2M != 0
    }

    /// EPT can map 1 GiB at once.
    #[must_use]
    pub const fn has_1g_pages(&self) -> bool {
        self.ept_vpid & EPT_1G != 0
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Bochs 2.7's Skylake-X.
    pub fn skylake(index: u32) -> u64 {
        match index {
            0x3a => 5,
            0x480 => 0x00d8_1000_0000_002b,
            0x481 | 0x48d => 0x0000_007f_0000_0016,
            0x482 | 0x48e => 0xf7f9_fffe_0401_e172,
            0x483 | 0x48f => 0x007f_ffff_0003_6dff,
            0x484 | 0x490 => 0x0000_ffff_0000_11ff,
            0x485 => 0x6004_01e0,
            0x486 => 0x8000_0021,
            0x487 | 0x489 => 0xffff_ffff,
            0x488 => 0x2000,
            0x48b => 0x0217_7fff_0000_0000,
            0x48c => 0x0000_0f01_0633_4141,
            _ => panic!("{index:#x}"),
        }
    }

    #[test]
    fn a_skylake_has_all_that_is_needed() {
        let skylake = Capabilities::read(skylake);
        assert_eq!(skylake.check(), Ok(()));
        assert_eq!((skylake.revision(), skylake.timer_shift()), (0x2b, 0));
        assert!(skylake.has_string_information());
        assert!(skylake.has_1g_pages() && skylake.has_2m_pages());
    }

    #[test]
    fn a_missing_control_is_named() {
        let without = |at: u32, bits: u64| {
            Capabilities::read(move |index| {
                let is_it = index == at || index == at + 12 && at < 0x485;
                skylake(index) & if is_it { !bits } else { u64::MAX }
            })
            .check()
            .map_err(|missing| missing.to_string())
        };
        let names = |result: Result<(), String>, name: &str| {
            assert!(result.as_ref().is_err_and(|text| text.contains(name)), "{result:?} {name}");
        };
        names(without(0x481, 1 << 38), "preemption timer");
        names(without(0x482, 1 << 63), "secondary controls");
        names(without(0x48b, 1 << 33), "enable EPT");
        names(without(0x48b, 1 << 39), "unrestricted guest");
        names(without(0x483, 1 << 53), "load IA32_EFER");
        names(without(0x484, 1 << 46), "load IA32_PAT");
        names(without(0x48c, 1 << 14), "write-back");
        names(without(0x48c, 1 << 6), "four levels");
    }

    #[test]
    fn true_controls_are_read_where_there_are_some() {
        let old = Capabilities::read(|index| match index {
            0x480 => 0x2b,
            0x48d..=0x490 => panic!("not there"),
            _ => skylake(index),
        });
        assert_eq!(old.check(), Ok(()));
    }
}
