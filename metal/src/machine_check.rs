//! Machine checks (SDM vol. 3, ch. 16; APM vol. 2, ch. 9): enabled, so that one raises an exception
//! with a report instead of a shutdown; and the banks in which the processor logs errors.

use crate::architecture::cr4;
use crate::cpu;

const IA32_MCG_CAP: u32 = 0x179;
const IA32_MCG_STATUS: u32 = 0x17a;
const IA32_MC0_STATUS: u32 = 0x401;
/// Registers of a bank: IA32_MCi_CTL, STATUS, ADDR, MISC.
const BANK_STRIDE: u32 = 4;
/// Bits of IA32_MCi_STATUS: VAL, ADDRV.
const VALID: u64 = 1 << 63;
const HAS_ADDRESS: u64 = 1 << 58;

/// A bank that has logged an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bank {
    /// The bank's number.
    pub number: u32,
    /// IA32_MCi_STATUS.
    pub status: u64,
    /// IA32_MCi_ADDR, if that is valid.
    pub address: Option<u64>,
}

/// CPUID leaf 1, EDX: machine-check exception; machine-check architecture.
const MCE: u32 = 1 << 7;
const MCA: u32 = 1 << 14;

/// Sets CR4.MCE, where the processor has it. The handler must be in the IDT.
pub(crate) fn enable() {
    if cpu::cpuid(1, 0).edx & MCE != 0 {
        // SAFETY: the exception has a handler, which reports it.
        unsafe { cpu::set_cr4(cpu::cr4() | cr4::MCE) };
    }
}

/// IA32_MCG_STATUS; None without the architecture.
#[must_use]
pub fn global_status() -> Option<u64> {
    has_banks().then(|| cpu::read_msr(IA32_MCG_STATUS))
}

/// The banks that have logged an error.
pub fn banks() -> impl Iterator<Item = Bank> {
    const COUNT: u64 = 0xff;
    let count = if has_banks() { cpu::read_msr(IA32_MCG_CAP) & COUNT } else { 0 };
    (0..count as u32).filter_map(|number| bank(number, cpu::read_msr))
}

fn has_banks() -> bool {
    cpu::cpuid(1, 0).edx & (MCE | MCA) == MCE | MCA
}

fn bank(number: u32, read_msr: impl Fn(u32) -> u64) -> Option<Bank> {
    let at = IA32_MC0_STATUS + number * BANK_STRIDE;
    let status = read_msr(at);
    let address = (status & HAS_ADDRESS != 0).then(|| read_msr(at + 1));
    (status & VALID != 0).then_some(Bank { number, status, address })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bank_says_what_it_has_logged() {
        let registers = |at: u32| match at {
            0x401 => 0x0000_0000_0000_0135,
            0x405 => 0x8000_0000_0000_0135,
            0x409 => 0x8400_0000_0000_0135,
            0x40a => 0x1234_5000,
            _ => panic!("{at:#x}"),
        };
        assert_eq!(bank(0, registers), None, "not valid");
        let logged = Bank { number: 1, status: 0x8000_0000_0000_0135, address: None };
        assert_eq!(bank(1, registers), Some(logged));
        let address = bank(2, registers).and_then(|bank| bank.address);
        assert_eq!(address, Some(0x1234_5000));
    }
}
