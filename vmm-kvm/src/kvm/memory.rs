//! A guest's RAM: anonymous memory of this process, committed page by page as the guest touches it.

use anyhow::{Context, Result, anyhow};
use devices::virtio::Buffer;
use kvm_bindings::kvm_userspace_memory_region;
use kvm_ioctls::VmFd;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::fd::AsRawFd;
use vm_memory::{
    Bytes, GuestAddress, GuestMemoryBackend, GuestMemoryMmap, GuestMemoryRegion, GuestRegionMmap,
};
use vmm_common::boot::{Boot, Images};
use vmm_common::memory::GuestMemory;
use vmm_common::plan::ram_ranges;

/// RAM of one VM, in the plan's ranges for its size.
#[derive(Clone, Debug)]
pub struct GuestRam(GuestMemoryMmap);

impl GuestRam {
    /// `bytes` of zeros.
    pub fn new(bytes: u64) -> Result<Self> {
        let ranges = ram_ranges(bytes).into_iter().filter(|range| !range.is_empty());
        let range = |range: Range<u64>| {
            let len = usize::try_from(range.end - range.start);
            len.map(|len| (GuestAddress(range.start), len))
        };
        let ranges: Vec<_> = ranges
            .map(range)
            .collect::<Result<_, _>>()
            .context("the memory does not fit into this process")?;
        let memory = GuestMemoryMmap::from_ranges(&ranges)
            .with_context(|| format!("the host cannot give {} MiB of memory", bytes >> 20))?;
        memory.iter().for_each(keep_out_of_dumps);
        Ok(Self(memory))
    }

    /// Copies the pieces of a boot to their places.
    pub fn place(&self, boot: &Boot, images: &Images<'_>) -> Result<()> {
        for (address, bytes) in boot.contents(images) {
            self.0
                .write_slice(bytes, GuestAddress(address))
                .map_err(|error| anyhow!("a piece of the image at {address:#x}: {error}"))?;
        }
        Ok(())
    }

    /// Up to `bytes.len()` bytes at `address`; how many could be read.
    pub fn peek(&self, address: u64, bytes: &mut [u8]) -> usize {
        self.0.read(bytes, GuestAddress(address)).unwrap_or(0)
    }

    /// Where `buffers` are in this process; empty ones are left out. They are mapped for as long as
    /// a clone of this exists.
    ///
    /// # Errors
    /// One is not RAM.
    pub fn pieces(&self, buffers: impl IntoIterator<Item = Buffer>) -> io::Result<Vec<Piece>> {
        let mut pieces = Vec::new();
        self.add_pieces(buffers, &mut pieces).map(|()| pieces)
    }

    /// Adds to `pieces` what [`Self::pieces`] gives.
    ///
    /// # Errors
    /// One is not RAM.
    pub fn add_pieces(
        &self,
        buffers: impl IntoIterator<Item = Buffer>,
        pieces: &mut Vec<Piece>,
    ) -> io::Result<()> {
        for Buffer { address, bytes } in buffers.into_iter().filter(|buffer| buffer.bytes > 0) {
            let slice = self.0.get_slice(GuestAddress(address), bytes as usize);
            let slice = slice.map_err(io::Error::other)?;
            let base = slice.ptr_guard_mut().as_ptr() as usize;
            pieces.push(Piece { base, bytes: slice.len() });
        }
        Ok(())
    }

    /// Maps the RAM for a VM's guest.
    pub fn give_to(&self, vm: &VmFd) -> Result<()> {
        for (slot, region) in (0_u32..).zip(self.0.iter()) {
            let start = region.start_addr();
            let host_address = self.0.get_host_address(start).context("RAM is mapped here")?;
            let region = kvm_userspace_memory_region {
                slot,
                flags: 0,
                guest_phys_addr: start.0,
                memory_size: region.len(),
                userspace_addr: host_address as u64,
            };
            // SAFETY: the range is this mapping's, which `KvmVcpu` keeps alive for as long as the
            // VM; nothing but guest memory accesses, which may race with the guest, touches it.
            unsafe { vm.set_user_memory_region(region) }.context("KVM_SET_USER_MEMORY_REGION")?;
        }
        Ok(())
    }
}

/// Excludes guests' RAM from core dumps of this process.
fn keep_out_of_dumps(region: &GuestRegionMmap) {
    let (start, len) = (region.as_ptr(), region.len() as usize);
    // SAFETY: the range is a mapping of its own, and the advice changes nothing of its contents.
    let result = unsafe { libc::madvise(start.cast(), len, libc::MADV_DONTDUMP) };
    debug_assert_eq!(result, 0, "every Linux that has the KVM we need has it");
}

impl GuestMemory for GuestRam {
    fn read(&self, address: u64, to: &mut [u8]) -> bool {
        self.0.read_slice(to, GuestAddress(address)).is_ok()
    }

    fn write(&self, address: u64, from: &[u8]) -> bool {
        let address = GuestAddress(address);
        // A slice that begins in RAM and ends elsewhere would be written up to there.
        self.0.check_range(address, from.len()) && self.0.write_slice(from, address).is_ok()
    }

    fn copy_to(&self, from: u64, other: &Self, at: u64, bytes: u64) -> bool {
        let Ok(len) = usize::try_from(bytes) else { return false };
        let slices =
            (self.0.get_slice(GuestAddress(from), len), other.0.get_slice(GuestAddress(at), len));
        let (Ok(from), Ok(to)) = slices else { return false };
        from.copy_to_volatile_slice(to);
        true
    }

    fn clear(&self, address: u64, bytes: u64) {
        let Ok(len) = usize::try_from(bytes) else { return };
        let Ok(slice) = self.0.get_slice(GuestAddress(address), len) else { return };
        let start = slice.ptr_guard_mut().as_ptr();
        // Pages of our own, anonymous and private, read as zero after that (madvise(2)); it gives
        // them back to the host, too.
        // SAFETY: the range is this mapping's, and no reference to its bytes exists.
        unsafe { libc::madvise(start.cast(), len, libc::MADV_DONTNEED) };
    }

    fn has(&self, address: u64, bytes: u64) -> bool {
        // Of a single region: regions do not follow one another.
        usize::try_from(bytes).is_ok_and(|len| self.0.check_range(GuestAddress(address), len))
    }
}

/// Bytes of this process that a system call reads or fills: RAM of a guest, or bytes of ours that
/// stay until the call is over. Laid out as an `iovec`.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Piece {
    base: usize,
    bytes: usize,
}

/// What zeros are written from.
static ZEROES: [u8; 1 << 20] = [0; 1 << 20];

impl Piece {
    /// Bytes to be read; the caller keeps them until the call is over.
    pub fn of(bytes: &[u8]) -> Self {
        Self { base: bytes.as_ptr() as usize, bytes: bytes.len() }
    }

    /// Zeros to be read, up to a mebibyte.
    pub fn of_zeroes(bytes: usize) -> Self {
        Self::of(&ZEROES[..bytes.min(ZEROES.len())])
    }

    /// Takes the first `done` bytes off `pieces`.
    pub fn advance(pieces: &mut Vec<Self>, mut done: usize) {
        let mut is_done = |piece: &Self| {
            let is_done = done >= piece.bytes;
            done -= if is_done { piece.bytes } else { 0 };
            is_done
        };
        let count = pieces.iter().map_while(|piece| is_done(piece).then_some(())).count();
        pieces.drain(..count);
        if let Some(first) = pieces.first_mut() {
            first.base += done;
            first.bytes -= done;
        }
    }
}

/// Fills `pieces` from `offset` of a file on; how many bytes were there.
pub fn read_at(file: &File, offset: u64, pieces: &[Piece]) -> io::Result<usize> {
    let (first, count) = (pieces.as_ptr().cast(), pieces.len() as libc::c_int);
    // SAFETY: pieces that are filled are RAM of a guest, mapped while the caller has it, and the
    // kernel's stores to it race with the guest's alone.
    let done = unsafe { libc::preadv64(file.as_raw_fd(), first, count, offset as libc::off64_t) };
    usize::try_from(done).map_err(|_| io::Error::last_os_error())
}

/// Writes `pieces` to `offset` of a file on; how many bytes were written.
pub fn write_at(file: &File, offset: u64, pieces: &[Piece]) -> io::Result<usize> {
    let (first, count) = (pieces.as_ptr().cast(), pieces.len() as libc::c_int);
    // SAFETY: the pieces are mapped while the caller has what they are of; the kernel reads them.
    let done = unsafe { libc::pwritev64(file.as_raw_fd(), first, count, offset as libc::off64_t) };
    usize::try_from(done).map_err(|_| io::Error::last_os_error())
}

/// Writes `pieces` as one message; how many bytes were written.
pub fn write_pieces(file: &File, pieces: &[Piece]) -> io::Result<usize> {
    let (first, count) = (pieces.as_ptr().cast(), pieces.len() as libc::c_int);
    // SAFETY: the pieces are mapped while the caller has what they are of; the kernel reads them.
    let done = unsafe { libc::writev(file.as_raw_fd(), first, count) };
    usize::try_from(done).map_err(|_| io::Error::last_os_error())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_that_ends_beyond_ram_changes_nothing() {
        let ram = GuestRam::new(1 << 20).expect("a megabyte");
        assert!(ram.write(0xf_fff8, &[0x55; 8]));
        assert!(!ram.write(0xf_fffc, &[0xaa; 8]));
        assert_eq!(ram.word(0xf_fff8), Some(0x5555_5555_5555_5555));
        assert_eq!(ram.word(0xf_fff9), None);
        assert!(!ram.write(u64::MAX - 3, &[0; 8]));
    }

    #[test]
    fn a_copy_from_guest_to_guest_is_of_ram_alone() {
        let from = GuestRam::new(1 << 20).expect("a megabyte");
        let to = GuestRam::new(1 << 19).expect("half a megabyte");
        let sent: Vec<u8> = (0..0x1_0003_u32).map(|n| (n * 7) as u8).collect();
        assert!(from.write(0x123, &sent));
        assert!(from.copy_to(0x123, &to, 0x4005, sent.len() as u64));
        let mut received = vec![0; sent.len()];
        assert!(to.read(0x4005, &mut received));
        assert_eq!(received, sent);
        assert!(!from.copy_to(0x123, &to, (1 << 19) - 8, 9), "it ends beyond the receiver's RAM");
        assert!(!from.copy_to((1 << 20) - 8, &to, 0, 9), "it ends beyond the sender's");
        assert!(!from.copy_to(u64::MAX - 3, &to, 0, 8));
        assert_eq!((to.word(0), to.word((1 << 19) - 8)), (Some(0), Some(0)));
    }
}
