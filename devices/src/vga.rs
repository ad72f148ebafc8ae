//! The registers of a VGA in its text mode, 80 columns and 25 rows at 0xB8000: enough for a driver
//! of the text screen. The characters lie in the machine's RAM.
//!
//! Registers read back what was written. Two of them have a meaning here: where the screen begins
//! in its memory, and where the cursor is. Nothing else changes what is shown; there are no
//! graphics modes and no monochrome addresses (3B4h, 3B5h, 3BAh).
//!
//! Sources: IBM PS/2 Hardware Interface Technical Reference, "Video Subsystem"; the values are
//! those of its mode 3+, 9x16 characters.

/// The first port of the attribute controller, and with it of all but three registers.
pub const FIRST: u16 = 0x3C0;
/// The last of them.
pub const LAST: u16 = 0x3CF;
/// The CRT controller: its index; its data follow.
pub const CRTC_INDEX: u16 = 0x3D4;
/// The register that the index selects.
pub const CRTC_DATA: u16 = 0x3D5;
/// Input status 1.
pub const STATUS: u16 = 0x3DA;

/// Input status 1: the display is blanked, and in its vertical retrace.
const RETRACE: u8 = 1 << 0 | 1 << 3;
/// Attribute index: the palette belongs to the display.
const PALETTE_SOURCE: u8 = 1 << 5;
/// CRTC 0Ah: the cursor is off.
const CURSOR_OFF: u8 = 1 << 5;
const START_HIGH: usize = 0x0C;
const CURSOR_HIGH: usize = 0x0E;
/// CRTC 11h: registers 0 to 7 are protected, but for bit 4 of 7, which is the line compare's.
const RETRACE_END: usize = 0x11;
const PROTECT: u8 = 1 << 7;
const LINE_COMPARE: u8 = 1 << 4;
const COLOURS: usize = 256;
/// Characters of a row.
const COLUMNS: u16 = 80;

/// An index register and those that it selects.
#[derive(Clone, Copy, Debug)]
struct Bank<const N: usize> {
    index: u8,
    registers: [u8; N],
}

impl<const N: usize> Bank<N> {
    const fn new(registers: [u8; N]) -> Self {
        Self { index: 0, registers }
    }

    /// What is selected; beyond the registers there is nothing.
    fn read(&self) -> u8 {
        self.registers.get(usize::from(self.index)).copied().unwrap_or(0)
    }

    fn write(&mut self, value: u8) {
        if let Some(register) = self.registers.get_mut(usize::from(self.index)) {
            *register = value;
        }
    }
}

/// The palette's registers: three bytes a colour, one after another.
#[derive(Clone, Debug)]
struct Palette {
    mask: u8,
    colours: [[u8; 3]; COLOURS],
    /// The colour and its byte that are next.
    next: (u8, u8),
    /// What the next read of the index gives: after a write of the read index 3, else 0.
    state: u8,
}

/// The registers.
#[derive(Clone, Debug)]
pub struct Vga {
    miscellaneous: u8,
    feature: u8,
    sequencer: Bank<5>,
    graphics: Bank<9>,
    attributes: Bank<21>,
    /// The next write to the attribute controller's port is data.
    has_attribute_index: bool,
    crtc: Bank<25>,
    palette: Palette,
    /// What input status 1 shows next.
    retrace: u8,
    /// The cursor has left a line.
    has_left_line: bool,
}

impl Default for Vga {
    fn default() -> Self {
        Self::new()
    }
}

impl Vga {
    /// As a BIOS leaves them: mode 3.
    #[must_use]
    #[rustfmt::skip]
    pub const fn new() -> Self {
        Self {
            miscellaneous: 0x67,
            feature: 0,
            sequencer: Bank::new([0x03, 0x00, 0x03, 0x00, 0x02]),
            graphics: Bank::new([0, 0, 0, 0, 0, 0x10, 0x0E, 0, 0xFF]),
            attributes: Bank { index: PALETTE_SOURCE, registers: [
                0x00, 0x01, 0x02, 0x03, 0x04, 0x05, 0x14, 0x07,
                0x38, 0x39, 0x3A, 0x3B, 0x3C, 0x3D, 0x3E, 0x3F, 0x0C, 0x00, 0x0F, 0x08, 0x00,
            ] },
            has_attribute_index: false,
            crtc: Bank::new([
                0x5F, 0x4F, 0x50, 0x82, 0x55, 0x81, 0xBF, 0x1F, 0x00, 0x4F, 0x0D, 0x0E, 0, 0, 0, 0,
                0x9C, 0x8E, 0x8F, 0x28, 0x1F, 0x96, 0xB9, 0xA3, 0xFF,
            ]),
            palette: Palette { mask: 0xFF, colours: [[0; 3]; COLOURS], next: (0, 0), state: 0 },
            retrace: 0,
            has_left_line: false,
        }
    }

    /// Reads a register; a port that is none reads all ones.
    pub fn read(&mut self, port: u16) -> u8 {
        match port {
            0x3C0 => self.attributes.index,
            0x3C1 => self.attribute_data(),
            // Input status 0: no interrupt, and the monitor's sense line is low.
            0x3C2 => 0,
            0x3C4 => self.sequencer.index,
            0x3C5 => self.sequencer.read(),
            0x3C6 => self.palette.mask,
            0x3C7 => self.palette.state,
            0x3C8 => self.palette.next.0,
            0x3C9 => self.palette.read(),
            0x3CA => self.feature,
            0x3CC => self.miscellaneous,
            0x3CE => self.graphics.index,
            0x3CF => self.graphics.read(),
            CRTC_INDEX => self.crtc.index,
            CRTC_DATA => self.crtc.read(),
            STATUS => {
                self.has_attribute_index = false;
                // It changes at each read, so that a driver that waits for either edge goes on.
                self.retrace ^= RETRACE;
                self.retrace
            }
            _ => 0xFF,
        }
    }

    /// Writes a register; a write to a port that is none is ignored.
    pub fn write(&mut self, port: u16, value: u8) {
        match port {
            0x3C0 => {
                let is_data = self.has_attribute_index;
                self.has_attribute_index = !is_data;
                match is_data {
                    true => self.set_attribute(value),
                    false => self.attributes.index = value & 0x3F,
                }
            }
            0x3C2 => self.miscellaneous = value,
            0x3C4 => self.sequencer.index = value & 0x07,
            0x3C5 => self.sequencer.write(value),
            0x3C6 => self.palette.mask = value,
            0x3C7 => (self.palette.next, self.palette.state) = ((value, 0), 3),
            0x3C8 => (self.palette.next, self.palette.state) = ((value, 0), 0),
            0x3C9 => self.palette.write(value),
            STATUS => self.feature = value,
            0x3CE => self.graphics.index = value & 0x0F,
            0x3CF => self.graphics.write(value),
            CRTC_INDEX => self.crtc.index = value & 0x1F,
            CRTC_DATA => self.set_crtc(value),
            _ => {}
        }
    }

    /// Which character of its memory the screen begins with.
    #[must_use]
    pub fn start(&self) -> u16 {
        self.crtc_word(START_HIGH)
    }

    /// Which character of its memory the cursor is at; None if it is off.
    #[must_use]
    pub fn cursor(&self) -> Option<u16> {
        let is_on = self.crtc.registers[0x0A] & CURSOR_OFF == 0;
        is_on.then(|| self.crtc_word(CURSOR_HIGH))
    }

    /// Whether the cursor has gone to another row, or back in its own one, since the last call: the
    /// guest has ended a line, or scrolls.
    pub const fn take_left_line(&mut self) -> bool {
        core::mem::replace(&mut self.has_left_line, false)
    }

    fn crtc_word(&self, high: usize) -> u16 {
        u16::from_be_bytes([self.crtc.registers[high], self.crtc.registers[high + 1]])
    }

    fn set_crtc(&mut self, value: u8) {
        let is_protected = self.crtc.registers[RETRACE_END] & PROTECT != 0;
        let before = self.crtc.read();
        let place = self.crtc_word(CURSOR_HIGH);
        match self.crtc.index {
            7 if is_protected => {
                self.crtc.write(before & !LINE_COMPARE | value & LINE_COMPARE);
            }
            0..7 if is_protected => {}
            _ => self.crtc.write(value),
        }
        let moved_to = self.crtc_word(CURSOR_HIGH);
        self.has_left_line |= moved_to / COLUMNS != place / COLUMNS || moved_to < place;
    }

    /// The index without the bit that says whose the palette is.
    fn attribute_data(&self) -> u8 {
        let index = self.attributes.index & !PALETTE_SOURCE;
        self.attributes.registers.get(usize::from(index)).copied().unwrap_or(0)
    }

    fn set_attribute(&mut self, value: u8) {
        let index = self.attributes.index & !PALETTE_SOURCE;
        if let Some(register) = self.attributes.registers.get_mut(usize::from(index)) {
            *register = value;
        }
    }
}

impl Palette {
    fn read(&mut self) -> u8 {
        let (colour, byte) = self.next;
        let value = self.colours[usize::from(colour)][usize::from(byte)];
        self.step();
        value
    }

    /// A colour has 6 bits of each of red, green and blue.
    fn write(&mut self, value: u8) {
        let (colour, byte) = self.next;
        self.colours[usize::from(colour)][usize::from(byte)] = value & 0x3F;
        self.step();
    }

    const fn step(&mut self) {
        self.next = match self.next {
            (colour, 2) => (colour.wrapping_add(1), 0),
            (colour, byte) => (colour, byte + 1),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn crtc(vga: &mut Vga, index: u8) -> u8 {
        vga.write(0x3D4, index);
        vga.read(0x3D5)
    }

    #[test]
    fn the_cursor_reads_back_and_is_where_it_was_put() {
        let mut vga = Vga::new();
        assert_eq!((vga.cursor(), vga.start()), (Some(0), 0));
        for (index, value) in [(0x0E, 0x01), (0x0F, 0x40), (0x0A, 0x0E), (0x0B, 0x0F)] {
            vga.write(0x3D4, index);
            vga.write(0x3D5, value);
            assert_eq!(crtc(&mut vga, index), value, "{index:#x}");
        }
        assert_eq!(vga.cursor(), Some(0x140));
        vga.write(0x3D4, 0x0A);
        vga.write(0x3D5, 0x20);
        assert_eq!(vga.cursor(), None);
    }

    #[test]
    fn the_cursor_leaves_a_line_for_another_or_for_its_begin() {
        let mut vga = Vga::new();
        let mut moves = |place: u16| {
            let [high, low] = place.to_be_bytes();
            for (index, value) in [(0x0E, high), (0x0F, low)] {
                vga.write(0x3D4, index);
                vga.write(0x3D5, value);
            }
            vga.take_left_line()
        };
        let places = [0, 1, 79, 80, 81, 80, 24 * 80 + 5, 24 * 80 + 6, 24 * 80];
        let left = [false, false, false, true, false, true, true, false, true];
        assert_eq!(places.map(&mut moves), left);
    }

    #[test]
    fn timing_registers_are_protected_until_the_guest_opens_them() {
        let mut vga = Vga::new();
        vga.write(0x3D4, 0);
        vga.write(0x3D5, 0x11);
        assert_eq!(crtc(&mut vga, 0), 0x5F);
        vga.write(0x3D4, 7);
        vga.write(0x3D5, 0);
        assert_eq!(crtc(&mut vga, 7), 0x0F, "bit 4 alone is open");
        vga.write(0x3D4, 0x11);
        vga.write(0x3D5, 0x0E);
        vga.write(0x3D4, 0);
        vga.write(0x3D5, 0x11);
        assert_eq!(crtc(&mut vga, 0), 0x11);
    }

    #[test]
    fn a_read_of_the_status_makes_the_next_attribute_write_an_index() {
        let mut vga = Vga::new();
        vga.write(0x3C0, 0x10);
        vga.read(0x3DA);
        // The mode control without blinking, then the palette is the display's again.
        for value in [0x30, 0x04] {
            vga.write(0x3C0, value);
        }
        vga.read(0x3DA);
        vga.write(0x3C0, 0x30);
        assert_eq!(vga.read(0x3C1), 0x04);
    }

    #[test]
    fn a_wait_for_either_edge_of_the_retrace_ends() {
        let mut vga = Vga::new();
        let seen = [(); 4].map(|()| vga.read(0x3DA) & 0x08);
        assert_eq!(seen, [8, 0, 8, 0]);
    }

    #[test]
    fn a_colour_is_written_and_read_byte_by_byte() {
        let mut vga = Vga::new();
        vga.write(0x3C8, 0xFF);
        for value in [1, 2, 0xFF, 4] {
            vga.write(0x3C9, value);
        }
        assert_eq!(vga.read(0x3C8), 0, "behind the last is the first");
        vga.write(0x3C7, 0xFF);
        assert_eq!([(); 4].map(|()| vga.read(0x3C9)), [1, 2, 0x3F, 4]);
    }

    #[test]
    fn every_byte_at_every_port_is_harmless() {
        let mut vga = Vga::new();
        for port in 0x3B0..=0x3DF {
            for value in 0..=u8::MAX {
                vga.write(port, value);
                vga.read(port);
            }
        }
        assert_eq!(vga.read(0x3B4), 0xFF, "no monochrome display");
    }
}
