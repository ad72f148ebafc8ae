//! Converts between KVM's registers and ours.

use super::{GuestRam, extended_state};
use anyhow::{Context, Result};
use kvm_bindings::{
    Msrs, kvm_debugregs, kvm_dtable, kvm_msr_entry, kvm_regs, kvm_segment, kvm_sregs,
    kvm_vcpu_events,
};
use kvm_ioctls::VcpuFd;
use vmm_common::architecture::cr0;
use vmm_common::architecture::msr::{IA32_PAT, IA32_TIME_STAMP_COUNTER};
use vmm_common::machine::PASSED_MSRS;
use vmm_common::registers::{CpuState, INSTRUCTION_BYTES, Segment, TableRegister, segment};

/// Access rights, bit 16: the segment is unusable.
const UNUSABLE: u32 = 1 << 16;
/// CR0 with paging.
const PAGED: u64 = cr0::PG | cr0::PE;

/// Loads a boot's registers.
pub fn load(vcpu: &VcpuFd, state: &CpuState) -> Result<()> {
    let mut special = vcpu.get_sregs().context("KVM_GET_SREGS")?;
    system(&mut special, state);
    vcpu.set_sregs(&special).context("KVM_SET_SREGS")?;
    vcpu.set_regs(&general(state)).context("KVM_SET_REGS")
}

fn system(special: &mut kvm_sregs, state: &CpuState) {
    special.cr0 = state.cr0;
    special.cr2 = state.cr2;
    special.cr3 = state.cr3;
    special.cr4 = state.cr4;
    special.efer = state.efer;
    let [es, cs, ss, ds, fs, gs, ldt, tr] = state.segments.map(|segment| to_kvm(&segment));
    (special.es, special.cs, special.ss, special.ds) = (es, cs, ss, ds);
    (special.fs, special.gs, special.ldt, special.tr) = (fs, gs, ldt, tr);
    special.gdt = kvm_dtable { base: state.gdtr.base, limit: state.gdtr.limit, padding: [0; 3] };
    special.idt = kvm_dtable { base: state.idtr.base, limit: state.idtr.limit, padding: [0; 3] };
}

/// Loads what a debugger has changed, and nothing else.
pub fn change(vcpu: &VcpuFd, before: &CpuState, state: &CpuState) -> Result<(), kvm_ioctls::Error> {
    let mut special = vcpu.get_sregs()?;
    let of =
        |it: &CpuState| (it.cr0, it.cr2, it.cr3, it.cr4, it.efer, it.segments, it.gdtr, it.idtr);
    if of(before) != of(state) {
        system(&mut special, state);
        vcpu.set_sregs(&special)?;
    }
    vcpu.set_regs(&general(state))
}

fn general(state: &CpuState) -> kvm_regs {
    let [rax, rcx, rdx, rbx, rsp, rbp, rsi, rdi, r8, r9, r10, r11, r12, r13, r14, r15] =
        state.general;
    let (rip, rflags) = (state.rip, state.rflags);
    kvm_regs {
        rax,
        rbx,
        rcx,
        rdx,
        rsi,
        rdi,
        rsp,
        rbp,
        r8,
        r9,
        r10,
        r11,
        r12,
        r13,
        r14,
        r15,
        rip,
        rflags,
    }
}

/// Loads the registers of a processor that a start-up IPI starts, on a vCPU that may have run.
pub fn start_up(vcpu: &VcpuFd, state: &CpuState) -> Result<()> {
    // The parts for which KVM heeds a flag: neither a pending non-maskable interrupt nor a shadow.
    const FLAGS: u32 =
        kvm_bindings::KVM_VCPUEVENT_VALID_NMI_PENDING | kvm_bindings::KVM_VCPUEVENT_VALID_SHADOW;
    let before = vcpu.get_sregs().context("KVM_GET_SREGS")?.cr0;
    load(vcpu, &CpuState { cr0: state.cr0_from(before), ..*state })?;
    let events = kvm_vcpu_events { flags: FLAGS, ..Default::default() };
    vcpu.set_vcpu_events(&events).context("KVM_SET_VCPU_EVENTS")?;
    let debug = kvm_debugregs { dr6: 0xffff_0ff0, dr7: 0x400, ..Default::default() };
    vcpu.set_debug_regs(&debug).context("KVM_SET_DEBUGREGS")
}

/// Loads the registers of a processor that is switched on, on a vCPU that may have run: all that
/// its guest reaches, but for the time-stamp counter.
pub fn power_on(vcpu: &VcpuFd, state: &CpuState) -> Result<()> {
    /// IA32_PAT after reset (SDM vol. 3, table 12-12).
    const PAT: u64 = 0x0007_0406_0007_0406;
    start_up(vcpu, state)?;
    extended_state::reset(vcpu)?;
    let all = PASSED_MSRS.iter().flat_map(|(first, last)| *first..=*last);
    for index in all.filter(|index| *index != IA32_TIME_STAMP_COUNTER) {
        let data = if index == IA32_PAT { PAT } else { 0 };
        let entry = kvm_msr_entry { index, data, ..Default::default() };
        let entries = Msrs::from_entries(&[entry]).context("one entry is not too many")?;
        // Of one that the processor lacks there is nothing to reset.
        vcpu.set_msrs(&entries).context("KVM_SET_MSRS")?;
    }
    // EFER and the bases of FS and GS were among them.
    load(vcpu, state)
}

/// Sets the enable bit of KVM's IA32_APIC_BASE, which CPUID.1:EDX\[9\] follows. The rest of the
/// register is the machine's.
pub fn enable_apic(vcpu: &VcpuFd, is_enabled: bool) -> Result<(), kvm_ioctls::Error> {
    const ENABLED: u64 = 1 << 11;
    let mut special = vcpu.get_sregs()?;
    special.apic_base = (special.apic_base & !ENABLED) | if is_enabled { ENABLED } else { 0 };
    vcpu.set_sregs(&special)
}

/// The registers for a dump, with the bytes at the instruction pointer; those that KVM does not
/// return are zero.
pub fn dump(vcpu: &VcpuFd, ram: &GuestRam) -> CpuState {
    let general = vcpu.get_regs().unwrap_or_default();
    let special = vcpu.get_sregs().unwrap_or_default();
    let mut state = from_kvm(&general, &special);
    let linear = state.segments[segment::CS].base.wrapping_add(state.rip);
    for offset in 0..INSTRUCTION_BYTES {
        let at = linear.wrapping_add(offset as u64);
        let Some(address) = physical(vcpu, state.cr0, at) else { break };
        if ram.peek(address, &mut state.instruction[offset..=offset]) == 0 {
            break;
        }
        state.instruction_len += 1;
    }
    state
}

/// The RAM address of a guest's linear address, if mapped.
pub fn physical(vcpu: &VcpuFd, cr0: u64, linear: u64) -> Option<u64> {
    if cr0 & PAGED != PAGED {
        return Some(linear & 0xffff_ffff);
    }
    let translation = vcpu.translate_gva(linear).ok()?;
    (translation.valid != 0).then_some(translation.physical_address)
}

fn from_kvm(general: &kvm_regs, special: &kvm_sregs) -> CpuState {
    let g = general;
    let s = special;
    let table = |t: &kvm_dtable| TableRegister { base: t.base, limit: t.limit };
    let segments = [&s.es, &s.cs, &s.ss, &s.ds, &s.fs, &s.gs, &s.ldt, &s.tr];
    CpuState {
        general: [
            g.rax, g.rcx, g.rdx, g.rbx, g.rsp, g.rbp, g.rsi, g.rdi, g.r8, g.r9, g.r10, g.r11,
            g.r12, g.r13, g.r14, g.r15,
        ],
        rip: g.rip,
        rflags: g.rflags,
        cr0: s.cr0,
        cr2: s.cr2,
        cr3: s.cr3,
        cr4: s.cr4,
        efer: s.efer,
        segments: segments.map(segment_from_kvm),
        gdtr: table(&s.gdt),
        idtr: table(&s.idt),
        ..CpuState::default()
    }
}

fn to_kvm(segment: &Segment) -> kvm_segment {
    let access = segment.access;
    let bit = |n: u32| (access >> n & 1) as u8;
    kvm_segment {
        base: segment.base,
        limit: segment.limit,
        selector: segment.selector,
        type_: (access & 0xf) as u8,
        s: bit(4),
        dpl: (access >> 5 & 3) as u8,
        present: bit(7),
        avl: bit(12),
        l: bit(13),
        db: bit(14),
        g: bit(15),
        unusable: bit(16),
        padding: 0,
    }
}

fn segment_from_kvm(segment: &kvm_segment) -> Segment {
    let s = segment;
    let bits = [(s.type_, 0), (s.s, 4), (s.dpl, 5), (s.present, 7), (s.avl, 12)];
    let more = [(s.l, 13), (s.db, 14), (s.g, 15)];
    let access = bits.iter().chain(&more).map(|(value, at)| u32::from(*value) << at).sum::<u32>();
    let unusable = if s.unusable == 0 { 0 } else { UNUSABLE };
    Segment { selector: s.selector, base: s.base, limit: s.limit, access: access | unusable }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_survives_the_way_to_kvm_and_back() {
        for access in [0xc09b, 0xc093, 0x93, 0x9b, 0x8b, 0x82, 0xa09b, 0x1_0000] {
            let segment = Segment { selector: 8, base: 0x1000, limit: 0xfffff, access };
            assert_eq!(segment_from_kvm(&to_kvm(&segment)), segment);
        }
    }
}
