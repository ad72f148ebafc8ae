//! Frames: 4 KiB of the hypervisor's own memory each, zeroed, and never freed. All
//! physical memory is identity-mapped, so an address is a pointer.

use crate::carve::Region;

/// Bytes of a frame.
pub const FRAME_BYTES: u64 = 0x1000;

/// The memory that frames are taken from.
#[derive(Debug)]
pub struct Frames {
    begin: u64,
    next: u64,
    end: u64,
}

/// There is no frame left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutOfFrames;

/// A frame, or several in a row, ours alone.
#[derive(Debug)]
pub struct Frame {
    address: u64,
    words: usize,
}

impl Frames {
    /// Frames of this memory, which begins and ends at multiples of [`FRAME_BYTES`].
    #[must_use]
    pub const fn new(region: Region) -> Self {
        let begin = region.begin();
        assert!((begin | region.bytes()).is_multiple_of(FRAME_BYTES), "frames are whole");
        Self { begin, next: begin, end: begin + region.bytes() }
    }

    /// Bytes of the frames handed out.
    #[must_use]
    pub const fn taken_bytes(&self) -> u64 {
        self.next - self.begin
    }

    /// A zeroed frame.
    ///
    /// # Errors
    /// [`OutOfFrames`] if none is left.
    pub fn take(&mut self) -> Result<Frame, OutOfFrames> {
        self.take_row(1)
    }

    /// `count` zeroed frames in a row.
    ///
    /// # Errors
    /// [`OutOfFrames`] if fewer are left.
    pub fn take_row(&mut self, count: u64) -> Result<Frame, OutOfFrames> {
        let bytes = count * FRAME_BYTES;
        if self.end - self.next < bytes {
            return Err(OutOfFrames);
        }
        let address = self.next;
        self.next += bytes;
        let mut frame = Frame { address, words: (bytes / 8) as usize };
        frame.words_mut().fill(0);
        Ok(frame)
    }
}

impl Frame {
    /// Physical, and virtual, address.
    #[must_use]
    pub const fn address(&self) -> u64 {
        self.address
    }

    /// As 64-bit words.
    #[must_use]
    pub fn words(&self) -> &[u64] {
        // SAFETY: a region is mapped memory that `Frames` alone owns, and no other frame has this
        // part.
        unsafe { core::slice::from_raw_parts(self.address as *const u64, self.words) }
    }

    /// As 64-bit words, to change.
    pub fn words_mut(&mut self) -> &mut [u64] {
        // SAFETY: as for `words`; the frame is borrowed mutably for as long.
        unsafe { core::slice::from_raw_parts_mut(self.address as *mut u64, self.words) }
    }

    /// As bytes, to change.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as for `words_mut`.
        unsafe { core::slice::from_raw_parts_mut(self.address as *mut u8, self.words * 8) }
    }
}
