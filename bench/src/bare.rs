//! The floor: one VM and a bare loop over KVM_RUN.

use anyhow::{Context, Result, bail};
use kvm_ioctls::{Kvm, VcpuExit, VcpuFd, VmFd};
use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend, GuestMemoryMmap, GuestMemoryRegion};
use vmm_common::boot::{self, Images};
use vmm_common::cpuid::{self, CpuidFeatures};
use vmm_common::plan::{BootKind, VmPlan};
use vmm_common::seed::{self, SeedVm};
use vmm_kvm::kvm;

/// Memory of every guest here, bytes.
pub const RAM_BYTES: u64 = 0x100_0000;
const LINE_STATUS: u16 = 5;
/// Transmitter empty, nothing received.
pub const LINE_STATUS_IDLE: u8 = 0x60;

/// A VM with nothing around it.
#[derive(Debug)]
pub struct Bare {
    /// Its vCPU.
    pub vcpu: VcpuFd,
    /// Its descriptor.
    pub vm: VmFd,
    /// Its RAM.
    pub ram: GuestMemoryMmap,
}

/// What a guest asked the outside for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// One byte to a port.
    Out(u16, u8),
    /// One byte from a port.
    In(u16),
    /// HLT.
    Halt,
    /// A store to memory that is not RAM.
    Store(u64),
    /// It was interrupted by a signal.
    Signal,
    /// It powered off.
    Off,
    /// An interrupt window, an MSR, anything else.
    Other,
}

impl Bare {
    /// A VM that boots `image`.
    pub fn new(image: &[u8], kind: BootKind, cmdline: &str) -> Result<Self> {
        let kvm = Kvm::new().context("/dev/kvm")?;
        let vm = kvm.create_vm().context("KVM_CREATE_VM")?;
        let ram = GuestMemoryMmap::from_ranges(&[(GuestAddress(0), RAM_BYTES as usize)])?;
        let boot = boot::place(&plan(kind, cmdline), &Images::of(image))?;
        for (address, bytes) in boot.contents(&Images::of(image)) {
            ram.write_slice(bytes, GuestAddress(address)).context("the image fits")?;
        }
        for region in ram.iter() {
            let region = kvm_bindings::kvm_userspace_memory_region {
                memory_size: region.len(),
                userspace_addr: ram.get_host_address(GuestAddress(0))? as u64,
                ..Default::default()
            };
            // SAFETY: the range is the mapping's, which lives in the same value as the VM.
            unsafe { vm.set_user_memory_region(region) }.context("guest memory")?;
        }
        let vcpu = vm.create_vcpu(0).context("KVM_CREATE_VCPU")?;
        let tsc_hz = vcpu.get_tsc_khz().map_or(0, |khz| u64::from(khz) * 1000);
        let features =
            CpuidFeatures { has_local_apic: false, has_tsc_deadline: false, tsc_hz, processors: 1 };
        let table = cpuid::table(features, kvm::supported_cpuid(&kvm)?);
        vcpu.set_cpuid2(&kvm::kvm_cpuid(&table)?).context("KVM_SET_CPUID2")?;
        kvm::load_registers(&vcpu, &boot.registers)?;
        Ok(Self { vcpu, vm, ram })
    }

    /// One KVM_RUN; `answer` is what an IN returns, given its port.
    pub fn run(&mut self, answer: impl FnOnce(u16) -> u8) -> Result<Access> {
        match self.vcpu.run() {
            Ok(VcpuExit::IoOut(0xf4 | 0x604, _)) => Ok(Access::Off),
            Ok(VcpuExit::IoOut(port, data)) => Ok(Access::Out(port, data[0])),
            Ok(VcpuExit::IoIn(port, data)) => {
                data.fill(answer(port));
                Ok(Access::In(port))
            }
            Ok(VcpuExit::Hlt) => Ok(Access::Halt),
            Ok(VcpuExit::Intr) => Ok(Access::Signal),
            Ok(VcpuExit::IrqWindowOpen) => Ok(Access::Other),
            Ok(VcpuExit::MmioRead(_, data)) => {
                data.fill(0xff);
                Ok(Access::Other)
            }
            Ok(VcpuExit::MmioWrite(address, _)) => Ok(Access::Store(address)),
            Ok(exit) => bail!("a bare guest left by {exit:?}"),
            Err(error) if error.errno() == libc::EINTR => Ok(Access::Signal),
            Err(error) => Err(error).context("KVM_RUN"),
        }
    }

    /// Runs to power-off, handing console bytes on one at a time.
    pub fn run_to_end(&mut self, mut console: impl FnMut(u8)) -> Result<()> {
        loop {
            match self.run(line_status_idle)? {
                Access::Off => return Ok(()),
                Access::Out(0x3f8, byte) => console(byte),
                Access::Out(..) | Access::In(_) | Access::Halt => {}
                Access::Store(_) | Access::Signal | Access::Other => {}
            }
        }
    }
}

/// Both serial ports ready to send, with nothing received; all ones elsewhere.
pub fn line_status_idle(port: u16) -> u8 {
    if port & 7 == LINE_STATUS && matches!(port & !7, 0x3f8 | 0x2f8) {
        LINE_STATUS_IDLE
    } else {
        0xff
    }
}

/// One machine with so much RAM.
fn plan(kind: BootKind, cmdline: &str) -> VmPlan {
    let (memory, vcpu_count) = (RAM_BYTES, 1);
    let seed = SeedVm { id: 0, memory, vcpu_count, io_apic: 1, hpet: 1, local_apic: 1 };
    let mut vm = seed::to_plan(&[seed]).vms.remove(0);
    vm.boot.kind = kind;
    vm.cmdline = cmdline.to_owned();
    vm
}
