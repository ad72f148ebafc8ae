//! The port map. It looks like the table it is; whoever is not in it reads all ones and ignores
//! what is written.

use super::Machine;
use crate::Instant;
use crate::seam::Size;
use devices::power::{Ending, RESET_CONTROL};

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
            0xf4 | 0x600..=0x60b | 0xb004 | 0xb005 | 0xcf9 => Self::Power,
            0x2e8..=0x2ef => Self::Serial(3, (port - 0x2e8) as u8),
            0x2f8..=0x2ff => Self::Serial(1, (port - 0x2f8) as u8),
            0x3e8..=0x3ef => Self::Serial(2, (port - 0x3e8) as u8),
            0x3f8..=0x3ff => Self::Serial(0, (port - 0x3f8) as u8),
            // Among them 0x80, on which guests write to let time pass.
            _ => Self::Nobody,
        }
    }
}

/// What an access may have changed besides its register.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum FollowUp {
    Nothing,
    /// The levels of the serial ports' pins.
    SerialPins,
    /// Whether the 8259 pair's lines take a late tick.
    LateTicks,
    /// Pins and deadlines of any device.
    Everything,
}

impl Owner {
    const fn follow_up(self) -> FollowUp {
        match self {
            Self::Nobody | Self::Power => FollowUp::Nothing,
            Self::Serial(..) => FollowUp::SerialPins,
            Self::Pic => FollowUp::LateTicks,
            Self::Pit | Self::Keyboard | Self::Rtc => FollowUp::Everything,
        }
    }
}

impl Machine {
    /// The serial port (0 for COM1) that an access of `size` bytes at `port` reaches.
    #[must_use]
    pub fn com_of(port: u16, size: Size) -> Option<usize> {
        /// COM4's first port and COM1's last one.
        const COM_PORTS: core::ops::RangeInclusive<u16> = 0x2e8..=0x3ff;
        let last = port.saturating_add(u16::from(size.max(1)) - 1);
        if last < *COM_PORTS.start() || port > *COM_PORTS.end() {
            return None;
        }
        let com = |port: u16| match Owner::of(port) {
            Owner::Serial(com, _) => Some(com),
            Owner::Pic | Owner::Pit | Owner::Keyboard | Owner::Rtc | Owner::Power => None,
            Owner::Nobody => None,
        };
        (port..=last).find_map(com)
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
        let (mut value, mut follow_up) = (0, FollowUp::Nothing);
        for n in 0..size.min(4) {
            let port = port.wrapping_add(n.into());
            let owner = Owner::of(port);
            follow_up = follow_up.max(owner.follow_up());
            value |= u32::from(self.port_read_byte(owner, port, now)) << (8 * n);
        }
        self.follow_up(follow_up, now);
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
        let mut follow_up = FollowUp::Nothing;
        for n in 0..size.min(4) {
            let port = port.wrapping_add(n.into());
            let owner = Owner::of(port);
            follow_up = follow_up.max(owner.follow_up());
            self.port_write_byte(owner, port, (value >> (8 * n)) as u8, now);
        }
        self.follow_up(follow_up, now);
        self.keyboard.is_reset_requested().then_some(Ending::Reset)
    }

    fn follow_up(&mut self, follow_up: FollowUp, now: Instant) {
        match follow_up {
            FollowUp::Nothing => {}
            FollowUp::SerialPins => self.sample_serial_pins(),
            FollowUp::LateTicks => self.deliver_late_ticks(),
            FollowUp::Everything => self.after_access(now),
        }
    }

    fn port_read_byte(&mut self, owner: Owner, port: u16, now: Instant) -> u8 {
        match owner {
            Owner::Pic => self.pic.read(port),
            Owner::Pit => self.pit.read(port, now),
            Owner::Keyboard => self.keyboard.read(port),
            Owner::Rtc => self.rtc.read(port, now),
            Owner::Serial(n, offset) => self.serial[n].as_mut().map_or(0xff, |p| p.read(offset)),
            // A wide access that reaches it is one to PCI's configuration address, which is absent.
            Owner::Power if port == RESET_CONTROL => 0xff,
            Owner::Power => self.power.read(port, 1, now) as u8,
            Owner::Nobody => 0xff,
        }
    }

    fn port_write_byte(&mut self, owner: Owner, port: u16, value: u8, now: Instant) {
        match owner {
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
