//! I/O ports of the host that the hypervisor itself uses, and no others.

use core::arch::asm;

/// A port of a device that neither writes memory nor is a guest's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Port(u16);

/// First and last port of each such device.
const OWN: [(u16, u16); 13] = [
    (0x20, 0x21),     // 8259, first
    (0x40, 0x40),     // 8254, channel 0
    (0x42, 0x43),     // 8254, channel 2 and control
    (0x61, 0x61),     // gate of channel 2
    (0x70, 0x71),     // MC146818
    (0xa0, 0xa1),     // 8259, second
    (0xe9, 0xe9),     // debug console of Bochs and QEMU
    (0xf4, 0xf4),     // isa-debug-exit of QEMU
    (0x2f8, 0x2ff),   // COM2
    (0x3f8, 0x3ff),   // COM1
    (0x604, 0x604),   // PM1a control of QEMU's q35
    (0x8900, 0x8900), // shutdown port of Bochs
    (0xb004, 0xb004), // PM1a control of QEMU's pc
];

/// Address and data of PCI's configuration (mechanism 1), for [`crate::pci`] alone.
pub(crate) const PCI_ADDRESS: Port = Port(0xcf8);
pub(crate) const PCI_DATA: Port = Port(0xcfc);

impl Port {
    /// The port with this number.
    ///
    /// # Panics
    /// It is none of the hypervisor's.
    #[must_use]
    #[inline]
    pub const fn new(number: u16) -> Self {
        let mut index = 0;
        while index < OWN.len() {
            let (first, last) = OWN[index];
            if first <= number && number <= last {
                return Self(number);
            }
            index += 1;
        }
        panic!("not a port of the hypervisor's")
    }

    /// A port of the power management that firmware's ACPI tables name; None for a number below
    /// those that boards give it, or of PCI's configuration, by which a device could be made to
    /// write memory.
    #[must_use]
    pub const fn of_power_management(number: u32) -> Option<Self> {
        match number {
            0x400..0xcf8 | 0xd00..=0xffff => Some(Self(number as u16)),
            _ => None,
        }
    }

    /// The port by which firmware is asked to switch ACPI on: the chipsets' 0xb2.
    #[must_use]
    pub const fn of_smi_command(number: u32) -> Option<Self> {
        if number == 0xb2 { Some(Self(0xb2)) } else { None }
    }

    /// IN of a byte.
    #[must_use]
    #[inline]
    pub fn read(self) -> u8 {
        let value: u8;
        // SAFETY: no device of these writes memory.
        unsafe {
            asm!(
                "in al, dx",
                in("dx") self.0,
                out("al") value,
                options(nomem, nostack, preserves_flags),
            );
        }
        value
    }

    /// IN of a word.
    #[must_use]
    pub fn read_word(self) -> u16 {
        let value: u16;
        // SAFETY: as for `read`.
        unsafe {
            asm!(
                "in ax, dx",
                in("dx") self.0,
                out("ax") value,
                options(nomem, nostack, preserves_flags),
            );
        }
        value
    }

    /// IN of a double word.
    #[must_use]
    pub fn read_long(self) -> u32 {
        let value: u32;
        // SAFETY: as for `read`.
        unsafe {
            asm!(
                "in eax, dx",
                in("dx") self.0,
                out("eax") value,
                options(nomem, nostack, preserves_flags),
            );
        }
        value
    }

    /// OUT of a byte.
    #[inline]
    pub fn write(self, value: u8) {
        // SAFETY: as for `read`.
        unsafe {
            asm!(
                "out dx, al",
                in("dx") self.0,
                in("al") value,
                options(nomem, nostack, preserves_flags),
            );
        }
    }

    /// OUT of a double word.
    pub(crate) fn write_long(self, value: u32) {
        // SAFETY: as for `read`.
        unsafe {
            asm!(
                "out dx, eax",
                in("dx") self.0,
                in("eax") value,
                options(nomem, nostack, preserves_flags),
            );
        }
    }

    /// OUT of a word.
    #[inline]
    pub fn write_word(self, value: u16) {
        // SAFETY: as for `read`.
        unsafe {
            asm!(
                "out dx, ax",
                in("dx") self.0,
                in("ax") value,
                options(nomem, nostack, preserves_flags),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Port;

    #[test]
    fn ports_of_others_cannot_be_named() {
        assert_eq!(Port::new(0x3f8), Port(0x3f8));
        assert_eq!(Port::of_power_management(0x608), Some(Port(0x608)));
        for number in [0, 0x3f8, 0xcf8, 0xcf9, 0xcff, 0x1_0000] {
            assert_eq!(Port::of_power_management(number), None, "{number:#x}");
        }
        // PCI's configuration, by which a device could be made to write memory.
        for port in [0x3f7, 0xcf8, 0xcfc, 0x600] {
            assert!(std::panic::catch_unwind(|| Port::new(port)).is_err(), "{port:#x}");
        }
    }
}
