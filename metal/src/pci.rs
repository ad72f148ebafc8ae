//! Clears the bus-master bit of PCI's devices at the start. A device that firmware or a loader left
//! running could write memory that belongs to a guest by then, and no IOMMU is in use. (PCI Local
//! Bus 3.0, 3.2.2.3 and 6.2.2.)

use crate::port::{PCI_ADDRESS, PCI_DATA};

const ENABLE: u32 = 1 << 31;
/// Bus-master enable in the command register.
const BUS_MASTER: u32 = 1 << 2;
const COMMAND: u32 = 0x04;
const CLASS: u32 = 0x08;
const HEADER_TYPE: u32 = 0x0c;

/// Clears the bus-master bit of all functions that may be cleared; how many had it set.
#[must_use]
pub fn stop_bus_masters() -> u32 {
    if !has_configuration() {
        return 0;
    }
    (0..0x1_0000).map(|function| function << 8).filter(|at| stop(*at)).count() as u32
}

/// One function, by its configuration address: bus, device, function, a zero byte. Returns whether
/// it was a bus master.
fn stop(at: u32) -> bool {
    const FUNCTION: u32 = 7 << 8;
    let first = at & !FUNCTION;
    let is_there = |at| read(at) as u16 != u16::MAX;
    let is_wanted = at == first || (is_there(first) && has_functions(read(first | HEADER_TYPE)));
    if !is_wanted || !is_there(at) {
        return false;
    }
    let command = read(at | COMMAND);
    let may_stop = command & BUS_MASTER != 0 && is_stoppable(read(at | CLASS));
    if may_stop {
        // The status in the upper half is cleared by ones.
        write(at | COMMAND, command & 0xffff & !BUS_MASTER);
    }
    may_stop
}

/// The device has further functions.
const fn has_functions(header: u32) -> bool {
    header & 1 << 23 != 0
}

/// True for all but bridges to the processor and to ISA, which are parts of the chipset.
const fn is_stoppable(class: u32) -> bool {
    const HOST_BRIDGE: u32 = 0x0600;
    const ISA_BRIDGE: u32 = 0x0601;
    !matches!(class >> 16, HOST_BRIDGE | ISA_BRIDGE)
}

/// Whether configuration mechanism 1 works (3.2.2.3.2).
fn has_configuration() -> bool {
    PCI_ADDRESS.write_long(ENABLE);
    PCI_ADDRESS.read_long() == ENABLE
}

fn read(at: u32) -> u32 {
    PCI_ADDRESS.write_long(ENABLE | at);
    PCI_DATA.read_long()
}

fn write(at: u32, value: u32) {
    PCI_ADDRESS.write_long(ENABLE | at);
    PCI_DATA.write_long(value);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_but_the_chipsets_bridges_are_stopped() {
        for class in [0x0200_0000, 0x0106_0100, 0x0c03_3000, 0x0604_0000, 0x0300_0000] {
            assert!(is_stoppable(class | 3), "{class:#x}");
        }
        assert!(!is_stoppable(0x0600_0002) && !is_stoppable(0x0601_0002));
        assert!(has_functions(0x0080_0000) && !has_functions(0x0001_0000));
    }
}
