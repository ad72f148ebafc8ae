//! The permission maps of ports and MSRs. Default-deny: both start all ones, and only MSRs that are
//! the guest's own state are opened (APM vol. 2, 15.10 and 15.11).

use vmm_common::grant::Reach;

/// Frames of the I/O permission map: a bit for each port, and some beyond the last one.
pub const PORT_MAP_FRAMES: u64 = 3;
/// Frames of the MSR permission map: two bits for each MSR, read and write.
pub const MSR_MAP_FRAMES: u64 = 2;

/// Denies every port but those that the guest reaches.
pub fn fill_ports(map: &mut [u8], reach: &Reach) {
    map.fill(0xff);
    for port in &reach.ports {
        map[usize::from(*port) / 8] &= !(1 << (port % 8));
    }
}

/// Denies every MSR but those that the guest reaches.
pub fn fill_msrs(map: &mut [u8], reach: &Reach) {
    map.fill(0xff);
    for (write, indices) in [(0, &reach.msr_reads), (1, &reach.msr_writes)] {
        for &index in indices {
            let bit = msr_bit(index).expect("granted MSRs have bits in the map") + write;
            map[bit / 8] &= !(1 << (bit % 8));
        }
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
    use crate::tests::grant;
    use vmm_common::grant::Vendor;

    #[test]
    fn efer_exits_at_its_place_in_the_map() {
        let mut map = [0; 8192];
        fill_msrs(&mut map, grant(Vendor::Svm, Vec::new()).reach());
        // C000_0080 is the 0x80th of the second vector: byte 0x800 + 0x20, bits 1:0.
        assert_eq!((map[0x820], map[0x821]), (0b0000_0011, 0b1111_1100));
        assert!(map[0x1800..].iter().all(|byte| *byte == 0xff));
    }
}
