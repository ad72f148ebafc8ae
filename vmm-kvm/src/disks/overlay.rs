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

use super::flushes::Flushes;
use super::job::Step;
use super::lock;
use crate::kvm::GuestRam;
use crate::sys;
use anyhow::{Context, Result, bail};
use devices::virtio::{Buffer, cut, total};
use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use vmm_common::backing::Operation;

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
    image: Arc<File>,
    file: Arc<File>,
    /// Bytes of the image.
    bytes: u64,
    /// Where cluster 0 is in `file`.
    first: u64,
    /// A bit for each cluster that `file` has.
    map: Vec<u8>,
    /// Bytes of the map that differ from the file's; None: the map is in memory alone.
    unsaved: Option<Range<usize>>,
    /// Clusters that writes under way fill whole.
    filling: Vec<Range<u64>>,
    /// Of its file with the map.
    pub flushes: Flushes,
}

impl Overlay {
    /// Over `image` of `bytes` bytes, in a file that ends with the process.
    pub fn unnamed(image: Arc<File>, bytes: u64) -> Result<Self> {
        let file = sys::unnamed_file().context("a file for what the guest writes")?;
        Ok(Self::new(image, file, bytes, vec![0; map_bytes(bytes)]))
    }

    fn new(image: Arc<File>, file: File, bytes: u64, map: Vec<u8>) -> Self {
        Self {
            image,
            file: Arc::new(file),
            bytes,
            first: 0,
            map,
            unsaved: None,
            filling: Vec::new(),
            flushes: Flushes::default(),
        }
    }

    /// In this file, which is made if it is not there.
    ///
    /// # Errors
    /// It is something else, or the overlay of another image.
    pub fn named(image: Arc<File>, bytes: u64, path: &Path) -> Result<Self> {
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
        Ok(Self { first, unsaved: Some(0..0), ..Self::new(image, file, bytes, map) })
    }

    /// Whether its map is in its file, and not in memory alone.
    pub const fn has_map_in_file(&self) -> bool {
        self.unsaved.is_some()
    }

    /// What a request takes.
    ///
    /// # Errors
    /// The clusters at the edges of a write cannot be copied.
    pub fn steps(
        &mut self,
        operation: Operation,
        buffers: &[Buffer],
        memory: &GuestRam,
    ) -> io::Result<VecDeque<Step>> {
        Ok(match operation {
            Operation::Read { offset, .. } => self.read(offset, buffers, memory)?,
            // One that is to be durable is followed by a flush.
            Operation::Write { offset, bytes, is_durable: _ } => {
                self.fill_edges(offset, bytes)?;
                let pieces = memory.pieces(buffers.iter().copied())?;
                let file = self.file.clone();
                [Step::Write { file, offset: self.first + offset, pieces }].into()
            }
            Operation::Flush => self.flush(),
            Operation::WriteZeroes { offset, bytes, may_unmap: _ } => {
                self.fill_edges(offset, bytes)?;
                let file = self.file.clone();
                [Step::Clear { file, offset: self.first + offset, bytes }].into()
            }
            // They may keep what they hold.
            Operation::Discard { .. } => VecDeque::new(),
        })
    }

    /// A request has ended. What it wrote is here from now on, if it ended well.
    pub fn ended(&mut self, operation: Operation, is_well: bool) {
        match operation {
            Operation::Write { offset, bytes, .. }
            | Operation::WriteZeroes { offset, bytes, .. } => {
                let filled = self.whole_clusters(offset, bytes);
                let at = self.filling.iter().position(|filling| *filling == filled);
                at.map(|at| self.filling.swap_remove(at));
                if is_well {
                    self.mark(offset, bytes);
                }
            }
            // The map may not have been saved.
            Operation::Flush if !is_well && self.has_map_in_file() => {
                self.unsaved = Some(0..self.map.len());
            }
            Operation::Read { .. } | Operation::Flush | Operation::Discard { .. } => {}
        }
    }

    /// What a flush takes: the map follows what it refers to.
    pub fn flush(&mut self) -> VecDeque<Step> {
        let Some(unsaved) = self.unsaved.clone() else { return VecDeque::new() };
        self.unsaved = Some(0..0);
        let file = || self.file.clone();
        let mut steps = VecDeque::from([Step::Sync { file: file() }]);
        if unsaved.start < unsaved.end {
            let offset = HEADER_BYTES + unsaved.start as u64;
            steps.push_back(Step::Save { file: file(), offset, bytes: self.map[unsaved].to_vec() });
            steps.push_back(Step::Sync { file: file() });
        }
        steps
    }

    /// Fills `buffers` from `offset` on, each run of clusters from where it is.
    fn read(
        &self,
        offset: u64,
        buffers: &[Buffer],
        memory: &GuestRam,
    ) -> io::Result<VecDeque<Step>> {
        let end = offset + total(buffers);
        let mut steps = VecDeque::new();
        let mut at = offset;
        while at < end {
            let is_here = self.has(at / CLUSTER);
            let mut until = (at / CLUSTER + 1) * CLUSTER;
            while until < end && self.has(until / CLUSTER) == is_here {
                until += CLUSTER;
            }
            let until = until.min(end);
            let pieces = memory.pieces(cut(buffers, at - offset..until - offset))?;
            let (file, offset) = match is_here {
                true => (self.file.clone(), self.first + at),
                false => (self.image.clone(), at),
            };
            steps.push_back(Step::Read { file, offset, pieces });
            at = until;
        }
        Ok(steps)
    }

    /// Copies the first and the last cluster of a write from the image if they are not here and the
    /// write does not cover them: at once, as the write may only follow. They hold the same then,
    /// so that they may be marked whatever becomes of the write. A cluster that another write under
    /// way fills is left to that one: if it fails, the guest knows that the cluster holds anything.
    fn fill_edges(&mut self, offset: u64, bytes: u64) -> io::Result<()> {
        self.filling.push(self.whole_clusters(offset, bytes));
        if bytes == 0 {
            return Ok(());
        }
        for edge in [offset, offset + bytes - 1] {
            let cluster = edge / CLUSTER;
            let is_filled = self.filling.iter().any(|filling| filling.contains(&cluster));
            if !is_filled && !self.has(cluster) {
                let begin = cluster * CLUSTER;
                let mut content = [0; CLUSTER as usize];
                let len = CLUSTER.min(self.bytes - begin) as usize;
                self.image.read_exact_at(&mut content[..len], begin)?;
                self.file.write_all_at(&content[..len], self.first + begin)?;
                self.mark(begin, 1);
            }
        }
        Ok(())
    }

    /// The clusters that a range of bytes covers whole; the image's last one may be shorter.
    fn whole_clusters(&self, offset: u64, bytes: u64) -> Range<u64> {
        let end = offset + bytes;
        let end = if end == self.bytes { end.div_ceil(CLUSTER) } else { end / CLUSTER };
        let first = offset.div_ceil(CLUSTER);
        first..end.max(first)
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
