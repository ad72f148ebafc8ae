use super::*;
use crate::index::Com;
use crate::plan::{DeviceSet, ImageSource, SerialPlan};
use alloc::string::String;
use devices::power::Ending;

const TSC: TscClock = TscClock { hz: 2_000_000_000, offset: 0 };
const SECOND_NS: u64 = 1_000_000_000;

fn plan(devices: DeviceSet) -> VmPlan {
    let kernel = ImageSource::Builtin(String::from("os"));
    VmPlan { memory_bytes: 0x100_0000, devices, ..VmPlan::plain(0, kernel) }
}

fn machine_with(devices: DeviceSet) -> Machine {
    let surroundings =
        Surroundings { now: Instant::ZERO, epoch_seconds: 0, tsc: TSC, physical_address_bits: 40 };
    Machine::new(&plan(devices), surroundings)
}

impl Machine {
    /// OUT; the VM's end, if this was it.
    pub(super) fn out(&mut self, port: u16, size: u8, value: u32, now: Instant) -> Option<Ending> {
        match self.port_write(port, size, value, now) {
            PortWrite::Ends(ending) => Some(ending),
            PortWrite::Done
            | PortWrite::Prints(_)
            | PortWrite::LeavesLine
            | PortWrite::Serial(_) => None,
        }
    }

    /// IN.
    pub(super) fn input(&mut self, port: u16, size: u8, now: Instant) -> u32 {
        self.port_read(port, size, now).0
    }
}

pub(super) fn full() -> Machine {
    machine_with(DeviceSet { has_io_apic: true, has_hpet: true, has_local_apic: true })
}

pub(super) fn bare() -> Machine {
    machine_with(DeviceSet { has_io_apic: false, has_hpet: false, has_local_apic: false })
}

/// Programs the 8259 pair for vectors 0x20 and 0x28, IRQ `irq` alone unmasked.
pub(super) fn unmask(machine: &mut Machine, irq: u8) {
    let writes = [
        (0x20, 0x11),
        (0x21, 0x20),
        (0x21, 0x04),
        (0x21, 0x01),
        (0xa0, 0x11),
        (0xa1, 0x28),
        (0xa1, 0x02),
        (0xa1, 0x01),
        (0x21, !(1 << irq)),
        (0xa1, 0xff),
    ];
    for (port, value) in writes {
        assert_eq!(machine.out(port, 1, u32::from(value as u8), Instant::ZERO), None);
    }
}

#[test]
fn what_nobody_owns_reads_all_ones() {
    let mut machine = bare();
    assert_eq!(machine.input(0x1234, 1, Instant::ZERO), 0xff);
    assert_eq!(machine.input(0xcf8, 4, Instant::ZERO), 0xffff_ffff);
    assert_eq!(machine.input(0x2f8, 1, Instant::ZERO), 0xff, "COM2 is absent");
    assert_eq!(machine.mmio_read(0xfec0_0000, 4, Instant::ZERO), u64::MAX, "I/O APIC is absent");
    assert_eq!(machine.mmio_read(0xd000_0000, 8, Instant::ZERO), u64::MAX);
    assert!(machine.msr_read(0x1b, Instant::ZERO).is_err(), "no local APIC");
    assert!(machine.msr_write(0x1234, 0, Instant::ZERO).is_err());
}

#[test]
fn the_pit_interrupts_through_the_8259_with_and_without_a_local_apic() {
    for mut machine in [bare(), full()] {
        unmask(&mut machine, 0);
        for (port, value) in [(0x43, 0x34), (0x40, 0xff), (0x40, 0x00)] {
            assert_eq!(machine.out(port, 1, value, Instant::ZERO), None);
        }
        assert!(!machine.has_interrupt());
        let due = machine.deadline();
        assert!(due < Instant::from_ns(SECOND_NS));
        machine.advance(due);
        assert!(machine.has_interrupt());
        assert_eq!(machine.acknowledge(), Some(0x20));
    }
}

#[test]
fn the_pit_goes_on_through_the_io_apic_though_the_8259_it_left_unmasked_waits() {
    const LINT0: u64 = 0xfee0_0350;
    const EOI: u64 = 0xfee0_00b0;
    let mut machine = full();
    unmask(&mut machine, 0);
    let start = Instant::ZERO;
    machine.mmio_write(0xfee0_00f0, 4, 0x1ff, start);
    machine.mmio_write(LINT0, 4, 0x1_0700, start);
    machine.mmio_write(0xfec0_0000, 4, 0x14, start);
    machine.mmio_write(0xfec0_0010, 4, 0x44, start);
    for (port, value) in [(0x43, 0x34), (0x40, 0xff), (0x40, 0x00)] {
        assert_eq!(machine.out(port, 1, value, start), None);
    }
    for _ in 0..5 {
        let due = machine.deadline();
        machine.advance(due);
        assert_eq!(machine.acknowledge(), Some(0x44));
        assert_eq!(machine.acknowledge(), None);
        machine.mmio_write(EOI, 4, 0, due);
    }
}

#[test]
fn the_local_apic_timer_interrupts_at_its_deadline() {
    let mut machine = full();
    let apic = |register: u64| 0xfee0_0000 + register;
    for (register, value) in [(0x0f0, 0x1ff), (0x3e0, 0xb), (0x320, 0x40), (0x380, 1000)] {
        machine.mmio_write(apic(register), 4, value, Instant::ZERO);
    }
    assert_eq!(machine.deadline(), Instant::from_ns(1000));
    machine.advance(Instant::from_ns(1000));
    assert_eq!(machine.acknowledge(), Some(0x40));
    assert_eq!(machine.acknowledge(), None);
}

#[test]
fn a_byte_typed_interrupts_through_the_io_apic() {
    let mut machine = full();
    machine.mmio_write(0xfee0_00f0, 4, 0x1ff, Instant::ZERO);
    machine.mmio_write(0xfec0_0000, 4, 0x18, Instant::ZERO);
    machine.mmio_write(0xfec0_0010, 4, 0x44, Instant::ZERO);
    assert_eq!(machine.out(0x3f9, 1, 1, Instant::ZERO), None);
    machine.serial_mut(Com::Com1).expect("COM1").console_feed(b'x').expect("room");
    machine.sample_serial_pins();
    assert_eq!(machine.acknowledge(), Some(0x44));
}

#[test]
fn a_level_that_no_local_apic_accepts_comes_once_one_does() {
    const APIC: u64 = 0xfee0_0000;
    const SVR: (u64, u64) = (APIC + 0xf0, 0x1ff);
    const LDR: (u64, u64) = (APIC + 0xd0, 0x1200_0000);
    const DFR: (u64, u64) = (APIC + 0xe0, 0x0fff_ffff);
    const DFR_FLAT: (u64, u64) = (APIC + 0xe0, 0xffff_ffff);
    const ENTRY_FOR_0: [(u64, u64); 2] = [(0xfec0_0000, 0x19), (0xfec0_0010, 0)];
    let now = Instant::ZERO;
    // What blocks COM1's interrupt; the write that lets it through.
    let logical = 0x8000 | 1 << 11 | 0x44;
    type Writes<'a> = &'a [(u64, u64)];
    let cases: [(u64, u64, Writes<'_>, Writes<'_>); 5] = [
        (0x8044, 7, &[SVR], &ENTRY_FOR_0),
        (logical, 2, &[SVR], &[LDR]),
        (logical, 2, &[SVR, LDR, DFR], &[DFR_FLAT]),
        (0x8044, 0, &[], &[SVR]),
        (logical, 2, &[LDR], &[SVR]),
    ];
    for (entry, destination, before, after) in cases {
        let mut machine = full();
        let entry = [(0x18, entry), (0x19, destination << 24)]
            .map(|(index, half)| [(0xfec0_0000, index), (0xfec0_0010, half)]);
        for &(address, value) in entry.as_flattened().iter().chain(before) {
            machine.mmio_write(address, 4, value, now);
        }
        assert_eq!(machine.out(0x3f9, 1, 1, now), None);
        machine.serial_mut(Com::Com1).expect("COM1").console_feed(b'x').expect("room");
        machine.sample_serial_pins();
        assert_eq!(machine.acknowledge(), None);
        machine.mmio_write(0xfec0_0000, 4, 0x18, now);
        assert_eq!(machine.mmio_read(0xfec0_0010, 4, now) & 1 << 14, 0, "remote IRR");
        for &(address, value) in after {
            machine.mmio_write(address, 4, value, now);
        }
        assert_eq!(machine.acknowledge(), Some(0x44));
        machine.mmio_write(0xfec0_0000, 4, 0x18, now);
        assert_eq!(machine.mmio_read(0xfec0_0010, 4, now) & 1 << 14, 1 << 14, "remote IRR");
    }
}

#[test]
fn a_level_waits_for_the_local_apic_to_be_enabled_by_its_base() {
    let now = Instant::ZERO;
    let mut machine = full();
    machine.mmio_write(0xfec0_0000, 4, 0x18, now);
    machine.mmio_write(0xfec0_0010, 4, 0x8044, now);
    assert_eq!(machine.msr_write(0x1b, 0xfee0_0100, now), Ok(()));
    assert_eq!(machine.out(0x3f9, 1, 1, now), None);
    machine.serial_mut(Com::Com1).expect("COM1").console_feed(b'x').expect("room");
    machine.sample_serial_pins();
    assert_eq!(machine.msr_write(0x1b, 0xfee0_0900, now), Ok(()));
    machine.mmio_write(0xfee0_00f0, 4, 0x1ff, now);
    machine.mmio_write(0xfee0_0350, 4, 0x1_0700, now);
    assert_eq!(machine.acknowledge(), Some(0x44));
}

#[test]
fn power_and_reset_end_the_machine() {
    let mut machine = full();
    let off = machine.out(0x604, 2, 0x2000, Instant::ZERO);
    assert_eq!(off, Some(Ending::PowerOff { status: 0 }));
    let failed = machine.out(0xf4, 4, 3, Instant::ZERO);
    assert_eq!(failed, Some(Ending::PowerOff { status: 3 }));
    assert_eq!(machine.out(0x64, 1, 0xfe, Instant::ZERO), Some(Ending::Reset));
}

#[test]
fn wide_accesses_reach_the_neighbouring_registers() {
    let mut machine = full();
    // LCR's DLAB, then both halves of the divisor latch at once.
    assert_eq!(machine.out(0x3fb, 1, 0x80, Instant::ZERO), None);
    assert_eq!(machine.out(0x3f8, 2, 0x0102, Instant::ZERO), None);
    assert_eq!(machine.input(0x3f8, 2, Instant::ZERO), 0x0102);
}

#[test]
fn a_written_x2apic_base_opens_the_msrs() {
    let mut machine = full();
    assert!(machine.msr_read(0x802, Instant::ZERO).is_err());
    let base = machine.msr_read(0x1b, Instant::ZERO).expect("there is a local APIC");
    machine.msr_write(0x1b, base | 1 << 10, Instant::ZERO).expect("x2APIC may be enabled");
    assert_eq!(machine.msr_read(0x802, Instant::ZERO), Ok(0));
}

#[test]
fn a_non_maskable_interrupt_may_come_while_the_io_apic_has_a_pin_for_one() {
    let mut machine = full();
    assert!(!machine.can_raise_nmi());
    let entry = |machine: &mut Machine, low: u64| {
        machine.mmio_write(0xfec0_0000, 4, 0x18, Instant::ZERO);
        machine.mmio_write(0xfec0_0010, 4, low, Instant::ZERO);
    };
    for (low, can) in [(0x400, true), (0x1_0400, false), (0x44, false), (0x500, false)] {
        entry(&mut machine, low);
        assert_eq!(machine.can_raise_nmi(), can, "{low:#x}");
    }
    assert!(!bare().can_raise_nmi());
}

#[test]
fn reset_and_power_ports_do_what_a_pcs_do() {
    let write = |port, size, value| full().out(port, size, value, Instant::ZERO);
    let off = Some(Ending::PowerOff { status: 0 });
    for (port, size, value) in [(0x604, 2, 0x2000), (0x605, 1, 0x20), (0xb005, 1, 0x20)] {
        assert_eq!(write(port, size, value), off, "{port:#x}");
    }
    for (port, value) in [(0xcf9, 6), (0xcf9, 4), (0x92, 1), (0x92, 3), (0x64, 0xfe)] {
        assert_eq!(write(port, 1, value), Some(Ending::Reset), "{port:#x}");
    }
    for (port, size, value) in [(0xcf9, 1, 2), (0x92, 1, 2), (0xcf8, 4, 0x8000_0600)] {
        assert_eq!(write(port, size, value), None, "{port:#x}");
    }
    let mut machine = full();
    assert_eq!(machine.input(0xcf8, 4, Instant::ZERO), u32::MAX, "no PCI");
    assert_eq!(machine.input(0xcf9, 1, Instant::ZERO), 0);
}

#[test]
fn the_local_apic_answers_where_the_guest_moved_it() {
    const IA32_APIC_BASE: u32 = 0x1b;
    const VERSION: u64 = 0x30;
    let mut machine = full();
    let version = machine.mmio_read(0xfee0_0000 + VERSION, 4, Instant::ZERO);
    assert_eq!(machine.msr_write(IA32_APIC_BASE, 0xfed4_0900, Instant::ZERO), Ok(()));
    assert_eq!(machine.mmio_read(0xfed4_0000 + VERSION, 4, Instant::ZERO), version);
    assert_eq!(machine.mmio_read(0xfee0_0000 + VERSION, 4, Instant::ZERO), u64::MAX);
}

#[test]
fn the_local_apics_base_lies_within_the_physical_address_width() {
    let mut machine = full();
    let mut write = |value| machine.msr_write(0x1b, value, Instant::ZERO);
    assert_eq!(write(1 << 40 | 0xfee0_0900), Err(GeneralProtection));
    assert_eq!(write(1 << 39 | 0xfee0_0900), Ok(()));
}

#[test]
fn an_absent_port_reads_all_ones_in_every_width() {
    let mut machine = full();
    for (size, value) in [(1, 0xff), (2, 0xffff), (4, 0xffff_ffff)] {
        assert_eq!(machine.input(0x1230, size, Instant::ZERO), value);
    }
    // Both ELCR registers, and two absent ports.
    assert_eq!(machine.out(0x4d0, 4, 0x1234_0e08, Instant::ZERO), None);
    assert_eq!(machine.input(0x4d0, 4, Instant::ZERO), 0xffff_0e08);
}

#[test]
fn any_device_may_send_a_message() {
    use devices::message::Message;
    let mut machine = full();
    machine.mmio_write(0xfee0_00f0, 4, 0x1ff, Instant::ZERO);
    machine.take_attention();
    let message = Message::from_msi(0xfee0_0000, 0x44).expect("a message");
    machine.interrupts.send(&message);
    assert!(machine.has_attention());
    assert_eq!(machine.acknowledge(), Some(0x44));
    let other = Message::from_msi(0xfee0_3000, 0x45).expect("a message");
    machine.interrupts.send(&other);
    assert_eq!(machine.acknowledge(), None, "another APIC's");
    bare().interrupts.send(&message);
}

/// Accesses that cannot cause an interrupt raise no attention; those that may, do.
#[test]
fn attention_is_raised_by_pins_priorities_and_time() {
    let now = Instant::ZERO;
    let mut machine = full();
    machine.take_attention();
    let quiet = |machine: &mut Machine| !machine.has_attention();
    assert_eq!(machine.out(0x3ff, 1, 0x55, now), None);
    assert_eq!(machine.input(0x3fd, 1, now), 0x60);
    assert_eq!(machine.input(0x1234, 1, now), 0xff);
    machine.set_cr8(0);
    machine.sample_serial_pins();
    machine.advance(now);
    assert!(quiet(&mut machine));
    // THRE, enabled.
    assert_eq!(machine.out(0x3f9, 1, 2, now), None);
    assert!(!quiet(&mut machine), "a pin");
    machine.take_attention();
    machine.set_cr8(3);
    assert!(!quiet(&mut machine), "the task priority");
    machine.take_attention();
    for (port, value) in [(0x43, 0x34), (0x40, 0xff), (0x40, 0x00)] {
        assert_eq!(machine.out(port, 1, value, now), None);
    }
    machine.take_attention();
    machine.advance(machine.deadline());
    assert!(!quiet(&mut machine), "a timer");
    machine.take_attention();
    machine.mmio_write(0xfee0_00b0, 4, 0, now);
    assert!(!quiet(&mut machine), "the end of an interrupt");
}

#[test]
fn two_ports_share_a_line_and_hold_it_together() {
    let mut plan = plan(DeviceSet { has_io_apic: false, has_hpet: false, has_local_apic: false });
    plan.serial =
        [SerialPlan::Console, SerialPlan::Absent, SerialPlan::Console, SerialPlan::Absent];
    let surroundings =
        Surroundings { now: Instant::ZERO, epoch_seconds: 0, tsc: TSC, physical_address_bits: 40 };
    let mut machine = Machine::new(&plan, surroundings);
    unmask(&mut machine, 4);
    let now = Instant::ZERO;
    for port in [0x3f9, 0x3e9] {
        assert_eq!(machine.out(port, 1, 2, now), None);
    }
    assert_eq!(machine.acknowledge(), Some(0x24));
    machine.out(0x20, 1, 0x20, now);
    // COM1 falls; COM3 still holds the line, so that no edge comes, until it has fallen, too.
    assert_eq!(machine.out(0x3f9, 1, 0, now), None);
    assert_eq!(machine.out(0x3f9, 1, 2, now), None);
    assert!(!machine.has_interrupt());
    assert_eq!(machine.out(0x3f9, 1, 0, now), None);
    assert_eq!(machine.out(0x3e9, 1, 0, now), None);
    assert_eq!(machine.out(0x3e9, 1, 2, now), None);
    assert_eq!(machine.acknowledge(), Some(0x24));
}
