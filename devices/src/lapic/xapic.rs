//! The MMIO page: 32-bit registers at multiples of 16 (SDM, "Local APIC Register Address Map").

use super::{ERROR_ILLEGAL_REGISTER, LocalApic, register};
use crate::time::MachineTime;

/// Offsets above the last register are empty, not illegal.
const REGISTER_FILE_BYTES: u64 = 0x400;

impl LocalApic {
    /// Reads the 32-bit register at `offset` in the page at `base() & !0xFFF`.
    ///
    /// Unaligned offsets read 0. A register that does not exist reads 0 and sets the illegal
    /// register bit of ESR. Outside xAPIC mode the page is not there: all ones.
    pub fn mmio_read(&mut self, offset: u64, now: MachineTime) -> u32 {
        if !self.has_mmio_page() {
            return u32::MAX;
        }
        let Some(number) = register_number(offset) else { return 0 };
        self.read_register(number, now).unwrap_or_else(|| {
            if number != register::END_OF_INTERRUPT {
                self.record_error(ERROR_ILLEGAL_REGISTER);
            }
            0
        })
    }

    /// Writes the 32-bit register at `offset`; what [`Self::mmio_read`] would not find is ignored.
    pub fn mmio_write(&mut self, offset: u64, value: u32, now: MachineTime) {
        if !self.has_mmio_page() {
            return;
        }
        let Some(number) = register_number(offset) else { return };
        if !self.write_register(number, value, now) && self.read_register(number, now).is_none() {
            self.record_error(ERROR_ILLEGAL_REGISTER);
        }
    }

    fn has_mmio_page(&self) -> bool {
        self.is_hardware_enabled() && !self.is_x2apic()
    }
}

fn register_number(offset: u64) -> Option<u32> {
    (offset < REGISTER_FILE_BYTES && offset.is_multiple_of(16)).then_some((offset / 16) as u32)
}
