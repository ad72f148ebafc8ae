//! VMX: decoding exits ([`exits`]), handling those specific to VMX ([`handling`], [`task`]),
//! and preparing entries ([`loaded`]). The switch itself is in [`metal::vmx`].

pub mod exits;
mod handling;
pub mod loaded;
mod stepping;
mod task;

use crate::guest::vendor::Processor;
use alloc::format;
use alloc::string::String;
use loaded::{VmxGuest, VmxVcpu};
use metal::frames::Frames;
use metal::guest_ram::GuestRam;
use metal::siblings::Siblings;
use metal::vmx::{ControlBlock, Vmx};
use vmm_common::cpuid::CpuidResult;
use vmm_common::grant::{Grant, Reach, Vendor};
use vmm_common::registers::CpuState;

impl Processor for Vmx {
    type Vcpu = VmxVcpu;
    type Loaded<'a> = VmxGuest<'a>;
    const VENDOR: Vendor = Vendor::Vmx;

    fn cpuid(&self, leaf: u32, subleaf: u32) -> CpuidResult {
        self.cpuid(leaf, subleaf)
    }

    fn make(
        &mut self,
        frames: &mut Frames,
        ram: GuestRam,
        boot: &CpuState,
        grant: &Grant,
        siblings: Siblings<'_, VmxVcpu>,
    ) -> Result<VmxVcpu, String> {
        let siblings = siblings.map(|sibling| &sibling.block);
        ControlBlock::new(self, frames, &ram, boot, grant, siblings)
            .map(|block| VmxVcpu::new(block, ram, boot, grant.permitted()))
            .map_err(|error| format!("{error}"))
    }

    fn reach(&mut self, vcpu: &VmxVcpu) -> Result<Reach, &'static str> {
        self.reach(&vcpu.block)
    }

    fn untag(&mut self) {
        self.untag();
    }

    #[inline(always)]
    fn switch(&mut self, vcpu: &mut VmxVcpu, mut before: Option<&mut VmxVcpu>) {
        if let Some(before) = &mut before {
            before.note_nmi_blocking();
        }
        self.load(&mut vcpu.block, before.map(|before| &mut before.block));
    }

    #[inline]
    fn loaded<'a>(&'a mut self, vcpu: &'a mut VmxVcpu) -> VmxGuest<'a> {
        VmxGuest { vmcs: self.loaded(&mut vcpu.block), state: &mut vcpu.state }
    }

    fn off(self) {
        self.disable();
    }
}
