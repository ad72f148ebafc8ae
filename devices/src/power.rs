//! ACPI's fixed hardware, and the other ports by which a guest ends its VM: the test exit port, the
//! reset register.
//!
//! Sources: ACPI 6.5, 4.8.3 (PM1 event and control registers, PM timer); Intel ICH9 datasheet 13.7.5
//! (reset control register); the exit port is the `isa-debug-exit` convention of kernel test suites.

use crate::time::Instant;

/// PM1a events: status, then enable, 16 bits each. Nothing ever happens.
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
/// The exit port: the value written is the VM's status.
pub const EXIT_PORT: u16 = 0xF4;
/// The chipset's reset control register.
pub const RESET_CONTROL: u16 = 0xCF9;

/// PM1 control bit 13, SLP_EN: enter the sleep state of SLP_TYP. Every state is off for us.
const SLEEP_ENABLE: u32 = 1 << 13;
/// PM1 control bit 0, SCI_EN: ACPI mode, always.
const SCI_ENABLE: u32 = 1;
/// Reset control bits 1 and 2: a full reset of the system, now.
const SYSTEM_RESET: u32 = RESET_NOW as u32;
/// What resets, written to the reset control register.
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
}

/// The power ports.
#[derive(Clone, Copy, Debug, Default)]
pub struct Power {
    /// Which PM1 events would interrupt.
    events_enabled: u16,
}

impl Power {
    /// The power ports of a machine that is on.
    #[must_use]
    pub const fn new() -> Self {
        Self { events_enabled: 0 }
    }

    /// A read of `size` bytes (1, 2 or 4): PM1a control says ACPI mode and no sleep state chosen, the
    /// timer counts; exit and reset port read all ones.
    #[must_use]
    pub fn read(&self, port: u16, size: u8, now: Instant) -> u32 {
        let (register, first) = match port {
            PM1A_EVENT..PM1A_CONTROL_Q35 => (u32::from(self.events_enabled) << 16, PM1A_EVENT),
            PM1A_CONTROL_Q35..PM_TIMER => (SCI_ENABLE, PM1A_CONTROL_Q35),
            PM_TIMER..PM_TIMER_END => (timer(now), PM_TIMER),
            PM1A_CONTROL_I440FX => (SCI_ENABLE, PM1A_CONTROL_I440FX),
            _ => (u32::MAX, port),
        };
        register >> (8 * (port - first)) & bytes_mask(size)
    }

    /// A write of `size` bytes (1, 2 or 4): the ending it asks for, if any.
    ///
    /// The exit port takes any size and keeps the bytes written as the status; PM1a control wants
    /// at least 16 bits, the reset register exactly 8.
    pub fn write(&mut self, port: u16, size: u8, value: u32) -> Option<Ending> {
        let value = value & bytes_mask(size);
        match port {
            PM1A_CONTROL_Q35 | PM1A_CONTROL_I440FX if value & SLEEP_ENABLE != 0 => {
                Some(Ending::PowerOff { status: 0 })
            }
            PM1A_EVENT if size == 4 => self.enable_events((value >> 16) as u16),
            PM1A_ENABLE if size == 2 => self.enable_events(value as u16),
            EXIT_PORT => Some(Ending::PowerOff { status: value }),
            RESET_CONTROL if size == 1 && value & SYSTEM_RESET == SYSTEM_RESET => {
                Some(Ending::Reset)
            }
            _ => None,
        }
    }

    fn enable_events(&mut self, events: u16) -> Option<Ending> {
        self.events_enabled = events;
        None
    }
}

/// The PM timer at `now` (ACPI 6.5, 4.8.3.3).
fn timer(now: Instant) -> u32 {
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
    fn pm1a_without_sleep_enable_or_in_one_byte_does_nothing() {
        assert_eq!(Power::new().write(0x604, 2, 0x1C01), None);
        assert_eq!(Power::new().write(0x604, 1, 0x2000), None);
    }

    #[test]
    fn exit_port_keeps_the_bytes_written_as_status() {
        for (size, status) in [(1, 0x44), (2, 0x3344), (4, 0x1122_3344)] {
            let ending = Power::new().write(0xF4, size, 0x1122_3344);
            assert_eq!(ending, Some(Ending::PowerOff { status }));
        }
    }

    #[test]
    fn reset_control_resets_on_bits_1_and_2_together() {
        assert_eq!(Power::new().write(0xCF9, 1, 0x06), Some(Ending::Reset));
        assert_eq!(Power::new().write(0xCF9, 1, 0xFF), Some(Ending::Reset));
        assert_eq!(Power::new().write(0xCF9, 1, 0x02), None);
        assert_eq!(Power::new().write(0xCF9, 1, 0x04), None);
    }

    #[test]
    fn registers_read_as_acpi_mode_without_events_and_the_others_all_ones() {
        let mut power = Power::new();
        let now = Instant::from_ns(2_000_000_000);
        assert_eq!(power.write(0x602, 2, 0x0101), None);
        let reads = [(0x600, 2, 0), (0x600, 4, 0x0101_0000), (0x602, 2, 0x0101), (0x603, 1, 1)];
        for (port, size, value) in reads {
            assert_eq!(power.read(port, size, now), value, "{port:#x}");
        }
        for (port, size, value) in [(0x604, 2, 1), (0xB004, 2, 1), (0x605, 1, 0)] {
            assert_eq!(power.read(port, size, now), value, "{port:#x}");
        }
        for (port, size, value) in [(0xF4, 1, 0xFF), (0xCF9, 1, 0xFF), (0xF4, 4, 0xFFFF_FFFF)] {
            assert_eq!(power.read(port, size, now), value, "{port:#x}");
        }
    }

    #[test]
    fn the_timer_counts_at_its_rate() {
        let now = Instant::from_ns(2_000_000_000);
        assert_eq!(Power::new().read(0x608, 4, now), 7_159_090);
        assert_eq!(Power::new().read(0x609, 1, now), 7_159_090 >> 8 & 0xFF);
    }
}
