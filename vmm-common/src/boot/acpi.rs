//! The ACPI tables (ACPI 6.5, chapter 5) of the hardware in [`crate::machine`], where
//! firmware leaves them: in the BIOS area, which guests search for the root pointer.

use super::memory_map::TABLES;
use super::{BootError, Layout};
use crate::machine::{HPET_BASE, IO_APIC_BASE, LOCAL_APIC_BASE, virtio_place};
use crate::plan::VmPlan;
use acpi_tables::fadt::FADTBuilder;
use acpi_tables::gas::{AccessSize, AddressSpace, GAS};
use acpi_tables::madt::{EnabledStatus, IoApic, ProcessorLocalApic};
use acpi_tables::rsdp::Rsdp;
use acpi_tables::sdt::Sdt;
use acpi_tables::xsdt::XSDT;
use acpi_tables::{Aml, aml};
use alloc::format;
use alloc::vec::Vec;
use devices::power;
use devices::virtio::WINDOW_BYTES;

const OEM: [u8; 6] = *b"TANDEM";
const OEM_TABLE: [u8; 8] = *b"MACHINE ";

/// Puts the tables of `vm`'s machine; the root pointer's address.
pub(super) fn put(vm: &VmPlan, layout: &mut Layout) -> Result<u64, BootError> {
    let mut bytes = alloc::vec![0; Rsdp::len()];
    let dsdt = append(&mut bytes, &dsdt(vm));
    let mut xsdt = XSDT::new(OEM, OEM_TABLE, 1);
    xsdt.add_entry(append(&mut bytes, &fadt(vm, dsdt)));
    xsdt.add_entry(append(&mut bytes, &madt(vm)));
    if vm.devices.has_hpet {
        xsdt.add_entry(append(&mut bytes, &hpet()));
    }
    let xsdt = append(&mut bytes, &xsdt);
    let mut root = Vec::new();
    Rsdp::new(OEM, xsdt).to_aml_bytes(&mut root);
    bytes[..root.len()].copy_from_slice(&root);
    layout.put_firmware("the ACPI tables", TABLES, bytes)?;
    Ok(TABLES)
}

/// Where the table lies.
fn append(bytes: &mut Vec<u8>, table: &dyn Aml) -> u64 {
    bytes.resize(bytes.len().next_multiple_of(16), 0);
    let address = TABLES + bytes.len() as u64;
    table.to_aml_bytes(bytes);
    address
}

/// Fixed hardware (5.2.9): always in ACPI mode, as there is no SMM to switch it.
fn fadt(vm: &VmPlan, dsdt: u64) -> impl Aml {
    /// 5.2.9.3: legacy devices, no MSI; an 8042, which has a keyboard; no VGA.
    const BOOT_ARCH: u16 = 1 | 1 << 3;
    const HAS_8042: u16 = 1 << 1;
    const NO_VGA: u16 = 1 << 2;
    let keyboard = if vm.screen.has_keyboard { HAS_8042 } else { 0 };
    let screen = if vm.screen.is_shown { 0 } else { NO_VGA };
    /// Table 5.10: WBINVD works, no sleep button, no power button, PM timer of 32 bits, reset
    /// register.
    const FLAGS: u32 = 1 | 1 << 4 | 1 << 5 | 1 << 8 | 1 << 10;
    const SCI: u16 = 9;
    let io = |port: u16, bits, size| GAS::new(AddressSpace::SystemIo, bits, 0, size, port.into());
    let mut fadt = FADTBuilder::new(OEM, OEM_TABLE, 1).dsdt_32(dsdt as u32).dsdt_64(dsdt);
    fadt.sci_int = SCI.into();
    fadt.pm1a_evt_blk = u32::from(power::PM1A_EVENT).into();
    fadt.pm1_evt_len = 4;
    fadt.pm1a_cnt_blk = u32::from(power::PM1A_CONTROL_Q35).into();
    fadt.pm1_cnt_len = 2;
    fadt.pm_tmr_blk = u32::from(power::PM_TIMER).into();
    fadt.pm_tmr_len = 4;
    // No C2, no C3.
    fadt.p_lvl2_lat = 0xffff.into();
    fadt.p_lvl3_lat = 0xffff.into();
    fadt.century = devices::rtc::CENTURY;
    fadt.iapc_boot_arch = (BOOT_ARCH | keyboard | screen).into();
    fadt.flags = FLAGS.into();
    fadt.reset_reg = io(power::RESET_CONTROL, 8, AccessSize::ByteAccess);
    fadt.reset_value = power::RESET_NOW;
    fadt.x_pm1a_evt_blk = io(power::PM1A_EVENT, 32, AccessSize::WordAccess);
    fadt.x_pm1a_cnt_blk = io(power::PM1A_CONTROL_Q35, 16, AccessSize::WordAccess);
    fadt.x_pm_tmr_blk = io(power::PM_TIMER, 32, AccessSize::DwordAccess);
    fadt.finalize()
}

/// The processors (5.2.12), the I/O APIC, and IRQ 0 at its pin 2.
fn madt(vm: &VmPlan) -> Sdt {
    /// Flags: there is also a pair of 8259.
    const PCAT_COMPAT: u32 = 1;
    /// Interrupt source override (5.2.12.5): ISA IRQ 0 is this global interrupt, as the bus has it.
    const TIMER_OVERRIDE: [u8; 10] = [2, 10, 0, 0, 2, 0, 0, 0, 0, 0];
    /// The SCI is active high, level-triggered; no device raises it.
    const SCI_OVERRIDE: [u8; 10] = [2, 10, 0, 9, 9, 0, 0, 0, 0xd, 0];
    /// Local APIC NMI (5.2.12.7): every processor, LINT1.
    const NMI: [u8; 6] = [4, 6, 0xff, 0, 0, 1];
    let mut madt = Sdt::new(*b"APIC", 44, 4, OEM, OEM_TABLE, 1);
    madt.write_u32(36, LOCAL_APIC_BASE as u32);
    madt.write_u32(40, PCAT_COMPAT);
    if vm.devices.has_local_apic {
        for id in 0..vm.vcpu_count as u8 {
            let processor = ProcessorLocalApic::new(id, id, EnabledStatus::Enabled);
            madt.append_slice(&bytes_of(&processor));
        }
        madt.append_slice(&NMI);
    }
    if vm.devices.has_io_apic {
        madt.append_slice(&bytes_of(&IoApic::new(0, IO_APIC_BASE as u32, 0)));
        madt.append_slice(&TIMER_OVERRIDE);
        madt.append_slice(&SCI_OVERRIDE);
    }
    madt
}

fn bytes_of(table: &dyn Aml) -> Vec<u8> {
    let mut bytes = Vec::new();
    table.to_aml_bytes(&mut bytes);
    bytes
}

/// The HPET (IA-PC HPET specification 1.0a, 3.2.4).
fn hpet() -> Sdt {
    let mut hpet = Sdt::new(*b"HPET", 56, 1, OEM, OEM_TABLE, 1);
    hpet.write_u32(36, devices::hpet::CAPABILITIES_VALUE as u32);
    // A generic address in memory, 64 bits wide.
    hpet.write_u32(40, 64 << 8);
    hpet.write_u64(44, HPET_BASE);
    hpet
}

/// S5, which SLP_EN enters, the panic port, and the virtio devices; guests find the serial ports by
/// probing.
fn dsdt(vm: &VmPlan) -> Sdt {
    let mut definitions = Vec::new();
    let off = aml::Package::new(alloc::vec![&aml::ZERO, &aml::ZERO, &aml::ZERO, &aml::ZERO]);
    aml::Name::new("_S5_".into(), &off).to_aml_bytes(&mut definitions);
    panic_device(&mut definitions);
    for device in 0..vm.virtio.devices().count() {
        virtio_device(device, &mut definitions);
    }
    let mut dsdt = Sdt::new(*b"DSDT", 36, 2, OEM, OEM_TABLE, 1);
    dsdt.append_slice(&definitions);
    dsdt
}

/// The panic port: by this `_HID` Linux finds it (drivers/misc/pvpanic/pvpanic-mmio.c).
fn panic_device(definitions: &mut Vec<u8>) {
    /// Present, enabled, shown, working (6.3.7).
    const STATUS: u8 = 0b1111;
    let port = aml::IO::new(power::PANIC_PORT, power::PANIC_PORT, 1, 1);
    aml::Device::new(
        "_SB_.PEVT".into(),
        alloc::vec![
            &aml::Name::new("_HID".into(), &"QEMU0001"),
            &aml::Name::new("_STA".into(), &STATUS),
            &aml::Name::new("_CRS".into(), &aml::ResourceTemplate::new(alloc::vec![&port])),
        ],
    )
    .to_aml_bytes(definitions);
}

/// A virtio device behind the memory-mapped transport: by this `_HID` Linux finds them
/// (drivers/virtio/virtio_mmio.c).
fn virtio_device(device: usize, definitions: &mut Vec<u8>) {
    let (base, pin) = virtio_place(device);
    let window = aml::Memory32Fixed::new(true, base as u32, WINDOW_BYTES as u32);
    // A level, active high, shared with other devices.
    let interrupt = aml::Interrupt::new(true, false, false, true, pin.into());
    let number = device as u32;
    let name = format!("_SB_.VR{number:02}");
    aml::Device::new(
        name.as_str().into(),
        alloc::vec![
            &aml::Name::new("_HID".into(), &"LNRO0005"),
            &aml::Name::new("_UID".into(), &number),
            &aml::Name::new("_CCA".into(), &aml::ONE),
            &aml::Name::new(
                "_CRS".into(),
                &aml::ResourceTemplate::new(alloc::vec![&window, &interrupt]),
            ),
        ],
    )
    .to_aml_bytes(definitions);
}

#[cfg(test)]
mod tests {
    use super::madt;
    use crate::boot::tests::{RAM, vm};
    use crate::plan::BootKind;
    use alloc::vec::Vec;

    #[test]
    fn every_processor_has_an_entry() {
        for count in [1_u8, 2, 16] {
            let mut vm = vm(BootKind::Flat, "", RAM);
            vm.vcpu_count = count.into();
            let bytes = super::bytes_of(&madt(&vm));
            let processors: Vec<&[u8]> = bytes[44..].chunks(8).take(count.into()).collect();
            for (id, entry) in (0..count).zip(processors) {
                assert_eq!(entry, [0, 8, id, id, 1, 0, 0, 0]);
            }
            let after = 44 + 8 * usize::from(count);
            assert_eq!(bytes[after..after + 6], [4, 6, 0xff, 0, 0, 1]);
            assert_eq!(bytes.len(), after + 6 + 12 + 10 + 10);
        }
    }
}
