//! The port map. It looks like the table it is; whoever is not in it reads all ones and ignores
//! what is written.

use super::Machine;
use crate::Instant;
use crate::seam::Size;
use devices::power::Ending;

/// Who owns a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Owner {
    Pic,
    Pit,
    Keyboard,
    Rtc,
    Serial(usize, u8),
    Power,
    Nobody,
}

impl Owner {
    #[inline]
    fn of(port: u16) -> Self {
        match port {
            0x20 | 0x21 | 0xa0 | 0xa1 | 0x4d0 | 0x4d1 => Self::Pic,
            0x40..=0x43 | 0x61 => Self::Pit,
            0x60 | 0x64 | 0x92 => Self::Keyboard,
            0x70 | 0x71 => Self::Rtc,
            0xf4 | 0x600..=0x60b | 0xb004 | 0xcf9 => Self::Power,
            0x2e8..=0x2ef => Self::Serial(3, (port - 0x2e8) as u8),
            0x2f8..=0x2ff => Self::Serial(1, (port - 0x2f8) as u8),
            0x3e8..=0x3ef => Self::Serial(2, (port - 0x3e8) as u8),
            0x3f8..=0x3ff => Self::Serial(0, (port - 0x3f8) as u8),
            // Among them 0x80, on which guests write to let time pass.
            _ => Self::Nobody,
        }
    }
}

impl Machine {
    /// The serial port (0 for COM1) that an access of `size` bytes at `port` reaches.
    #[must_use]
    pub fn com_of(port: u16, size: Size) -> Option<usize> {
        let com = |n: u8| match Owner::of(port.wrapping_add(n.into())) {
            Owner::Serial(com, _) => Some(com),
            Owner::Pic | Owner::Pit | Owner::Keyboard | Owner::Rtc | Owner::Power => None,
            Owner::Nobody => None,
        };
        (0..size.max(1)).find_map(com)
    }

    /// IN of 1, 2 or 4 bytes. Devices are 8 bits wide: a wider access is one of the next ports too.
    pub fn port_read(&mut self, port: u16, size: Size, now: Instant) -> u32 {
        let now = self.own(now);
        match Owner::of(port) {
            Owner::Power => return self.power.read(port, size, now),
            // The way of most exits.
            Owner::Serial(n, offset) if size == 1 => {
                let value = self.serial[n].as_mut().map_or(0xff, |serial| serial.read(offset));
                self.sample_serial_pins();
                return value.into();
            }
            Owner::Serial(..) | Owner::Pic | Owner::Pit | Owner::Keyboard | Owner::Rtc => {}
            Owner::Nobody => {}
        }
        self.catch_up(now);
        let byte = |n: u8| {
            let byte = self.port_read_byte(port.wrapping_add(n.into()), now);
            u32::from(byte) << (8 * n)
        };
        let value = (0..size.min(4)).map(byte).sum();
        self.after_port_access(port, now);
        value
    }

    /// OUT of 1, 2 or 4 bytes; the VM's end, if this was it.
    pub fn port_write(
        &mut self,
        port: u16,
        size: Size,
        value: u32,
        now: Instant,
    ) -> Option<Ending> {
        let now = self.own(now);
        match Owner::of(port) {
            Owner::Power => return self.power.write(port, size, value),
            // The way of most exits.
            Owner::Serial(n, offset) if size == 1 => {
                if let Some(serial) = &mut self.serial[n] {
                    serial.write(offset, value as u8);
                }
                self.sample_serial_pins();
                return None;
            }
            Owner::Serial(..) | Owner::Pic | Owner::Pit | Owner::Keyboard | Owner::Rtc => {}
            Owner::Nobody => {}
        }
        self.catch_up(now);
        for n in 0..size.min(4) {
            let byte = (value >> (8 * n)) as u8;
            self.port_write_byte(port.wrapping_add(n.into()), byte, now);
        }
        self.after_port_access(port, now);
        self.keyboard.is_reset_requested().then_some(Ending::Reset)
    }

    fn after_port_access(&mut self, port: u16, now: Instant) {
        match Owner::of(port) {
            Owner::Serial(..) => self.sample_serial_pins(),
            // The upper bytes of a wide access may reach any device.
            Owner::Pic
            | Owner::Pit
            | Owner::Keyboard
            | Owner::Rtc
            | Owner::Power
            | Owner::Nobody => {
                self.after_access(now);
            }
        }
    }

    fn port_read_byte(&mut self, port: u16, now: Instant) -> u8 {
        match Owner::of(port) {
            Owner::Pic => self.pic.read(port),
            Owner::Pit => self.pit.read(port, now),
            Owner::Keyboard => self.keyboard.read(port),
            Owner::Rtc => self.rtc.read(port, now),
            Owner::Serial(n, offset) => self.serial[n].as_mut().map_or(0xff, |p| p.read(offset)),
            Owner::Power => self.power.read(port, 1, now) as u8,
            Owner::Nobody => 0xff,
        }
    }

    fn port_write_byte(&mut self, port: u16, value: u8, now: Instant) {
        match Owner::of(port) {
            Owner::Pic => self.pic.write(port, value),
            Owner::Pit => self.pit.write(port, value, now),
            Owner::Keyboard => self.keyboard.write(port, value),
            Owner::Rtc => self.rtc.write(port, value, now),
            Owner::Serial(n, offset) => {
                if let Some(serial) = &mut self.serial[n] {
                    serial.write(offset, value);
                }
            }
            // Reached by the upper bytes of a wide access only: no power register begins there.
            Owner::Power | Owner::Nobody => {}
        }
    }
}
