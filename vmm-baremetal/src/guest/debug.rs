//! A vCPU under a debugger: its registers, single steps, breakpoints, and the guest's own debug
//! registers while the debugger has the processor's.

use super::vcpu::Loaded;
use super::vendor::{Event, Inject, Left, LoadedVcpu, Register, Traps, code_bits, fetch};
use metal::architecture::vector::{DB, GP, UD};
use vmm_common::debugger::{
    Controls, DR6_SINGLE_STEP, DebugEvent, Debuggable, FullState, HardwareBreakpoint, OwnException,
};
use vmm_common::registers::{CpuState, INSTRUCTION_BYTES, general, segment};
use vmm_common::seam::{Exit, ExitReason};
use vmm_common::x86::segmentation::is_canonical;

/// What the debugger has of a vCPU.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Debugged {
    /// It executes one instruction.
    pub is_stepping: bool,
    /// That instruction is under way: what completes it ends the step.
    has_begun: bool,
    /// The guest's own DR0 to DR3 and DR7, while the processor has the debugger's.
    own: Option<[u64; 5]>,
}

/// A step is over.
const STEPPED: DebugEvent = DebugEvent::Debug { dr6: DR6_SINGLE_STEP };
/// Of RFLAGS, what a debugger may change: VM and the reserved bits stay.
const CHANGEABLE_FLAGS: u64 = 0x3d_7fd5;

impl<G: LoadedVcpu> Loaded<'_, G> {
    /// As [`vmm_common::seam::VcpuBackend::enter`], until one instruction is executed.
    #[inline(never)]
    pub(super) fn enter_stepping(&mut self) -> Exit {
        loop {
            let has_begun = core::mem::replace(&mut self.common.debugged.has_begun, true);
            if has_begun && self.common.resume.advance.is_some() {
                // It was carried out here.
                return self.exit(ExitReason::Debug(STEPPED));
            }
            let resume = &mut self.common.resume;
            let rip = resume.advance.unwrap_or_else(|| self.guest.get(Register::Rip));
            let Left { event, flags } = self.guest.resume(&mut self.common.general, resume);
            self.common.left = flags;
            (resume.advance, resume.inject, resume.has_nmi) = (None, None, false);
            resume.is_again = true;
            let is_executed = event == Event::Handled && self.guest.get(Register::Rip) != rip;
            let event = if is_executed { Event::Debug(STEPPED) } else { event };
            if let Some(reason) = self.decode(event) {
                return self.exit(reason);
            }
        }
    }

    /// MOV to or from a debug register that the debugger has: the guest's own is kept here (SDM
    /// vol. 2, MOV to and from debug registers).
    #[inline(never)]
    pub(super) fn debug_register(&mut self) -> Option<ExitReason> {
        let rip = self.guest.get(Register::Rip);
        let mut bytes = [0; INSTRUCTION_BYTES];
        let fetched = fetch(&self.guest, rip, &self.common.ram, &mut bytes);
        let is_64 = code_bits(&self.guest) == 64;
        let Some(mov) = MovDr::decode(&bytes[..fetched.len], is_64) else {
            return self.raise(UD, None);
        };
        if self.guest.get(Register::Cpl) != 0 {
            return self.raise(GP, Some(0));
        }
        let MovDr { number, general: index, is_load, len } = mov;
        let operand = match index {
            general::RSP => self.guest.get(Register::Rsp),
            index => self.common.general[index],
        };
        let operand = if is_64 { operand } else { operand & 0xffff_ffff };
        let mut own = self.own_debug();
        // DR4 and DR5 are DR6 and DR7.
        let at = match number {
            0..=3 => usize::from(number),
            5 | 7 => 4,
            _ => return self.debug_status(mov, operand),
        };
        if is_load {
            own[at] = if at == 4 { operand & 0xffff_2fff | 0x400 } else { operand };
            self.common.debugged.own = Some(own);
        } else {
            self.set_general(index, own[at]);
        }
        self.advance_to(rip.wrapping_add(len));
        None
    }

    /// DR6, which is always the guest's.
    fn debug_status(&mut self, mov: MovDr, operand: u64) -> Option<ExitReason> {
        const FIXED: u64 = 0xffff_0ff0;
        let rip = self.guest.get(Register::Rip);
        if mov.is_load {
            let mut values = self.guest.extended().switched.debug();
            values[4] = operand & 0xe00f | FIXED;
            self.guest.extended_mut().switched.set_debug(values);
            self.guest.set(Register::Dr6, operand);
        } else {
            self.set_general(mov.general, self.guest.get(Register::Dr6));
        }
        self.advance_to(rip.wrapping_add(mov.len));
        None
    }

    fn set_general(&mut self, index: usize, value: u64) {
        match index {
            general::RSP => self.guest.set(Register::Rsp, value),
            index => self.common.general[index] = value,
        }
    }

    /// The guest's own DR0 to DR3 and DR7.
    fn own_debug(&self) -> [u64; 5] {
        self.common.debugged.own.unwrap_or_else(|| {
            let [dr0, dr1, dr2, dr3, _] = self.guest.extended().switched.debug();
            [dr0, dr1, dr2, dr3, self.guest.get(Register::Dr7)]
        })
    }

    fn load_debug(&mut self, [dr0, dr1, dr2, dr3, dr7]: [u64; 5]) {
        let [.., dr6] = self.guest.extended().switched.debug();
        self.guest.extended_mut().switched.set_debug([dr0, dr1, dr2, dr3, dr6]);
        self.guest.set(Register::Dr7, dr7);
    }
}

impl<G: LoadedVcpu> Debuggable for Loaded<'_, G> {
    fn full_state(&mut self) -> FullState {
        FullState {
            cpu: self.all_registers(),
            fxsave: self.guest.extended().fx.bytes(),
            kernel_gs_base: self.guest.get(Register::KernelGsBase),
            cr8: self.common.left.cr8.into(),
        }
    }

    fn set_full_state(&mut self, state: &FullState) -> bool {
        let before = self.full_state();
        if !is_possible(&before.cpu, state) {
            return false;
        }
        let cpu = &state.cpu;
        self.common.general = cpu.general;
        let kept = before.cpu.rflags & !CHANGEABLE_FLAGS;
        let flags = cpu.rflags & CHANGEABLE_FLAGS | kept;
        if before.cpu.rip != cpu.rip {
            self.common.resume.advance = None;
            self.guest.set(Register::Rip, cpu.rip);
        }
        if before.cpu.rflags != flags {
            self.set_rflags(flags);
        }
        let values = [
            (Register::Rsp, before.cpu.general[general::RSP], cpu.general[general::RSP]),
            (Register::Cr2, before.cpu.cr2, cpu.cr2),
            (Register::Cr3, before.cpu.cr3, cpu.cr3),
            (Register::KernelGsBase, before.kernel_gs_base, state.kernel_gs_base),
        ];
        for (register, before, value) in values {
            if before != value {
                self.guest.set(register, value);
            }
        }
        for (index, segment) in cpu.segments.iter().enumerate() {
            if before.cpu.segments[index] != *segment {
                self.guest.set_segment(index, *segment);
            }
        }
        if before.fxsave != state.fxsave {
            self.guest.extended_mut().fx.set_bytes(&state.fxsave);
        }
        true
    }

    fn control(&mut self, controls: &Controls) {
        let has_hardware = controls.has_hardware();
        self.common.debugged.is_stepping = controls.is_stepping;
        self.common.debugged.has_begun = false;
        self.guest.trap(Traps {
            steps: controls.is_stepping,
            breakpoints: controls.traps_breakpoints,
            debug_registers: has_hardware,
        });
        if has_hardware {
            self.common.debugged.own = Some(self.own_debug());
            let address = |it: Option<HardwareBreakpoint>| it.map_or(0, |it| it.address);
            let [dr0, dr1, dr2, dr3] = controls.hardware.map(address);
            self.load_debug([dr0, dr1, dr2, dr3, controls.dr7()]);
        } else if let Some(own) = self.common.debugged.own.take() {
            self.load_debug(own);
        }
    }

    fn deliver(&mut self, exception: OwnException) {
        match exception {
            OwnException::Breakpoint => {
                self.common.resume.inject = Some(Inject::Breakpoint);
            }
            OwnException::Debug { dr6 } => {
                self.guest.set(Register::Dr6, dr6);
                self.raise(DB, None);
            }
        }
    }
}

/// Whether an entry takes these registers. What decides the processor's mode stays as it is.
fn is_possible(before: &CpuState, state: &FullState) -> bool {
    let cpu = &state.cpu;
    let mode = |it: &CpuState| (it.cr0, it.cr4, it.efer);
    let bases = [cpu.segments[segment::FS].base, cpu.segments[segment::GS].base];
    let addresses = [cpu.rip, state.kernel_gs_base, bases[0], bases[1]];
    let is_64 = cpu.segments[segment::CS].access & metal::architecture::ACCESS_LONG != 0;
    mode(before) == mode(cpu)
        && addresses.into_iter().all(is_canonical)
        && (is_64 || cpu.rip >> 32 == 0)
        && cpu.cr3 >> 52 == 0
}

/// MOV to or from a debug register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct MovDr {
    number: u8,
    /// The position of the general register.
    general: usize,
    /// Of the debug register.
    is_load: bool,
    /// Bytes of the instruction.
    len: u64,
}

impl MovDr {
    fn decode(bytes: &[u8], is_64: bool) -> Option<Self> {
        let is_prefix = |byte: &u8| {
            matches!(byte, 0x26 | 0x2e | 0x36 | 0x3e | 0x64..=0x67 | 0xf0 | 0xf2 | 0xf3)
        };
        let prefixes = bytes.iter().take_while(|byte| is_prefix(byte)).count();
        let behind = &bytes[prefixes..];
        let rex = behind.first().copied().filter(|byte| is_64 && byte & 0xf0 == 0x40);
        let at = prefixes + usize::from(rex.is_some());
        let &[0x0f, opcode @ (0x21 | 0x23), modrm] = bytes.get(at..at + 3)? else { return None };
        let rex = rex.unwrap_or(0);
        Some(Self {
            number: modrm >> 3 & 7,
            general: usize::from(modrm & 7 | (rex & 1) << 3),
            is_load: opcode == 0x23,
            len: at as u64 + 3,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The encodings are those of GNU as 2.40.
    #[test]
    fn moves_to_and_from_debug_registers_are_decoded() {
        let mov = |number, general, is_load, len| Some(MovDr { number, general, is_load, len });
        assert_eq!(MovDr::decode(&[0x0f, 0x23, 0xf8], true), mov(7, 0, true, 3));
        assert_eq!(MovDr::decode(&[0x41, 0x0f, 0x21, 0xf1], true), mov(6, 9, false, 4));
        assert_eq!(MovDr::decode(&[0x0f, 0x21, 0xc3], false), mov(0, 3, false, 3));
        assert_eq!(MovDr::decode(&[0x41, 0x0f, 0x21, 0xf1], false), None);
        assert_eq!(MovDr::decode(&[0x0f, 0x20, 0xc0], true), None);
        assert_eq!(MovDr::decode(&[0x0f, 0x23], true), None);
    }
}
