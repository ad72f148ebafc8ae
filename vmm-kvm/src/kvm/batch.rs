//! Writes to a transmitter in batches: KVM's coalesced PIO keeps them in a ring until the guest
//! exits for something else, at a fifth of the cost of an exit each.
//!
//! This is sound because on one core no other code can see the byte before this guest exits, every
//! other access to the port exits, and the ring is emptied first, in order. It is on only
//! while [`Entry::batchable_ports`](vmm_common::seam::Entry::batchable_ports) says that the guest
//! itself cannot observe it, and only after a number of writes to a port: switching costs more
//! than an exit.

use kvm_ioctls::{IoEventAddress, VcpuFd, VmFd};
use std::sync::Arc;
use vmm_common::seam::{BatchablePorts, ExitReason};

/// Ports that the loop may let a guest write in batches.
const PORTS: [u16; BatchablePorts::ALL.len()] = BatchablePorts::ALL;
/// Writes to a port in a batchable state before its writes are batched.
const WORTH_WRITES: u32 = 32;

/// The batching of one VM's serial ports.
#[derive(Debug)]
pub struct Batch {
    vm: Arc<VmFd>,
    /// What may be batched, as of the last entry.
    allowed: BatchablePorts,
    /// Bit n: port n is batched.
    active: u8,
    writes: [u32; PORTS.len()],
    is_supported: bool,
}

impl Batch {
    /// No port batched yet. KVM without coalesced PIO simply exits for each write. So does a VM of
    /// several vCPUs, which would share one ring (`is_alone` is false).
    pub fn new(vm: Arc<VmFd>, vcpu: &mut VcpuFd, is_alone: bool) -> Self {
        let is_supported = is_alone
            && vm.check_extension_raw(kvm_bindings::KVM_CAP_COALESCED_PIO.into()) > 0
            && vcpu.map_coalesced_mmio_ring().is_ok();
        Self {
            vm,
            allowed: BatchablePorts::default(),
            active: 0,
            writes: [0; PORTS.len()],
            is_supported,
        }
    }

    /// Before an entry: the ports in `allowed`, and no other, may be batched.
    pub fn allow(&mut self, allowed: BatchablePorts) {
        if self.allowed == allowed {
            return;
        }
        self.allowed = allowed;
        for (port, address) in PORTS.into_iter().enumerate() {
            let bit = 1 << port;
            if self.active & bit != 0 && !allowed.contains(port) {
                self.active &= !bit;
                self.writes[port] = 0;
                let result =
                    self.vm.unregister_coalesced_mmio(IoEventAddress::Pio(address.into()), 1);
                debug_assert!(result.is_ok(), "it was registered");
            }
        }
    }

    /// After an exit for a write of `size` bytes to `port`.
    pub fn wrote(&mut self, port: u16, size: u8) {
        if self.allowed.is_empty() || size != 1 {
            return;
        }
        let Some(index) = PORTS.iter().position(|address| *address == port) else { return };
        let bit = 1 << index;
        if !self.is_supported || !self.allowed.contains(index) || self.active & bit != 0 {
            return;
        }
        self.writes[index] += 1;
        if self.writes[index] >= WORTH_WRITES {
            let address = IoEventAddress::Pio(port.into());
            // A refusal costs speed, not bytes: writes go on exiting.
            self.is_supported = self.vm.register_coalesced_mmio(address, 1).is_ok();
            self.active |= if self.is_supported { bit } else { 0 };
        }
    }

    /// The oldest write still in the ring.
    pub fn next(&self, vcpu: &mut VcpuFd) -> Option<ExitReason> {
        if self.active == 0 {
            return None;
        }
        let write = vcpu.coalesced_mmio_read().ok()??;
        let value = u32::from(write.data[0]);
        Some(ExitReason::PortOut { port: write.phys_addr as u16, size: 1, value })
    }
}
