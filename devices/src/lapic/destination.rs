//! The destination of an interrupt message (SDM vol. 3, 11.6.2, "Determining IPI Destination").

use super::LocalApic;

/// The destination that names every xAPIC, and the one that names every x2APIC.
const XAPIC_BROADCAST: u32 = 0xFF;
const X2APIC_BROADCAST: u32 = u32::MAX;

impl LocalApic {
    /// An interrupt message of the I/O APIC or a device with this 8-bit destination is for us.
    ///
    /// 0xFF names every APIC. One in x2APIC mode would need 0xFFFF_FFFF, which 8 bits cannot say
    /// without interrupt remapping: Linux's KVM makes the same exception (`kvm_apic_mda`).
    #[must_use]
    pub fn matches(&self, destination: u32, is_logical: bool) -> bool {
        match destination {
            XAPIC_BROADCAST => self.is_hardware_enabled(),
            _ => self.is_named(destination, is_logical),
        }
    }

    /// An interprocessor interrupt with this destination is for us.
    ///
    /// Each APIC compares by its own mode, whatever the sender's: 0xFF is a broadcast to those in
    /// xAPIC mode and names, in x2APIC mode, no physical ID here and members 0 to 7 of cluster 0;
    /// 0xFFFF_FFFF is a broadcast to those in x2APIC mode alone. The manual leaves mixed modes
    /// open; this is what Linux's KVM does (`kvm_apic_match_dest`).
    pub(super) fn is_named(&self, destination: u32, is_logical: bool) -> bool {
        let broadcast = if self.is_x2apic() { X2APIC_BROADCAST } else { XAPIC_BROADCAST };
        self.is_hardware_enabled()
            && (destination == broadcast
                || match is_logical {
                    true => self.matches_logical(destination),
                    false => destination == self.id,
                })
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
            0xF => destination & own != 0,
            0x0 => destination >> 4 == own >> 4 && destination & own & 0xF != 0,
            _ => false,
        }
    }

    /// The x2APIC logical ID: cluster in the high half, one bit in the low half.
    pub(super) fn x2apic_logical_id(&self) -> u32 {
        ((self.id >> 4) << 16) | (1 << (self.id & 0xF))
    }
}
