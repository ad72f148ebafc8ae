//! What the processor's SVM can do, and whether firmware allows it (APM vol. 2, 15.4).

use core::fmt;
use vmm_common::cpuid::CpuidResult;

/// Of the register by which firmware forbids SVM, VM_CR.
const VM_CR_SVMDIS: u64 = 1 << 4;

const EXTENDED_MAXIMUM: u32 = 0x8000_0000;
const EXTENDED_FEATURES: u32 = 0x8000_0001;
const ECX_SVM: u32 = 1 << 2;
const EDX_GIB_PAGES: u32 = 1 << 26;
const SVM_FEATURES: u32 = 0x8000_000a;
const EDX_NESTED_PAGING: u32 = 1 << 0;
const EDX_LOCK: u32 = 1 << 2;
const EDX_NEXT_RIP: u32 = 1 << 3;
/// The filter, and its threshold.
const EDX_PAUSE_FILTER: u32 = 1 << 10 | 1 << 12;

/// The SVM features used here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// Address space identifiers, that of the host, 0, included: at least 2.
    pub asids: u32,
    /// Exits report the next instruction's address.
    pub has_next_rip: bool,
    /// Pages of 1 GiB.
    pub has_gib_pages: bool,
    /// An intercepted PAUSE exits only in a loop of many.
    pub has_pause_filter: bool,
}

/// A missing requirement of this hypervisor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// CPUID does not report SVM.
    Svm,
    /// Firmware has forbidden SVM.
    Firmware,
    /// Firmware has forbidden SVM with a key.
    FirmwareKey,
    /// No nested paging.
    NestedPaging,
    /// No address space identifier for a guest.
    Asid,
}

impl Capabilities {
    /// Reads them. VM_CR is read only if it exists.
    ///
    /// # Errors
    /// What is missing.
    pub fn read(
        cpuid: impl Fn(u32, u32) -> CpuidResult,
        read_vm_cr: impl FnOnce() -> u64,
    ) -> Result<Self, Missing> {
        if cpuid(EXTENDED_MAXIMUM, 0).eax < SVM_FEATURES {
            return Err(Missing::Svm);
        }
        let features = cpuid(EXTENDED_FEATURES, 0);
        if features.ecx & ECX_SVM == 0 {
            return Err(Missing::Svm);
        }
        let svm = cpuid(SVM_FEATURES, 0);
        if read_vm_cr() & VM_CR_SVMDIS != 0 {
            let has_key = svm.edx & EDX_LOCK != 0;
            return Err(if has_key { Missing::FirmwareKey } else { Missing::Firmware });
        }
        if svm.edx & EDX_NESTED_PAGING == 0 {
            return Err(Missing::NestedPaging);
        }
        if svm.ebx < 2 {
            return Err(Missing::Asid);
        }
        Ok(Self {
            asids: svm.ebx,
            has_next_rip: svm.edx & EDX_NEXT_RIP != 0,
            has_gib_pages: features.edx & EDX_GIB_PAGES != 0,
            has_pause_filter: svm.edx & EDX_PAUSE_FILTER == EDX_PAUSE_FILTER,
        })
    }

    /// The ASID of vCPU `number`, from 0: at least 1.
    #[must_use]
    pub const fn asid_of(&self, number: u32) -> u32 {
        1 + number % (self.asids - 1)
    }

    /// Whether each of so many vCPUs has its own ASID.
    #[must_use]
    pub const fn has_asids_for(&self, vcpus: u32) -> bool {
        vcpus < self.asids
    }
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Svm => "the processor has no SVM (CPUID 8000_0001, ECX bit 2)",
            Self::Firmware => "SVM is disabled by firmware; enable it in the firmware's setup",
            Self::FirmwareKey => "SVM is locked with a key by firmware; enable it in its setup",
            Self::NestedPaging => "SVM has no nested paging (CPUID 8000_000A, EDX bit 0)",
            Self::Asid => "SVM has no address space identifier for a guest (CPUID 8000_000A, EBX)",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A processor with these words: 8000_0001 ECX and EDX, 8000_000A EBX and EDX.
    fn read(ecx: u32, edx: u32, asids: u32, svm: u32, vm_cr: u64) -> Result<Capabilities, Missing> {
        let cpuid = |leaf, _| match leaf {
            0x8000_0000 => CpuidResult { eax: 0x8000_000a, ..CpuidResult::default() },
            0x8000_0001 => CpuidResult { ecx, edx, ..CpuidResult::default() },
            0x8000_000a => CpuidResult { ebx: asids, edx: svm, ..CpuidResult::default() },
            _ => CpuidResult::default(),
        };
        Capabilities::read(cpuid, || vm_cr)
    }

    #[test]
    fn processor_with_all_is_taken() {
        let found = read(0x4, 1 << 26, 16, 0x1001_0001, 0).expect("nothing is missing");
        assert_eq!((found.asids, found.has_next_rip, found.has_gib_pages), (16, false, true));
        let found = read(0x4, 0, 64, 0x44f, 0).expect("nothing is missing");
        assert_eq!((found.asids, found.has_next_rip, found.has_gib_pages), (64, true, false));
    }

    #[test]
    fn each_thing_missing_is_named() {
        assert_eq!(read(0, 0, 16, 1, 0), Err(Missing::Svm));
        assert_eq!(read(4, 0, 16, 1, 0x10), Err(Missing::Firmware));
        assert_eq!(read(4, 0, 16, 5, 0x18), Err(Missing::FirmwareKey));
        assert_eq!(read(4, 0, 16, 0x44e, 0), Err(Missing::NestedPaging));
        assert_eq!(read(4, 0, 1, 1, 0), Err(Missing::Asid));
        assert!(format!("{}", Missing::Firmware).contains("setup"));
    }

    #[test]
    fn vm_cr_is_not_read_without_svm() {
        let read = Capabilities::read(|_, _| CpuidResult::default(), || panic!("#GP"));
        assert_eq!(read, Err(Missing::Svm));
    }

    #[test]
    fn asids_are_shared_where_there_are_too_few() {
        let few = read(ECX_SVM, 0, 16, EDX_NESTED_PAGING, 0).expect("nothing is missing");
        let asids: Vec<u32> = (0..32).map(|number| few.asid_of(number)).collect();
        assert_eq!(asids[..15], (1..16).collect::<Vec<_>>());
        assert!(asids.iter().all(|asid| (1..16).contains(asid)), "{asids:?}");
        assert!(few.has_asids_for(15) && !few.has_asids_for(16));
    }
}
