//! QEMU emulates AMD's SVM, on which Linux's KVM runs, but two features are missing.
//!
//! Its VMRUN does not load the shadow of STI (APM vol. 2, 15.21.5): a guest that exits between
//! `sti` and `hlt` gets its interrupt before the HLT, and then sleeps through the wake-up.
//!
//! It does not intercept XSETBV (15.9): the guest changes the host's XCR0, KVM does not see it,
//! and CPUID leaf 0xd does not follow. XSAVE is hidden there.

use super::{GuestRam, registers};
use kvm_ioctls::VcpuFd;
use std::arch::x86_64::__cpuid;
use vmm_common::architecture::efer;
use vmm_common::cpuid::CpuidResult;

const HLT: u8 = 0xf4;

/// CPUID without XSAVE and what depends on it: AVX, FMA, F16C, and AVX2, AVX-512 and their like.
pub fn without_xsave(host: impl Fn(u32, u32) -> CpuidResult) -> impl Fn(u32, u32) -> CpuidResult {
    const LEAF_1_ECX: u32 = 1 << 12 | 1 << 26 | 1 << 28 | 1 << 29;
    const LEAF_7_EBX: u32 = 1 << 5 | 0b11 << 16 | 1 << 21 | 1 << 28 | 0b11 << 30;
    const LEAF_7_ECX: u32 = 1 << 1 | 1 << 6 | 0b11 << 9 | 0b11 << 11 | 1 << 14;
    move |leaf, subleaf| {
        let mut result = host(leaf, subleaf);
        match leaf {
            1 => result.ecx &= !LEAF_1_ECX,
            7 => {
                result.ebx &= !LEAF_7_EBX;
                result.ecx &= !LEAF_7_ECX;
            }
            0xd => result = CpuidResult::default(),
            _ => {}
        }
        result
    }
}

/// Whether this host is such a machine.
pub fn is_host() -> bool {
    const HYPERVISOR_PRESENT: u32 = 1 << 31;
    const HYPERVISOR_SIGNATURE: u32 = 0x4000_0000;
    if __cpuid(1).ecx & HYPERVISOR_PRESENT == 0 {
        return false;
    }
    let leaf = __cpuid(HYPERVISOR_SIGNATURE);
    let signature = [leaf.ebx, leaf.ecx, leaf.edx].map(u32::to_le_bytes);
    signature.as_flattened() == b"TCGTCGTCGTCG"
}

/// Called before an interrupt is injected: if the kernel's next instruction is HLT, the interrupt
/// is delivered after it, as with the shadow of STI.
pub fn pass_halt(fd: &VcpuFd, ram: &GuestRam) -> Result<(), kvm_ioctls::Error> {
    let special = fd.get_sregs()?;
    if special.ss.dpl != 0 {
        return Ok(());
    }
    let mut general = fd.get_regs()?;
    let is_64 = special.cs.l != 0 && special.efer & efer::LMA != 0;
    let linear = match is_64 {
        true => general.rip,
        false => special.cs.base.wrapping_add(general.rip) & 0xffff_ffff,
    };
    let mut opcode = [0];
    let address = registers::physical(fd, special.cr0, linear);
    if address.is_some_and(|address| ram.peek(address, &mut opcode) == 1) && opcode == [HLT] {
        general.rip = general.rip.wrapping_add(1);
        fd.set_regs(&general)?;
    }
    Ok(())
}
