//! A guest's RAM by guest-physical address, as a device reaches it: handed in at the access.

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

    /// Whether `bytes` bytes from `address` on are RAM in one piece.
    #[must_use]
    fn has(&self, address: u64, bytes: u64) -> bool;

    /// Copies `bytes` bytes at `from` to `at` in `other`; false if either is not all RAM, and
    /// nothing is written then.
    #[must_use]
    fn copy_to(&self, from: u64, other: &Self, at: u64, bytes: u64) -> bool {
        let mut piece = [0; 512];
        if !self.has(from, bytes) || !other.has(at, bytes) {
            return false;
        }
        let mut done = 0;
        while done < bytes {
            let len = (bytes - done).min(piece.len() as u64);
            let piece = &mut piece[..len as usize];
            if !self.read(from + done, piece) || !other.write(at + done, piece) {
                return false;
            }
            done += len;
        }
        true
    }

    /// Makes the `bytes` bytes from `address` on zero, if they are RAM in one piece.
    fn clear(&self, address: u64, bytes: u64) {
        let zeros = [0; 4096];
        let mut done = 0;
        while done < bytes && self.has(address, bytes) {
            let len = (bytes - done).min(zeros.len() as u64);
            self.write(address + done, &zeros[..len as usize]);
            done += len;
        }
    }

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

    fn has(&self, _address: u64, _bytes: u64) -> bool {
        false
    }
}
