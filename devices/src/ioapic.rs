//! The I/O APIC: 24 pins in, interrupt messages out.
//!
//! A message is due when a pin is asserted and its redirection entry allows it; the owner drains
//! [`IoApic::next_message`] after every access and every line change. Nothing is queued:
//! whether a message is due is a function of pins, edge latches and entries, so nothing can
//! overflow.
//!
//! Source: Intel 82093AA datasheet (order 290566); ICH9 datasheet 13.5 for the EOI register.

use crate::message::{DeliveryMode, Message};

#[cfg(test)]
mod tests;

/// Pins of the 82093AA.
pub const PINS: usize = 24;

const REGISTER_SELECT: u64 = 0x00;
const REGISTER_WINDOW: u64 = 0x10;
const END_OF_INTERRUPT: u64 = 0x40;

const INDEX_ID: u8 = 0x00;
const INDEX_VERSION: u8 = 0x01;
const INDEX_ARBITRATION: u8 = 0x02;
const INDEX_FIRST_ENTRY: u8 = 0x10;
const INDEX_LAST_ENTRY: u8 = INDEX_FIRST_ENTRY + 2 * PINS as u8 - 1;

/// Version 0x20, the first with an EOI register; bits 23-16 are the number of the last entry.
const VERSION: u32 = 0x20 | ((PINS as u32 - 1) << 16);

const ENTRY_LOGICAL: u64 = 1 << 11;
const ENTRY_DELIVERY_STATUS: u64 = 1 << 12;
const ENTRY_REMOTE_IRR: u64 = 1 << 14;
const ENTRY_LEVEL: u64 = 1 << 15;
const ENTRY_MASKED: u64 = 1 << 16;
const ENTRY_READ_ONLY: u64 = ENTRY_DELIVERY_STATUS | ENTRY_REMOTE_IRR;
/// Vector, delivery mode, destination mode, polarity, trigger, mask, destination.
const ENTRY_WRITABLE: u64 = 0xFF00_0000_0001_AFFF;

/// An I/O APIC with 24 pins.
#[derive(Clone, Debug)]
pub struct IoApic {
    id: u8,
    index: u8,
    entries: [u64; PINS],
    /// Pin levels as last set, bit n for pin n.
    lines: u32,
    /// Edges seen on unmasked edge-triggered pins and not yet sent.
    edges: u32,
}

impl IoApic {
    /// An I/O APIC after reset, all pins masked, with an ID of 4 bits.
    #[must_use]
    pub const fn new(id: u8) -> Self {
        Self { id: id & 0xF, index: 0, entries: [ENTRY_MASKED; PINS], lines: 0, edges: 0 }
    }

    /// Reads the 32-bit register at `offset` from the base: IOREGSEL (0x00) or IOWIN (0x10).
    /// Everything else, the write-only EOI register included, reads 0.
    #[must_use]
    pub fn read(&self, offset: u64) -> u32 {
        match offset {
            REGISTER_SELECT => u32::from(self.index),
            REGISTER_WINDOW => self.read_window(),
            _ => 0,
        }
    }

    /// Writes the 32-bit register at `offset`: IOREGSEL (0x00), IOWIN (0x10) or EOI (0x40).
    pub fn write(&mut self, offset: u64, value: u32) {
        match offset {
            REGISTER_SELECT => self.index = value as u8,
            REGISTER_WINDOW => self.write_window(value),
            END_OF_INTERRUPT => self.end_of_interrupt(value as u8),
            _ => {}
        }
    }

    /// Sets pin `pin` asserted or not; pins above 23 do not exist and are ignored.
    ///
    /// "Asserted" is what the device means: the polarity bit of an entry is stored and has no
    /// effect, since no wire in this machine has a polarity. An edge on a masked pin is lost
    /// (82093AA, "Interrupt Mask"); a level is still there at the unmask.
    pub fn set_line(&mut self, pin: u8, level: bool) {
        let Some(&entry) = self.entries.get(usize::from(pin)) else { return };
        let bit = 1u32 << pin;
        let is_rising = level && self.lines & bit == 0;
        if is_rising && entry & (ENTRY_MASKED | ENTRY_LEVEL) == 0 {
            self.edges |= bit;
        }
        self.lines = if level { self.lines | bit } else { self.lines & !bit };
    }

    /// Whether an unmasked pin has delivery mode NMI.
    #[must_use]
    pub fn can_raise_nmi(&self) -> bool {
        let mode = |entry: u64| DeliveryMode::from_bits((entry >> 8 & 0b111) as u8);
        let is_nmi =
            |entry: u64| entry & ENTRY_MASKED == 0 && mode(entry) == Some(DeliveryMode::Nmi);
        self.entries.iter().any(|entry| is_nmi(*entry))
    }

    /// The vector of pin `pin`; None if the pin is masked.
    #[must_use]
    pub fn unmasked_vector(&self, pin: u8) -> Option<u8> {
        let entry = *self.entries.get(usize::from(pin))?;
        (entry & ENTRY_MASKED == 0).then_some(entry as u8)
    }

    /// The pins that are asserted, a bit for each.
    #[must_use]
    pub const fn asserted(&self) -> u32 {
        self.lines
    }

    /// The pins that the guest has unmasked, a bit for each.
    #[must_use]
    pub fn unmasked(&self) -> u32 {
        let bit = |(pin, entry): (usize, &u64)| u32::from(entry & ENTRY_MASKED == 0) << pin;
        self.entries.iter().enumerate().map(bit).sum()
    }

    /// The message of a pulse on pin `pin` if it were to come now; None: the pin is masked, or
    /// waits for the end of the interrupt before.
    #[must_use]
    pub fn would_send(&self, pin: u8) -> Option<Message> {
        let mut then = self.clone();
        then.set_line(pin, false);
        then.set_line(pin, true);
        then.next_message(pin).filter(|(at, _)| *at == pin).map(|(_, message)| message)
    }

    /// The lowest pin from `first` on at which a message is due, and that message. The owner asks
    /// again from the next pin until `None`, after every access and every line change.
    ///
    /// An edge is sent once. A level is due until a local APIC accepts the message
    /// ([`Self::accepted`]): if none does, as none has that destination or is enabled, the next
    /// round sends it again.
    pub fn next_message(&mut self, first: u8) -> Option<(u8, Message)> {
        let asking = self.edges | self.lines;
        for pin in (usize::from(first)..PINS).filter(|&pin| asking & (1 << pin) != 0) {
            let entry = self.entries[pin];
            let is_level = entry & ENTRY_LEVEL != 0;
            let is_due = entry & ENTRY_MASKED == 0
                && if is_level { self.is_level_due(pin) } else { self.edges & (1 << pin) != 0 };
            let Some(delivery_mode) = DeliveryMode::from_bits((entry >> 8) as u8 & 7) else {
                continue;
            };
            if is_due {
                self.edges &= !(1 << pin);
                let message = Message {
                    vector: entry as u8,
                    destination: (entry >> 56) as u32,
                    is_logical: entry & ENTRY_LOGICAL != 0,
                    delivery_mode,
                    is_level,
                };
                return Some((pin as u8, message));
            }
        }
        None
    }

    /// A local APIC accepted the message of `pin`: for a level-triggered one sets remote IRR,
    /// which holds the pin back until [`Self::end_of_interrupt`] (82093AA, redirection table
    /// bit 14; Linux's `ioapic_service` does the same).
    pub fn accepted(&mut self, pin: u8, message: &Message) {
        if let Some(entry) = self.entries.get_mut(usize::from(pin))
            && message.is_level
        {
            *entry |= ENTRY_REMOTE_IRR;
        }
    }

    /// A local APIC ended level-triggered interrupt `vector`: clears remote IRR of every
    /// level-triggered pin with that vector; a pin still asserted asks again.
    pub fn end_of_interrupt(&mut self, vector: u8) {
        for entry in &mut self.entries {
            if *entry as u8 == vector && *entry & ENTRY_LEVEL != 0 {
                *entry &= !ENTRY_REMOTE_IRR;
            }
        }
    }

    fn is_level_due(&self, pin: usize) -> bool {
        self.lines & (1 << pin) != 0 && self.entries[pin] & ENTRY_REMOTE_IRR == 0
    }

    fn read_window(&self) -> u32 {
        match self.index {
            INDEX_ID | INDEX_ARBITRATION => u32::from(self.id) << 24,
            INDEX_VERSION => VERSION,
            INDEX_FIRST_ENTRY..=INDEX_LAST_ENTRY => {
                let (pin, shift) = self.selected_half();
                (self.entries[pin] >> shift) as u32
            }
            _ => 0,
        }
    }

    fn write_window(&mut self, value: u32) {
        match self.index {
            INDEX_ID => self.id = (value >> 24) as u8 & 0xF,
            INDEX_FIRST_ENTRY..=INDEX_LAST_ENTRY => {
                let (pin, shift) = self.selected_half();
                self.write_entry(pin, shift, value);
            }
            _ => {}
        }
    }

    /// The pin, and the shift of the 32-bit half, that IOREGSEL 0x10 to 0x3F names.
    fn selected_half(&self) -> (usize, u32) {
        let half = self.index - INDEX_FIRST_ENTRY;
        (usize::from(half / 2), u32::from(half % 2) * 32)
    }

    fn write_entry(&mut self, pin: usize, shift: u32, value: u32) {
        let half = 0xFFFF_FFFF << shift;
        let old = self.entries[pin];
        let written = ((old & !half) | (u64::from(value) << shift)) & ENTRY_WRITABLE;
        let mut entry = written | (old & ENTRY_READ_ONLY);
        // Guests switch a pin to edge and back to unstick remote IRR.
        if entry & ENTRY_LEVEL == 0 {
            entry &= !ENTRY_REMOTE_IRR;
        }
        // A latch belongs to an unmasked edge-triggered pin only.
        if entry & (ENTRY_MASKED | ENTRY_LEVEL) != 0 {
            self.edges &= !(1 << pin);
        }
        self.entries[pin] = entry;
    }
}
