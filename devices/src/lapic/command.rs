//! The interrupt command register (SDM, "Interrupt Command Register") of a machine with one CPU:
//! self-IPIs.

use super::{ERROR_SEND_ILLEGAL_VECTOR, FIRST_LEGAL_VECTOR, LocalApic};

/// Vector, delivery mode, destination mode, level, trigger and shorthand. Bit 12, delivery status,
/// always reads 0: a message to oneself has arrived before the guest can look.
pub(super) const COMMAND_WRITABLE: u32 = 0x000C_CFFF;

const FIXED: u32 = 0b000;
const LOWEST_PRIORITY: u32 = 0b001;
const NMI: u32 = 0b100;

impl LocalApic {
    /// Sends the message in the command register.
    ///
    /// Fixed and lowest-priority vectors and NMI reach this CPU if they name it. SMI, INIT and
    /// start-up are ignored, even for this CPU: guests broadcast INIT and start-up at boot, and
    /// there is no other CPU.
    pub(super) fn send_command(&mut self) {
        let command = self.command_low;
        let vector = command as u8;
        let mode = (command >> 8) & 7;
        let is_vectored = matches!(mode, FIXED | LOWEST_PRIORITY);
        if is_vectored && vector < FIRST_LEGAL_VECTOR {
            self.record_error(ERROR_SEND_ILLEGAL_VECTOR);
        } else if self.is_command_for_us() {
            match mode {
                FIXED | LOWEST_PRIORITY => {
                    self.accept(vector, false);
                }
                NMI => self.accept_nmi(),
                _ => {}
            }
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
}
