//! What a guest may do without leaving. Default-deny: both maps start all ones, and only MSRs that
//! are the guest's own state are opened (APM vol. 2, 15.10 and 15.11).

use super::vmcb::{INTERCEPT_WRITE_CR4, intercept3, intercept4};
use crate::cpu::{efer, register};
use vmm_common::machine::PASSED_MSRS;

/// Frames of the I/O permission map: a bit for each port, and some beyond the last one.
pub const PORT_MAP_FRAMES: u64 = 3;
/// Frames of the MSR permission map: two bits for each MSR, read and write.
pub const MSR_MAP_FRAMES: u64 = 2;

/// MOV to CR4, which may set only what the guest can have.
pub const INTERCEPT_CONTROL_REGISTERS: u32 = INTERCEPT_WRITE_CR4;

/// Machine checks are the host's. Debug and alignment exceptions whose delivery raises them again
/// would hold the processor for ever.
pub const INTERCEPT_EXCEPTIONS: u32 = 1 << 1 | 1 << 17 | 1 << 18;

/// What [`super::exits`] has an answer for, in the word at 0x00c. Not among it: task switches,
/// which the processor carries out (APM vol. 2, 12.3), where VMX's leave the guest.
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

/// MSRs of [`PASSED_MSRS`] that exit all the same: the TSC, whose writes move the offset (and QEMU
/// does not apply it to RDMSR); the PAT, which the VMCB has, but QEMU would access the host's;
/// EFER, in which SVME must stay set and hidden.
const HANDLED_MSRS: [u32; 3] = [register::IA32_TSC, register::IA32_PAT, efer::INDEX];

/// Denies every port.
pub fn fill_port_map(map: &mut [u8]) {
    map.fill(0xff);
}

/// Denies every MSR but the guest's own.
pub fn fill_msr_map(map: &mut [u8]) {
    map.fill(0xff);
    let passed = PASSED_MSRS.iter().flat_map(|(first, last)| *first..=*last);
    for index in passed.filter(|index| !HANDLED_MSRS.contains(index)) {
        let bit = msr_bit(index).expect("passed MSRs have bits in the map");
        map[bit / 8] &= !(0b11 << (bit % 8));
    }
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

    fn msr_map() -> [u8; 8192] {
        let mut map = [0; 8192];
        fill_msr_map(&mut map);
        map
    }

    #[test]
    fn every_port_exits() {
        let mut map = [0; 3 * 4096];
        fill_port_map(&mut map);
        assert!(map.iter().all(|byte| *byte == 0xff));
    }

    #[test]
    fn only_the_guests_own_msrs_are_open() {
        const OPEN: [u32; 11] = [
            0x174,
            0x175,
            0x176,
            0xc000_0081,
            0xc000_0082,
            0xc000_0083,
            0xc000_0084,
            0xc000_0100,
            0xc000_0101,
            0xc000_0102,
            0xc000_0103,
        ];
        let map = msr_map();
        let ranges = [0..0x2000, 0xc000_0000..0xc000_2000, 0xc001_0000..0xc001_2000];
        for index in ranges.into_iter().flatten() {
            let bit = msr_bit(index).expect("in the map");
            let is_open = OPEN.contains(&index);
            let expected = if is_open { 0 } else { 0b11 };
            assert_eq!(map[bit / 8] >> (bit % 8) & 0b11, expected, "MSR {index:#x}");
        }
        assert!(map[0x1800..].iter().all(|byte| *byte == 0xff));
    }

    #[test]
    fn efer_exits_at_its_place_in_the_map() {
        // C000_0080 is the 0x80th of the second vector: byte 0x800 + 0x20, bits 1:0.
        assert_eq!(msr_map()[0x820], 0b0000_0011);
        assert_eq!(msr_map()[0x821], 0b1111_1100);
    }

    #[test]
    fn vmrun_is_intercepted() {
        assert_eq!(INTERCEPT4 & 1, 1);
    }
}
