//! The port map. A port that is not in it reads all ones and ignores
//! writes.

use super::Machine;
use crate::Instant;
use crate::index::Com;
use crate::seam::Size;
use devices::power::{Ending, RESET_CONTROL};
use devices::time::MachineTime;

/// The owner of a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Owner {
    Pic,
    Pit,
    Keyboard,
    Rtc,
    Vga,
    DebugConsole,
    Serial(Com, u8),
    Power,
    Absent,
}

impl Owner {
    #[inline]
    fn of(port: u16) -> Self {
        match port {
            0x20 | 0x21 | 0xa0 | 0xa1 | 0x4d0 | 0x4d1 => Self::Pic,
            0x40..=0x43 | 0x61 => Self::Pit,
            0x60 | 0x64 | 0x92 => Self::Keyboard,
            0x70 | 0x71 => Self::Rtc,
            0x3c0..=0x3cf | 0x3d4 | 0x3d5 | 0x3da => Self::Vga,
            DEBUG_CONSOLE => Self::DebugConsole,
            0xf4 | 0x505 | 0x600..=0x60b | 0xb004 | 0xb005 | 0xcf9 => Self::Power,
            0x2e8..=0x2ef => Self::Serial(Com::Com4, (port - 0x2e8) as u8),
            0x2f8..=0x2ff => Self::Serial(Com::Com2, (port - 0x2f8) as u8),
            0x3e8..=0x3ef => Self::Serial(Com::Com3, (port - 0x3e8) as u8),
            0x3f8..=0x3ff => Self::Serial(Com::Com1, (port - 0x3f8) as u8),
            // Among them 0x80, which guests write as a delay.
            _ => Self::Absent,
        }
    }

    /// Fast path: the serial port and its register, without the rest of the map. Almost every
    /// exit is for one.
    #[inline]
    const fn serial(port: u16) -> Option<(Com, u8)> {
        /// What the four ports' addresses have in common, and the bits in which they differ.
        const COMMON: u16 = 0x2e8;
        const DIFFERENT: u16 = 0x110;
        if port & !DIFFERENT & !7 != COMMON {
            return None;
        }
        // COM1 and COM2 have bit 4, COM1 and COM3 bit 8.
        let com = match (port & 0x10 != 0, port & 0x100 != 0) {
            (true, true) => Com::Com1,
            (true, false) => Com::Com2,
            (false, true) => Com::Com3,
            (false, false) => Com::Com4,
        };
        Some((com, (port & 7) as u8))
    }
}

/// Bochs's debug console (its iodev/unmapped.cc): a byte written there is printed, and reads give
/// the port's own number, by which guests find it.
const DEBUG_CONSOLE: u16 = 0xe9;

/// Where the transmitter of each COM port is written, COM1 first.
pub const TRANSMITTERS: [u16; 4] = [0x3f8, 0x2f8, 0x3e8, 0x2e8];

/// What an access may have changed besides its register.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum FollowUp {
    Nothing,
    /// Whether the 8259 pair's lines take a late tick.
    LateTicks,
    /// Pins and deadlines of any device.
    Everything,
}

impl Owner {
    const fn follow_up(self) -> FollowUp {
        match self {
            Self::Absent | Self::Power | Self::Serial(..) => FollowUp::Nothing,
            Self::Vga | Self::DebugConsole => FollowUp::Nothing,
            Self::Pic => FollowUp::LateTicks,
            Self::Pit | Self::Keyboard | Self::Rtc => FollowUp::Everything,
        }
    }
}

/// An access that reached a serial port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SerialAccess {
    /// The port.
    pub com: Com,
    /// Its register; None: the access was wider than one.
    pub register: Option<u8>,
}

/// The effect of an OUT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PortWrite {
    /// Nothing outside the machine.
    Done,
    /// A serial port was written.
    Serial(SerialAccess),
    /// A byte for the console.
    Prints(u8),
    /// The text screen's cursor has left a line, and the console shows the screen.
    LeavesLine,
    /// The VM's end.
    Ends(Ending),
}

impl SerialAccess {
    /// Whether a write there may move bytes or modem lines: the registers above MCR are for
    /// reading, or do nothing.
    #[inline]
    #[must_use]
    pub const fn can_move(self) -> bool {
        const MODEM_CONTROL: u8 = 4;
        match self.register {
            Some(register) => register <= MODEM_CONTROL,
            None => true,
        }
    }
}

impl Machine {
    /// IN of 1, 2 or 4 bytes. Devices are 8 bits wide: a wider access is one of the next ports too.
    #[inline]
    pub fn port_read(
        &mut self,
        port: u16,
        size: Size,
        now: Instant,
    ) -> (u32, Option<SerialAccess>) {
        match Owner::serial(port) {
            // Fast path: almost every exit is a one-byte UART access.
            Some((com, register)) if size == 1 => {
                let value = self.serial.read(com, register, &mut self.interrupts);
                (value.into(), Some(SerialAccess { com, register: Some(register) }))
            }
            _ => self.port_read_slow(port, size, now),
        }
    }

    #[inline(never)]
    fn port_read_slow(
        &mut self,
        port: u16,
        size: Size,
        now: Instant,
    ) -> (u32, Option<SerialAccess>) {
        let now = self.catch_up(now);
        if Owner::of(port) == Owner::Power {
            return (self.power.read(port, size, now), None);
        }
        let (mut value, mut follow_up, mut serial) = (0, FollowUp::Nothing, None);
        for n in 0..size.min(4) {
            let port = port.wrapping_add(n.into());
            let owner = Owner::of(port);
            follow_up = follow_up.max(owner.follow_up());
            serial = serial.or(wide_access(owner));
            value |= u32::from(self.port_read_byte(owner, port, now)) << (8 * n);
        }
        self.follow_up(follow_up, now);
        (value, serial)
    }

    /// OUT of 1, 2 or 4 bytes.
    #[inline]
    pub fn port_write(&mut self, port: u16, size: Size, value: u32, now: Instant) -> PortWrite {
        match Owner::serial(port) {
            Some((com, register)) if size == 1 => {
                self.serial.write(com, register, value as u8, &mut self.interrupts);
                let access = SerialAccess { com, register: Some(register) };
                PortWrite::Serial(access)
            }
            _ => self.port_write_slow(port, size, value, now),
        }
    }

    /// Fast path: OUT of a byte to a register of a serial port that moves nothing. None, and
    /// nothing is done, if it is another access.
    #[inline(always)]
    pub fn serial_set(&mut self, port: u16, value: u8) -> Option<Com> {
        let (com, register) = Owner::serial(port)?;
        let access = SerialAccess { com, register: Some(register) };
        if access.can_move() {
            return None;
        }
        self.serial.write(com, register, value, &mut self.interrupts);
        Some(com)
    }

    #[inline(never)]
    fn port_write_slow(&mut self, port: u16, size: Size, value: u32, now: Instant) -> PortWrite {
        if Owner::of(port) == Owner::Power {
            return self.power.write(port, size, value).map_or(PortWrite::Done, PortWrite::Ends);
        }
        if port == DEBUG_CONSOLE {
            return PortWrite::Prints(value as u8);
        }
        let now = self.catch_up(now);
        let (mut follow_up, mut serial) = (FollowUp::Nothing, None);
        for n in 0..size.min(4) {
            let port = port.wrapping_add(n.into());
            let owner = Owner::of(port);
            follow_up = follow_up.max(owner.follow_up());
            serial = serial.or(wide_access(owner));
            self.port_write_byte(owner, port, (value >> (8 * n)) as u8, now);
        }
        self.follow_up(follow_up, now);
        match serial {
            _ if self.keyboard.is_reset_requested() => PortWrite::Ends(Ending::Reset),
            Some(access) => PortWrite::Serial(access),
            None if self.has_screen && self.vga.take_left_line() => PortWrite::LeavesLine,
            None => PortWrite::Done,
        }
    }

    fn follow_up(&mut self, follow_up: FollowUp, now: MachineTime) {
        match follow_up {
            FollowUp::Nothing => {}
            FollowUp::LateTicks => self.timers.deliver_late(&mut self.interrupts),
            FollowUp::Everything => self.after_access(now),
        }
    }

    fn port_read_byte(&mut self, owner: Owner, port: u16, now: MachineTime) -> u8 {
        match owner {
            Owner::Pic => self.interrupts.pic().read(port),
            Owner::Pit => self.timers.pit().read(port, now),
            Owner::Keyboard => self.keyboard.read(port),
            Owner::Rtc => self.timers.rtc().read(port, now),
            Owner::Serial(com, register) => self.serial.read(com, register, &mut self.interrupts),
            Owner::Vga => self.vga.read(port),
            Owner::DebugConsole => DEBUG_CONSOLE as u8,
            // A wide access that reaches it is one to PCI's configuration address, which is absent.
            Owner::Power if port == RESET_CONTROL => 0xff,
            Owner::Power => self.power.read(port, 1, now) as u8,
            Owner::Absent => 0xff,
        }
    }

    fn port_write_byte(&mut self, owner: Owner, port: u16, value: u8, now: MachineTime) {
        match owner {
            Owner::Pic => self.interrupts.pic().write(port, value),
            Owner::Pit => self.timers.pit().write(port, value, now),
            Owner::Keyboard => self.keyboard.write(port, value),
            Owner::Rtc => self.timers.rtc().write(port, value, now),
            Owner::Serial(com, register) => {
                self.serial.write(com, register, value, &mut self.interrupts);
            }
            Owner::Vga => self.vga.write(port, value),
            // Reached by the upper bytes of a wide access only: no power register begins there.
            Owner::DebugConsole | Owner::Power | Owner::Absent => {}
        }
    }
}

fn wide_access(owner: Owner) -> Option<SerialAccess> {
    match owner {
        Owner::Serial(com, _) => Some(SerialAccess { com, register: None }),
        Owner::Pic | Owner::Pit | Owner::Keyboard | Owner::Rtc | Owner::Power => None,
        Owner::Vga | Owner::DebugConsole | Owner::Absent => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_short_way_to_a_serial_port_is_the_maps() {
        for port in 0..=u16::MAX {
            let by_short_way =
                Owner::serial(port).map(|(com, register)| Owner::Serial(com, register));
            let by_map = Some(Owner::of(port)).filter(|owner| matches!(owner, Owner::Serial(..)));
            assert_eq!(by_short_way, by_map, "{port:#x}");
        }
    }

    #[test]
    fn the_transmitters_are_the_maps_first_registers() {
        for com in Com::ALL {
            assert_eq!(Owner::of(TRANSMITTERS[com]), Owner::Serial(com, 0));
        }
    }
}
