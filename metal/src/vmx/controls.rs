//! The control fields of a VMCS: what causes a VM exit. The ports and MSRs that cause none are in
//! the bitmaps.

use super::capabilities::Capabilities;
use super::missing::Missing;

/// Primary control: exit as soon as an interrupt can be delivered.
pub const INTERRUPT_WINDOW: u32 = 1 << 2;
/// Primary control: exit as soon as a non-maskable interrupt can be delivered.
pub const NMI_WINDOW: u32 = 1 << 22;
/// Primary control: exit from MOV to and from debug registers.
pub const MOV_DR: u32 = 1 << 23;
/// Entry control: the guest is in IA-32e mode.
pub const IA32E_GUEST: u32 = 1 << 9;
/// Secondary control: translations are tagged with the vCPU's VPID. Without it, each entry and each
/// exit drops them.
pub const VPID: u32 = 1 << 5;
/// Secondary control: exit from a loop of PAUSE (SDM vol. 3, 26.1.3). Not for a vCPU alone.
pub const PAUSE_LOOP_EXITING: u32 = 1 << 10;
/// Secondary control: RDTSCP and RDPID do not raise #UD.
pub const RDTSCP: u32 = 1 << 3;
/// Secondary control: INVPCID does not raise #UD.
pub const INVPCID: u32 = 1 << 12;
/// Secondary control: XSAVES does not raise #UD, and the XSS-exiting bitmap exists.
pub const XSAVES: u32 = 1 << 20;

/// A control: its bit, and its name in the manual.
pub(super) type Control = (u32, &'static str);

pub(super) const PIN: [Control; 4] = [
    (1 << 0, "external-interrupt exiting"),
    (1 << 3, "NMI exiting"),
    (1 << 5, "virtual NMIs"),
    (1 << 6, "activate VMX-preemption timer"),
];

/// Wanted from the start, but for the two windows.
pub(super) const PRIMARY: [Control; 9] = [
    (1 << 3, "use TSC offsetting"),
    (1 << 7, "HLT exiting"),
    (1 << 10, "MWAIT exiting"),
    (1 << 11, "RDPMC exiting"),
    (1 << 21, "use TPR shadow"),
    (1 << 25, "use I/O bitmaps"),
    (1 << 28, "use MSR bitmaps"),
    (1 << 29, "MONITOR exiting"),
    (1 << 31, "activate secondary controls"),
];
const WINDOWS: [Control; 2] =
    [(INTERRUPT_WINDOW, "interrupt-window exiting"), (NMI_WINDOW, "NMI-window exiting")];

pub(super) const SECONDARY: [Control; 3] =
    [(1 << 1, "enable EPT"), (1 << 6, "WBINVD exiting"), (1 << 7, "unrestricted guest")];
/// VPID; and the instructions that raise #UD without their controls, which CPUID then hides.
pub(super) const SECONDARY_OPTIONAL: u32 = VPID | RDTSCP | INVPCID | XSAVES;

pub(super) const EXIT: [Control; 8] = [
    (1 << 2, "save debug controls"),
    (1 << 9, "host address-space size"),
    (1 << 15, "acknowledge interrupt on exit"),
    (1 << 18, "save IA32_PAT"),
    (1 << 19, "load IA32_PAT"),
    (1 << 20, "save IA32_EFER"),
    (1 << 21, "load IA32_EFER"),
    (1 << 22, "save VMX-preemption timer value"),
];

pub(super) const ENTRY: [Control; 3] =
    [(1 << 2, "load debug controls"), (1 << 14, "load IA32_PAT"), (1 << 15, "load IA32_EFER")];
const ENTRY_MODE: [Control; 1] = [(IA32E_GUEST, "IA-32e mode guest")];

/// The control fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Controls {
    /// Pin-based.
    pub pin: u32,
    /// Primary processor-based, without windows.
    pub primary: u32,
    /// Secondary processor-based.
    pub secondary: u32,
    /// VM-exit.
    pub exit: u32,
    /// VM-entry, without [`IA32E_GUEST`].
    pub entry: u32,
}

impl Controls {
    /// The fields for a processor with these capabilities, and a vCPU with or without siblings.
    ///
    /// # Errors
    /// [`Missing::Control`] names the first that is needed and cannot be set.
    pub fn new(capabilities: &Capabilities, has_siblings: bool) -> Result<Self, Missing> {
        let Capabilities { pin, primary, secondary, exit, entry, .. } = *capabilities;
        needed(primary, &WINDOWS)?;
        needed(entry, &ENTRY_MODE)?;
        let pauses = if has_siblings { PAUSE_LOOP_EXITING } else { 0 };
        Ok(Self {
            pin: needed(pin, &PIN)? | pin as u32,
            primary: needed(primary, &PRIMARY)? | primary as u32,
            secondary: needed(secondary, &SECONDARY)?
                | ((SECONDARY_OPTIONAL | pauses) & (secondary >> 32) as u32)
                | secondary as u32,
            exit: needed(exit, &EXIT)? | exit as u32,
            entry: needed(entry, &ENTRY)? | entry as u32,
        })
    }
}

/// All of `controls`, if the capability MSR allows them.
fn needed(capability: u64, controls: &[Control]) -> Result<u32, Missing> {
    let may_be_1 = (capability >> 32) as u32;
    controls.iter().try_fold(0, |bits, &(bit, name)| match may_be_1 & bit {
        0 => Err(Missing::Control { name }),
        _ => Ok(bits | bit),
    })
}

#[cfg(test)]
mod tests {
    use super::super::capabilities::tests::skylake;
    use super::*;

    #[test]
    fn a_skylake_gets_what_is_wanted_and_what_is_forced() {
        let controls = Controls::new(&Capabilities::read(skylake), false).expect("has all");
        assert_eq!(controls.pin, 0x7f);
        assert_eq!(controls.primary, 0xb221_0c88 | 0x0401_e172);
        assert_eq!(controls.primary & (INTERRUPT_WINDOW | NMI_WINDOW), 0);
        assert_eq!(controls.secondary, 0x10_10ea);
        assert_eq!(controls.exit, 0x7c_8204 | 0x3_6dff);
        assert_eq!(controls.entry, 0xd1ff);
    }

    /// Our table has the manual's names, which messages use; its bits are the crate's.
    #[test]
    fn the_bits_are_those_of_the_x86_crate() {
        use x86::vmx::vmcs::control as x86;
        let sum = |rows: &[Control]| rows.iter().fold(0, |bits, (bit, _)| bits | bit);
        let pin = x86::PinbasedControls::EXTERNAL_INTERRUPT_EXITING
            | x86::PinbasedControls::NMI_EXITING
            | x86::PinbasedControls::VIRTUAL_NMIS
            | x86::PinbasedControls::VMX_PREEMPTION_TIMER;
        assert_eq!(sum(&PIN), pin.bits());
        let primary = x86::PrimaryControls::USE_TSC_OFFSETTING
            | x86::PrimaryControls::HLT_EXITING
            | x86::PrimaryControls::MWAIT_EXITING
            | x86::PrimaryControls::RDPMC_EXITING
            | x86::PrimaryControls::USE_TPR_SHADOW
            | x86::PrimaryControls::USE_IO_BITMAPS
            | x86::PrimaryControls::USE_MSR_BITMAPS
            | x86::PrimaryControls::MONITOR_EXITING
            | x86::PrimaryControls::SECONDARY_CONTROLS;
        assert_eq!(sum(&PRIMARY), primary.bits());
        assert_eq!(INTERRUPT_WINDOW, x86::PrimaryControls::INTERRUPT_WINDOW_EXITING.bits());
        assert_eq!(NMI_WINDOW, x86::PrimaryControls::NMI_WINDOW_EXITING.bits());
        let secondary = x86::SecondaryControls::ENABLE_EPT
            | x86::SecondaryControls::WBINVD_EXITING
            | x86::SecondaryControls::UNRESTRICTED_GUEST;
        assert_eq!(sum(&SECONDARY), secondary.bits());
        let optional = x86::SecondaryControls::ENABLE_VPID
            | x86::SecondaryControls::ENABLE_RDTSCP
            | x86::SecondaryControls::ENABLE_INVPCID
            | x86::SecondaryControls::ENABLE_XSAVES_XRSTORS;
        assert_eq!(SECONDARY_OPTIONAL, optional.bits());
        let exit = x86::ExitControls::SAVE_DEBUG_CONTROLS
            | x86::ExitControls::HOST_ADDRESS_SPACE_SIZE
            | x86::ExitControls::ACK_INTERRUPT_ON_EXIT
            | x86::ExitControls::SAVE_IA32_PAT
            | x86::ExitControls::LOAD_IA32_PAT
            | x86::ExitControls::SAVE_IA32_EFER
            | x86::ExitControls::LOAD_IA32_EFER
            | x86::ExitControls::SAVE_VMX_PREEMPTION_TIMER;
        assert_eq!(sum(&EXIT), exit.bits());
        let entry = x86::EntryControls::LOAD_DEBUG_CONTROLS
            | x86::EntryControls::LOAD_IA32_PAT
            | x86::EntryControls::LOAD_IA32_EFER;
        assert_eq!(sum(&ENTRY), entry.bits());
        assert_eq!(IA32E_GUEST, x86::EntryControls::IA32E_MODE_GUEST.bits());
    }

    #[test]
    fn a_newer_processor_forces_less() {
        let newer = Capabilities {
            primary: 0xfff9_fffe_0400_6172,
            secondary: 0x0053_cfff_0000_0000 & !(1 << (32 + 20)),
            ..Capabilities::read(skylake)
        };
        let controls = Controls::new(&newer, false).expect("has all");
        assert_eq!(controls.primary & (1 << 15 | 1 << 16 | 1 << 9 | 1 << 23), 0);
        assert_eq!(controls.secondary & XSAVES, 0);
    }
}
