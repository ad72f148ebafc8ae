//! Interrupt messages: what the I/O APIC and devices send to the local APICs.
//!
//! A device that signals by messages (MSI) stores 4 bytes at an address that names the destination.
//! The store goes to no register; its owner makes a [`Message`] of it.

/// Delivery mode of an interrupt message (82093AA, redirection table bits 10-8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeliveryMode {
    /// Deliver the vector to every destination.
    Fixed,
    /// Deliver the vector to the destination of lowest priority.
    LowestPriority,
    /// System management interrupt.
    Smi,
    /// Non-maskable interrupt; the vector is ignored.
    Nmi,
    /// INIT; the vector is ignored.
    Init,
    /// Start-up: the vector says where a processor that waits begins. Only processors send it.
    StartUp,
    /// The vector comes from the 8259A pair.
    ExtInt,
}

impl DeliveryMode {
    /// The mode that a device's 3-bit field names; `None` for the encodings without an I/O APIC
    /// meaning (3, 6).
    #[must_use]
    pub const fn from_bits(bits: u8) -> Option<Self> {
        match bits {
            0b000 => Some(Self::Fixed),
            0b001 => Some(Self::LowestPriority),
            0b010 => Some(Self::Smi),
            0b100 => Some(Self::Nmi),
            0b101 => Some(Self::Init),
            0b111 => Some(Self::ExtInt),
            _ => None,
        }
    }
}

/// One interrupt message on its way to the local APICs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message {
    /// Interrupt vector. Not checked: a local APIC records an illegal one (below 16) as an error.
    pub vector: u8,
    /// APIC ID or logical destination, 8 bits.
    pub destination: u32,
    /// `destination` is a set of logical IDs.
    pub is_logical: bool,
    /// What to deliver.
    pub delivery_mode: DeliveryMode,
    /// Level-triggered: its EOI must go back to the I/O APIC
    /// ([`crate::ioapic::IoApic::end_of_interrupt`]).
    pub is_level: bool,
}

impl Message {
    /// The message of a device that stores `data` at `address` (SDM vol. 3, 11.11): bits 19:12 of
    /// the address are the destination and bit 2 says that it is a logical one; bits 7:0 of the
    /// data are the vector, 10:8 the delivery mode, 15 level-triggered and 14 its assertion. None
    /// if the address is no message's, the mode is reserved, or a level is deasserted, which
    /// local APICs ignore.
    ///
    /// Bit 3 of the address, the redirection hint, makes one processor of a logical destination
    /// take a fixed message, that of lowest priority.
    #[must_use]
    pub const fn from_msi(address: u64, data: u32) -> Option<Self> {
        const BASE: u64 = 0xFEE;
        const LOGICAL: u64 = 1 << 2;
        const REDIRECTED: u64 = LOGICAL | 1 << 3;
        const ASSERT: u32 = 1 << 14;
        const LEVEL: u32 = 1 << 15;
        if address >> 20 != BASE || data & (LEVEL | ASSERT) == LEVEL {
            return None;
        }
        let Some(delivery_mode) = DeliveryMode::from_bits((data >> 8) as u8 & 7) else {
            return None;
        };
        let delivery_mode = match delivery_mode {
            DeliveryMode::Fixed if address & REDIRECTED == REDIRECTED => {
                DeliveryMode::LowestPriority
            }
            _ => delivery_mode,
        };
        Some(Self {
            vector: data as u8,
            destination: (address >> 12) as u32 & 0xFF,
            is_logical: address & LOGICAL != 0,
            delivery_mode,
            is_level: data & LEVEL != 0,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_to_the_message_range_is_a_message() {
        let fixed = Message {
            vector: 0x44,
            destination: 0x12,
            is_logical: false,
            delivery_mode: DeliveryMode::Fixed,
            is_level: false,
        };
        assert_eq!(Message::from_msi(0xFEE1_2000, 0x44), Some(fixed));
        let logical = Message { is_logical: true, ..fixed };
        assert_eq!(Message::from_msi(0xFEE1_2004, 0x44), Some(logical));
        let redirected = Message { delivery_mode: DeliveryMode::LowestPriority, ..logical };
        assert_eq!(Message::from_msi(0xFEE1_200C, 0x44), Some(redirected));
        assert_eq!(Message::from_msi(0xFEE1_2008, 0x44), Some(fixed), "one destination");
        let level = Message { is_level: true, ..fixed };
        assert_eq!(Message::from_msi(0xFEE1_2000, 0xC044), Some(level));
        let lowest = Message { delivery_mode: DeliveryMode::LowestPriority, ..fixed };
        assert_eq!(Message::from_msi(0xFEE1_2000, 0x144), Some(lowest));
        let nmi = Message { delivery_mode: DeliveryMode::Nmi, ..fixed };
        assert_eq!(Message::from_msi(0xFEE1_2000, 0x444), Some(nmi));
    }

    #[test]
    fn what_is_no_message_is_none() {
        assert_eq!(Message::from_msi(0xFED1_2000, 0x44), None, "another address");
        assert_eq!(Message::from_msi(0x1_FEE1_2000, 0x44), None, "above 4 GiB");
        assert_eq!(Message::from_msi(0xFEE1_2000, 0x8044), None, "a level deasserted");
        assert_eq!(Message::from_msi(0xFEE1_2000, 0x344), None, "a reserved mode");
    }
}
