//! Whether an emulator or another hypervisor is beneath us: ports that only they have are left
//! alone on other machines.

use super::power::DEBUG_CONSOLE;
use metal::cpu;

/// What executes the hypervisor's instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beneath {
    /// A processor.
    Processor,
    /// Bochs, which does not say so by CPUID.
    Bochs,
    /// Another hypervisor or emulator.
    Hypervisor,
}

impl Beneath {
    /// What this machine is.
    #[must_use]
    pub fn find() -> Self {
        Self::of(cpu::cpuid(1, 0).ecx, DEBUG_CONSOLE.read())
    }

    /// By CPUID leaf 1, ECX, whose bit 31 no processor sets (APM vol. 3, E.3.2), and what is read
    /// from port 0xe9: where Bochs's and QEMU's debug console is, its number.
    const fn of(leaf_1_ecx: u32, debug_console: u8) -> Self {
        const HYPERVISOR: u32 = 1 << 31;
        match (leaf_1_ecx & HYPERVISOR != 0, debug_console) {
            (true, _) => Self::Hypervisor,
            (false, 0xe9) => Self::Bochs,
            (false, _) => Self::Processor,
        }
    }

    /// Whether it is one that programs watch from outside.
    #[must_use]
    pub fn is_emulator(self) -> bool {
        self != Self::Processor
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_processor_has_neither_the_bit_nor_the_console() {
        assert_eq!(Beneath::of(0x7ffa_fbff, 0xff), Beneath::Processor);
        assert_eq!(Beneath::of(0x7ffa_fbff, 0), Beneath::Processor);
        assert_eq!(Beneath::of(0x7ffa_fbff, 0xe9), Beneath::Bochs);
        assert_eq!(Beneath::of(0xfffa_fbff, 0xe9), Beneath::Hypervisor);
        assert_eq!(Beneath::of(0x8000_0000, 0xff), Beneath::Hypervisor);
    }
}
