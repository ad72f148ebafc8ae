//! ACPI's fixed hardware, and the other ports by which a guest ends its VM: the test exit port, the
//! reset register, the panic port.
//!
//! Sources: ACPI 6.5, 4.8.3 (PM1 event and control registers, PM timer); Intel ICH9 datasheet
//! 13.7.5 (reset control register), as the PIIX3 has it, too; the exit port is the `isa-debug-exit`
//! convention of kernel test suites; the panic port is QEMU's (its docs/specs/pvpanic).

use crate::time::MachineTime;

/// PM1a events: status, then enable, 16 bits each. No event occurs.
pub const PM1A_EVENT: u16 = 0x600;
/// The PM timer, 32 bits.
pub const PM_TIMER: u16 = 0x608;
const PM_TIMER_END: u16 = PM_TIMER + 4;
const PM1A_ENABLE: u16 = PM1A_EVENT + 2;
/// Rate of the PM timer.
pub const PM_TIMER_HZ: u64 = 3_579_545;
/// PM1a control where the q35 machine has it.
pub const PM1A_CONTROL_Q35: u16 = 0x604;
/// PM1a control where the i440fx machine has it.
pub const PM1A_CONTROL_I440FX: u16 = 0xB004;
const PM1A_CONTROL_I440FX_END: u16 = PM1A_CONTROL_I440FX + 2;
/// The exit port: the value written is the VM's status.
pub const EXIT_PORT: u16 = 0xF4;
/// The panic port: bit 0, the kernel has panicked; bit 1, it has, and runs a kernel that it keeps
/// for that. Reads say which bits there are.
pub const PANIC_PORT: u16 = 0x505;
const PANICKED: u32 = 1 << 0;
const CRASH_LOADED: u32 = 1 << 1;
/// The chipset's reset control register.
pub const RESET_CONTROL: u16 = 0xCF9;

/// PM1 control bit 13, SLP_EN, in its second byte: enter the sleep state of SLP_TYP. Every state
/// powers off. A byte of the register may be written alone (ACPI 6.5, 4.8.1).
const SLEEP_ENABLE: u32 = 1 << 5;
/// PM1 control bit 0, SCI_EN: ACPI mode, always.
const SCI_ENABLE: u32 = 1;
/// Reset control bit 2, RST_CPU: reset as it rises. It reads 0, as the reset clears it.
const RESET_CPU: u32 = 1 << 2;
/// Reset control bits 1 and 3: reset the whole system rather than the processor; cycle the power.
/// Neither makes a difference here.
const RESET_KINDS: u32 = 1 << 1 | 1 << 3;
/// The value that, written to the reset control register, resets.
pub const RESET_NOW: u8 = 0b110;

/// How a guest ended its VM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The guest switched the machine off.
    PowerOff {
        /// 0 for ACPI power-off, the value written for the exit port.
        status: u32,
    },
    /// The guest asked for a reset.
    Reset,
    /// The guest said that it has panicked.
    Panicked,
}

/// The power ports.
#[derive(Clone, Copy, Debug, Default)]
pub struct Power {
    /// Which PM1 events would interrupt.
    events_enabled: u16,
    /// The bits of the reset control register that are kept.
    reset_control: u8,
}

impl Power {
    /// The power ports of a machine that is on.
    #[must_use]
    pub const fn new() -> Self {
        Self { events_enabled: 0, reset_control: 0 }
    }

    /// A read of `size` bytes (1, 2 or 4): PM1a control says ACPI mode and no sleep state chosen,
    /// the timer counts; the exit port reads all ones.
    #[must_use]
    pub fn read(&self, port: u16, size: u8, now: MachineTime) -> u32 {
        let (register, first) = match port {
            PM1A_EVENT..PM1A_CONTROL_Q35 => (u32::from(self.events_enabled) << 16, PM1A_EVENT),
            PM1A_CONTROL_Q35..PM_TIMER => (SCI_ENABLE, PM1A_CONTROL_Q35),
            PM_TIMER..PM_TIMER_END => (timer(now), PM_TIMER),
            PM1A_CONTROL_I440FX..PM1A_CONTROL_I440FX_END => (SCI_ENABLE, PM1A_CONTROL_I440FX),
            PANIC_PORT => (!0xFF | PANICKED | CRASH_LOADED, PANIC_PORT),
            RESET_CONTROL => (!0xFF | u32::from(self.reset_control), RESET_CONTROL),
            _ => (u32::MAX, port),
        };
        register >> (8 * (port - first)) & bytes_mask(size)
    }

    /// A write of `size` bytes (1, 2 or 4): the ending it asks for, if any.
    ///
    /// The exit port takes any size and keeps the bytes written as the status; the reset register
    /// takes 8 bits alone.
    pub fn write(&mut self, port: u16, size: u8, value: u32) -> Option<Ending> {
        let value = value & bytes_mask(size);
        match port {
            _ if sets_sleep_enable(port, size, value) => Some(Ending::PowerOff { status: 0 }),
            PM1A_EVENT if size == 4 => self.enable_events((value >> 16) as u16),
            PM1A_ENABLE if size >= 2 => self.enable_events(value as u16),
            // With a crash kernel it goes on, and ends as that one does.
            PANIC_PORT => (value & PANICKED != 0).then_some(Ending::Panicked),
            EXIT_PORT => Some(Ending::PowerOff { status: value }),
            RESET_CONTROL if size == 1 => {
                self.reset_control = (value & RESET_KINDS) as u8;
                (value & RESET_CPU != 0).then_some(Ending::Reset)
            }
            _ => None,
        }
    }

    fn enable_events(&mut self, events: u16) -> Option<Ending> {
        self.events_enabled = events;
        None
    }
}

/// Whether one of the bytes written is the second of a PM1 control register, with SLP_EN in it.
fn sets_sleep_enable(port: u16, size: u8, value: u32) -> bool {
    [PM1A_CONTROL_Q35 + 1, PM1A_CONTROL_I440FX + 1].iter().any(|second| {
        let into = second.checked_sub(port).filter(|into| *into < size.into());
        into.is_some_and(|into| value >> (8 * into) & SLEEP_ENABLE != 0)
    })
}

/// The PM timer at `now` (ACPI 6.5, 4.8.3.3).
fn timer(now: MachineTime) -> u32 {
    (u128::from(now.as_ns()) * u128::from(PM_TIMER_HZ) / 1_000_000_000) as u32
}

/// All ones in the low `size` bytes; 4 and more bytes are 32 bits.
fn bytes_mask(size: u8) -> u32 {
    match size {
        0 => 0,
        1 => 0xFF,
        2 => 0xFFFF,
        3 => 0xFF_FFFF,
        _ => u32::MAX,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OFF: Option<Ending> = Some(Ending::PowerOff { status: 0 });

    #[test]
    fn sleep_enable_on_either_pm1a_port_powers_off_with_status_0() {
        assert_eq!(Power::new().write(0x604, 2, 0x2000), OFF);
        assert_eq!(Power::new().write(0xB004, 2, 0x3C00), OFF);
        assert_eq!(Power::new().write(0x604, 4, 0x2000), OFF);
    }

    #[test]
    fn a_panic_ends_it_and_a_crash_kernel_goes_on() {
        let mut power = Power::new();
        assert_eq!(power.read(0x505, 1, MachineTime::ZERO), 0x03);
        assert_eq!(power.write(0x505, 1, 0x02), None);
        assert_eq!(power.write(0x505, 1, 0x04), None, "a shutdown is told, and comes by itself");
        for value in [0x01, 0x03] {
            assert_eq!(power.write(0x505, 1, value), Some(Ending::Panicked));
        }
    }

    #[test]
    fn sleep_enable_may_be_written_by_a_byte_or_with_a_neighbour() {
        for (port, size, value) in
            [(0x605, 1, 0x20), (0xB005, 1, 0x3C), (0x605, 2, 0x20), (0x602, 4, 0x2000_0000)]
        {
            assert_eq!(Power::new().write(port, size, value), OFF, "{port:#x}");
        }
    }

    #[test]
    fn pm1a_without_sleep_enable_does_nothing() {
        let writes = [(0x604, 2, 0x1C01), (0x604, 1, 0x2000), (0x604, 1, 0x20), (0x605, 1, 0x1C)];
        for (port, size, value) in writes.into_iter().chain([(0x606, 2, 0x2000), (0x603, 2, 0x20)])
        {
            assert_eq!(Power::new().write(port, size, value), None, "{port:#x}");
        }
    }

    #[test]
    fn exit_port_keeps_the_bytes_written_as_status() {
        for (size, status) in [(1, 0x44), (2, 0x3344), (4, 0x1122_3344)] {
            let ending = Power::new().write(0xF4, size, 0x1122_3344);
            assert_eq!(ending, Some(Ending::PowerOff { status }));
        }
    }

    #[test]
    fn reset_control_resets_as_bit_2_rises_and_keeps_what_kind() {
        let now = MachineTime::ZERO;
        for value in [0x04, 0x06, 0x0E, 0xFF] {
            assert_eq!(Power::new().write(0xCF9, 1, value), Some(Ending::Reset), "{value:#x}");
        }
        let mut power = Power::new();
        for (value, kept) in [(0x02, 0x02), (0x0A, 0x0A), (0xF1, 0x00), (0x08, 0x08)] {
            assert_eq!(power.write(0xCF9, 1, value), None, "{value:#x}");
            assert_eq!(power.read(0xCF9, 1, now), kept, "{value:#x}");
        }
        assert_eq!(power.write(0xCF9, 2, 0x0606), None, "a register of 8 bits");
    }

    #[test]
    fn registers_read_as_acpi_mode_without_events_and_the_others_all_ones() {
        let mut power = Power::new();
        let now = MachineTime::from_ns(2_000_000_000);
        assert_eq!(power.write(0x602, 2, 0x0101), None);
        let reads = [(0x600, 2, 0), (0x600, 4, 0x0101_0000), (0x602, 2, 0x0101), (0x603, 1, 1)];
        for (port, size, value) in reads {
            assert_eq!(power.read(port, size, now), value, "{port:#x}");
        }
        for (port, size, value) in [(0x604, 2, 1), (0xB004, 2, 1), (0x605, 1, 0), (0xB005, 1, 0)] {
            assert_eq!(power.read(port, size, now), value, "{port:#x}");
        }
        for (port, size, value) in [(0xF4, 1, 0xFF), (0xCF9, 1, 0), (0xF4, 4, 0xFFFF_FFFF)] {
            assert_eq!(power.read(port, size, now), value, "{port:#x}");
        }
    }

    #[test]
    fn the_timer_counts_at_its_rate() {
        let now = MachineTime::from_ns(2_000_000_000);
        assert_eq!(Power::new().read(0x608, 4, now), 7_159_090);
        assert_eq!(Power::new().read(0x609, 1, now), 7_159_090 >> 8 & 0xFF);
    }
}
