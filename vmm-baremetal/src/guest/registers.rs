//! A vCPU's registers as a whole: for a dump, and as a start-up IPI leaves them.

use super::instruction::{Carried, PagingLimits};
use super::vcpu::{Awaiting, Loaded};
use super::vendor::{Flags, LoadedVcpu, Register, fetch};
use metal::architecture::reset;
use metal::extended_state::FxArea;
use vmm_common::registers::{CpuState, TableRegister, general};
use vmm_common::x86::Writes;

impl<G: LoadedVcpu> Loaded<'_, G> {
    /// As [`vmm_common::seam::VcpuBackend::start_up`].
    pub(super) fn begin_anew(&mut self, registers: &CpuState) {
        let cr0 = registers.cr0_from(self.guest.get(Register::Cr0));
        self.begin_with(registers, cr0);
    }

    /// As [`vmm_common::seam::VcpuBackend::power_on`].
    pub(super) fn switch_on(&mut self, registers: &CpuState) {
        self.begin_with(registers, registers.cr0);
        self.guest.reset_msrs();
        let extended = self.guest.extended_mut();
        extended.fx = FxArea::INITIAL;
        extended.switched.reset();
        self.common.tsc_held_ns = 0;
    }

    fn begin_with(&mut self, registers: &CpuState, cr0: u64) {
        let Self { guest, common } = self;
        guest.drop_events();
        let values = [
            (Register::Rip, registers.rip),
            (Register::Rsp, registers.general[general::RSP]),
            (Register::Rflags, registers.rflags),
            (Register::Cr0, cr0),
            (Register::Cr2, registers.cr2),
            (Register::Cr4, registers.cr4),
            (Register::Efer, registers.efer),
            // Last, as it drops the cached translations.
            (Register::Cr3, registers.cr3),
            (Register::Dr7, reset::DR7),
            (Register::GdtrBase, registers.gdtr.base),
            (Register::GdtrLimit, registers.gdtr.limit.into()),
            (Register::IdtrBase, registers.idtr.base),
            (Register::IdtrLimit, registers.idtr.limit.into()),
        ];
        for (register, value) in values {
            guest.set(register, value);
        }
        for (index, segment) in registers.segments.iter().enumerate() {
            guest.set_segment(index, *segment);
        }
        guest.extended_mut().switched.reset_debug();
        common.general = registers.general;
        common.awaiting = Awaiting::Nothing;
        common.carried = Carried::none(PagingLimits::of_processor());
        common.writes = Writes::default();
        common.resume.advance = None;
        common.resume.inject = None;
        common.resume.has_nmi = false;
        common.resume.is_again = false;
        common.left =
            Flags { rflags: registers.rflags, is_shadowed: false, has_event: false, cr8: 0 };
    }

    /// As [`vmm_common::seam::VcpuBackend::registers`].
    pub(super) fn all_registers(&mut self) -> CpuState {
        let get = |register| self.guest.get(register);
        let table = |base, limit| TableRegister { base: get(base), limit: get(limit) as u16 };
        let rip = self.common.resume.advance.unwrap_or_else(|| get(Register::Rip));
        let mut state = CpuState {
            general: self.common.general,
            rip,
            rflags: get(Register::Rflags),
            cr0: get(Register::Cr0),
            cr2: get(Register::Cr2),
            cr3: get(Register::Cr3),
            cr4: get(Register::Cr4),
            efer: get(Register::Efer),
            gdtr: table(Register::GdtrBase, Register::GdtrLimit),
            idtr: table(Register::IdtrBase, Register::IdtrLimit),
            ..CpuState::default()
        };
        state.general[general::RSP] = get(Register::Rsp);
        for (index, segment) in state.segments.iter_mut().enumerate() {
            *segment = self.guest.segment(index);
        }
        let fetched = fetch(&self.guest, rip, &self.common.ram, &mut state.instruction);
        state.instruction_len = fetched.len as u8;
        state
    }
}
