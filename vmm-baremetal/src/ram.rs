//! A guest's RAM: one stretch of host memory, from guest-physical address 0. Mapped for us where it
//! is, so that guest-physical plus [`GuestRam::host_base`] is a pointer.

use vmm_common::x86::paging::Tables;

/// RAM of one VM.
#[derive(Clone, Copy, Debug)]
pub struct GuestRam {
    host_base: u64,
    bytes: u64,
}

impl GuestRam {
    /// `bytes` from the host-physical address `host_base` on, both multiples of 4 KiB.
    ///
    /// # Safety
    /// The memory must be mapped at its physical address, and nobody's but this guest's.
    #[must_use]
    pub const unsafe fn new(host_base: u64, bytes: u64) -> Self {
        Self { host_base, bytes }
    }

    /// Where guest-physical address 0 lies, host-physical.
    #[must_use]
    pub const fn host_base(&self) -> u64 {
        self.host_base
    }

    /// Its size.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Copies RAM at guest-physical `address` to `to`; false if it is not all RAM.
    #[inline]
    pub fn read(&self, address: u64, to: &mut [u8]) -> bool {
        let Some(from) = self.pointer(address, to.len()) else { return false };
        // SAFETY: `pointer` has checked the range; the guest does not run, and no Rust value is there.
        unsafe { core::ptr::copy_nonoverlapping(from, to.as_mut_ptr(), to.len()) };
        true
    }

    /// Copies `from` to RAM at guest-physical `address`; false if it is not all RAM.
    pub fn write(&self, address: u64, from: &[u8]) -> bool {
        let Some(to) = self.pointer(address, from.len()) else { return false };
        // SAFETY: as for `read`.
        unsafe { core::ptr::copy_nonoverlapping(from.as_ptr(), to, from.len()) };
        true
    }

    /// The 64-bit word at guest-physical `address`, which page tables hold.
    #[must_use]
    #[inline]
    pub fn word(&self, address: u64) -> Option<u64> {
        let mut word = [0; 8];
        self.read(address, &mut word).then(|| u64::from_le_bytes(word))
    }

    /// All zeros.
    pub fn clear(&self) {
        // SAFETY: the range is this guest's, as `new` was promised, and the guest does not run.
        unsafe { core::ptr::write_bytes(self.host_base as *mut u8, 0, self.bytes as usize) };
    }

    fn pointer(&self, address: u64, len: usize) -> Option<*mut u8> {
        let end = address.checked_add(len as u64)?;
        (end <= self.bytes).then_some((self.host_base + address) as *mut u8)
    }
}

impl Tables for GuestRam {
    fn word(&self, address: u64) -> Option<u64> {
        Self::word(self, address)
    }

    fn write(&mut self, address: u64, byte: u8) {
        Self::write(self, address, &[byte]);
    }
}
