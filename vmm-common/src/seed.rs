//! The seed's `config.bin`: 4096 bytes of little-endian u64s, the number of VMs and then six words
//! for each, in the order of the YAML keys. The rest is zero.

use crate::plan::{DEFAULT_KERNEL, DEFAULT_SLICE_NS, MAX_VMS, OnSwitch};
use crate::plan::{DeviceSet, ImageSource, LinkPlan, Plan, SerialPlan, VmPlan};
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;

/// Bytes in a `config.bin`.
pub const CONFIG_BYTES: usize = 4096;
/// Where the seed's loader device puts it, a physical address.
pub const CONFIG_ADDRESS: u64 = 0x500_1000;
/// Words for each VM.
const WORDS: usize = 6;
/// VMs that fit.
pub const MAX_CONFIG_VMS: usize = (CONFIG_BYTES / 8 - 1) / WORDS;

/// What the layout says of one VM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SeedVm {
    /// `id`.
    pub id: u64,
    /// `memory`, bytes.
    pub memory: u64,
    /// `vcpu_count`.
    pub vcpu_count: u64,
    /// `io_apic`: 0 leaves it out.
    pub io_apic: u64,
    /// `HPET`: 0 leaves it out.
    pub hpet: u64,
    /// `local_apic`: 0 leaves it out.
    pub local_apic: u64,
}

/// Why bytes are no `config.bin`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SeedError {
    /// Fewer bytes than the words need.
    Truncated {
        /// Bytes there are.
        bytes: usize,
        /// Bytes there should be.
        needed: usize,
    },
    /// `vm_count` is 0 or too large.
    VmCount {
        /// The word read.
        count: u64,
    },
}

impl core::fmt::Display for SeedError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Truncated { bytes, needed } => {
                write!(f, "config.bin has {bytes} bytes; needed: {needed}")
            }
            Self::VmCount { count } => {
                write!(f, "vm_count is {count}; allowed: 1 to {MAX_VMS}")
            }
        }
    }
}

impl core::error::Error for SeedError {}

/// The layout of `vms`, or None if there are more than [`MAX_CONFIG_VMS`].
#[must_use]
pub fn encode(vms: &[SeedVm]) -> Option<Vec<u8>> {
    if vms.len() > MAX_CONFIG_VMS {
        return None;
    }
    let mut bytes = Vec::with_capacity(CONFIG_BYTES);
    bytes.extend_from_slice(&(vms.len() as u64).to_le_bytes());
    for vm in vms {
        for word in [vm.id, vm.memory, vm.vcpu_count, vm.io_apic, vm.hpet, vm.local_apic] {
            bytes.extend_from_slice(&word.to_le_bytes());
        }
    }
    bytes.resize(CONFIG_BYTES, 0);
    Some(bytes)
}

/// Reads the layout back.
///
/// # Errors
/// Too few bytes, or a `vm_count` of 0 or over [`MAX_VMS`].
pub fn decode(bytes: &[u8]) -> Result<Vec<SeedVm>, SeedError> {
    let word = |index: usize| -> Result<u64, SeedError> {
        let needed = (index + 1) * 8;
        let slice = bytes.get(index * 8..needed);
        let array = slice.and_then(|slice| slice.try_into().ok());
        array.map(u64::from_le_bytes).ok_or(SeedError::Truncated { bytes: bytes.len(), needed })
    };
    let count = word(0)?;
    let vms = usize::try_from(count).ok().filter(|count| (1..=MAX_VMS).contains(count));
    let vms = vms.ok_or(SeedError::VmCount { count })?;
    let vm = |index: usize| -> Result<SeedVm, SeedError> {
        let at = |field| word(1 + index * WORDS + field);
        Ok(SeedVm {
            id: at(0)?,
            memory: at(1)?,
            vcpu_count: at(2)?,
            io_apic: at(3)?,
            hpet: at(4)?,
            local_apic: at(5)?,
        })
    };
    (0..vms).map(vm).collect()
}

/// The layout's words for a plan's VMs.
#[must_use]
pub fn from_plan(plan: &Plan) -> Vec<SeedVm> {
    let vm = |vm: &VmPlan| SeedVm {
        id: vm.id,
        memory: vm.memory_bytes,
        vcpu_count: vm.vcpu_count,
        io_apic: vm.devices.has_io_apic.into(),
        hpet: vm.devices.has_hpet.into(),
        local_apic: vm.devices.has_local_apic.into(),
    };
    plan.vms.iter().map(vm).collect()
}

/// The plan that the seed's machines amount to: our guest OS in each, the main job by default, COM1
/// the console and, switched by IER, the link to all the others.
#[must_use]
pub fn to_plan(vms: &[SeedVm]) -> Plan {
    let is_linked = vms.len() > 1;
    let com1 = if is_linked { SerialPlan::Switched(0) } else { SerialPlan::Console };
    let vm = |(index, vm): (usize, &SeedVm)| VmPlan {
        id: vm.id,
        memory_bytes: vm.memory,
        vcpu_count: vm.vcpu_count,
        devices: DeviceSet {
            has_io_apic: vm.io_apic != 0,
            has_hpet: vm.hpet != 0,
            has_local_apic: vm.local_apic != 0,
        },
        cmdline: Plan::default_cmdline(index).to_string(),
        serial: [com1, SerialPlan::Absent, SerialPlan::Absent, SerialPlan::Absent],
        debugger: None,
        has_keyboard: index == 0,
        ..VmPlan::plain(index, ImageSource::Builtin(DEFAULT_KERNEL.to_string()))
    };
    let link = LinkPlan { name: String::from("com1"), baud: None, is_lossy: false, tap: None };
    Plan {
        slice_ns: DEFAULT_SLICE_NS,
        on_switch: OnSwitch::default(),
        core: None,
        vms: vms.iter().enumerate().map(vm).collect(),
        links: if is_linked { vec![link] } else { Vec::new() },
        networks: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO: [SeedVm; 2] = [
        SeedVm { id: 0, memory: 0x100_0000, vcpu_count: 1, io_apic: 1, hpet: 1, local_apic: 1 },
        SeedVm { id: 1, memory: 0x100_0000, vcpu_count: 1, io_apic: 1, hpet: 1, local_apic: 1 },
    ];

    #[test]
    fn the_seeds_file_becomes_thirteen_words_and_zeros() {
        let bytes = encode(&TWO).expect("two fit");
        assert_eq!(bytes.len(), 4096);
        let words: Vec<u64> =
            bytes.chunks(8).map(|b| u64::from_le_bytes(b.try_into().unwrap())).collect();
        let expected = [2, 0, 0x100_0000, 1, 1, 1, 1, 1, 0x100_0000, 1, 1, 1, 1];
        assert_eq!(words[..13], expected);
        assert!(words[13..].iter().all(|word| *word == 0));
    }

    #[test]
    fn what_was_encoded_is_decoded() {
        assert_eq!(decode(&encode(&TWO).expect("two fit")).as_deref(), Ok(&TWO[..]));
        assert_eq!(from_plan(&to_plan(&TWO)), TWO);
    }

    #[test]
    fn truncated_and_absurd_files_are_refused() {
        let bytes = encode(&TWO).expect("two fit");
        let truncated = decode(&bytes[..64]);
        assert_eq!(truncated, Err(SeedError::Truncated { bytes: 64, needed: 72 }));
        assert_eq!(decode(&[]), Err(SeedError::Truncated { bytes: 0, needed: 8 }));
        assert_eq!(decode(&[0xff; 4096]), Err(SeedError::VmCount { count: u64::MAX }));
        assert_eq!(decode(&[0; 4096]), Err(SeedError::VmCount { count: 0 }));
    }
}
