//! The destination of an interrupt message (SDM, "Determining IPI Destination").

use super::LocalApic;
use crate::message::{DeliveryMode, Message};

/// Interrupt command register: the destination is a set of logical IDs.
const LOGICAL: u32 = 1 << 11;

impl LocalApic {
    /// An interrupt message of the I/O APIC or a device with this 8-bit destination is for us.
    #[must_use]
    pub fn matches(&self, destination: u32, is_logical: bool) -> bool {
        const BROADCAST: u32 = 0xFF;
        let is_named = match is_logical {
            true => self.matches_logical(destination),
            false => destination == self.id,
        };
        self.is_hardware_enabled() && (is_named || destination == BROADCAST)
    }

    /// Takes an interrupt message if it is for us. False if this APIC did not accept it (another
    /// destination, or disabled): the I/O APIC then sends a level again.
    pub fn take_message(&mut self, message: &Message) -> bool {
        if !self.matches(message.destination, message.is_logical) {
            return false;
        }
        match message.delivery_mode {
            DeliveryMode::Fixed | DeliveryMode::LowestPriority => {
                self.accept(message.vector, message.is_level);
                return self.is_enabled();
            }
            DeliveryMode::Nmi => self.accept_nmi(),
            // The 8259 pair is wired to LINT0; the machine has no SMM and no other processor.
            DeliveryMode::ExtInt | DeliveryMode::Smi | DeliveryMode::Init => {}
        }
        true
    }

    /// The command register names this CPU, by shorthand or destination.
    pub(super) fn is_command_for_us(&self) -> bool {
        match (self.command_low >> 18) & 0b11 {
            0b00 => self.is_destination_us(),
            0b01 | 0b10 => true,
            _ => false,
        }
    }

    fn is_destination_us(&self) -> bool {
        let (destination, broadcast) = match self.is_x2apic() {
            true => (self.command_high, u32::MAX),
            false => (self.command_high >> 24, 0xFF),
        };
        match self.command_low & LOGICAL {
            0 => destination == broadcast || destination == self.id,
            _ => destination == broadcast || self.matches_logical(destination),
        }
    }

    /// Logical destinations: x2APIC IDs are cluster and bit of the APIC ID; xAPIC ones come from
    /// LDR in the flat or cluster model of DFR.
    fn matches_logical(&self, destination: u32) -> bool {
        if self.is_x2apic() {
            let own = self.x2apic_logical_id();
            return destination >> 16 == own >> 16 && destination & own & 0xFFFF != 0;
        }
        let own = self.logical_destination >> 24;
        match self.destination_format >> 28 {
            0xF => destination & own & 0xFF != 0,
            0x0 => {
                let cluster = (destination >> 4) & 0xF;
                (cluster == own >> 4 || cluster == 0xF) && destination & own & 0xF != 0
            }
            _ => false,
        }
    }

    /// The x2APIC logical ID: cluster in the high half, one bit in the low half.
    pub(super) fn x2apic_logical_id(&self) -> u32 {
        ((self.id >> 4) << 16) | (1 << (self.id & 0xF))
    }
}
