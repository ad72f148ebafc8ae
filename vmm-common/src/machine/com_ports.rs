//! The four serial ports, what each is plugged into, and the two interrupt lines that they share.

use super::Machine;
use super::interrupts::{Interrupts, Line};
use crate::index::Com;
use crate::plan::{SERIAL_PORTS, SerialPlan};
use crate::seam::BatchablePorts;
use devices::uart::{Port, PortMode};

/// A machine's serial ports.
#[derive(Debug)]
pub(super) struct Serial {
    ports: [Option<Port>; SERIAL_PORTS],
    /// Which of the system's wires each port is an end of.
    wires: [Option<usize>; SERIAL_PORTS],
    /// Bit n: the level of COM n + 1's pin as the interrupt controllers have it.
    levels: u8,
    /// Bit n: the far side of COM n + 1 has moved since its pin was sampled.
    moved: u8,
}

impl Serial {
    pub fn new(plan: [SerialPlan; SERIAL_PORTS]) -> Self {
        let (ports, wires) = (plan.map(serial_port), plan.map(SerialPlan::link));
        Self { ports, wires, levels: 0, moved: 0 }
    }

    /// The guest reads a register; all ones where there is no port.
    #[inline]
    pub fn read(&mut self, com: Com, register: u8, interrupts: &mut Interrupts) -> u8 {
        let Some(port) = &mut self.ports[com] else { return 0xff };
        let value = port.read(register);
        self.sample_after_access(com, interrupts);
        value
    }

    /// The guest writes a register.
    #[inline(always)]
    pub fn write(&mut self, com: Com, register: u8, value: u8, interrupts: &mut Interrupts) {
        let Some(port) = &mut self.ports[com] else { return };
        port.write(register, value);
        self.sample_after_access(com, interrupts);
    }

    pub fn port(&self, com: Com) -> Option<&Port> {
        self.ports[com].as_ref()
    }

    /// For the port's far side. Its pin follows at the next sample.
    #[inline]
    pub fn far_side(&mut self, com: Com) -> Option<&mut Port> {
        self.moved |= 1 << com as u8;
        self.ports[com].as_mut()
    }

    pub fn wire(&self, com: Com) -> Option<usize> {
        self.wires[com]
    }

    /// The transmitters that may be written in batches.
    pub fn batchable(&self) -> BatchablePorts {
        let is_batchable = |port: &Option<Port>| {
            port.as_ref().is_some_and(|port| {
                port.mode() != PortMode::Unconnected && !port.wants_every_write()
            })
        };
        let bit = |(com, port)| u8::from(is_batchable(port)) << com;
        BatchablePorts(self.ports.iter().enumerate().map(bit).sum())
    }

    #[inline(always)]
    fn sample_after_access(&mut self, com: Com, interrupts: &mut Interrupts) {
        self.sample_pin(com, interrupts);
        if self.moved != 0 {
            self.sample_moved(interrupts);
        }
    }

    /// Carries the pins of ports whose far side has moved.
    pub fn sample_moved(&mut self, interrupts: &mut Interrupts) {
        while self.moved != 0 {
            let com = Com::ALL[self.moved.trailing_zeros() as usize % Com::ALL.len()];
            self.moved &= self.moved - 1;
            self.sample_pin(com, interrupts);
        }
    }

    #[inline]
    fn sample_pin(&mut self, com: Com, interrupts: &mut Interrupts) {
        let level = self.ports[com].as_ref().is_some_and(Port::pin);
        if level != (self.levels & 1 << com as u8 != 0) {
            self.set_level(com, interrupts);
        }
    }

    /// COM1 and COM3 share a line, as do COM2 and COM4: it is high while either pin is.
    #[inline(never)]
    fn set_level(&mut self, com: Com, interrupts: &mut Interrupts) {
        const SHARED: [(u8, Line); 2] = [(0b0101, Line::COM1_AND_3), (0b1010, Line::COM2_AND_4)];
        let (shared, line) = SHARED[com as usize % SHARED.len()];
        let was_high = self.levels & shared != 0;
        self.levels ^= 1 << com as u8;
        let is_high = self.levels & shared != 0;
        if is_high != was_high {
            interrupts.set_line(line, is_high);
            interrupts.carry_messages();
        }
    }
}

impl Machine {
    /// The serial port, if the machine has it, for its far side.
    #[inline]
    pub fn serial_mut(&mut self, com: Com) -> Option<&mut Port> {
        self.serial.far_side(com)
    }

    /// The serial port, if the machine has it.
    #[must_use]
    pub fn serial(&self, com: Com) -> Option<&Port> {
        self.serial.port(com)
    }

    /// Which of the system's wires the serial port is an end of.
    #[must_use]
    pub fn wire_of(&self, com: Com) -> Option<usize> {
        self.serial.wire(com)
    }

    /// The transmitters that may be written in batches.
    #[must_use]
    pub fn batchable_ports(&self) -> BatchablePorts {
        self.serial.batchable()
    }

    /// Carries the pins of ports whose far side has moved.
    #[inline]
    pub fn sample_serial_pins(&mut self) {
        self.serial.sample_moved(&mut self.interrupts);
    }
}

fn serial_port(plan: SerialPlan) -> Option<Port> {
    let mode = match plan {
        SerialPlan::Absent => return None,
        SerialPlan::Unconnected => PortMode::Unconnected,
        SerialPlan::Console => PortMode::Console,
        SerialPlan::Link(_) => PortMode::Link,
        SerialPlan::Switched(_) => PortMode::Switched,
    };
    Some(Port::new(mode))
}
