//! VMX: how Intel's processors switch to a guest and back (SDM vol. 3, part on VMX).
//!
//! One switch, step by step:
//!
//! 1. [`Vmx::load`] makes a VMCS current, and loads the MSRs that entries leave alone.
//! 2. [`Loaded::enter`] sets the timer; [`entry`] loads the guest's x87, SSE and general registers,
//!    and enters: VMLAUNCH or VMRESUME.
//! 3. The processor loads all else from the VMCS, and the guest runs through [`ept`].
//! 4. Something that [`controls`] intercept happens, the timer at the latest: the processor saves
//!    the guest in the VMCS, loads the host from it ([`host_state`]), and resumes at the exit
//!    landing in [`entry`].

pub mod bitmaps;
pub mod capabilities;
mod control_block;
pub mod control_registers;
pub mod controls;
mod demanded;
mod entry;
pub mod ept;
pub mod failure;
pub mod feature_control;
pub mod field;
mod guest_msrs;
mod host_state;
pub(crate) mod initial;
mod instructions;
pub mod missing;
pub mod preemption_timer;
pub(crate) mod read_back;

pub use control_block::{ControlBlock, ENTRY_FAILED, Loaded, Run, Window};
pub use failure::Error;

use crate::architecture::{cr4, msr};
use crate::cpu;
use crate::extended_state::Extensions;
use crate::frames::{Frame, Frames};
use capabilities::Capabilities;
use feature_control::Firmware;
use missing::Missing;
use vmm_common::cpuid::CpuidResult;

/// This processor, in VMX operation.
#[derive(Debug)]
pub struct Vmx {
    capabilities: Capabilities,
    extensions: Extensions,
    /// The VMCS that is current; 0 if none is.
    current: u64,
    /// The VMCS of the vCPU whose other registers the processor has; 0 if there is none.
    resident: u64,
    /// VPIDs allocated, from 1 on: 0 is the host's.
    vpids: u16,
    /// The processor's own, between VMXON and VMXOFF.
    _region: Frame,
}

impl Vmx {
    /// Puts the processor into VMX operation.
    ///
    /// # Errors
    /// [`Error::Missing`] names what the processor lacks.
    pub fn enable(frames: &mut Frames) -> Result<Self, Error> {
        if !feature_control::has_vmx(cpu::cpuid(1, 0).ecx) {
            return Err(Error::Missing(Missing::Vmx));
        }
        if let Firmware::Unlocked { value } = feature_control::firmware(cpu::read_msr)? {
            // SAFETY: the register is not locked; this allows VMX and locks it.
            unsafe { cpu::write_msr(msr::IA32_FEATURE_CONTROL, value) };
        }
        let capabilities = Capabilities::read(cpu::read_msr);
        capabilities.check()?;
        demanded::check(&capabilities)?;
        let mut region = frames.take()?;
        region.words_mut()[0] = capabilities.revision().into();
        let cr0 = (cpu::cr0() | capabilities.cr0_fixed0) & capabilities.cr0_fixed1;
        let cr4 = (cpu::cr4() | capabilities.cr4_fixed0 | cr4::VMXE) & capabilities.cr4_fixed1;
        // SAFETY: adds NE, on which nothing here depends.
        unsafe { cpu::set_cr0(cr0) };
        // SAFETY: adds VMXE.
        unsafe { cpu::set_cr4(cr4) };
        // SAFETY: the region is the processor's from here on, as frames are never taken back.
        unsafe { instructions::vmxon(region.address()) }.map_err(Error::Instruction)?;
        let extensions = Extensions::enable();
        Ok(Self { capabilities, extensions, current: 0, resident: 0, vpids: 0, _region: region })
    }

    /// This processor's CPUID, less the instructions that raise #UD in a guest because the
    /// controls that allow them are missing.
    #[must_use]
    pub fn cpuid(&self, leaf: u32, subleaf: u32) -> CpuidResult {
        const RDPID: u32 = 1 << 22;
        const INVPCID: u32 = 1 << 10;
        const XSAVES: u32 = 1 << 3;
        const RDTSCP: u32 = 1 << 27;
        let mut result = cpu::cpuid(leaf, subleaf);
        let lacks = |control: u32| self.capabilities.secondary >> 32 & u64::from(control) == 0;
        match (leaf, subleaf) {
            (7, 0) if lacks(controls::INVPCID) => result.ebx &= !INVPCID,
            (0xd, 1) if lacks(controls::XSAVES) => result.eax &= !XSAVES,
            (0x8000_0001, _) if lacks(controls::RDTSCP) => result.edx &= !RDTSCP,
            _ => {}
        }
        if (leaf, subleaf) == (7, 0) && lacks(controls::RDTSCP) {
            result.ecx &= !RDPID;
        }
        result
    }

    /// EPT of vCPUs made from now on maps 4 KiB at a time.
    pub const fn use_small_pages(&mut self) {
        self.capabilities.ept_vpid &= !capabilities::EPT_LARGE;
    }

    /// vCPUs made from now on have no VPID.
    pub const fn untag(&mut self) {
        self.capabilities.secondary &= !((controls::VPID as u64) << 32);
    }

    /// Leaves VMX operation; no vCPU can run after that.
    pub fn disable(self) {
        // SAFETY: `self` proves that the processor is in VMX operation, and ends with it.
        unsafe { instructions::vmxoff() };
        // SAFETY: outside VMX operation the bit may be cleared.
        unsafe { cpu::set_cr4(cpu::cr4() & !cr4::VMXE) };
    }
}
