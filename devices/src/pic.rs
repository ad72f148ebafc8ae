//! The interrupt controller pair of a PC: two 8259As, the secondary's output on the primary's IR2.
//!
//! [`PicPair`] decodes the six ports and joins the chips; one chip is in `chip.rs`. The cascade is
//! a pure function: IR2 of the primary *is* the secondary's output, so both chips always answer for
//! the same moment and a request cannot vanish between them.
//!
//! Source: Intel 8259A datasheet (order 231468); Intel ICH9 datasheet 5.8 for the edge/level
//! control registers (ELCR) that replace ICW1's LTIM bit on a PC.

mod chip;
#[cfg(test)]
mod tests;

use chip::Chip;

/// IR input of the primary that carries the secondary's output.
const CASCADE_LINE: u8 = 2;

const PRIMARY_COMMAND: u16 = 0x20;
const PRIMARY_DATA: u16 = 0x21;
const SECONDARY_COMMAND: u16 = 0xA0;
const SECONDARY_DATA: u16 = 0xA1;
const PRIMARY_TRIGGER: u16 = 0x4D0;
const SECONDARY_TRIGGER: u16 = 0x4D1;

/// ELCR bits that exist: the timer, keyboard and cascade (0-2), the clock (8) and the coprocessor
/// (13) are always edge-triggered (ICH9 datasheet 13.4.8, 13.4.9).
const PRIMARY_TRIGGER_MASK: u8 = 0xF8;
const SECONDARY_TRIGGER_MASK: u8 = 0xDE;

/// Vector bases a PC's firmware programs: IRQ0 at 0x08, IRQ8 at 0x70.
const FIRMWARE_PRIMARY_BASE: u8 = 0x08;
const FIRMWARE_SECONDARY_BASE: u8 = 0x70;

/// What one 8259A has, a bit for each input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChipRegisters {
    /// IRR: requested.
    pub requested: u8,
    /// ISR: in service, until the guest's EOI.
    pub in_service: u8,
    /// IMR: masked.
    pub masked: u8,
}

/// Two cascaded 8259As: 15 interrupt lines in, one INTR out.
#[derive(Clone, Debug)]
pub struct PicPair {
    primary: Chip,
    secondary: Chip,
}

impl Default for PicPair {
    fn default() -> Self {
        Self::new()
    }
}

impl PicPair {
    /// The pair as firmware leaves it: vector bases 0x08 and 0x70, fully nested, all lines
    /// edge-triggered and all masked. Nothing is delivered until the guest unmasks a line.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            primary: Chip::new(FIRMWARE_PRIMARY_BASE),
            secondary: Chip::new(FIRMWARE_SECONDARY_BASE),
        }
    }

    /// Reads port 0x20, 0x21, 0xA0, 0xA1, 0x4D0 or 0x4D1; any other port reads all ones.
    ///
    /// After a poll command (OCW3 bit 2) the next read of that chip acknowledges, so a read can
    /// change [`Self::has_interrupt`].
    pub fn read(&mut self, port: u16) -> u8 {
        self.join();
        let value = match port {
            PRIMARY_COMMAND => self.primary.read_command(),
            PRIMARY_DATA => self.primary.read_data(),
            SECONDARY_COMMAND => self.secondary.read_command(),
            SECONDARY_DATA => self.secondary.read_data(),
            PRIMARY_TRIGGER => self.primary.level_triggered,
            SECONDARY_TRIGGER => self.secondary.level_triggered,
            _ => 0xFF,
        };
        self.join();
        value
    }

    /// Writes port 0x20, 0x21, 0xA0, 0xA1, 0x4D0 or 0x4D1; a write to any other port is ignored.
    pub fn write(&mut self, port: u16, value: u8) {
        match port {
            PRIMARY_COMMAND => self.primary.write_command(value),
            PRIMARY_DATA => self.primary.write_data(value),
            SECONDARY_COMMAND => self.secondary.write_command(value),
            SECONDARY_DATA => self.secondary.write_data(value),
            PRIMARY_TRIGGER => self.primary.level_triggered = value & PRIMARY_TRIGGER_MASK,
            SECONDARY_TRIGGER => self.secondary.level_triggered = value & SECONDARY_TRIGGER_MASK,
            _ => {}
        }
        self.join();
    }

    /// Sets the level of interrupt line `irq`, 0 to 15. IRQ2 carries the cascade and has no pin:
    /// it is ignored, as are numbers above 15.
    ///
    /// An edge-triggered line is latched when it rises and stays requested until acknowledged,
    /// even if it falls again. (The 8259A would withdraw it and answer with IRQ7; keeping it means
    /// that a pulse shorter than the owner's sampling is never lost.) A level-triggered line
    /// requests for exactly as long as it is high.
    pub fn set_line(&mut self, irq: u8, level: bool) {
        match irq {
            CASCADE_LINE => {}
            0..=7 => self.primary.set_line(irq, level),
            8..=15 => self.secondary.set_line(irq - 8, level),
            _ => {}
        }
        self.join();
    }

    /// Whether an edge of this line is latched (IRR), masked or not: another would be lost.
    #[must_use]
    pub const fn is_latched(&self, irq: u8) -> bool {
        match irq {
            0..=7 => self.primary.is_latched(irq),
            8..=15 => self.secondary.is_latched(irq - 8),
            _ => false,
        }
    }

    /// Whether the guest has this line unmasked.
    #[must_use]
    pub const fn is_unmasked(&self, irq: u8) -> bool {
        match irq {
            0..=7 => self.primary.is_unmasked(irq),
            8..=15 => self.secondary.is_unmasked(irq - 8),
            _ => false,
        }
    }

    /// What each chip has, the primary first.
    #[must_use]
    pub fn registers(&self) -> [ChipRegisters; 2] {
        [self.primary.registers(), self.secondary.registers()]
    }

    /// Whether a pulse on this line would raise INTR now, or INTR is raised already: the line is
    /// unmasked, and nothing in service holds it back.
    #[must_use]
    pub fn would_interrupt(&self, irq: u8) -> bool {
        let mut then = self.clone();
        then.set_line(irq, false);
        then.set_line(irq, true);
        then.has_interrupt()
    }

    /// The INTR output of the primary: an unmasked request outranks everything in service.
    #[must_use]
    pub fn has_interrupt(&self) -> bool {
        self.primary.output()
    }

    /// The INTA cycles: puts the highest request in service and returns its vector.
    ///
    /// With no request left, because a level-triggered line fell or was masked in the meantime,
    /// the primary answers with its spurious vector, IRQ7, and nothing is put in service
    /// (datasheet, "Edge and level triggered modes"). IRQ15 is never spurious here: the primary
    /// asks the secondary only while the secondary has a request.
    pub fn acknowledge(&mut self) -> u8 {
        self.join();
        let (line, mut vector) = self.primary.acknowledge();
        if line == Some(CASCADE_LINE) {
            vector = self.secondary.acknowledge().1;
        }
        self.join();
        vector
    }

    /// Carries the secondary's output to the primary's IR2.
    fn join(&mut self) {
        self.primary.cascade = if self.secondary.output() { 1 << CASCADE_LINE } else { 0 };
    }
}
