//! What a guest may do without a VM exit. Default-deny: both maps start all ones, and only MSRs of
//! the guest's own state are opened (APM vol. 2, 15.10 and 15.11).

use super::vmcb::{INTERCEPT_WRITE_CR4, intercept3, intercept4};
use vmm_common::grant::Reach;

/// Frames of the I/O permission map: a bit for each port, and some beyond the last one.
pub const PORT_MAP_FRAMES: u64 = 3;
/// Frames of the MSR permission map: two bits for each MSR, read and write.
pub const MSR_MAP_FRAMES: u64 = 2;

/// MOV to CR4, which may set only what the guest can have.
pub const INTERCEPT_CONTROL_REGISTERS: u32 = INTERCEPT_WRITE_CR4;

/// Bits of CR0 that the guest changes without a VM exit, which CR0_SEL_WRITE lets pass.
#[cfg(test)]
pub const SELECTIVE_CR0: u64 = crate::architecture::cr0::TS | crate::architecture::cr0::MP;

/// Machine checks are the host's. Debug and alignment exceptions whose delivery raises them again
/// would hold the processor for ever.
pub const INTERCEPT_EXCEPTIONS: u32 = 1 << 1 | 1 << 17 | 1 << 18;

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

/// Denies every port but those that the guest reaches.
pub fn fill_port_map(map: &mut [u8], reach: &Reach) {
    map.fill(0xff);
    for port in &reach.ports {
        map[usize::from(*port) / 8] &= !(1 << (port % 8));
    }
}

/// Denies every MSR but those that the guest reaches.
pub fn fill_msr_map(map: &mut [u8], reach: &Reach) {
    map.fill(0xff);
    for (write, indices) in [(0, &reach.msr_reads), (1, &reach.msr_writes)] {
        for &index in indices {
            let bit = msr_bit(index).expect("granted MSRs have bits in the map") + write;
            map[bit / 8] &= !(1 << (bit % 8));
        }
    }
}

/// Ports that the map lets pass.
#[cfg(test)]
pub fn read_port_map(map: &[u8]) -> Vec<u16> {
    let is_open = |port: &u16| map[usize::from(*port) / 8] >> (port % 8) & 1 == 0;
    (0..=u16::MAX).filter(is_open).collect()
}

/// MSRs that are read, and that are written, which the map lets pass.
#[cfg(test)]
pub fn read_msr_map(map: &[u8]) -> [Vec<u32>; 2] {
    [0, 1].map(|write| {
        let is_open = |index: &u32| {
            msr_bit(*index)
                .is_some_and(|bit| map[(bit + write) / 8] >> ((bit + write) % 8) & 1 == 0)
        };
        (0..0x2000)
            .chain(0xc000_0000..0xc000_2000)
            .chain(0xc001_0000..0xc001_2000)
            .filter(is_open)
            .collect()
    })
}

/// The bit for reads of an MSR; that for writes is the next one. MSRs without always exit.
const fn msr_bit(index: u32) -> Option<usize> {
    let (byte, offset) = match index {
        0..=0x1fff => (0, index),
        0xc000_0000..=0xc000_1fff => (0x800, index - 0xc000_0000),
        0xc001_0000..=0xc001_1fff => (0x1000, index - 0xc001_0000),
        _ => return None,
    };
    Some(byte * 8 + offset as usize * 2)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::grant;
    use vmm_common::grant::Vendor;

    #[test]
    fn efer_exits_at_its_place_in_the_map() {
        let mut map = [0; 8192];
        fill_msr_map(&mut map, grant(Vendor::Svm, Vec::new()).reach());
        // C000_0080 is the 0x80th of the second vector: byte 0x800 + 0x20, bits 1:0.
        assert_eq!((map[0x820], map[0x821]), (0b0000_0011, 0b1111_1100));
        assert!(map[0x1800..].iter().all(|byte| *byte == 0xff));
    }

    #[test]
    fn vmrun_is_intercepted() {
        assert_eq!(INTERCEPT4 & 1, 1);
    }
}
