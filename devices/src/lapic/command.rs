//! The interrupt command register (SDM vol. 3, 11.6.1, "Interrupt Command Register") and the
//! x2APIC self-IPI register.
//!
//! A write records that there is a command to send; [`super::bus::carry_commands`] sends it. What a
//! processor sends to itself by shorthand arrives at once: it concerns no other APIC.

use super::{ERROR_SEND_ILLEGAL_VECTOR, FIRST_LEGAL_VECTOR, LocalApic};
use crate::message::DeliveryMode;

/// Vector, delivery mode, destination mode, level, trigger and shorthand. Bit 12, delivery status,
/// always reads 0: the message has arrived before the guest can look. Bits 17-16, the remote read
/// status of the first APICs, always read 0, invalid: a remote read is not carried.
pub(super) const COMMAND_WRITABLE: u32 = 0x000C_CFFF;

/// Bits 19-18 and 10-8, and a fixed vector to the sender by shorthand.
const SHORTHAND: u32 = 0b11 << 18;
const MODE: u32 = 0b111 << 8;
const TO_MYSELF: u32 = 0b01 << 18;
/// The destination is a logical one.
const LOGICAL: u32 = 1 << 11;
const LEVEL_ASSERT: u32 = 1 << 14;
const LEVEL_TRIGGERED: u32 = 1 << 15;

/// Which processors a command is for (bits 19-18).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// Those that the destination names.
    Destination {
        id: u32,
        is_logical: bool,
    },
    /// The sender.
    Myself,
    All,
    AllButMe,
}

/// What an interrupt command register says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Command {
    pub vector: u8,
    pub mode: DeliveryMode,
    pub target: Target,
}

impl Command {
    /// None if the command is for no processor: reserved modes, which include the remote read; SMI,
    /// as the machine has no SMM; ExtINT, which comes from the 8259A pair alone; the INIT level
    /// deassert of the first APICs; and lowest priority, INIT and start-up by the shorthands that
    /// name the sender, which SDM table 11-3 calls invalid. It calls an NMI so, too, but QEMU and
    /// Linux's KVM send it, and kernels use it.
    ///
    /// A level-triggered command is sent as an edge (table 11-3, note 2).
    fn decode(low: u32, destination: u32) -> Option<Self> {
        let target = match (low >> 18) & 0b11 {
            0b00 => Target::Destination { id: destination, is_logical: low & LOGICAL != 0 },
            0b01 => Target::Myself,
            0b10 => Target::All,
            _ => Target::AllButMe,
        };
        let is_deassert = low & (LEVEL_TRIGGERED | LEVEL_ASSERT) == LEVEL_TRIGGERED;
        let mode = match (low >> 8) & 0b111 {
            0b000 => DeliveryMode::Fixed,
            0b001 => DeliveryMode::LowestPriority,
            0b100 => DeliveryMode::Nmi,
            0b101 if !is_deassert => DeliveryMode::Init,
            0b110 => DeliveryMode::StartUp,
            _ => return None,
        };
        let is_invalid = matches!(target, Target::Myself | Target::All)
            && !matches!(mode, DeliveryMode::Fixed | DeliveryMode::Nmi);
        (!is_invalid).then_some(Self { vector: low as u8, mode, target })
    }

    /// The command carries a vector that an APIC requests.
    const fn is_vectored(&self) -> bool {
        matches!(self.mode, DeliveryMode::Fixed | DeliveryMode::LowestPriority)
    }
}

impl LocalApic {
    /// The guest wrote the command register.
    #[inline]
    pub(super) fn write_command(&mut self, value: u32) {
        self.command_low = value & COMMAND_WRITABLE;
        if value & (SHORTHAND | MODE) == TO_MYSELF {
            self.send_to_self(value as u8);
        } else {
            self.has_command = true;
        }
    }

    /// Sends `vector` to this CPU: the x2APIC self-IPI register.
    pub(super) fn send_to_self(&mut self, vector: u8) {
        if vector < FIRST_LEGAL_VECTOR {
            self.record_error(ERROR_SEND_ILLEGAL_VECTOR);
        } else {
            self.accept(vector, false);
        }
    }

    /// A command is to be sent.
    #[inline]
    pub(super) const fn has_command(&self) -> bool {
        self.has_command
    }

    /// The command to send, if it can be; asking takes it. The destination has 32 bits in x2APIC
    /// mode and 8 in xAPIC mode.
    pub(super) fn take_command(&mut self) -> Option<Command> {
        self.has_command = false;
        let destination =
            if self.is_x2apic() { self.command_high } else { self.command_high >> 24 };
        let command = Command::decode(self.command_low, destination)?;
        if command.is_vectored() && command.vector < FIRST_LEGAL_VECTOR {
            self.record_error(ERROR_SEND_ILLEGAL_VECTOR);
            return None;
        }
        Some(command)
    }
}
