//! CPUID: KVM's offer to guests on this host's processor, and a guest's table in KVM's format.

use super::emulated_svm;
use anyhow::{Context, Result};
use kvm_bindings as kvm;
use kvm_ioctls::Kvm;
use vmm_common::cpuid::{CpuidEntry, CpuidResult};

/// The table in KVM's format.
pub fn kvm_cpuid(table: &[CpuidEntry]) -> Result<kvm::CpuId> {
    let entry = |row: &CpuidEntry| kvm::kvm_cpuid_entry2 {
        function: row.leaf,
        index: row.subleaf.unwrap_or(0),
        flags: if row.subleaf.is_some() { kvm::KVM_CPUID_FLAG_SIGNIFCANT_INDEX } else { 0 },
        eax: row.result.eax,
        ebx: row.result.ebx,
        ecx: row.result.ecx,
        edx: row.result.edx,
        ..Default::default()
    };
    let entries: Vec<_> = table.iter().map(entry).collect();
    kvm::CpuId::from_entries(&entries).context("the CPUID table fits")
}

/// What KVM offers guests of this host's processor.
pub fn supported_cpuid(kvm: &Kvm) -> Result<impl Fn(u32, u32) -> CpuidResult> {
    let supported = kvm.get_supported_cpuid(kvm::KVM_MAX_CPUID_ENTRIES);
    let supported = supported.context("KVM_GET_SUPPORTED_CPUID")?;
    let row = move |leaf, subleaf| {
        let is_row = |row: &&kvm::kvm_cpuid_entry2| {
            let has_subleaves = row.flags & kvm::KVM_CPUID_FLAG_SIGNIFCANT_INDEX != 0;
            row.function == leaf && (!has_subleaves || row.index == subleaf)
        };
        let row = supported.as_slice().iter().find(is_row).copied().unwrap_or_default();
        let kvm::kvm_cpuid_entry2 { eax, ebx, ecx, edx, .. } = row;
        CpuidResult { eax, ebx, ecx, edx }
    };
    let without_xsave = emulated_svm::without_xsave(row.clone());
    let is_emulated = emulated_svm::is_host();
    Ok(move |leaf, subleaf| match is_emulated {
        true => without_xsave(leaf, subleaf),
        false => row(leaf, subleaf),
    })
}
