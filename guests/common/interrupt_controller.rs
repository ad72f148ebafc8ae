//! The local APIC in either of its modes, and the 8259 pair, which is masked when there is one.

use super::cpu;

/// The vector of the local APIC's timer.
pub const TIMER_VECTOR: u64 = 48;
/// The vector of IRQ 0, the PIT, through the 8259 pair; IRQ n follows at n.
pub const IRQ_BASE: u64 = 32;
pub const SPURIOUS_VECTOR: u32 = 63;

/// The local timer's mode bits.
pub const LVT_ONE_SHOT: u32 = 0;
/// As above: starts again by itself.
pub const LVT_PERIODIC: u32 = 1 << 17;
/// As above: compares the time-stamp counter with IA32_TSC_DEADLINE.
pub const LVT_TSC_DEADLINE: u32 = 2 << 17;

pub const APIC_BASE_MSR: u32 = 0x1B;
pub const APIC_ENABLED: u64 = 1 << 11;
pub const APIC_X2: u64 = 1 << 10;
pub const X2APIC_MSRS: u32 = 0x800;
const APIC_MEMORY: u64 = 0xFEE0_0000;

/// The local APIC's registers used here, numbered as in x2APIC mode (SDM volume 3, table 11-6).
#[derive(Clone, Copy)]
pub enum Register {
    TaskPriority = 0x08,
    EndOfInterrupt = 0x0B,
    LogicalDestination = 0x0D,
    /// In xAPIC mode only.
    DestinationFormat = 0x0E,
    SpuriousVector = 0x0F,
    ErrorStatus = 0x28,
    /// In x2APIC mode the destination is in the high half of the same register.
    InterruptCommand = 0x30,
    /// In xAPIC mode only.
    InterruptDestination = 0x31,
    TimerVector = 0x32,
    Lint0Vector = 0x35,
    Lint1Vector = 0x36,
    ErrorVector = 0x37,
    InitialCount = 0x38,
    CurrentCount = 0x39,
    DivideConfiguration = 0x3E,
    /// In x2APIC mode only.
    SelfIpi = 0x3F,
}

/// A local APIC, enabled.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum LocalApic {
    /// Registers are MSRs.
    X2,
    /// Registers are memory.
    Memory,
}

impl LocalApic {
    /// Enables the local APIC, in x2APIC mode if the processor has it. `None` if there is none.
    pub fn enable() -> Option<Self> {
        const HAS_APIC: u32 = 1 << 9;
        const HAS_X2APIC: u32 = 1 << 21;
        let features = cpu::cpuid(1);
        if features.edx & HAS_APIC == 0 {
            return None;
        }
        let base = cpu::read_msr(APIC_BASE_MSR) | APIC_ENABLED;
        let (apic, base) = match features.ecx & HAS_X2APIC {
            0 => (Self::Memory, base),
            _ => (Self::X2, base | APIC_X2),
        };
        // SAFETY: enables the APIC where it is; its page is not RAM the kernel uses.
        unsafe { cpu::write_msr(APIC_BASE_MSR, base) };
        const SOFTWARE_ENABLED: u32 = 1 << 8;
        apic.write(Register::SpuriousVector, SOFTWARE_ENABLED | SPURIOUS_VECTOR);
        Some(apic)
    }

    /// Reads a register.
    pub fn read(self, register: Register) -> u32 {
        match self {
            Self::X2 => cpu::read_msr(X2APIC_MSRS + register as u32) as u32,
            // SAFETY: the boot tables map the page, uncached.
            Self::Memory => unsafe { cpu::read_device32(memory_address(register)) },
        }
    }

    /// Writes a register.
    pub fn write(self, register: Register, value: u32) {
        match self {
            // SAFETY: none of the registers of the enumeration touches memory.
            Self::X2 => unsafe {
                cpu::write_msr(X2APIC_MSRS + register as u32, u64::from(value));
            },
            // SAFETY: as above, and the boot tables map the page, uncached.
            Self::Memory => unsafe { cpu::write_device32(memory_address(register), value) },
        }
    }
}

fn memory_address(register: Register) -> u64 {
    APIC_MEMORY + register as u64 * 16
}

const MASTER_COMMAND: u16 = 0x20;
const MASTER_DATA: u16 = 0x21;
const SLAVE_COMMAND: u16 = 0xA0;
const SLAVE_DATA: u16 = 0xA1;
const END_OF_INTERRUPT: u8 = 0x20;

/// Masks all interrupts of the 8259 pair.
pub fn mask_8259() {
    cpu::out8(MASTER_DATA, 0xFF);
    cpu::out8(SLAVE_DATA, 0xFF);
}

/// Programs the 8259 pair to deliver, from vector [`IRQ_BASE`] on, those of the IRQs 0 to 7 whose
/// bits in `mask` are clear.
pub fn initialise_8259(mask: u8) {
    const INITIALISE: u8 = 0x11; // edge triggered, cascaded, four words
    const MODE_8086: u8 = 0x01;
    cpu::out8(MASTER_COMMAND, INITIALISE);
    cpu::out8(MASTER_DATA, IRQ_BASE as u8);
    cpu::out8(MASTER_DATA, 1 << 2); // the slave is at IRQ 2
    cpu::out8(MASTER_DATA, MODE_8086);
    cpu::out8(SLAVE_COMMAND, INITIALISE);
    cpu::out8(SLAVE_DATA, IRQ_BASE as u8 + 8);
    cpu::out8(SLAVE_DATA, 2);
    cpu::out8(SLAVE_DATA, MODE_8086);
    cpu::out8(MASTER_DATA, mask);
    cpu::out8(SLAVE_DATA, 0xFF);
}

/// Lets those of the IRQs 0 to 7 through whose bits in `mask` are clear.
pub fn unmask_8259_master(mask: u8) {
    cpu::out8(MASTER_DATA, mask);
}

/// Lets those of the IRQs 8 to 15 through whose bits in `mask` are clear.
pub fn unmask_8259_slave(mask: u8) {
    cpu::out8(SLAVE_DATA, mask);
}

/// Ends the service of an IRQ of 8 to 15.
pub fn end_of_interrupt_8259_slave() {
    cpu::out8(SLAVE_COMMAND, END_OF_INTERRUPT);
    end_of_interrupt_8259();
}

/// Ends the service of the highest IRQ of 0 to 7 that is in service.
pub fn end_of_interrupt_8259() {
    cpu::out8(MASTER_COMMAND, END_OF_INTERRUPT);
}
