//! All that a guest may reach on bare metal, in one value: everything else exits or
//! raises an exception.
//!
//! [`Grant::new`] makes it from the tables below, once for each vCPU; the vendors' control blocks
//! are filled from it, and read back into a [`Reach`] they must equal it. [`page`] prints the
//! tables in Markdown.

use crate::architecture::cr4;
use crate::cpuid::{CpuidEntry, Permitted};
use alloc::vec::Vec;
use core::ops::Range;
use serde::Serialize;

mod page;

pub use page::page;

/// The vendor's virtualization: what a guest can be granted without a VM exit differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Vendor {
    /// Intel's VMX.
    Vmx,
    /// AMD's SVM.
    Svm,
}

/// A stretch of RAM, readable, writable and executable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RamPiece {
    /// Guest-physical addresses.
    pub guest: Range<u64>,
    /// Where it begins, host-physical.
    pub host: u64,
}

/// What a guest reaches without a VM exit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Reach {
    /// RAM, in ascending order.
    pub ram: Vec<RamPiece>,
    /// Ports. No guest has any.
    pub ports: Vec<u16>,
    /// MSRs that RDMSR reads from the processor, in ascending order.
    pub msr_reads: Vec<u32>,
    /// MSRs that WRMSR writes in the processor, in ascending order.
    pub msr_writes: Vec<u32>,
    /// Bits of CR0 that a guest changes in the processor.
    pub cr0: u64,
    /// Bits of CR4 that a guest changes in the processor.
    pub cr4: u64,
}

/// What a vCPU's guest is granted. Only [`Grant::new`] makes one.
///
/// ```compile_fail,E0451
/// # use vmm_common::grant::Grant;
/// fn with_a_port(grant: Grant, reach: vmm_common::grant::Reach) -> Grant {
///     Grant { reach, ..grant }
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    vendor: Vendor,
    reach: Reach,
    permitted: Permitted,
}

/// How a guest's access to an MSR of its own ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Access {
    /// In the processor, which holds the guest's register.
    Passed,
    /// In the hypervisor, which carries it out on the guest's register in the control block.
    CarriedOut,
}

use Access::{CarriedOut, Passed};

/// MSRs of the guest's own, first and last of a range, and how accesses end on each vendor's.
struct OwnMsr {
    first: u32,
    last: u32,
    names: &'static str,
    vmx: [Access; 2],
    svm: [Access; 2],
    why: &'static str,
}

const READ: usize = 0;
const WRITE: usize = 1;
const BOTH: [Access; 2] = [Passed; 2];

const OWN_MSRS: [OwnMsr; 6] = [
    OwnMsr {
        first: 0x10,
        last: 0x10,
        names: "IA32_TIME_STAMP_COUNTER",
        vmx: [Passed, CarriedOut],
        svm: [CarriedOut; 2],
        why: "a write moves the guest's offset; QEMU's SVM does not add it to what RDMSR reads",
    },
    OwnMsr {
        first: 0x174,
        last: 0x176,
        names: "IA32_SYSENTER_CS, _ESP, _EIP",
        vmx: BOTH,
        svm: BOTH,
        why: "switched by VMX's entries and exits, by VMLOAD and VMSAVE",
    },
    OwnMsr {
        first: 0x277,
        last: 0x277,
        names: "IA32_PAT",
        vmx: BOTH,
        svm: [CarriedOut; 2],
        why: "switched by entries and exits; QEMU's SVM would access the host's",
    },
    OwnMsr {
        first: 0xc000_0080,
        last: 0xc000_0080,
        names: "IA32_EFER",
        vmx: BOTH,
        svm: [CarriedOut; 2],
        why: "switched by entries and exits; on SVM the SVME bit must stay set, and is hidden",
    },
    OwnMsr {
        first: 0xc000_0081,
        last: 0xc000_0084,
        names: "IA32_STAR, _LSTAR, _CSTAR, _FMASK",
        vmx: BOTH,
        svm: BOTH,
        why: "switched by software on VMX, by VMLOAD and VMSAVE",
    },
    OwnMsr {
        first: 0xc000_0100,
        last: 0xc000_0103,
        names: "IA32_FS_BASE, _GS_BASE, _KERNEL_GS_BASE, IA32_TSC_AUX",
        vmx: BOTH,
        svm: BOTH,
        why: "in the control block but for KERNEL_GS_BASE on VMX and TSC_AUX, which software \
              switches",
    },
];

/// MSRs that are the guest's own processor state, which every backend switches with the guest: over
/// KVM it may access them without a VM exit, but for writes to the time-stamp counter. Ranges, both
/// ends included (SDM vol. 4, APM vol. 2 appendix A).
pub const PASSED_MSRS: [(u32, u32); OWN_MSRS.len()] = {
    let mut ranges = [(0, 0); OWN_MSRS.len()];
    let mut index = 0;
    while index < OWN_MSRS.len() {
        ranges[index] = (OWN_MSRS[index].first, OWN_MSRS[index].last);
        index += 1;
    }
    ranges
};

/// Bits of CR0 that guests change without a VM exit, with names. On VMX the others are the
/// processor's (NE must be 1) or concern its caches; on SVM only these two do not exit.
const CR0: [(u32, &str, [bool; 2]); 8] = [
    (0, "PE", [true, false]),
    (1, "MP", [true, true]),
    (2, "EM", [true, false]),
    (3, "TS", [true, true]),
    (4, "ET", [true, false]),
    (16, "WP", [true, false]),
    (18, "AM", [true, false]),
    (31, "PG", [true, false]),
];

impl Vendor {
    const fn of(self, row: &OwnMsr) -> [Access; 2] {
        match self {
            Self::Vmx => row.vmx,
            Self::Svm => row.svm,
        }
    }

    fn msrs(self, direction: usize) -> Vec<u32> {
        let is_passed = |row: &&OwnMsr| self.of(row)[direction] == Passed;
        OWN_MSRS.iter().filter(is_passed).flat_map(|row| row.first..=row.last).collect()
    }

    fn cr0(self) -> u64 {
        let of = |passed: [bool; 2]| match self {
            Self::Vmx => passed[0],
            Self::Svm => passed[1],
        };
        CR0.iter().filter(|(_, _, passed)| of(*passed)).map(|(bit, _, _)| 1 << bit).sum()
    }
}

impl Grant {
    /// What a guest gets that has this RAM and sees this CPUID.
    #[must_use]
    pub fn new(vendor: Vendor, ram: Vec<RamPiece>, cpuid: &[CpuidEntry]) -> Self {
        let permitted = Permitted::by(cpuid);
        let cr4 = match vendor {
            // Machine checks are the host's: the processor always has MCE set.
            Vendor::Vmx => permitted.cr4 & !cr4::MCE,
            // Every write exits: QEMU's VMRUN refuses what its MOV accepts.
            Vendor::Svm => 0,
        };
        let reach = Reach {
            ram,
            ports: Vec::new(),
            msr_reads: vendor.msrs(READ),
            msr_writes: vendor.msrs(WRITE),
            cr0: vendor.cr0(),
            cr4,
        };
        Self { vendor, reach, permitted }
    }

    /// The virtualization it is made for.
    #[must_use]
    pub const fn vendor(&self) -> Vendor {
        self.vendor
    }

    /// What the guest reaches without a VM exit.
    #[must_use]
    pub const fn reach(&self) -> &Reach {
        &self.reach
    }

    /// What it may set in CR4, EFER and XCR0, with or without a VM exit.
    #[must_use]
    pub const fn permitted(&self) -> Permitted {
        self.permitted
    }
}

#[cfg(test)]
mod tests;
