//! The processor state of a guest that neither VMCS nor VMCB holds, switched when another VM gets
//! the core: x87/SSE/AVX/AVX-512 contents and PKRU, XCR0, DR0 to DR3, DR6, TSC_AUX.
//!
//! Between the exits of one turn it stays in the processor. The hypervisor uses no more of it than
//! the low halves of the vector registers, which each entry loads and each exit saves.

use crate::architecture::cr4::{OSXSAVE, PGE, PSE, SMAP, SMEP};
use crate::architecture::msr::{IA32_TSC_AUX, IA32_XSS};
use crate::architecture::reset;
use crate::cpu;
use crate::frames::{Frame, Frames, OutOfFrames};
use core::arch::asm;
use core::arch::x86_64::{_fxrstor64, _fxsave64};
use vmm_common::cpuid;
use vmm_common::grant::Grant;

mod image;

const X87: u64 = 1;
const SSE: u64 = 2;
const AVX: u64 = 4;
const AVX512: u64 = 0b1110_0000;
/// DR0 to DR3 and DR6 after reset and INIT.
const RESET_DEBUG: [u64; 5] = [0, 0, 0, 0, reset::DR6];

/// MXCSR after reset, and while the hypervisor runs: all exceptions masked (SDM vol. 1, 10.2.3).
pub const MXCSR: u32 = 0x1f80;

/// What FXSAVE saves: x87, XMM0 to XMM15, MXCSR. Each exit saves it and each entry loads it.
#[repr(C, align(16))]
#[derive(Debug)]
pub struct FxArea(pub(crate) [u64; 64]);

impl FxArea {
    /// As after FNINIT, with all exceptions masked.
    pub const INITIAL: Self = {
        const FCW: u64 = 0x37f;
        let mut words = [0; 64];
        words[0] = FCW;
        words[3] = MXCSR as u64;
        Self(words)
    };
}

/// This processor's components of the state switched here.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Extensions {
    /// What XSAVE saves and XRSTOR loads at a switch; 0 without XSAVE.
    components: u64,
    has_tsc_aux: bool,
}

/// A vCPU's state outside the control block.
#[derive(Debug)]
pub struct ExtendedState {
    /// Loaded by each entry and saved by each exit.
    pub fx: FxArea,
    /// Switched with the vCPU.
    pub switched: SwitchedState,
}

/// A guest's part of it.
#[derive(Debug)]
pub struct SwitchedState {
    extensions: Extensions,
    permitted_xcr0: u64,
    area: Frame,
    xcr0: u64,
    tsc_aux: u64,
    debug: [u64; 5],
}

/// Sets the bits of CR4 that kernels set as well, as far as supported: large and global pages,
/// SMEP and SMAP; the hypervisor has no user pages. If they are
/// the same in host and guest, an emulated processor (QEMU) keeps more of its caches across VMRUN:
/// a fifth less per exit.
fn protect() {
    let features = cpu::cpuid(7, 0).ebx;
    let offered = |bit: u32, flag: u64| if features >> bit & 1 != 0 { flag } else { 0 };
    let bits = PSE | PGE | offered(7, SMEP) | offered(20, SMAP);
    // SAFETY: no page is a user page or global, so that no access changes its meaning.
    unsafe { cpu::set_cr4(cpu::cr4() | bits) };
}

impl Extensions {
    /// Of no processor.
    #[cfg(test)]
    pub const NONE: Self = Self { components: 0, has_tsc_aux: false };

    /// Reads CPUID; sets CR4.OSXSAVE if supported.
    pub(crate) fn enable() -> Self {
        const LEAF_1_ECX_XSAVE: u32 = 1 << 26;
        const RDTSCP: u32 = 1 << 27;
        let has_xsave = cpu::cpuid(1, 0).ecx & LEAF_1_ECX_XSAVE != 0;
        if has_xsave {
            // SAFETY: allows XSAVE and XSETBV, and changes nothing else.
            unsafe { cpu::set_cr4(cpu::cr4() | OSXSAVE) };
        }
        protect();
        const XSAVES: u32 = 1 << 3;
        if has_xsave && cpu::cpuid(0xd, 1).eax & XSAVES != 0 {
            // SAFETY: no supervisory component, as after reset; guests see 0 and cannot change it.
            unsafe { cpu::write_msr(IA32_XSS, 0) };
        }
        let offered = cpu::cpuid(0xd, 0);
        let components = u64::from(offered.eax) & cpuid::XSAVE_COMPONENTS;
        Self {
            components: if has_xsave { components } else { 0 },
            has_tsc_aux: cpu::cpuid(0x8000_0001, 0).edx & RDTSCP != 0,
        }
    }
}

/// Whether a guest that may have these components may set XCR0 to `value` (SDM vol. 1, 13.3).
const fn allows_xcr0(permitted: u64, value: u64) -> bool {
    value & X87 != 0
        && value & !permitted == 0
        && (value & AVX == 0 || value & SSE != 0)
        && (value & AVX512 == 0 || (value & AVX512 == AVX512 && value & AVX != 0))
}

impl ExtendedState {
    pub(crate) fn new(
        extensions: Extensions,
        grant: &Grant,
        frames: &mut Frames,
    ) -> Result<Self, OutOfFrames> {
        let switched = SwitchedState::new(extensions, grant, frames)?;
        Ok(Self { fx: FxArea::INITIAL, switched })
    }
}

impl SwitchedState {
    /// The state after reset of a guest with this grant, which never gets a component not switched.
    ///
    /// # Errors
    /// [`OutOfFrames`] if there is no room for the area.
    fn new(
        extensions: Extensions,
        grant: &Grant,
        frames: &mut Frames,
    ) -> Result<Self, OutOfFrames> {
        let permitted_xcr0 = grant.permitted().xcr0 & extensions.components;
        let (area, debug) = (frames.take()?, RESET_DEBUG);
        let mut state = Self { extensions, permitted_xcr0, area, xcr0: X87, tsc_aux: 0, debug };
        state.initialize();
        Ok(state)
    }

    /// As after reset, in memory (SDM vol. 3, table 10-1).
    fn initialize(&mut self) {
        let legacy = FxArea::INITIAL.0;
        let words = self.area.words_mut();
        // The XSAVE header behind it is zero: all else is in its initial state.
        words.fill(0);
        words[..legacy.len()].copy_from_slice(&legacy);
        (self.xcr0, self.tsc_aux, self.debug) = (X87, 0, RESET_DEBUG);
    }

    /// XCR0 of the guest that has the processor. Read from it: QEMU's SVM does not intercept
    /// XSETBV.
    #[must_use]
    pub fn xcr0(&self) -> u64 {
        if self.extensions.components == 0 {
            return self.xcr0;
        }
        let (low, high): (u32, u32);
        // SAFETY: OSXSAVE is set; XGETBV has no other condition.
        unsafe { asm!("xgetbv", in("ecx") 0, out("eax") low, out("edx") high, options(nostack)) };
        u64::from(high) << 32 | u64::from(low)
    }

    /// Sets XCR0 of the guest that has the processor; false if the value is not allowed (#GP).
    pub fn set_xcr0(&mut self, value: u64) -> bool {
        let is_allowed = allows_xcr0(self.permitted_xcr0, value);
        if is_allowed {
            change_xcr0(self.xcr0(), value);
        }
        is_allowed
    }

    /// The guest that has the processor has all of it as after reset.
    pub fn reset(&mut self) {
        self.initialize();
        self.load(None);
    }

    /// The debug registers of the guest that has the processor are as after INIT.
    pub fn reset_debug(&mut self) {
        self.debug = RESET_DEBUG;
        set_debug_registers(&self.debug);
    }

    /// The guest gets the processor, after another or as the first one. Registers that need many
    /// cycles are written where the two differ.
    #[inline(always)]
    pub(crate) fn load(&mut self, before: Option<&mut Self>) {
        let before = before.map(Self::save);
        let Self { extensions, area, xcr0, tsc_aux, debug, .. } = self;
        let at = area.bytes_mut().as_ptr();
        if extensions.components == 0 {
            // SAFETY: the area is aligned and holds what `save` or `new` put there.
            unsafe { _fxrstor64(at) };
        } else {
            // `save` has enabled all.
            change_xcr0(before.map_or(0, |_| extensions.components), extensions.components);
            // SAFETY: the area is a frame that `save` or `new` filled.
            unsafe { asm!("xrstor64 [{}]", in(reg) at, in("eax") !0, in("edx") !0) };
            change_xcr0(extensions.components, *xcr0);
        }
        if extensions.has_tsc_aux && before.is_none_or(|before| before.tsc_aux != *tsc_aux) {
            // SAFETY: a number that only RDTSCP and RDPID return.
            unsafe { cpu::write_msr(IA32_TSC_AUX, *tsc_aux) };
        }
        if before.is_none_or(|before| differ(&before.debug, debug)) {
            set_debug_registers(debug);
        }
    }

    /// The guest loses the processor, in which all components are enabled then.
    #[inline(always)]
    fn save(&mut self) -> &Self {
        let at = self.area.bytes_mut().as_mut_ptr();
        if self.extensions.components == 0 {
            // SAFETY: the area is aligned and large enough.
            unsafe { _fxsave64(at) };
        } else {
            self.xcr0 = self.xcr0();
            change_xcr0(self.xcr0, self.extensions.components);
            // SAFETY: the frame holds the components in their standard format.
            unsafe { asm!("xsave64 [{}]", in(reg) at, in("eax") !0, in("edx") !0) };
        }
        if self.extensions.has_tsc_aux {
            self.tsc_aux = cpu::read_msr(IA32_TSC_AUX);
        }
        self.debug = [cpu::dr0(), cpu::dr1(), cpu::dr2(), cpu::dr3(), cpu::dr6()];
        self
    }
}

/// Whether two sets of registers differ. A comparison of arrays would be a call.
#[inline]
pub(crate) fn differ<const N: usize>(one: &[u64; N], other: &[u64; N]) -> bool {
    one.iter().zip(other).fold(0, |bits, (one, other)| bits | (one ^ other)) != 0
}

/// Sets XCR0, if the two differ: XSETBV needs many cycles.
#[inline(always)]
fn change_xcr0(from: u64, to: u64) {
    if from != to {
        let (low, high) = (to as u32, (to >> 32) as u32);
        // SAFETY: OSXSAVE is set; the value is all that the processor has or passed `allows_xcr0`.
        unsafe { asm!("xsetbv", in("ecx") 0, in("eax") low, in("edx") high, options(nostack)) };
    }
}

fn set_debug_registers(values: &[u64; 5]) {
    // SAFETY: DR7 is 0x400 while the hypervisor runs, so that no breakpoint is enabled.
    unsafe { cpu::set_dr0(values[0]) };
    // SAFETY: as above.
    unsafe { cpu::set_dr1(values[1]) };
    // SAFETY: as above.
    unsafe { cpu::set_dr2(values[2]) };
    // SAFETY: as above.
    unsafe { cpu::set_dr3(values[3]) };
    // SAFETY: as above.
    unsafe { cpu::set_dr6(values[4]) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_area_is_as_fxsave_wants_it() {
        assert_eq!((size_of::<FxArea>(), align_of::<FxArea>()), (512, 16));
        let FxArea(words) = FxArea::INITIAL;
        assert_eq!((words[0], words[3]), (0x37f, 0x1f80));
    }

    #[test]
    fn xcr0_keeps_the_architectures_rules() {
        for allowed in [1, 3, 7, 0xe7] {
            assert!(allows_xcr0(0xe7, allowed), "{allowed:#x}");
        }
        for refused in [0, 2, 5, 0x67, 0xe3, 0x207, 1 << 63 | 1] {
            assert!(!allows_xcr0(0xe7, refused), "{refused:#x}");
        }
    }
}
