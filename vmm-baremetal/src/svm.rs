//! SVM: decoding exits ([`exits`]), handling those specific to SVM ([`handling`],
//! [`events`]), and preparing entries ([`loaded`]). The switch itself is in [`metal::svm`].

pub mod efer;
pub mod events;
pub mod exits;
mod handling;
pub mod loaded;
mod qemu;
mod stepping;

use crate::guest::vendor::Processor;
use alloc::string::String;
use loaded::{SvmGuest, SvmVcpu};
use metal::frames::Frames;
use metal::guest_ram::GuestRam;
use metal::siblings::Siblings;
use metal::svm::{ControlBlock, Svm};
use vmm_common::cpuid::CpuidResult;
use vmm_common::grant::{Grant, Reach, Vendor};
use vmm_common::registers::CpuState;

impl Processor for Svm {
    type Vcpu = SvmVcpu;
    type Loaded<'a> = SvmGuest<'a>;
    const VENDOR: Vendor = Vendor::Svm;

    fn cpuid(&self, leaf: u32, subleaf: u32) -> CpuidResult {
        self.cpuid(leaf, subleaf)
    }

    fn make(
        &mut self,
        frames: &mut Frames,
        ram: GuestRam,
        boot: &CpuState,
        grant: &Grant,
        siblings: Siblings<'_, SvmVcpu>,
    ) -> Result<SvmVcpu, String> {
        let siblings = siblings.map(|sibling| &sibling.block);
        ControlBlock::new(self, frames, &ram, boot, grant, siblings)
            .map(|block| SvmVcpu::new(block, ram, grant.permitted()))
            .map_err(|_| String::from("the VMs' tables do not fit into the hypervisor's memory"))
    }

    fn reach(&mut self, vcpu: &SvmVcpu) -> Result<Reach, &'static str> {
        self.reach(&vcpu.block)
    }

    fn untag(&mut self) {
        self.untag();
    }

    #[inline(always)]
    fn switch(&mut self, vcpu: &mut SvmVcpu, before: Option<&mut SvmVcpu>) {
        self.load(&mut vcpu.block, before.map(|before| &mut before.block));
    }

    #[inline]
    fn loaded<'a>(&'a mut self, vcpu: &'a mut SvmVcpu) -> SvmGuest<'a> {
        SvmGuest { vmcb: self.loaded(&mut vcpu.block), state: &mut vcpu.state }
    }

    fn off(self) {
        self.disable();
    }
}
