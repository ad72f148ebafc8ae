//! A guest's time-stamp counter: reading it, holding it back, and the guest's own writes.
//!
//! It is moved by its offset (KVM_VCPU_TSC_OFFSET), not by writing the counter: KVM takes host
//! writes that lie close together for attempts to synchronize several vCPUs, and ignores
//! the difference.

use crate::sys::Clock;
use anyhow::{Context, Result, ensure};
use devices::lapic::TscClock;
use kvm_bindings::{
    KVM_VCPU_TSC_CTRL, KVM_VCPU_TSC_OFFSET, KVMIO, Msrs, kvm_device_attr, kvm_msr_entry,
};
use kvm_ioctls::VcpuFd;
use std::io;
use vmm_common::architecture::msr::IA32_TIME_STAMP_COUNTER;
use vmm_common::seam::TscReading;
use vmm_sys_util::ioctl::ioctl_with_ref;

vmm_sys_util::ioctl_iow_nr!(KVM_SET_DEVICE_ATTR, KVMIO, 0xe1, kvm_device_attr);
vmm_sys_util::ioctl_iow_nr!(KVM_GET_DEVICE_ATTR, KVMIO, 0xe2, kvm_device_attr);

/// Fails where KVM cannot move the counter, or accepts a new offset and ignores it. For a vCPU that
/// has not run yet.
pub fn check_can_move(fd: &VcpuFd) -> Result<()> {
    const CLOCK_OWN: &str = "clock: own needs a KVM that moves a vCPU's TSC by \
        KVM_VCPU_TSC_OFFSET (Linux has it since 5.16, an emulated KVM may lack it at any version); \
        allowed here: clock: wall";
    let offset = get(fd).context(CLOCK_OWN)?;
    let other = offset ^ 1 << 40;
    set(fd, other).context(CLOCK_OWN)?;
    let is_followed = get(fd).is_ok_and(|offset| offset == other);
    ensure!(is_followed, "this KVM takes no notice of a new offset: {CLOCK_OWN}");
    set(fd, offset).context(CLOCK_OWN)
}

/// Gives the counter of `fd` the offset of `first`, if KVM has offsets.
pub fn follow(fd: &VcpuFd, first: &VcpuFd) {
    if let Ok(offset) = get(first) {
        let _ = set(fd, offset);
    }
}

/// Holds the counter back by `held_ns` in total, where it was `before_ns`.
pub fn hold_back(fd: &VcpuFd, before_ns: u64, held_ns: u64) -> io::Result<()> {
    let hz = fd.get_tsc_khz().map_or(0, |khz| u64::from(khz) * 1000);
    set(fd, get(fd)?.wrapping_sub(TscClock::fall(hz, before_ns, held_ns)))
}

/// Reads the counter between two readings of the clock. The shortest of a few tries counts, as the
/// host may take the core in between.
pub fn read(fd: &VcpuFd, clock: Clock) -> Result<TscReading> {
    const TRIES: usize = 4;
    const SHORT_NS: u64 = 20_000;
    let hz = fd.get_tsc_khz().map_or(0, |khz| u64::from(khz) * 1000);
    let mut best = (u64::MAX, TscReading { hz, tsc: 0, at: clock.now() });
    for _ in 0..TRIES {
        let before = clock.now();
        let tsc = counter(fd)?;
        let took_ns = clock.now().ns_since(before);
        if took_ns < best.0 {
            best = (took_ns, TscReading { hz, tsc, at: before.after_ns(took_ns / 2) });
        }
        if took_ns < SHORT_NS {
            break;
        }
    }
    Ok(best.1)
}

/// Carries out the guest's write to its counter.
pub fn write(fd: &VcpuFd, value: u64) -> Result<()> {
    /// A KVM without the attribute, or that ignores it, is off by more than this.
    const NEAR_TICKS: i64 = 1 << 30;
    let is_moved = get(fd).and_then(|offset| {
        let ticks = value.wrapping_sub(counter(fd).map_err(io::Error::other)?);
        set(fd, offset.wrapping_add(ticks))
    });
    let reached = counter(fd)?.wrapping_sub(value).cast_signed();
    if is_moved.is_ok() && (0..NEAR_TICKS).contains(&reached) {
        return Ok(());
    }
    let entry = kvm_msr_entry { index: IA32_TIME_STAMP_COUNTER, data: value, ..Default::default() };
    let msrs = Msrs::from_entries(&[entry]).context("one MSR fits")?;
    fd.set_msrs(&msrs).map(drop).context("KVM_SET_MSRS")
}

fn counter(fd: &VcpuFd) -> Result<u64> {
    let entry = kvm_msr_entry { index: IA32_TIME_STAMP_COUNTER, ..Default::default() };
    let mut msrs = Msrs::from_entries(&[entry]).context("one MSR fits")?;
    fd.get_msrs(&mut msrs).context("KVM_GET_MSRS")?;
    Ok(msrs.as_slice()[0].data)
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
    // SAFETY: the descriptor is a vCPU's; KVM writes eight bytes at the address, which `offset`
    // has.
    let result = unsafe { ioctl_with_ref(fd, KVM_GET_DEVICE_ATTR(), &attribute) };
    if result == 0 { Ok(offset) } else { Err(io::Error::last_os_error()) }
}

fn set(fd: &VcpuFd, offset: u64) -> io::Result<()> {
    // SAFETY: the descriptor is a vCPU's; KVM reads eight bytes at the address, which `offset` has.
    let result = unsafe { ioctl_with_ref(fd, KVM_SET_DEVICE_ATTR(), &attribute(&offset)) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
