//! Holding a guest's time-stamp counter back. Writing the counter itself will not do: KVM takes writes that lie
//! close together for attempts to synchronize several vCPUs, and ignores the difference.

use anyhow::{Context, Result, ensure};
use kvm_bindings::{KVM_VCPU_TSC_CTRL, KVM_VCPU_TSC_OFFSET, KVMIO, kvm_device_attr};
use kvm_ioctls::VcpuFd;
use std::io;
use vmm_sys_util::ioctl::ioctl_with_ref;

vmm_sys_util::ioctl_iow_nr!(KVM_SET_DEVICE_ATTR, KVMIO, 0xe1, kvm_device_attr);
vmm_sys_util::ioctl_iow_nr!(KVM_GET_DEVICE_ATTR, KVMIO, 0xe2, kvm_device_attr);

/// Fails where KVM cannot do this, or says it does and does not. For a vCPU that has not run.
pub fn check(fd: &VcpuFd) -> Result<()> {
    const CLOCK_OWN: &str = "clock: own needs KVM_VCPU_TSC_OFFSET, which Linux 5.16 has; \
        allowed here: clock: wall";
    let offset = get(fd).context(CLOCK_OWN)?;
    let other = offset ^ 1 << 40;
    set(fd, other).context(CLOCK_OWN)?;
    let is_followed = get(fd).is_ok_and(|offset| offset == other);
    ensure!(is_followed, "this KVM takes no notice of a new offset: {CLOCK_OWN}");
    set(fd, offset).context(CLOCK_OWN)
}

/// The counter is `ns` behind what it would be.
pub fn move_back(fd: &VcpuFd, ns: u64) -> io::Result<()> {
    let hz = fd.get_tsc_khz().map_or(0, |khz| u128::from(khz) * 1000);
    let ticks = (u128::from(ns) * hz / 1_000_000_000) as u64;
    set(fd, get(fd)?.wrapping_sub(ticks))
}

fn attribute(value: &u64) -> kvm_device_attr {
    kvm_device_attr {
        group: KVM_VCPU_TSC_CTRL,
        attr: KVM_VCPU_TSC_OFFSET.into(),
        addr: &raw const *value as u64,
        ..Default::default()
    }
}

fn get(fd: &VcpuFd) -> io::Result<u64> {
    let mut offset = 0_u64;
    let attribute = kvm_device_attr { addr: &raw mut offset as u64, ..attribute(&0) };
    // SAFETY: the descriptor is a vCPU's; KVM writes eight bytes at the address, which `offset` has.
    let result = unsafe { ioctl_with_ref(fd, KVM_GET_DEVICE_ATTR(), &attribute) };
    if result == 0 { Ok(offset) } else { Err(io::Error::last_os_error()) }
}

fn set(fd: &VcpuFd, offset: u64) -> io::Result<()> {
    // SAFETY: the descriptor is a vCPU's; KVM reads eight bytes at the address, which `offset` has.
    let result = unsafe { ioctl_with_ref(fd, KVM_SET_DEVICE_ATTR(), &attribute(&offset)) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
