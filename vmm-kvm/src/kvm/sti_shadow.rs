//! QEMU emulates AMD's SVM, which Linux's KVM takes for a processor's; but its VMRUN does not load the shadow
//! of STI (APM vol. 2, 15.21.5). A guest that is left between `sti` and `hlt` gets its interrupt before the
//! HLT, and then sleeps although it was woken.

use super::{GuestRam, registers};
use kvm_ioctls::VcpuFd;
use std::arch::x86_64::__cpuid;

const HLT: u8 = 0xf4;
const EFER_LMA: u64 = 1 << 10;

/// Whether this host is such a machine.
pub fn is_forgotten() -> bool {
    const HYPERVISOR_PRESENT: u32 = 1 << 31;
    const HYPERVISOR_SIGNATURE: u32 = 0x4000_0000;
    if __cpuid(1).ecx & HYPERVISOR_PRESENT == 0 {
        return false;
    }
    let leaf = __cpuid(HYPERVISOR_SIGNATURE);
    let signature = [leaf.ebx, leaf.ecx, leaf.edx].map(u32::to_le_bytes);
    signature.as_flattened() == b"TCGTCGTCGTCG"
}

/// An interrupt is about to be delivered: one that would come before a HLT of the kernel's comes behind it,
/// as if it had come a moment later.
pub fn pass_halt(fd: &VcpuFd, ram: &GuestRam) -> Result<(), kvm_ioctls::Error> {
    let special = fd.get_sregs()?;
    if special.ss.dpl != 0 {
        return Ok(());
    }
    let mut general = fd.get_regs()?;
    let is_64 = special.cs.l != 0 && special.efer & EFER_LMA != 0;
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
