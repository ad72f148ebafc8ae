//! The MMIO map: three windows and those of virtio devices, each there only if the plan has the
//! device. Elsewhere loads give
//! all ones and stores are ignored. The guest may move the local APIC's window by IA32_APIC_BASE:
//! over RAM, the guest reaches the RAM; over another window, the local
//! APIC.

use super::Machine;
use crate::Instant;
use crate::seam::Size;

/// Where the I/O APIC's registers lie (82093AA).
pub const IO_APIC_BASE: u64 = 0xfec0_0000;
/// Where the HPET's registers lie.
pub const HPET_BASE: u64 = 0xfed0_0000;
/// Where the local APIC's registers lie after reset (SDM vol. 3, 11.4.1).
pub const LOCAL_APIC_BASE: u64 = 0xfee0_0000;
/// Bytes of each window.
pub const WINDOW_BYTES: u64 = 0x1000;

impl Machine {
    /// A load of 1, 2, 4 or 8 bytes.
    pub fn mmio_read(&mut self, address: u64, size: Size, now: Instant) -> u64 {
        const ABSENT: u64 = u64::MAX;
        let now = self.catch_up(now);
        let offset = address % WINDOW_BYTES;
        let page = address - offset;
        let value = match page {
            _ if self.is_local_apic(page) => {
                let local_apic = self.interrupts.local_apic();
                local_apic.map_or(ABSENT, |d| d.mmio_read(offset, now).into())
            }
            IO_APIC_BASE => self.interrupts.io_apic().map_or(ABSENT, |d| d.read(offset).into()),
            HPET_BASE => self.timers.hpet().map_or(ABSENT, |d| d.read(offset, size, now)),
            _ => return self.virtio_read(page, offset, size).unwrap_or(ABSENT),
        };
        self.after_access(now);
        value
    }

    /// A store of 1, 2, 4 or 8 bytes. False if it is to none of the three: [`Self::virtio_write`].
    pub fn mmio_write(&mut self, address: u64, size: Size, value: u64, now: Instant) -> bool {
        let now = self.catch_up(now);
        let offset = address % WINDOW_BYTES;
        let page = address - offset;
        match page {
            _ if self.is_local_apic(page) => {
                if let Some(local_apic) = self.interrupts.local_apic() {
                    local_apic.mmio_write(offset, value as u32, now);
                }
            }
            IO_APIC_BASE => {
                if let Some(io_apic) = self.interrupts.io_apic() {
                    io_apic.write(offset, value as u32);
                }
            }
            HPET_BASE => {
                if let Some(hpet) = self.timers.hpet() {
                    hpet.write(offset, size, value, now);
                }
            }
            _ => return false,
        }
        self.after_access(now);
        true
    }

    /// Whether the local APIC's registers lie at `page`.
    fn is_local_apic(&self, page: u64) -> bool {
        self.interrupts.local_apic_state().is_some_and(|local_apic| local_apic.page() == page)
    }
}
