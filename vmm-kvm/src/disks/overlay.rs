//! What a guest has written to an image that is only read: in clusters, each of which is in the
//! image or in the overlay's file.
//!
//! ```text
//! a file of the user's:  header, 4 KiB | map, a bit a cluster | clusters, each at its place
//! an unnamed file:       clusters, each at its place; the map is in memory alone
//! ```
//!
//! A file of the user's is sparse. Its map is written by a flush, after what it refers to: an
//! overlay that a crash leaves lacks what was not flushed, and holds nothing else.

use super::lock;
use crate::kvm::GuestRam;
use crate::sys;
use anyhow::{Context, Result, bail};
use devices::virtio::Buffer;
use std::fs::{File, OpenOptions};
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Bytes of a cluster: what file systems write at least.
const CLUSTER: u64 = 4096;
/// Bytes before the map.
const HEADER_BYTES: u64 = 4096;
/// Behind the magic are version and size of the image, both u64.
const MAGIC: [u8; 8] = *b"TANDEMOV";
const VERSION: u64 = 1;

/// An image, and what was written to it.
#[derive(Debug)]
pub struct Overlay {
    image: File,
    file: File,
    /// Bytes of the image.
    bytes: u64,
    /// Where cluster 0 is in `file`.
    first: u64,
    /// A bit for each cluster that `file` has.
    map: Vec<u8>,
    /// Bytes of the map that differ from the file's; None: the map is in memory alone.
    unsaved: Option<Range<usize>>,
}

impl Overlay {
    /// Over `image` of `bytes` bytes, in a file that ends with the process.
    pub fn unnamed(image: File, bytes: u64) -> Result<Self> {
        let file = sys::unnamed_file().context("a file for what the guest writes")?;
        Ok(Self { image, file, bytes, first: 0, map: vec![0; map_bytes(bytes)], unsaved: None })
    }

    /// In this file, which is made if it is not there.
    ///
    /// # Errors
    /// It is something else, or the overlay of another image.
    pub fn named(image: File, bytes: u64, path: &Path) -> Result<Self> {
        let file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        super::check_kind(&file)?;
        lock::take(&file, true)?;
        let mut map = vec![0; map_bytes(bytes)];
        let first = (HEADER_BYTES + map.len() as u64).next_multiple_of(CLUSTER);
        if file.metadata()?.len() == 0 {
            let mut header = [0; HEADER_BYTES as usize];
            header[..8].copy_from_slice(&MAGIC);
            header[8..16].copy_from_slice(&VERSION.to_le_bytes());
            header[16..24].copy_from_slice(&bytes.to_le_bytes());
            file.set_len(first + bytes.next_multiple_of(CLUSTER))?;
            file.write_all_at(&header, 0)?;
        } else {
            let mut header = [0; 24];
            let has_header = file.read_exact_at(&mut header, 0).is_ok() && header[..8] == MAGIC;
            if !has_header || header[8..16] != VERSION.to_le_bytes() {
                bail!("it is no overlay; allowed: one that a run has made, or a new name");
            }
            let of = u64::from_le_bytes(header[16..24].try_into().expect("8 bytes"));
            if of != bytes {
                bail!("it is the overlay of an image of {of} bytes, and this has {bytes}");
            }
            file.read_exact_at(&mut map, HEADER_BYTES)?;
        }
        Ok(Self { image, file, bytes, first, map, unsaved: Some(0..0) })
    }

    /// Fills `buffers` from `offset` on.
    pub fn read(&self, offset: u64, buffers: &[Buffer], memory: &GuestRam) -> io::Result<()> {
        let end = offset + devices::virtio::total(buffers);
        let mut at = offset;
        while at < end {
            let is_here = self.has(at / CLUSTER);
            let mut until = (at / CLUSTER + 1) * CLUSTER;
            while until < end && self.has(until / CLUSTER) == is_here {
                until += CLUSTER;
            }
            let until = until.min(end);
            let piece = cut(buffers, at - offset..until - offset);
            match is_here {
                true => memory.read_from(&self.file, self.first + at, &piece)?,
                false => memory.read_from(&self.image, at, &piece)?,
            }
            at = until;
        }
        Ok(())
    }

    /// Writes `buffers` from `offset` on.
    pub fn write(&mut self, offset: u64, buffers: &[Buffer], memory: &GuestRam) -> io::Result<()> {
        let bytes = devices::virtio::total(buffers);
        self.fill_edges(offset, bytes)?;
        memory.write_to(&self.file, self.first + offset, buffers)?;
        self.mark(offset, bytes);
        Ok(())
    }

    /// Makes the bytes zero.
    pub fn clear(&mut self, offset: u64, bytes: u64) -> io::Result<()> {
        self.fill_edges(offset, bytes)?;
        sys::write_zeroes(&self.file, self.first + offset, bytes)?;
        self.mark(offset, bytes);
        Ok(())
    }

    /// What was written before is in the file when this returns.
    pub fn flush(&mut self) -> io::Result<()> {
        let Some(unsaved) = self.unsaved.clone() else { return Ok(()) };
        self.file.sync_data()?;
        if unsaved.start < unsaved.end {
            let at = HEADER_BYTES + unsaved.start as u64;
            self.file.write_all_at(&self.map[unsaved], at)?;
            self.file.sync_data()?;
            self.unsaved = Some(0..0);
        }
        Ok(())
    }

    /// Copies the first and the last cluster of a write from the image if they are not here and the
    /// write does not cover them.
    fn fill_edges(&self, offset: u64, bytes: u64) -> io::Result<()> {
        let end = offset + bytes;
        for (edge, is_whole) in [
            (offset, offset.is_multiple_of(CLUSTER) && bytes >= CLUSTER),
            (end.saturating_sub(1), end.is_multiple_of(CLUSTER) || end == self.bytes),
        ] {
            let cluster = edge / CLUSTER;
            let is_covered = is_whole && cluster * CLUSTER >= offset;
            if bytes > 0 && !is_covered && !self.has(cluster) {
                let begin = cluster * CLUSTER;
                let mut content = [0; CLUSTER as usize];
                let len = CLUSTER.min(self.bytes - begin) as usize;
                self.image.read_exact_at(&mut content[..len], begin)?;
                self.file.write_all_at(&content[..len], self.first + begin)?;
            }
        }
        Ok(())
    }

    fn has(&self, cluster: u64) -> bool {
        self.map[cluster as usize / 8] & 1 << (cluster % 8) != 0
    }

    fn mark(&mut self, offset: u64, bytes: u64) {
        if bytes == 0 {
            return;
        }
        let (first, last) = (offset / CLUSTER, (offset + bytes - 1) / CLUSTER);
        for cluster in first..=last {
            self.map[cluster as usize / 8] |= 1 << (cluster % 8);
        }
        if let Some(unsaved) = &mut self.unsaved {
            let touched = first as usize / 8..last as usize / 8 + 1;
            *unsaved = match unsaved.start == unsaved.end {
                true => touched,
                false => unsaved.start.min(touched.start)..unsaved.end.max(touched.end),
            };
        }
    }
}

fn map_bytes(bytes: u64) -> usize {
    usize::try_from(bytes.div_ceil(CLUSTER).div_ceil(8)).expect("an eighth of a file's clusters")
}

/// A range of bytes of `buffers`.
fn cut(buffers: &[Buffer], range: Range<u64>) -> Vec<Buffer> {
    let mut cut = Vec::new();
    let mut at = 0;
    for buffer in buffers {
        let end = at + u64::from(buffer.bytes);
        let (from, to) = (at.max(range.start), end.min(range.end));
        if from < to {
            let (address, bytes) = (buffer.address + (from - at), (to - from) as u32);
            cut.push(Buffer { address, bytes });
        }
        at = end;
    }
    cut
}
