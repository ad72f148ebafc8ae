//! The host's part of a VMCS: the state loaded at an exit (SDM vol. 3, 25.5).

use super::entry::vmx_exit_landing;
use super::field::Field;
use super::instructions::write;
use crate::architecture::msr;
use crate::cpu;
use crate::descriptors::Pointer;
use core::arch::asm;

/// Fills the host's fields of the current VMCS from the processor's state. HOST_RSP is set by
/// each entry.
pub fn write_host_state() {
    let tr = selectors()[6];
    let gdtr = gdtr().base;
    let descriptor = gdtr + u64::from(tr & !7);
    // SAFETY: TR was loaded from this descriptor, 16 bytes long, and all memory is mapped.
    let descriptor = unsafe { (descriptor as *const [u64; 2]).read_unaligned() };
    let fields = [
        (Field::HostTrBase, tss_base(descriptor)),
        (Field::HostCr0, cpu::cr0()),
        (Field::HostCr3, cpu::cr3()),
        (Field::HostCr4, cpu::cr4()),
        (Field::HostFsBase, cpu::read_msr(msr::IA32_FS_BASE)),
        (Field::HostGsBase, cpu::read_msr(msr::IA32_GS_BASE)),
        (Field::HostGdtrBase, gdtr),
        (Field::HostIdtrBase, idtr().base),
        (Field::HostSysenterCs, cpu::read_msr(msr::IA32_SYSENTER_CS)),
        (Field::HostSysenterEsp, cpu::read_msr(msr::IA32_SYSENTER_ESP)),
        (Field::HostSysenterEip, cpu::read_msr(msr::IA32_SYSENTER_EIP)),
        (Field::HostPat, cpu::read_msr(msr::IA32_PAT)),
        (Field::HostEfer, cpu::read_msr(msr::IA32_EFER)),
        (Field::HostRip, vmx_exit_landing as *const () as u64),
    ];
    for (field, value) in fields {
        // SAFETY: the program runs with this value already; the landing expects what it finds.
        unsafe { write(field, value) };
    }
    let order = [
        Field::HostEs,
        Field::HostCs,
        Field::HostSs,
        Field::HostDs,
        Field::HostFs,
        Field::HostGs,
        Field::HostTr,
    ];
    for (field, selector) in order.into_iter().zip(selectors()) {
        // SAFETY: as above. RPL and table indicator must be 0.
        unsafe { write(field, u64::from(selector & !7)) };
    }
}

/// The base in a 64-bit task state segment's descriptor (SDM vol. 3, 8.2.3).
const fn tss_base([low, high]: [u64; 2]) -> u64 {
    (low >> 16 & 0xff_ffff) | (low >> 56 & 0xff) << 24 | (high & 0xffff_ffff) << 32
}

/// ES, CS, SS, DS, FS, GS, TR.
fn selectors() -> [u16; 7] {
    let (es, cs, ss, ds, fs, gs, tr): (u16, u16, u16, u16, u16, u16, u16);
    // SAFETY: reads registers.
    unsafe {
        asm!(
            "mov {es:x}, es",
            "mov {cs:x}, cs",
            "mov {ss:x}, ss",
            "mov {ds:x}, ds",
            "mov {fs:x}, fs",
            "mov {gs:x}, gs",
            "str {tr:x}",
            es = out(reg) es,
            cs = out(reg) cs,
            ss = out(reg) ss,
            ds = out(reg) ds,
            fs = out(reg) fs,
            gs = out(reg) gs,
            tr = out(reg) tr,
            options(nomem, nostack, preserves_flags),
        );
    }
    [es, cs, ss, ds, fs, gs, tr]
}

fn gdtr() -> Pointer {
    let mut pointer = Pointer::default();
    // SAFETY: stores ten bytes, as many as there are.
    unsafe { asm!("sgdt [{}]", in(reg) &raw mut pointer, options(nostack, preserves_flags)) };
    pointer
}

fn idtr() -> Pointer {
    let mut pointer = Pointer::default();
    // SAFETY: as for `gdtr`.
    unsafe { asm!("sidt [{}]", in(reg) &raw mut pointer, options(nostack, preserves_flags)) };
    pointer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_descriptor_gives_its_segments_base() {
        assert_eq!(tss_base([0x3400_8912_5678_0067, 0x9abc_def0]), 0x9abc_def0_3412_5678);
    }
}
