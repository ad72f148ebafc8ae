//! One 8259A: requests (IRR), mask (IMR), in service (ISR), priority, command words.

use super::ChipRegisters;

/// Command port bit 4: an initialisation word (ICW1) rather than an operation word.
const ICW1: u8 = 1 << 4;
const ICW1_WANTS_ICW4: u8 = 1 << 0;
const ICW1_SINGLE: u8 = 1 << 1;
const ICW4_AUTO_EOI: u8 = 1 << 1;
const ICW4_SPECIAL_FULLY_NESTED: u8 = 1 << 4;

/// Command port bit 3, with bit 4 clear: OCW3 rather than OCW2.
const OCW3: u8 = 1 << 3;
const OCW3_READ_IN_SERVICE: u8 = 1 << 0;
const OCW3_READ_REGISTER: u8 = 1 << 1;
const OCW3_POLL: u8 = 1 << 2;
const OCW3_SPECIAL_MASK: u8 = 1 << 5;
const OCW3_SET_SPECIAL_MASK: u8 = 1 << 6;

/// Poll byte bit 7: there was a request (bits 2-0 name it).
const POLL_HAS_REQUEST: u8 = 1 << 7;
/// The input whose vector a chip gives when it is acknowledged without a request.
const SPURIOUS_LINE: u8 = 7;

/// The initialisation word the data port waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expects {
    Icw2,
    Icw3,
    Icw4,
    /// None: the data port is the mask, and the chip serves requests.
    Mask,
}

/// One 8259A in 8086 mode. Bit n of every mask is input n.
#[derive(Clone, Debug)]
pub(super) struct Chip {
    lines: u8,
    rising: u8,
    mask: u8,
    in_service: u8,
    /// ELCR: the inputs that are level-triggered.
    pub(super) level_triggered: u8,
    /// Inputs driven by a cascaded chip; they are followed, not latched.
    pub(super) cascade: u8,
    vector_base: u8,
    /// The input with the lowest priority; the one after it has the highest.
    lowest: u8,
    expects: Expects,
    has_single: bool,
    has_icw4: bool,
    is_auto_eoi: bool,
    rotates_on_auto_eoi: bool,
    is_special_mask: bool,
    is_special_fully_nested: bool,
    reads_in_service: bool,
    is_polled: bool,
}

impl Chip {
    pub(super) const fn new(vector_base: u8) -> Self {
        Self {
            lines: 0,
            rising: 0,
            mask: 0xFF,
            in_service: 0,
            level_triggered: 0,
            cascade: 0,
            vector_base,
            lowest: 7,
            expects: Expects::Mask,
            has_single: false,
            has_icw4: false,
            is_auto_eoi: false,
            rotates_on_auto_eoi: false,
            is_special_mask: false,
            is_special_fully_nested: false,
            reads_in_service: false,
            is_polled: false,
        }
    }

    pub(super) fn set_line(&mut self, line: u8, level: bool) {
        let bit = 1 << line;
        if level {
            self.rising |= bit & !self.lines;
            self.lines |= bit;
        } else {
            self.lines &= !bit;
        }
    }

    pub(super) const fn is_latched(&self, line: u8) -> bool {
        self.rising & (1 << line) != 0
    }

    pub(super) const fn is_unmasked(&self, line: u8) -> bool {
        self.mask & (1 << line) == 0
    }

    pub(super) fn registers(&self) -> ChipRegisters {
        ChipRegisters { requested: self.requests(), in_service: self.in_service, masked: self.mask }
    }

    /// IRR: latched edges, high levels, and the cascaded chip.
    fn requests(&self) -> u8 {
        (self.rising & !self.level_triggered) | (self.lines & self.level_triggered) | self.cascade
    }

    /// The INT output.
    pub(super) fn output(&self) -> bool {
        self.winner().is_some()
    }

    /// The input that the next INTA serves: unmasked, and above what is in service.
    fn winner(&self) -> Option<u8> {
        if self.expects != Expects::Mask {
            return None;
        }
        let candidate = self.highest(self.requests() & !self.mask)?;
        let mut blocking = self.in_service;
        if self.is_special_mask {
            blocking &= !self.mask;
        }
        if self.is_special_fully_nested && self.cascade & (1 << candidate) != 0 {
            blocking &= !self.cascade;
        }
        match self.highest(blocking) {
            Some(busy) if self.rank(busy) <= self.rank(candidate) => None,
            Some(_) | None => Some(candidate),
        }
    }

    /// The number of inputs that outrank `line`.
    fn rank(&self, line: u8) -> u8 {
        line.wrapping_sub(self.lowest).wrapping_sub(1) & 7
    }

    /// The input of highest priority in `set`.
    fn highest(&self, set: u8) -> Option<u8> {
        let first = u32::from(self.lowest) + 1;
        let rank = set.rotate_right(first % 8).trailing_zeros();
        if set == 0 { None } else { Some(((first + rank) % 8) as u8) }
    }

    /// INTA: the input served, if any, and the vector.
    pub(super) fn acknowledge(&mut self) -> (Option<u8>, u8) {
        let winner = self.winner();
        if let Some(line) = winner {
            self.serve(line);
        }
        (winner, self.vector_base | winner.unwrap_or(SPURIOUS_LINE))
    }

    fn serve(&mut self, line: u8) {
        let bit = 1 << line;
        self.rising &= !bit;
        if !self.is_auto_eoi {
            self.in_service |= bit;
        } else if self.rotates_on_auto_eoi {
            self.lowest = line;
        }
    }

    pub(super) fn read_command(&mut self) -> u8 {
        match (self.is_polled, self.reads_in_service) {
            (true, _) => self.poll(),
            (false, true) => self.in_service,
            (false, false) => self.requests(),
        }
    }

    pub(super) fn read_data(&mut self) -> u8 {
        if self.is_polled { self.poll() } else { self.mask }
    }

    /// The read after a poll command stands for INTA and names the input instead of the vector.
    fn poll(&mut self) -> u8 {
        self.is_polled = false;
        match self.winner() {
            Some(line) => {
                self.serve(line);
                POLL_HAS_REQUEST | line
            }
            None => SPURIOUS_LINE,
        }
    }

    pub(super) fn write_command(&mut self, value: u8) {
        if value & ICW1 != 0 {
            self.initialize(value);
        } else if value & OCW3 != 0 {
            self.operate_mode(value);
        } else {
            self.end_of_interrupt(value >> 5, value & 7);
        }
    }

    pub(super) fn write_data(&mut self, value: u8) {
        self.expects = match self.expects {
            Expects::Icw2 => {
                self.vector_base = value & 0xF8;
                if !self.has_single {
                    Expects::Icw3
                } else if self.has_icw4 {
                    Expects::Icw4
                } else {
                    Expects::Mask
                }
            }
            // Ignored: the wiring is the PC's.
            Expects::Icw3 if self.has_icw4 => Expects::Icw4,
            Expects::Icw3 => Expects::Mask,
            Expects::Icw4 => {
                self.is_auto_eoi = value & ICW4_AUTO_EOI != 0;
                self.is_special_fully_nested = value & ICW4_SPECIAL_FULLY_NESTED != 0;
                Expects::Mask
            }
            Expects::Mask => {
                self.mask = value;
                Expects::Mask
            }
        };
    }

    /// ICW1 (datasheet, "Initialization command words"): the edge latches, the mask and all modes
    /// are cleared, input 7 has the lowest priority. ELCR and the pins are outside the chip.
    fn initialize(&mut self, icw1: u8) {
        *self = Self {
            lines: self.lines,
            level_triggered: self.level_triggered,
            cascade: self.cascade,
            mask: 0,
            expects: Expects::Icw2,
            has_single: icw1 & ICW1_SINGLE != 0,
            has_icw4: icw1 & ICW1_WANTS_ICW4 != 0,
            ..Self::new(self.vector_base)
        };
    }

    fn operate_mode(&mut self, ocw3: u8) {
        if ocw3 & OCW3_SET_SPECIAL_MASK != 0 {
            self.is_special_mask = ocw3 & OCW3_SPECIAL_MASK != 0;
        }
        if ocw3 & OCW3_POLL != 0 {
            self.is_polled = true;
        } else if ocw3 & OCW3_READ_REGISTER != 0 {
            self.reads_in_service = ocw3 & OCW3_READ_IN_SERVICE != 0;
        }
    }

    /// OCW2: `operation` is its R, SL and EOI bits, `line` its level field.
    fn end_of_interrupt(&mut self, operation: u8, line: u8) {
        match operation {
            0b000 => self.rotates_on_auto_eoi = false,
            0b100 => self.rotates_on_auto_eoi = true,
            0b001 => self.finish(self.foremost_in_service(), false),
            0b101 => self.finish(self.foremost_in_service(), true),
            0b011 => self.finish(Some(line), false),
            0b111 => self.finish(Some(line), true),
            0b110 => self.lowest = line,
            _ => {}
        }
    }

    /// What a non-specific EOI ends: special mask mode hides masked inputs from it.
    fn foremost_in_service(&self) -> Option<u8> {
        let hidden = if self.is_special_mask { self.mask } else { 0 };
        self.highest(self.in_service & !hidden)
    }

    fn finish(&mut self, line: Option<u8>, rotates: bool) {
        if let Some(line) = line {
            self.in_service &= !(1 << line);
            if rotates {
                self.lowest = line;
            }
        }
    }
}
