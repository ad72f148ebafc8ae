use super::*;

/// Memory that holds these bytes at these addresses, and zeros elsewhere.
struct Bytes(Vec<(u64, Vec<u8>)>);

impl Bytes {
    fn read(&self, address: u64, to: &mut [u8]) -> bool {
        to.fill(0);
        for (begin, bytes) in &self.0 {
            for (offset, byte) in bytes.iter().enumerate() {
                let at = (begin + offset as u64).wrapping_sub(address);
                if let Some(to) = to.get_mut(at as usize) {
                    *to = *byte;
                }
            }
        }
        address < 0xe000_0000
    }

    fn acpi(&self) -> Acpi {
        Acpi::find(&|address, to| self.read(address, to))
    }
}

fn checked(mut bytes: Vec<u8>, at: usize) -> Vec<u8> {
    bytes[at] = 0_u8.wrapping_sub(sum(&bytes));
    bytes
}

fn a_table(signature: &[u8; 4], body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; HEADER_BYTES];
    bytes[..4].copy_from_slice(signature);
    bytes.extend(body);
    let len = bytes.len() as u32;
    bytes[4..8].copy_from_slice(&len.to_le_bytes());
    checked(bytes, 9)
}

/// QEMU's q35, as far as it matters: S5 is 0, 0; the control register is at 0x604.
fn q35() -> Bytes {
    let mut fadt = [0; 80];
    fadt[4..8].copy_from_slice(&0x7000_0400_u32.to_le_bytes()); // DSDT
    fadt[12..16].copy_from_slice(&0xb2_u32.to_le_bytes());
    fadt[16] = 2;
    fadt[28..32].copy_from_slice(&0x604_u32.to_le_bytes());
    fadt[40..44].copy_from_slice(&0x608_u32.to_le_bytes());
    let dsdt = [8, b'_', b'S', b'5', b'_', 0x12, 6, 4, 0, 0, 0, 0];
    let mut hpet = [0; 20];
    hpet[8..16].copy_from_slice(&0xfed0_0000_u64.to_le_bytes());
    let mut madt = vec![0; 8];
    madt.extend([0, 8, 0, 0, 1, 0, 0, 0]);
    madt.extend([1, 12, 0, 0, 0, 0, 0xc0, 0xfe, 0, 0, 0, 0]);
    let tables = [0x7000_0100_u32, 0x7000_0200, 0x7000_0300].map(u32::to_le_bytes).concat();
    let mut pointer = b"RSD PTR ".to_vec();
    pointer.resize(20, 0);
    pointer[16..20].copy_from_slice(&0x7000_0000_u32.to_le_bytes());
    Bytes(vec![
        (0xf_5a00, checked(pointer, 8)),
        (0x7000_0000, a_table(b"RSDT", &tables)),
        (0x7000_0100, a_table(b"FACP", &fadt)),
        (0x7000_0200, a_table(b"APIC", &madt)),
        (0x7000_0300, a_table(b"HPET", &hpet)),
        (0x7000_0400, a_table(b"DSDT", &dsdt)),
    ])
}

#[test]
fn a_q35_says_its_clocks_and_how_it_is_switched_off() {
    let soft_off = SoftOff { control_ports: [0x604, 0], sleep_types: [0, 0], enable: (0xb2, 2) };
    let expected = Acpi {
        timer_port: Some(0x608),
        hpet: Some(0xfed0_0000),
        io_apics: vec![0xfec0_0000],
        soft_off: Some(soft_off),
    };
    assert_eq!(q35().acpi(), expected);
}

#[test]
fn how_a_machine_is_switched_off_fits_a_word() {
    let soft_off =
        SoftOff { control_ports: [0x1804, 0xb004], sleep_types: [5, 7], enable: (0xb2, 0xa0) };
    assert_eq!(SoftOff::unpacked(soft_off.packed()), Some(soft_off));
    assert_eq!(SoftOff::unpacked(0), None);
}

#[test]
fn what_is_damaged_is_not_there() {
    assert_eq!(Bytes(Vec::new()).acpi(), Acpi::default());
    for index in 0..6 {
        let mut bytes = q35();
        bytes.0[index].1[10] ^= 1;
        let acpi = bytes.acpi();
        assert_ne!(acpi, q35().acpi(), "{index}");
    }
}

#[test]
fn sleep_types_are_constants_of_either_coding() {
    let dsdt = |tail: &[u8]| [&[0x10, 8, b'\\'], &b"_S5_"[..], tail].concat();
    let types = |tail: &[u8]| sleep_types_of_s5(&dsdt(tail));
    assert_eq!(types(&[0x12, 7, 2, 0x0a, 5, 0x0a, 7]), Some([5, 7]));
    assert_eq!(types(&[0x12, 0x46, 0, 2, 1, 0x0a, 0]), Some([1, 0]));
    for tail in [&[0x12, 7, 2, 0x0a, 8, 0][..], &[0x12, 7, 2, 0x0b, 0, 0], &[0x12, 7], &[0x14]] {
        assert_eq!(types(tail), None, "{tail:?}");
    }
    assert_eq!(sleep_types_of_s5(b"_S5_\x12\x06\x04\0\0\0\0"), None, "no name is defined");
}
