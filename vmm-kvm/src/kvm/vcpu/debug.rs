//! A vCPU under a debugger: its registers, and KVM_SET_GUEST_DEBUG.

use super::KvmVcpu;
use crate::kvm::registers;
use kvm_bindings::{
    KVM_GUESTDBG_ENABLE, KVM_GUESTDBG_SINGLESTEP, KVM_GUESTDBG_USE_HW_BP, KVM_GUESTDBG_USE_SW_BP,
    Msrs, kvm_fpu, kvm_guest_debug, kvm_guest_debug_arch, kvm_msr_entry,
};
use kvm_ioctls::{Error, VcpuFd};
use vmm_common::debugger::{
    Controls, DebugEvent, Debuggable, FXSAVE_BYTES, FullState, HardwareBreakpoint, OwnException,
};
use vmm_common::seam::{ExitReason, Fault};

const IA32_KERNEL_GS_BASE: u32 = 0xc000_0102;
/// INT3.
const INT3: u8 = 0xcc;
/// DR6 and DR7, by number.
const DR7: usize = 7;
/// Vectors of #DB and #BP.
const DB: u8 = 1;
const BP: u8 = 3;

impl Debuggable for KvmVcpu {
    fn full_state(&mut self) -> FullState {
        let cr8 = self.fd.get_kvm_run().cr8;
        FullState {
            cpu: registers::dump(&self.fd, &self.ram),
            fxsave: fxsave(&self.fd.get_fpu().unwrap_or_default()),
            kernel_gs_base: kernel_gs_base(&self.fd).unwrap_or(0),
            cr8,
        }
    }

    fn set_full_state(&mut self, state: &FullState) -> bool {
        let before = self.full_state();
        let is_set = self.put(&before, state).is_ok();
        if !is_set {
            // What KVM took of it is taken back.
            let _ = self.put(state, &before);
        }
        is_set
    }

    fn control(&mut self, controls: &Controls) {
        self.traps_breakpoints = controls.traps_breakpoints;
        let mut debug = kvm_guest_debug::default();
        let flags = [
            (!controls.is_off(), KVM_GUESTDBG_ENABLE),
            (controls.is_stepping, KVM_GUESTDBG_SINGLESTEP),
            (controls.traps_breakpoints, KVM_GUESTDBG_USE_SW_BP),
            (controls.has_hardware(), KVM_GUESTDBG_USE_HW_BP),
        ];
        debug.control = flags.iter().filter(|(is_on, _)| *is_on).map(|(_, flag)| flag).sum();
        if controls.has_hardware() {
            let address = |it: Option<HardwareBreakpoint>| it.map_or(0, |it| it.address);
            let mut debugreg = [0; 8];
            debugreg[..4].copy_from_slice(&controls.hardware.map(address));
            debugreg[DR7] = controls.dr7();
            debug.arch = kvm_guest_debug_arch { debugreg };
        }
        // A KVM that cannot do it lets the guest run on, which the debugger's user sees.
        let _ = self.fd.set_guest_debug(&debug);
    }

    fn deliver(&mut self, exception: OwnException) {
        let Ok(mut events) = self.fd.get_vcpu_events() else { return };
        events.exception.injected = 1;
        events.exception.has_error_code = 0;
        events.exception.nr = match exception {
            OwnException::Breakpoint => BP,
            OwnException::Debug { dr6 } => {
                if let Ok(mut debug) = self.fd.get_debug_regs() {
                    debug.dr6 = dr6;
                    let _ = self.fd.set_debug_regs(&debug);
                }
                DB
            }
        };
        let _ = self.fd.set_vcpu_events(&events);
    }
}

impl KvmVcpu {
    /// Loads what differs.
    fn put(&self, before: &FullState, state: &FullState) -> Result<(), Error> {
        if before.cpu != state.cpu {
            registers::change(&self.fd, &before.cpu, &state.cpu)?;
        }
        if before.fxsave != state.fxsave {
            self.fd.set_fpu(&to_fpu(&state.fxsave))?;
        }
        if before.kernel_gs_base != state.kernel_gs_base {
            let data = state.kernel_gs_base;
            let entry = kvm_msr_entry { index: IA32_KERNEL_GS_BASE, data, ..Default::default() };
            let msrs = Msrs::from_entries(&[entry]).map_err(|_| Error::new(libc::ENOMEM))?;
            // KVM says how many it took.
            if self.fd.set_msrs(&msrs)? != 1 {
                return Err(Error::new(libc::EINVAL));
            }
        }
        Ok(())
    }

    /// A KVM that emulates instructions may not know INT3: the debugger's ends there, too.
    pub(super) fn unless_breakpoint(&self, fault: Fault) -> ExitReason {
        let is_int3 = || {
            let state = registers::dump(&self.fd, &self.ram);
            state.instruction_len > 0 && state.instruction[0] == INT3
        };
        match self.traps_breakpoints && is_int3() {
            true => ExitReason::Debug(DebugEvent::Breakpoint),
            false => ExitReason::Fault(fault),
        }
    }
}

/// A KVM_EXIT_DEBUG's exception and DR6, as an event.
pub(super) fn event(exception: u32, dr6: u64) -> ExitReason {
    ExitReason::Debug(match exception == u32::from(BP) {
        true => DebugEvent::Breakpoint,
        false => DebugEvent::Debug { dr6 },
    })
}

fn kernel_gs_base(fd: &VcpuFd) -> Option<u64> {
    let entry = kvm_msr_entry { index: IA32_KERNEL_GS_BASE, ..Default::default() };
    let mut msrs = Msrs::from_entries(&[entry]).ok()?;
    let read = fd.get_msrs(&mut msrs).ok()?;
    (read == 1).then(|| msrs.as_slice()[0].data)
}

/// As FXSAVE64 lays it out (SDM vol. 1, table 10-2).
fn fxsave(fpu: &kvm_fpu) -> [u8; FXSAVE_BYTES] {
    let mut image = [0; FXSAVE_BYTES];
    let mut put = |at: usize, bytes: &[u8]| image[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, &fpu.fcw.to_le_bytes());
    put(2, &fpu.fsw.to_le_bytes());
    put(4, &[fpu.ftwx]);
    put(6, &fpu.last_opcode.to_le_bytes());
    put(8, &fpu.last_ip.to_le_bytes());
    put(16, &fpu.last_dp.to_le_bytes());
    put(24, &fpu.mxcsr.to_le_bytes());
    for (at, register) in fpu.fpr.iter().enumerate() {
        put(32 + 16 * at, register);
    }
    for (at, register) in fpu.xmm.iter().enumerate() {
        put(160 + 16 * at, register);
    }
    image
}

fn to_fpu(image: &[u8; FXSAVE_BYTES]) -> kvm_fpu {
    fn bytes<const N: usize>(image: &[u8], at: usize) -> [u8; N] {
        image[at..at + N].try_into().expect("the slice is as long as the array")
    }
    let mut fpu = kvm_fpu {
        fcw: u16::from_le_bytes(bytes(image, 0)),
        fsw: u16::from_le_bytes(bytes(image, 2)),
        ftwx: image[4],
        last_opcode: u16::from_le_bytes(bytes(image, 6)),
        last_ip: u64::from_le_bytes(bytes(image, 8)),
        last_dp: u64::from_le_bytes(bytes(image, 16)),
        mxcsr: u32::from_le_bytes(bytes(image, 24)),
        ..kvm_fpu::default()
    };
    for (at, register) in fpu.fpr.iter_mut().enumerate() {
        *register = bytes(image, 32 + 16 * at);
    }
    for (at, register) in fpu.xmm.iter_mut().enumerate() {
        *register = bytes(image, 160 + 16 * at);
    }
    fpu
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_of_fxsave_survives_the_way_to_kvm_and_back() {
        let mut image = [0; FXSAVE_BYTES];
        for (at, byte) in image.iter_mut().enumerate() {
            let is_kept = matches!(at, 0..=4 | 6..28 | 32..416);
            *byte = if is_kept { at as u8 } else { 0 };
        }
        assert_eq!(fxsave(&to_fpu(&image)), image);
    }
}
