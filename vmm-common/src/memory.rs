//! A guest's RAM by guest-physical address. The VM owns it ([`crate::vm::Vm::memory`]); a backend
//! keeps a handle to the same bytes.
//!
//! The target maps the bytes; all code that acts for a guest (string I/O, an
//! instruction on a device, the clock structures) reaches them through this one trait. Linear
//! addresses are translated by [`crate::x86::paging`], the one page walk.

/// The RAM of one VM. A handle: a clone names the same bytes, so that writing needs no `&mut`.
///
/// Accesses may race with the guest's own where another vCPU runs; they are copies of bytes, and
/// nothing here depends on what is read twice being the same.
pub trait GuestMemory {
    /// Copies RAM at `address` to `to`; false if that is not all RAM, and `to` is undefined then.
    #[must_use]
    fn read(&self, address: u64, to: &mut [u8]) -> bool;

    /// Copies `from` to RAM at `address`; false if that is not all RAM, and nothing is written
    /// then.
    fn write(&self, address: u64, from: &[u8]) -> bool;

    /// The 8 bytes at `address`, little-endian; None if that is not all RAM.
    #[must_use]
    #[inline]
    fn word(&self, address: u64) -> Option<u64> {
        let mut word = [0; 8];
        self.read(address, &mut word).then(|| u64::from_le_bytes(word))
    }
}

/// No RAM at all, for machines that run no guest.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoMemory;

impl GuestMemory for NoMemory {
    fn read(&self, _address: u64, _to: &mut [u8]) -> bool {
        false
    }

    fn write(&self, _address: u64, _from: &[u8]) -> bool {
        false
    }
}
