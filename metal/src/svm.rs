//! SVM: how AMD's processors switch to a guest and back (APM vol. 2, chapter 15).
//!
//! One switch, step by step:
//!
//! 1. [`Svm::load`] loads the state that no VMCB holds.
//! 2. [`Loaded::enter`] arms the host's timer; [`entry`] clears the global interrupt flag, saves
//!    what VMRUN does not, loads the guest's x87, SSE and general registers, and enters: VMLOAD,
//!    VMRUN.
//! 3. The processor puts the host into its save area, loads all else from the VMCB ([`vmcb`]), and
//!    the guest runs through [`npt`].
//! 4. Something that [`controls`] intercept happens, the host's timer at the latest: the processor
//!    saves the guest in the VMCB, loads the host, and resumes after VMRUN; [`entry`] saves the
//!    rest and sets the flag again, at which the host's handler takes the interrupt.

pub mod capabilities;
mod control_block;
mod control_registers;
pub mod controls;
mod entry;
pub mod npt;
pub mod permission_maps;
mod read_back;
pub mod vmcb;

pub use control_block::{ControlBlock, Exit, Intercept, Loaded, Run};
pub(crate) use entry::behind_vmrun;

use crate::architecture::{efer, msr};
use crate::cpu;
use crate::extended_state::Extensions;
use crate::frames::{Frame, Frames, OutOfFrames};
use alloc::vec::Vec;
use capabilities::{Capabilities, Missing};
use core::fmt;
use vmm_common::cpuid::CpuidResult;
use vmm_common::grant::Reach;

/// This processor, with SVM enabled.
#[derive(Debug)]
pub struct Svm {
    capabilities: Capabilities,
    extensions: Extensions,
    /// The VMCB of the vCPU whose other registers the processor has; 0 if there is none.
    resident: u64,
    /// How many have been made.
    vcpus: u32,
    /// The processor's own while SVM is enabled.
    _save_area: Frame,
    /// What VMSAVE saves of the host.
    host_vmcb: Frame,
    maps: Option<Maps>,
}

/// The permission maps, shared by VMs with the same reach.
#[derive(Debug)]
pub(crate) struct Maps {
    ports: Frame,
    msrs: Frame,
    /// What they let pass.
    reach: Reach,
}

/// Why SVM cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// The processor or its firmware lacks something.
    Missing(Missing),
    /// No memory for a structure.
    OutOfFrames,
}

impl Svm {
    /// Enables SVM.
    ///
    /// # Errors
    /// [`Error::Missing`] names what the processor lacks.
    pub fn enable(frames: &mut Frames) -> Result<Self, Error> {
        let read_vm_cr = || cpu::read_msr(msr::VM_CR);
        let capabilities = Capabilities::read(cpu::cpuid, read_vm_cr)?;
        let save_area = frames.take()?;
        let host_vmcb = frames.take()?;
        let efer = cpu::read_msr(msr::IA32_EFER);
        // SAFETY: allows SVM's instructions, which the processor has, and changes nothing else.
        unsafe { cpu::write_msr(msr::IA32_EFER, efer | efer::SVME) };
        // SAFETY: the frame is the processor's from here on, as frames are never taken back.
        unsafe { cpu::write_msr(msr::VM_HSAVE_PA, save_area.address()) };
        let extensions = Extensions::enable();
        Ok(Self {
            capabilities,
            extensions,
            resident: 0,
            vcpus: 0,
            _save_area: save_area,
            host_vmcb,
            maps: None,
        })
    }

    /// This processor's CPUID.
    #[must_use]
    pub fn cpuid(&self, leaf: u32, subleaf: u32) -> CpuidResult {
        cpu::cpuid(leaf, subleaf)
    }

    /// Maps that let pass what a guest reaches, and nothing else.
    fn maps(&mut self, frames: &mut Frames, reach: &Reach) -> Result<&Maps, OutOfFrames> {
        let wanted = Reach { ram: Vec::new(), ..reach.clone() };
        let maps = match self.maps.take().filter(|maps| maps.reach == wanted) {
            Some(maps) => maps,
            None => Maps::new(frames, wanted)?,
        };
        Ok(self.maps.insert(maps))
    }

    /// vCPUs made from now on share one ASID, so that every switch drops the translations.
    pub const fn untag(&mut self) {
        self.capabilities.asids = 2;
    }

    /// Disables SVM; no vCPU can run after that.
    pub fn disable(self) {
        // SAFETY: no guest runs, so the processor has nothing of the host there.
        unsafe { cpu::write_msr(msr::VM_HSAVE_PA, 0) };
        let efer = cpu::read_msr(msr::IA32_EFER);
        // SAFETY: nothing but the code that runs guests needs the bit.
        unsafe { cpu::write_msr(msr::IA32_EFER, efer & !efer::SVME) };
    }
}

#[cfg(test)]
impl Svm {
    /// A processor with all features, for control blocks that never run.
    pub fn for_tests(frames: &mut Frames) -> Self {
        let mut take = || frames.take().expect("there are enough");
        Self {
            capabilities: Capabilities {
                asids: 16,
                has_next_rip: true,
                has_gib_pages: true,
                has_pause_filter: true,
            },
            extensions: Extensions::NONE,
            resident: 0,
            vcpus: 0,
            _save_area: take(),
            host_vmcb: take(),
            maps: None,
        }
    }
}

impl Maps {
    fn new(frames: &mut Frames, reach: Reach) -> Result<Self, OutOfFrames> {
        let mut ports = frames.take_row(permission_maps::PORT_MAP_FRAMES)?;
        permission_maps::fill_ports(ports.bytes_mut(), &reach);
        let mut msrs = frames.take_row(permission_maps::MSR_MAP_FRAMES)?;
        permission_maps::fill_msrs(msrs.bytes_mut(), &reach);
        Ok(Self { ports, msrs, reach })
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

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing(missing) => missing.fmt(f),
            Self::OutOfFrames => f.write_str("no memory left for SVM structures"),
        }
    }
}
