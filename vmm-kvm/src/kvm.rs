//! The KVM backend: one VM's memory and vCPU in the kernel.
//!
//! No in-kernel interrupt controller and no in-kernel PIT: vmm-kvm handles every HLT, timer and
//! interrupt, and no kernel thread works outside the shared core.

use anyhow::{Context, Result, bail};
use kvm_bindings::{
    KVM_API_VERSION, KVM_CAP_X86_USER_SPACE_MSR, KVM_MSR_EXIT_REASON_FILTER,
    KVM_MSR_EXIT_REASON_INVAL, KVM_MSR_EXIT_REASON_UNKNOWN, kvm_enable_cap,
};
use kvm_ioctls::{Cap, Kvm, MsrFilterDefaultAction, MsrFilterRange, MsrFilterRangeFlags, VmFd};
use std::path::Path;
use std::sync::Arc;
use std::thread;
use vmm_common::architecture::msr::IA32_TIME_STAMP_COUNTER;
use vmm_common::machine::PASSED_MSRS;

mod batch;
mod emulated_svm;
mod extended_state;
mod failures;
mod memory;
mod offered_cpuid;
mod overhead;
mod registers;
mod requests;
mod run_page;
mod tsc;
mod vcpu;

pub use memory::{GuestRam, Piece, read_at, write_at, write_pieces};
pub use offered_cpuid::{kvm_cpuid, supported_cpuid};
pub use registers::load as load_registers;
pub use requests::LOOP_REQUESTS;
pub use vcpu::{KvmVcpu, PreparedVcpu, interrupt};

/// The capabilities without which nothing works, and what each is for.
const NEEDED: [(Cap, &str); 4] = [
    (Cap::UserMemory, "guest memory"),
    (Cap::ImmediateExit, "ending a guest's turn in time"),
    (Cap::X86UserSpaceMsr, "model-specific registers kept by Tandem"),
    (Cap::X86MsrFilter, "model-specific registers denied by default"),
];

/// Opens /dev/kvm and checks that it can do what is needed to run `config`.
pub fn open(config: &Path) -> Result<Kvm> {
    let kvm = Kvm::new().map_err(|error| match error.errno() {
        libc::ENOENT | libc::ENODEV | libc::ENXIO => anyhow::anyhow!(
            "there is no /dev/kvm: load the kvm_intel or kvm_amd module, and enable virtualization \
             in the firmware (or nesting, on a virtual machine); the same file runs without it by \
             `cargo xtask run {} --on qemu`",
            config.display()
        ),
        libc::EACCES | libc::EPERM => anyhow::anyhow!(
            "no permission to open /dev/kvm: join its group (often `sudo usermod -aG kvm $USER`, \
             then log in anew) or run as root; the same file runs without it by \
             `cargo xtask run {} --on qemu`",
            config.display()
        ),
        _ => anyhow::Error::new(error).context("cannot open /dev/kvm"),
    })?;
    let version = kvm.get_api_version();
    if version != KVM_API_VERSION as i32 {
        bail!(
            "/dev/kvm has API version {version}; needed: {KVM_API_VERSION}, which every KVM since \
             Linux 2.6.22 has: is /dev/kvm the KVM device?"
        );
    }
    for (capability, purpose) in NEEDED {
        if !kvm.check_extension(capability) {
            bail!(
                "this kernel's KVM lacks {capability:?}, needed for {purpose}: Linux 5.10 has it"
            );
        }
    }
    Ok(kvm)
}

/// When a VM's filter of MSRs and its RAM are handed to the kernel. Each waits for an SRCU grace
/// period of the VM's: some microseconds where nothing else runs, on a busy host a timer
/// tick, and as long on an idle one, too, if it begins within 25 us of another wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetUp {
    /// In parallel, by an extra thread.
    AtOnce,
    /// One after the other, where other VMs are set up meanwhile.
    InTurn,
}

/// A VM in the kernel, with its RAM, before it has a vCPU.
pub fn create_vm(kvm: &Kvm, ram: &GuestRam, set_up: SetUp) -> Result<Arc<VmFd>> {
    /// Three pages that kvm_intel needs on processors without unrestricted guest mode; in the
    /// device hole, where no RAM is.
    const TSS_ADDRESS: usize = 0xfffb_d000;
    let vm = kvm.create_vm().context("KVM cannot create a VM")?;
    vm.set_tss_address(TSS_ADDRESS).context("KVM_SET_TSS_ADDR")?;
    match set_up {
        SetUp::AtOnce => thread::scope(|scope| {
            let denied = thread::Builder::new().spawn_scoped(scope, || deny_msrs(&vm));
            ram.give_to(&vm)?;
            let denied = denied.context("the host cannot start a thread")?;
            denied.join().expect("nothing in it panics")
        })?,
        SetUp::InTurn => {
            deny_msrs(&vm)?;
            ram.give_to(&vm)?;
        }
    }
    Ok(Arc::new(vm))
}

/// Default-deny: the processor keeps [`PASSED_MSRS`]; all others exit to us.
fn deny_msrs(vm: &VmFd) -> Result<()> {
    let reasons =
        KVM_MSR_EXIT_REASON_INVAL | KVM_MSR_EXIT_REASON_UNKNOWN | KVM_MSR_EXIT_REASON_FILTER;
    let capability = kvm_enable_cap {
        cap: KVM_CAP_X86_USER_SPACE_MSR,
        args: [reasons.into(), 0, 0, 0],
        ..Default::default()
    };
    vm.enable_cap(&capability).context("KVM_CAP_X86_USER_SPACE_MSR")?;
    // No range has more than eight registers.
    let allow_all = [0xff_u8];
    let flags = |first| match first {
        // A write moves the guest's clock page, too.
        IA32_TIME_STAMP_COUNTER => MsrFilterRangeFlags::READ,
        _ => MsrFilterRangeFlags::READ | MsrFilterRangeFlags::WRITE,
    };
    let range = |(first, last): (u32, u32)| MsrFilterRange {
        flags: flags(first),
        base: first,
        msr_count: last - first + 1,
        bitmap: &allow_all,
    };
    vm.set_msr_filter(MsrFilterDefaultAction::DENY, &PASSED_MSRS.map(range))
        .context("KVM_X86_SET_MSR_FILTER")
}
