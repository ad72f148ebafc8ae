//! The text screen and the keyboard, as the loop reaches them.

use super::Machine;
use super::interrupts::Line;
use crate::Instant;
use devices::time::MachineTime;

impl Machine {
    /// What is typed goes to a keyboard, and not to the serial console.
    #[must_use]
    pub const fn has_keyboard(&self) -> bool {
        self.keyboard.has_keyboard()
    }

    /// Whether the keyboard takes a key now: the guest has read the one before, and its driver is
    /// there. What is typed while it still boots waits, or the driver's first reset would drop it.
    #[must_use]
    pub fn wants_key(&self) -> bool {
        let is_driven =
            self.keyboard.has_been_read() || self.interrupts.is_unmasked(Line::KEYBOARD);
        is_driven && self.keyboard.is_ready_for_key()
    }

    /// A byte typed at the terminal, for the keyboard; None: none follows for now.
    pub fn type_byte(&mut self, byte: Option<u8>, now: Instant) {
        let now = self.catch_up(now);
        self.keyboard.type_byte(byte);
        self.after_access(now);
    }

    /// Which character of its memory the text screen begins with.
    #[must_use]
    pub fn screen_start(&self) -> u16 {
        self.vga.start()
    }

    /// Which character of its memory the cursor is at; None if it is off.
    #[must_use]
    pub fn cursor(&self) -> Option<u16> {
        self.vga.cursor()
    }

    /// When the keyboard's next byte arrives.
    pub(super) fn keyboard_deadline(&self) -> MachineTime {
        self.keyboard.deadline().unwrap_or(MachineTime::FAR_FUTURE)
    }
}
