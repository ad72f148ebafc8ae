//! The page that KVM shares with us for a vCPU, `struct kvm_run`: typed access to its unions.
//!
//! Every function here reads the union member that `exit_reason` says is the valid one (KVM API
//! documentation, section 5).

use kvm_bindings::{KVM_EXIT_IO_IN, kvm_run};
use kvm_ioctls::VcpuFd;

/// A string of port accesses that one exit asks for.
#[derive(Clone, Copy, Debug)]
pub struct PortString {
    /// IN; otherwise OUT.
    pub is_in: bool,
    /// Bytes of each access.
    pub size: u8,
    /// The port.
    pub port: u16,
    /// How many accesses.
    pub count: u32,
    /// Where their data begins, bytes from the start of the page.
    data_offset: u64,
}

/// The valid member after KVM_EXIT_IO.
pub fn port_string(run: &kvm_run) -> PortString {
    // SAFETY: the caller saw KVM_EXIT_IO; every bit pattern of these integers is a value.
    let io = unsafe { run.__bindgen_anon_1.io };
    PortString {
        is_in: u32::from(io.direction) == KVM_EXIT_IO_IN,
        size: io.size,
        port: io.port,
        count: io.count,
        data_offset: io.data_offset,
    }
}

impl PortString {
    /// The data of access `index` of this string, in the vCPU's page.
    pub fn element<'a>(&self, fd: &'a mut VcpuFd, index: u32) -> &'a mut [u8] {
        assert!(index < self.count, "only accesses that the exit asked for");
        let size = usize::from(self.size);
        let page = std::ptr::from_mut(fd.get_kvm_run()).cast::<u8>();
        let offset = self.data_offset as usize + index as usize * size;
        // SAFETY: KVM says where the data lies, `count` elements of `size` bytes, all within the
        // mapping that starts with `kvm_run` and that `fd` keeps.
        let data = unsafe { page.add(offset) };
        // SAFETY: as above; the slice borrows `fd`, so KVM_RUN cannot be called meanwhile.
        unsafe { std::slice::from_raw_parts_mut(data, size) }
    }
}

/// Address, data and direction of a KVM_EXIT_MMIO.
pub fn mmio(run: &kvm_run) -> (u64, [u8; 8], u8, bool) {
    // SAFETY: the caller saw KVM_EXIT_MMIO; every bit pattern of these integers is a value.
    let mmio = unsafe { run.__bindgen_anon_1.mmio };
    let len = mmio.len.min(8) as usize;
    // The bytes after those are stale.
    let mut data = [0; 8];
    data[..len].copy_from_slice(&mmio.data[..len]);
    (mmio.phys_addr, data, len as u8, mmio.is_write != 0)
}

/// Answers a KVM_EXIT_MMIO load.
pub fn set_mmio_data(run: &mut kvm_run, data: [u8; 8]) {
    run.__bindgen_anon_1.mmio.data = data;
}

/// Index and data of a KVM_EXIT_X86_RDMSR or _WRMSR.
pub fn msr(run: &kvm_run) -> (u32, u64) {
    // SAFETY: the caller saw one of the two; every bit pattern of these integers is a value.
    let msr = unsafe { run.__bindgen_anon_1.msr };
    (msr.index, msr.data)
}

/// Answers a KVM_EXIT_X86_RDMSR or _WRMSR: the value, or None for #GP.
pub fn set_msr_answer(run: &mut kvm_run, answer: Option<u64>) {
    run.__bindgen_anon_1.msr.error = u8::from(answer.is_none());
    run.__bindgen_anon_1.msr.data = answer.unwrap_or(0);
}

/// The exception and DR6 of a KVM_EXIT_DEBUG.
pub fn debug(run: &kvm_run) -> (u32, u64) {
    // SAFETY: the caller saw KVM_EXIT_DEBUG; every bit pattern of these integers is a value.
    let debug = unsafe { run.__bindgen_anon_1.debug };
    (debug.arch.exception, debug.arch.dr6)
}

/// The hardware's reason of a KVM_EXIT_FAIL_ENTRY.
pub fn entry_failure(run: &kvm_run) -> u64 {
    // SAFETY: the caller saw KVM_EXIT_FAIL_ENTRY; every bit pattern of the integer is a value.
    unsafe { run.__bindgen_anon_1.fail_entry.hardware_entry_failure_reason }
}

/// KVM's code of a KVM_EXIT_INTERNAL_ERROR.
pub fn internal_error(run: &kvm_run) -> u32 {
    // SAFETY: the caller saw KVM_EXIT_INTERNAL_ERROR; every bit pattern of the integer is a value.
    unsafe { run.__bindgen_anon_1.internal.suberror }
}

/// The flag that makes KVM_RUN return at once.
pub fn immediate_exit(fd: &mut VcpuFd) -> *mut u8 {
    &raw mut fd.get_kvm_run().immediate_exit
}
