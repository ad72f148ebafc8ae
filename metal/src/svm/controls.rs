//! The intercepts of a VMCB: what causes an exit. The ports and MSRs that cause none are in the
//! permission maps.

use super::vmcb::{intercept3, intercept4};

/// Machine checks are the host's. Debug and alignment exceptions whose delivery raises them again
/// would hold the processor for ever.
pub const INTERCEPT_EXCEPTIONS: u32 = 1 << 1 | 1 << 17 | 1 << 18;

/// The exception of INT3, for a debugger.
pub const BREAKPOINT: u32 = 1 << 3;

/// Intercepts that `vmm-baremetal` handles, in the word at 0x00c. Not among them: task switches,
/// which the processor carries out (APM vol. 2, 12.3), where VMX's exit.
pub const INTERCEPT3: u32 = intercept3::INTR
    | intercept3::NMI
    | intercept3::SMI
    | intercept3::INIT
    | intercept3::CR0_SEL_WRITE
    | intercept3::RDPMC
    | intercept3::CPUID
    | intercept3::RSM
    | intercept3::INVD
    | intercept3::HLT
    | intercept3::INVLPGA
    | intercept3::IOIO_PROT
    | intercept3::MSR_PROT
    | intercept3::SHUTDOWN;

/// The same, in the word at 0x010. The processor refuses a VMCB that does not intercept VMRUN.
pub const INTERCEPT4: u32 = intercept4::VMRUN
    | intercept4::VMMCALL
    | intercept4::VMLOAD
    | intercept4::VMSAVE
    | intercept4::STGI
    | intercept4::CLGI
    | intercept4::SKINIT
    | intercept4::WBINVD
    | intercept4::MONITOR
    | intercept4::MWAIT
    | intercept4::MWAIT_CONDITIONAL
    | intercept4::XSETBV
    | intercept4::RDPRU;

/// A loop of PAUSE exits after so many, if no more than so many cycles lie between two (APM vol. 2,
/// 15.14.4); Linux's KVM has the same.
pub const PAUSES: (u16, u16) = (3000, 128);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vmrun_is_intercepted() {
        assert_eq!(INTERCEPT4 & 1, 1);
    }
}
