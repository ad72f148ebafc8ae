//! What a debugger sees and changes of a vCPU, and what it asks of the backend.

use crate::registers::CpuState;

/// Bytes of what FXSAVE64 stores (SDM vol. 1, 10.5.1).
pub const FXSAVE_BYTES: usize = 512;

/// All registers of a vCPU that a debugger shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FullState {
    /// The integer and system registers.
    pub cpu: CpuState,
    /// The x87 and SSE registers as FXSAVE64 stores them.
    pub fxsave: [u8; FXSAVE_BYTES],
    /// IA32_KERNEL_GS_BASE.
    pub kernel_gs_base: u64,
    /// CR8. It is the local APIC's: shown, not changed.
    pub cr8: u64,
}

impl Default for FullState {
    fn default() -> Self {
        let cpu = CpuState::default();
        Self { cpu, fxsave: [0; FXSAVE_BYTES], kernel_gs_base: 0, cr8: 0 }
    }
}

/// What ends an entry for the debugger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DebugEvent {
    /// INT3, not executed: RIP is its address.
    Breakpoint,
    /// #DB, with these bits of DR6: a step is over, or a debug register matches.
    Debug {
        /// DR6 as the processor would have it (SDM vol. 3, 17.2.3).
        dr6: u64,
    },
}

/// DR6.BS: a single step is over.
pub const DR6_SINGLE_STEP: u64 = 1 << 14;

/// An exception of the guest's own that the debugger does not want.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OwnException {
    /// #BP of an INT3 at RIP.
    Breakpoint,
    /// #DB with these bits of DR6.
    Debug {
        /// As in [`DebugEvent::Debug`].
        dr6: u64,
    },
}

/// What a debug register watches (SDM vol. 3, 17.2.4).
#[allow(missing_docs)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Watched {
    Execute,
    Write,
    Access,
}

/// One of the four hardware breakpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HardwareBreakpoint {
    /// Linear address, a multiple of `bytes`.
    pub address: u64,
    /// 1, 2, 4 or 8; 1 to execute.
    pub bytes: u8,
    /// What it watches.
    pub watched: Watched,
}

/// What a vCPU does for the debugger from its next entry on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Controls {
    /// Exit with a [`DebugEvent::Debug`] after one instruction.
    pub is_stepping: bool,
    /// INT3 exits with [`DebugEvent::Breakpoint`].
    pub traps_breakpoints: bool,
    /// What the debug registers hold.
    pub hardware: [Option<HardwareBreakpoint>; 4],
}

impl Controls {
    /// Nothing at all: debug registers and exceptions are the guest's.
    #[must_use]
    pub fn is_off(&self) -> bool {
        *self == Self::default()
    }

    /// Whether a debug register is in use.
    #[must_use]
    pub fn has_hardware(&self) -> bool {
        self.hardware.iter().any(Option::is_some)
    }

    /// DR7 for them: bit 10 is fixed, each one is enabled globally (SDM vol. 3, 17.2.4).
    #[must_use]
    pub fn dr7(&self) -> u64 {
        const FIXED: u64 = 1 << 10;
        let bits = |(at, it): (usize, &Option<HardwareBreakpoint>)| {
            let Some(it) = it else { return 0 };
            let kind = match it.watched {
                Watched::Execute => 0,
                Watched::Write => 1,
                Watched::Access => 3,
            };
            let len = match it.bytes {
                2 => 1,
                4 => 3,
                8 => 2,
                _ => 0,
            };
            2 << (2 * at) | (kind | len << 2) << (16 + 4 * at)
        };
        FIXED | self.hardware.iter().enumerate().map(bits).sum::<u64>()
    }
}

/// A backend as the debugger reaches it, between turns.
pub trait Debuggable {
    /// All its registers. No instruction is under way.
    fn full_state(&mut self) -> FullState;

    /// Replaces them, but for CR8; false if the processor refuses them, and nothing is changed.
    fn set_full_state(&mut self, state: &FullState) -> bool;

    /// What the debugger wants from the next entry on.
    fn control(&mut self, controls: &Controls);

    /// Delivers an exception that is the guest's own at the next entry.
    fn deliver(&mut self, exception: OwnException);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dr7_enables_each_breakpoint_with_its_kind_and_length() {
        let write = HardwareBreakpoint { address: 0x1000, bytes: 4, watched: Watched::Write };
        let execute = HardwareBreakpoint { address: 0x10, bytes: 1, watched: Watched::Execute };
        let access = HardwareBreakpoint { address: 0x8, bytes: 8, watched: Watched::Access };
        let hardware = [Some(write), Some(execute), None, Some(access)];
        let controls = Controls { hardware, ..Controls::default() };
        // LEN0 and R/W0 are bits 19:16, G0 is bit 1, and so on.
        assert_eq!(controls.dr7(), 0xb00d_0400 | 1 << 1 | 1 << 3 | 1 << 7);
        assert_eq!(Controls::default().dr7(), 0x400);
    }
}
