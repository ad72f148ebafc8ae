//! The requests to KVM that the loop makes, by number, for the filter of system calls: making VMs
//! and vCPUs is over by then.

use kvm_bindings::{
    KVMIO, kvm_coalesced_mmio_zone, kvm_debugregs, kvm_device_attr, kvm_fpu, kvm_guest_debug,
    kvm_interrupt, kvm_msrs, kvm_regs, kvm_sregs, kvm_translation, kvm_vcpu_events, kvm_xcrs,
    kvm_xsave,
};

/// The direction of a request's data (asm-generic/ioctl.h), as the kernel names it.
const NONE: u64 = 0;
const WRITE: u64 = 1;
const READ: u64 = 2;

/// KVM_RUN, by far the most frequent, and the others.
pub const LOOP_REQUESTS: [u64; 25] = [
    request::<()>(NONE, 0x80),                       // KVM_RUN
    request::<kvm_interrupt>(WRITE, 0x86),           // KVM_INTERRUPT
    request::<kvm_vcpu_events>(READ, 0x9f),          // KVM_GET_VCPU_EVENTS
    request::<kvm_vcpu_events>(WRITE, 0xa0),         // KVM_SET_VCPU_EVENTS
    request::<kvm_debugregs>(WRITE, 0xa2),           // KVM_SET_DEBUGREGS
    request::<kvm_debugregs>(READ, 0xa1),            // KVM_GET_DEBUGREGS
    request::<kvm_guest_debug>(WRITE, 0x9b),         // KVM_SET_GUEST_DEBUG
    request::<kvm_fpu>(READ, 0x8c),                  // KVM_GET_FPU
    request::<kvm_fpu>(WRITE, 0x8d),                 // KVM_SET_FPU
    request::<kvm_xsave>(WRITE, 0xa5),               // KVM_SET_XSAVE
    request::<kvm_xcrs>(WRITE, 0xa7),                // KVM_SET_XCRS
    request::<()>(NONE, 0x9a),                       // KVM_NMI
    request::<kvm_regs>(READ, 0x81),                 // KVM_GET_REGS
    request::<kvm_regs>(WRITE, 0x82),                // KVM_SET_REGS
    request::<kvm_sregs>(READ, 0x83),                // KVM_GET_SREGS
    request::<kvm_sregs>(WRITE, 0x84),               // KVM_SET_SREGS
    request::<kvm_translation>(READ | WRITE, 0x85),  // KVM_TRANSLATE
    request::<kvm_msrs>(READ | WRITE, 0x88),         // KVM_GET_MSRS
    request::<kvm_msrs>(WRITE, 0x89),                // KVM_SET_MSRS
    request::<()>(NONE, 0xa3),                       // KVM_GET_TSC_KHZ
    request::<kvm_device_attr>(WRITE, 0xe1),         // KVM_SET_DEVICE_ATTR
    request::<kvm_device_attr>(WRITE, 0xe2),         // KVM_GET_DEVICE_ATTR
    request::<kvm_device_attr>(WRITE, 0xe3),         // KVM_HAS_DEVICE_ATTR
    request::<kvm_coalesced_mmio_zone>(WRITE, 0x67), // KVM_REGISTER_COALESCED_MMIO
    request::<kvm_coalesced_mmio_zone>(WRITE, 0x68), // KVM_UNREGISTER_COALESCED_MMIO
];

const fn request<T>(direction: u64, number: u64) -> u64 {
    direction << 30 | (size_of::<T>() as u64) << 16 | (KVMIO as u64) << 8 | number
}
