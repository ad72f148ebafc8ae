//! SVM: how AMD's processors switch to a guest and back (APM vol. 2, chapter 15).
//!
//! One switch, step by step:
//!
//! 1. [`vcpu`] sets what this entry alone needs: the event to deliver, the host's timer, RAX.
//! 2. [`entry`] clears the global interrupt flag, saves what VMRUN does not, loads the guest's x87,
//!    SSE and general registers, and enters: VMLOAD, VMRUN.
//! 3. The processor puts the host into its save area, loads all else from the VMCB ([`vmcb`]), and
//!    the guest runs through [`npt`].
//! 4. Something that [`controls`] intercept happens, the host's timer at the latest: the processor
//!    saves the guest in the VMCB, loads the host, and goes on behind VMRUN; [`entry`] saves the
//!    rest and sets the flag again, upon which the host's handler takes the interrupt.
//! 5. [`exits`] turns the code into an event; [`vcpu`] settles what is the vendor's business.

pub mod capabilities;
pub mod controls;
pub mod efer;
pub mod entry;
pub mod events;
pub mod exits;
pub mod handling;
pub mod npt;
mod qemu;
pub mod vcpu;
pub mod vmcb;

use crate::cpu;
use crate::frames::{Frame, Frames, OutOfFrames};
use capabilities::{Capabilities, Missing};
use core::fmt;

/// Where the processor saves the host (APM vol. 2, 15.30.4).
const VM_HSAVE_PA: u32 = 0xc001_0117;

/// This processor, with SVM enabled, and what all its VMs have in common.
#[derive(Debug)]
pub struct Svm {
    capabilities: Capabilities,
    arm_timer: fn(u64),
    /// The processor's own while SVM is enabled.
    _save_area: Frame,
    /// What VMSAVE saves of the host.
    host_vmcb: Frame,
    port_map: Frame,
    msr_map: Frame,
}

/// Why SVM cannot be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// The processor or its firmware lacks something.
    Missing(Missing),
    /// No memory for a structure.
    OutOfFrames,
}

impl Svm {
    /// Enables SVM. `arm_timer` is called before each entry, and must have the host interrupted
    /// when its time-stamp counter reaches the value, or soon if it is past it.
    ///
    /// # Errors
    /// [`Error::Missing`] tells what the processor lacks.
    pub fn enable(frames: &mut Frames, arm_timer: fn(u64)) -> Result<Self, Error> {
        let read_vm_cr = || cpu::read_msr(capabilities::VM_CR);
        let capabilities = Capabilities::read(cpu::cpuid, read_vm_cr)?;
        let save_area = frames.take()?;
        let host_vmcb = frames.take()?;
        let mut port_map = frames.take_row(controls::PORT_MAP_FRAMES)?;
        controls::fill_port_map(port_map.bytes_mut());
        let mut msr_map = frames.take_row(controls::MSR_MAP_FRAMES)?;
        controls::fill_msr_map(msr_map.bytes_mut());
        let efer = cpu::read_msr(cpu::efer::INDEX);
        // SAFETY: allows SVM's instructions, which the processor has, and changes nothing else.
        unsafe { cpu::write_msr(cpu::efer::INDEX, efer | cpu::efer::SVME) };
        // SAFETY: the frame is the processor's from here on, as `Svm` keeps it.
        unsafe { cpu::write_msr(VM_HSAVE_PA, save_area.address()) };
        Ok(Self { capabilities, arm_timer, _save_area: save_area, host_vmcb, port_map, msr_map })
    }

    /// vCPUs made from now on share one ASID, so that every switch drops the translations.
    pub const fn untag(&mut self) {
        self.capabilities.asids = 2;
    }

    /// Disables SVM: whoever runs a vCPU after that gets #UD.
    pub fn disable(&mut self) {
        // SAFETY: no guest runs, so the processor has nothing of the host there.
        unsafe { cpu::write_msr(VM_HSAVE_PA, 0) };
        let efer = cpu::read_msr(cpu::efer::INDEX);
        // SAFETY: nothing but the code that runs guests needs the bit.
        unsafe { cpu::write_msr(cpu::efer::INDEX, efer & !cpu::efer::SVME) };
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
