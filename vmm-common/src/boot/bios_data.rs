//! What a BIOS leaves in low memory: interrupt vectors, the data area at
//! 0x400, and the extended one (EBDA) at which conventional memory ends.
//!
//! There is no BIOS to call: every vector leads to an IRET. Sources: IBM PC/AT Technical Reference,
//! "Interrupt Vectors" and "ROM BIOS Data Area"; the EBDA is described in the IBM PS/2 and Personal
//! Computer BIOS Interface Technical Reference.

use super::BootError;
use super::layout::Layout;
use super::memory_map::{LOW_MEMORY_END, Range};
use crate::plan::{SERIAL_PORTS, SerialPlan};
use crate::screen;
use alloc::vec;
use alloc::vec::Vec;

const KIB: u64 = 1 << 10;
/// The real-mode pointer to the IRET of a PC's BIOS: F000:FF53.
const IRET_POINTER: u32 = 0xf000_ff53;
const IRET_ADDRESS: u64 = 0xf_ff53;
const IRET: u8 = 0xcf;
const VECTORS: usize = 256;
/// Where the data area lies, and its length.
const DATA_AREA: u64 = 0x400;
const DATA_AREA_BYTES: usize = 0x100;
/// The text screen: blanks, light grey on black.
const SCREEN_CELL: [u8; 2] = [b' ', 0x07];
/// The ports of COM1 to COM4.
const COM_PORTS: [u16; SERIAL_PORTS] = [0x3f8, 0x2f8, 0x3e8, 0x2e8];

/// The EBDA of a layout: where conventional memory ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ebda {
    address: u64,
    len: u64,
}

impl Ebda {
    /// Beneath all that the loader added in low memory, and including it up to the next part of an
    /// image: code that only respects the end of conventional memory spares that, too.
    ///
    /// # Errors
    /// There is no room for it.
    pub(super) fn add(layout: &mut Layout) -> Result<Self, BootError> {
        /// Its length must fit into its first byte.
        const MAX_BYTES: u64 = 255 * KIB;
        let address = layout.add_beneath("the extended BIOS data area", KIB)?;
        let bytes = layout.next_image(address, LOW_MEMORY_END) - address;
        let len = bytes.min(MAX_BYTES);
        Ok(Self { address, len: len - len % KIB })
    }

    /// Conventional memory, KiB.
    pub(super) const fn base_memory_kib(self) -> u16 {
        (self.address / KIB) as u16
    }

    /// The memory map, with the whole EBDA reserved.
    pub(super) fn memory_map(self, layout: &Layout) -> Vec<Range> {
        layout.memory_map(&[(self.address, self.address + self.len)])
    }

    /// Puts vectors, data area and EBDA.
    ///
    /// # Errors
    /// Memory ends before.
    pub(super) fn put(
        self,
        serial: &[SerialPlan; SERIAL_PORTS],
        layout: &mut Layout,
    ) -> Result<(), BootError> {
        let vectors = [IRET_POINTER; VECTORS].iter().flat_map(|pointer| pointer.to_le_bytes());
        layout.put_firmware("the interrupt vectors", 0, vectors.collect())?;
        let data = self.data_area(serial);
        layout.put_firmware("the BIOS data area", DATA_AREA, data)?;
        let cells = SCREEN_CELL.repeat(screen::ROWS * screen::COLUMNS);
        layout.put_firmware("the text screen", screen::ADDRESS, cells)?;
        layout.put_firmware("the BIOS's IRET", IRET_ADDRESS, vec![IRET])?;
        // Its first byte is its length in KiB; the rest is for drivers that a BIOS has.
        layout.fill(self.address, vec![(self.len / KIB) as u8]);
        Ok(())
    }

    fn data_area(self, serial: &[SerialPlan; SERIAL_PORTS]) -> Vec<u8> {
        /// Equipment word: a coprocessor; the number of serial ports from bit 9 on.
        const FPU: u16 = 1 << 1;
        const SERIAL_SHIFT: u32 = 9;
        /// Equipment word: the first display has 80 columns, in colour.
        const COLOURS_80: u16 = 0b10 << 4;
        /// Mode 3: text, 80 columns, 4000 bytes a page, the CRT controller at 3D4h, 25 rows (less
        /// one), characters of 16 lines.
        const MODE: [(usize, u16); 6] =
            [(0x4a, 80), (0x4c, 0x1000), (0x60, 0x0d0e), (0x63, 0x3d4), (0x65, 0x29), (0x85, 16)];
        /// The keyboard's ring lies behind its pointers, and is empty.
        const RING: (u16, u16) = (0x1e, 0x3e);
        let ports = serial.iter().zip(COM_PORTS);
        let ports = ports.filter(|(plan, _)| !matches!(plan, SerialPlan::Absent));
        let ports: Vec<u16> = ports.map(|(_, port)| port).collect();
        let mut data = vec![0; DATA_AREA_BYTES];
        let mut set = |at: usize, word: u16| data[at..at + 2].copy_from_slice(&word.to_le_bytes());
        // The ports present, without gaps.
        for (index, port) in ports.iter().enumerate() {
            set(index * 2, *port);
        }
        set(0x0e, (self.address >> 4) as u16);
        set(0x10, FPU | COLOURS_80 | (ports.len() as u16) << SERIAL_SHIFT);
        set(0x13, self.base_memory_kib());
        set(0x1a, RING.0);
        set(0x1c, RING.0);
        set(0x80, RING.0);
        set(0x82, RING.1);
        for (at, word) in MODE {
            set(at, word);
        }
        data[0x49] = 3;
        data[0x84] = screen::ROWS as u8 - 1;
        data
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::boot::layout::{Place, What};
    use crate::boot::tests::{RAM, Ram, place_with, samples, vm};
    use crate::boot::{Boot, Part};
    use crate::plan::BootKind;

    fn with_ports(serial: [SerialPlan; SERIAL_PORTS]) -> Boot {
        let mut vm = vm(BootKind::Multiboot, "", RAM);
        vm.serial = serial;
        place_with(&mut vm, &samples::multiboot_by_addresses(), &[]).expect("it fits")
    }

    fn words(boot: &Boot, addresses: [u64; 4]) -> [u16; 4] {
        let ram = Ram(boot);
        addresses.map(|at| u16::from_le_bytes([ram.at(at)[0], ram.at(at)[1]]))
    }

    #[test]
    fn serial_ports_are_listed_as_they_are_found_and_counted() {
        use SerialPlan::{Absent, Console, Link, Unconnected};
        let ports = [0x400, 0x402, 0x404, 0x406];
        let boot = with_ports([Console, Absent, Unconnected, Link(0)]);
        assert_eq!(words(&boot, ports), [0x3f8, 0x3e8, 0x2e8, 0]);
        assert_eq!(words(&boot, [0x410; 4])[0], 3 << 9 | 0x20 | 2);
        let boot = with_ports([Absent; 4]);
        assert_eq!(words(&boot, ports), [0; 4]);
        assert_eq!(words(&boot, [0x410; 4])[0], 0x20 | 2);
    }

    #[test]
    fn conventional_memory_ends_at_an_ebda_that_reaches_to_640_kib() {
        let boot = with_ports([SerialPlan::Console; 4]);
        // The stack of 16 KiB, a page of information, and 1 KiB of its own: 21 KiB.
        assert_eq!(words(&boot, [0x40e, 0x413, 0x41a, 0x480]), [0x9ac0, 619, 0x1e, 0x1e]);
        assert_eq!(Ram(&boot).at(0x9_ac00)[0], 21);
        let mut raw = vm(BootKind::Flat, "", RAM);
        let boot = place_with(&mut raw, &[0xf4], &[]).expect("it fits");
        assert_eq!(words(&boot, [0x40e, 0x413, 0x400, 0x402]), [0x9fc0, 639, 0x3f8, 0]);
        assert_eq!((Ram(&boot).at(0x9_fc00)[0], boot.base_memory_kib), (1, 639));
    }

    #[test]
    fn the_text_mode_is_described_and_its_screen_is_blank() {
        let boot = with_ports([SerialPlan::Console; 4]);
        assert_eq!(words(&boot, [0x449, 0x44a, 0x44c, 0x450]), [0x5003, 80, 0x1000, 0]);
        assert_eq!(words(&boot, [0x460, 0x463, 0x484, 0x485]), [0x0d0e, 0x3d4, 0x1018, 16]);
        let screen = Ram(&boot).at(0xb_8000).to_vec();
        assert_eq!(screen, [0x20, 0x07].repeat(2000));
    }

    #[test]
    fn all_vectors_lead_to_an_iret() {
        let boot = with_ports([SerialPlan::Console; 4]);
        let ram = Ram(&boot);
        assert!((0..256).all(|vector| ram.u32(vector * 4) == 0xf000_ff53));
        assert_eq!(ram.at(0xf_ff53), [0xcf]);
    }

    #[test]
    fn beside_an_image_at_the_top_of_low_memory_it_ends_where_the_image_begins() {
        let mut layout = Layout::new(RAM);
        let what = What::Segment(0);
        let segment = |address, len| Place { part: Part::Kernel, what, address, len };
        layout.reserve(segment(0x9_8100, 0x7f00)).expect("it is free");
        layout.add("the stack", 0x4000).expect("beneath the segment");
        let ebda = Ebda::add(&mut layout).expect("beneath the stack");
        assert_eq!((ebda.address, ebda.len), (0x9_3c00, 0x4400));
        let map = ebda.memory_map(&layout);
        let low = [(0, 0x9_3c00), (0x9_3c00, 0x4400), (0x9_8000, 0x8000)];
        assert!(map.iter().zip(low).all(|(range, low)| (range.begin, range.len) == low));
    }
}
