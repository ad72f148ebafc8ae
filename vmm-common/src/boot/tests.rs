//! What all boot protocols' tests share.

use crate::plan::{BootKind, VmPlan};
use crate::seed::{SeedVm, to_plan};

/// A machine with all devices and so much RAM.
pub(super) fn vm(kind: BootKind, cmdline: &str, memory: u64) -> VmPlan {
    let seed = SeedVm { id: 0, memory, vcpu_count: 1, io_apic: 1, hpet: 1, local_apic: 1 };
    let mut vm = to_plan(&[seed]).vms.remove(0);
    vm.boot.kind = kind;
    vm.cmdline = cmdline.into();
    vm
}
