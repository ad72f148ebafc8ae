//! The MP tables (Intel MultiProcessor Specification 1.4, chapter 4), for kernels without ACPI:
//! the floating pointer structure where they search, the 64 KiB below 1 MiB, and the configuration
//! table behind it. A machine with a local APIC and an I/O APIC has them.
//!
//! What they say is what the ACPI tables say: the processors, and ISA's interrupts at the pins of
//! the I/O APIC, IRQ 0 at pin 2. The pins of virtio devices, which no bus lies behind, are ISA's
//! IRQs of the same numbers: kernels that find a device on their command line
//! (`virtio_mmio.device=4K@0xfeb00000:16`) have no interrupt without an entry for its pin. A Linux
//! does both if it is built with CONFIG_VIRTIO_MMIO_CMDLINE_DEVICES and CONFIG_X86_MPPARSE.

use super::{BootError, Layout};
use crate::machine::{IO_APIC_BASE, LOCAL_APIC_BASE, virtio_place};
use crate::plan::VmPlan;
use alloc::vec::Vec;

/// Where kernels search the ROM area, from the first paragraph on.
const FLOATING_POINTER: u64 = 0xf_0000;
const FLOATING_POINTER_BYTES: u64 = 16;
const CONFIGURATION: u64 = FLOATING_POINTER + FLOATING_POINTER_BYTES;
/// Version 1.4.
const SPECIFICATION: u8 = 4;

/// Bus and I/O APIC, by the numbers that the entries give them. The I/O APIC's is that in its ID
/// register.
const ISA_BUS: u8 = 0;
const IO_APIC_ID: u8 = 0;

/// Puts the tables of `vm`'s machine.
pub(super) fn put(vm: &VmPlan, layout: &mut Layout) -> Result<(), BootError> {
    if !(vm.devices.has_local_apic && vm.devices.has_io_apic) {
        return Ok(());
    }
    let mut bytes = floating_pointer().to_vec();
    bytes.extend(configuration(vm));
    layout.put_firmware("the MP tables", FLOATING_POINTER, bytes)
}

/// 4.1. No feature byte: the configuration is none of the defaults, and in virtual wire mode, there
/// is no IMCR.
fn floating_pointer() -> [u8; FLOATING_POINTER_BYTES as usize] {
    const PARAGRAPHS: u8 = (FLOATING_POINTER_BYTES / 16) as u8;
    const CHECKSUM: usize = 10;
    let mut bytes = [0; FLOATING_POINTER_BYTES as usize];
    bytes[..4].copy_from_slice(b"_MP_");
    bytes[4..8].copy_from_slice(&(CONFIGURATION as u32).to_le_bytes());
    bytes[8..10].copy_from_slice(&[PARAGRAPHS, SPECIFICATION]);
    bytes[CHECKSUM] = balance(&bytes);
    bytes
}

/// 4.2: a header, and entries in ascending order of their type.
fn configuration(vm: &VmPlan) -> Vec<u8> {
    const HEADER_BYTES: usize = 44;
    const LENGTH: usize = 4;
    const CHECKSUM: usize = 7;
    let mut entries = Entries::default();
    for id in 0..vm.vcpu_count as u8 {
        entries.add(&processor(id));
    }
    entries.add(b"\x01\x00ISA   ");
    entries.add(&io_apic());
    // IRQ 2 is the cascade of the 8259 pair.
    for irq in (0..16).filter(|irq| *irq != 2) {
        let pin = if irq == 0 { 2 } else { irq };
        entries.add(&interrupt(IO_INTERRUPT, INT, irq, IO_APIC_ID, pin));
    }
    let mut pins: Vec<u8> = (0..vm.virtio.devices().count()).map(|of| virtio_place(of).1).collect();
    pins.sort_unstable();
    pins.dedup();
    for pin in pins {
        let mut entry = interrupt(IO_INTERRUPT, INT, pin, IO_APIC_ID, pin);
        entry[2] = LEVEL_HIGH;
        entries.add(&entry);
    }
    // As SeaBIOS has it: the 8259 pair at LINT0 of the bootstrap processor, NMI at LINT1 of all.
    entries.add(&interrupt(LOCAL_INTERRUPT, EXT_INT, 0, 0, 0));
    entries.add(&interrupt(LOCAL_INTERRUPT, NMI, 0, ALL_LOCAL_APICS, 1));

    let mut bytes = Vec::with_capacity(HEADER_BYTES + entries.bytes.len());
    bytes.extend(b"PCMP");
    bytes.extend([0, 0, SPECIFICATION, 0]);
    bytes.extend(b"TANDEM  MACHINE     ");
    // No table of the OEM's.
    bytes.extend([0; 6]);
    bytes.extend(entries.count.to_le_bytes());
    bytes.extend((LOCAL_APIC_BASE as u32).to_le_bytes());
    // No extended table.
    bytes.extend([0; 4]);
    bytes.extend(entries.bytes);
    let length = (bytes.len() as u16).to_le_bytes();
    bytes[LENGTH..LENGTH + 2].copy_from_slice(&length);
    bytes[CHECKSUM] = balance(&bytes);
    bytes
}

#[derive(Default)]
struct Entries {
    bytes: Vec<u8>,
    count: u16,
}

impl Entries {
    fn add(&mut self, entry: &[u8]) {
        self.bytes.extend(entry);
        self.count += 1;
    }
}

/// 4.3.1. Kernels take signature and features from CPUID; these are a P6 with FPU and local APIC,
/// as other virtual machine monitors without firmware say.
fn processor(id: u8) -> [u8; 20] {
    const VERSION: u8 = 0x14;
    const ENABLED: u8 = 1;
    const BOOTSTRAP: u8 = 1 << 1;
    const SIGNATURE: u16 = 0x600;
    const FEATURES: u16 = 1 | 1 << 9;
    let flags = if id == 0 { ENABLED | BOOTSTRAP } else { ENABLED };
    let mut entry = [0; 20];
    entry[..4].copy_from_slice(&[0, id, VERSION, flags]);
    entry[4..6].copy_from_slice(&SIGNATURE.to_le_bytes());
    entry[8..10].copy_from_slice(&FEATURES.to_le_bytes());
    entry
}

/// 4.3.3.
fn io_apic() -> [u8; 8] {
    const TYPE: u8 = 2;
    const VERSION: u8 = 0x20;
    const ENABLED: u8 = 1;
    let [a, b, c, d] = (IO_APIC_BASE as u32).to_le_bytes();
    [TYPE, IO_APIC_ID, VERSION, ENABLED, a, b, c, d]
}

/// Types of entries, and of interrupts.
const IO_INTERRUPT: u8 = 3;
const LOCAL_INTERRUPT: u8 = 4;
const INT: u8 = 0;
const NMI: u8 = 1;
const EXT_INT: u8 = 3;
const ALL_LOCAL_APICS: u8 = 0xff;
/// Flags: level-triggered, active high; 0 is as the bus has it, an edge.
const LEVEL_HIGH: u8 = 3 << 2 | 1;

/// 4.3.4, 4.3.5: from `irq` of the ISA bus, with its polarity and trigger, to an APIC's pin.
const fn interrupt(entry: u8, kind: u8, irq: u8, apic: u8, pin: u8) -> [u8; 8] {
    [entry, kind, 0, 0, ISA_BUS, irq, apic, pin]
}

/// The byte that makes the sum of `bytes` 0.
fn balance(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte)).wrapping_neg()
}

#[cfg(test)]
mod tests {
    use crate::boot::tests::{RAM, Ram, samples, vm};
    use crate::boot::{Images, place};
    use crate::plan::{BootKind, DiskPlan, VmPlan, Writes};
    use alloc::string::String;
    use alloc::vec::Vec;

    /// What a kernel reads, by MP 1.4 and by the rules of Linux's arch/x86/kernel/mpparse.c.
    #[derive(Debug, Default, PartialEq, Eq)]
    struct Read {
        /// APIC ID, flags.
        processors: Vec<(u8, u8)>,
        buses: Vec<(u8, [u8; 6])>,
        /// ID, version, address.
        io_apics: Vec<(u8, u8, u32)>,
        /// Type, flags, bus, IRQ, APIC, pin.
        interrupts: Vec<(u8, u16, u8, u8, u8, u8)>,
        local_interrupts: Vec<(u8, u16, u8, u8, u8, u8)>,
    }

    fn sum(bytes: &[u8]) -> u32 {
        bytes.iter().map(|byte| u32::from(*byte)).sum::<u32>() % 256
    }

    fn u16_at(bytes: &[u8], at: usize) -> u16 {
        u16::from(bytes[at]) + 256 * u16::from(bytes[at + 1])
    }

    fn u32_at(bytes: &[u8], at: usize) -> u32 {
        u32::from(u16_at(bytes, at)) + 0x1_0000 * u32::from(u16_at(bytes, at + 2))
    }

    /// Searches the ROM area as kernels do; None if there is no table.
    fn read(vcpu_count: u64, local_apic: bool, io_apic: bool) -> Option<Read> {
        let mut vm = vm(BootKind::Flat, "", RAM);
        vm.vcpu_count = vcpu_count;
        read_of(vm, local_apic, io_apic)
    }

    fn read_of(mut vm: VmPlan, local_apic: bool, io_apic: bool) -> Option<Read> {
        vm.devices.has_local_apic = local_apic;
        vm.devices.has_io_apic = io_apic;
        let boot = place(&vm, &Images::of(&[0xf4])).expect("it fits");
        let ram = Ram(&boot);
        let mut area = alloc::vec![0_u8; 0x1_0000];
        for (address, bytes) in boot.contents(&Images::of(&[0xf4])) {
            for (index, byte) in bytes.iter().enumerate() {
                let address = address as usize + index;
                if (0xf_0000..0x10_0000).contains(&address) {
                    area[address - 0xf_0000] = *byte;
                }
            }
        }
        let paragraphs = area.chunks(16);
        let pointer = paragraphs.into_iter().find(|paragraph| {
            let is_version = [1, 4].contains(&paragraph[9]);
            &paragraph[..4] == b"_MP_" && paragraph[8] == 1 && sum(paragraph) == 0 && is_version
        })?;
        assert_eq!(&pointer[11..], [0; 5], "no default configuration, no IMCR");
        let table = ram.at(u32_at(pointer, 4).into());
        Some(parse(&table[..u16_at(table, 4).into()]))
    }

    fn parse(table: &[u8]) -> Read {
        assert_eq!((&table[..4], table[6], sum(table)), (&b"PCMP"[..], 4, 0));
        assert_eq!(&table[8..28], b"TANDEM  MACHINE     ");
        assert_eq!(u32_at(table, 36), 0xfee0_0000);
        let mut read = Read::default();
        let (mut at, mut count) = (44, 0);
        while at < table.len() {
            let entry = &table[at..];
            let line = || {
                let flags = u16_at(entry, 2);
                (entry[1], flags, entry[4], entry[5], entry[6], entry[7])
            };
            match entry[0] {
                0 => {
                    assert_eq!((entry[2], u32_at(entry, 8) >> 9 & 1), (0x14, 1));
                    read.processors.push((entry[1], entry[3]));
                }
                1 => read.buses.push((entry[1], entry[2..8].try_into().expect("six bytes"))),
                2 => {
                    assert_eq!(entry[3], 1, "usable");
                    read.io_apics.push((entry[1], entry[2], u32_at(entry, 4)));
                }
                3 => read.interrupts.push(line()),
                4 => read.local_interrupts.push(line()),
                other => panic!("an entry of type {other}"),
            }
            at += if entry[0] == 0 { 20 } else { 8 };
            count += 1;
        }
        assert_eq!((at, count), (table.len(), u16_at(table, 34)));
        read
    }

    #[test]
    fn a_kernel_without_acpi_finds_processors_and_interrupts() {
        for count in [1, 2, 3, 4, 16] {
            let read = read(count, true, true).expect("the tables");
            let processors: Vec<(u8, u8)> =
                (0..count as u8).map(|id| (id, if id == 0 { 3 } else { 1 })).collect();
            assert_eq!(read.processors, processors);
            assert_eq!(read.buses, [(0, *b"ISA   ")]);
            assert_eq!(read.io_apics, [(0, 0x20, 0xfec0_0000)]);
            let pins = [2, 1, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];
            let irqs = [0, 1, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];
            let lines: Vec<_> =
                irqs.into_iter().zip(pins).map(|(irq, pin)| (0, 0, 0, irq, 0, pin)).collect();
            assert_eq!(read.interrupts, lines);
            assert_eq!(read.local_interrupts, [(3, 0, 0, 0, 0, 0), (1, 0, 0, 0, 0xff, 1)]);
        }
    }

    /// By the rules of Linux's arch/x86/kernel/apic/io_apic.c, an IRQ of ISA from 16 on is that of
    /// its pin.
    #[test]
    fn pins_of_virtio_devices_are_levels_and_shared_ones_have_one_entry() {
        for count in [1, 3, 8, 9] {
            let mut vm = vm(BootKind::Flat, "", RAM);
            let disk = DiskPlan { file: String::new(), bytes: 512, writes: Writes::Discard };
            vm.virtio.disks = alloc::vec![disk; count.min(8)];
            vm.virtio.has_entropy = count > 8;
            let read = read_of(vm, true, true).expect("the tables");
            let pins: Vec<_> =
                (16..16 + count.min(8) as u8).map(|pin| (0, 0xd, 0, pin, 0, pin)).collect();
            assert_eq!(read.interrupts[15..], pins);
        }
    }

    #[test]
    fn every_protocol_leaves_them_where_there_are_both_apics() {
        assert_eq!(read(1, false, true), None);
        assert_eq!(read(1, true, false), None);
        for (kind, image) in [
            (BootKind::Multiboot, samples::multiboot_elf(false)),
            (BootKind::Pvh, samples::pvh(true)),
            (BootKind::Linux, samples::bzimage()),
        ] {
            let boot = place(&vm(kind, "", RAM), &Images::of(&image)).expect("it fits");
            assert_eq!(&Ram(&boot).at(0xf_0000)[..4], b"_MP_");
        }
    }
}
