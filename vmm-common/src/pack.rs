//! The packed plan: a plan and the images it names in one piece, for a target that has no files. A
//! boot loader hands it over as a module.
//!
//! ```text
//!  0  magic, 8 bytes         16  bytes of all, u64         28  contents: plan, spans (postcard)
//!  8  version, u32           24  bytes of contents, u32     .  images, each kind of bytes once
//! 12  CRC-32 of 16.., u32        all little-endian
//! ```
//!
//! [`unpack`] reports any damage and never panics. [`crate::plan::check`] decides whether the plan
//! is valid.

use crate::boot::Images;
use crate::plan::Plan;
use alloc::vec::Vec;
use core::fmt;
use serde::{Deserialize, Serialize};

#[cfg(test)]
mod tests;

/// What every packed plan begins with.
pub const MAGIC: [u8; 8] = *b"TANDEMPK";
/// The layout's version. A plan is packed and unpacked by builds of the same source.
pub const VERSION: u32 = 7;

/// Where the header's fields begin, and its length.
const AT_VERSION: usize = 8;
const AT_CHECKSUM: usize = 12;
const AT_TOTAL: usize = 16;
const AT_CONTENTS: usize = 24;
const HEADER_BYTES: usize = 28;

/// A plan with what boots each of its VMs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packed<'a> {
    /// The plan.
    pub plan: Plan,
    /// For each VM, in the plan's order.
    pub images: Vec<Images<'a>>,
    /// For each VM, what its disks hold, in the plan's order.
    pub disks: Vec<Vec<&'a [u8]>>,
}

/// Why bytes are no packed plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PackError {
    /// The bytes begin with something else.
    NoMagic,
    /// Packed by another version.
    Version {
        /// The version read.
        version: u32,
    },
    /// The end is missing.
    Truncated {
        /// Bytes there are.
        has: u64,
        /// Bytes there should be.
        needed: u64,
    },
    /// The bytes are corrupted.
    Checksum {
        /// The checksum of what arrived.
        computed: u32,
        /// The checksum in the header.
        stated: u32,
    },
    /// The checksum is right, but what it covers is no plan.
    BadPlan {
        /// What is wrong.
        why: postcard::Error,
    },
    /// An image would lie outside.
    ImageRange {
        /// The VM's place in the plan.
        vm: usize,
        /// First byte, from the first image's.
        offset: u64,
        /// Bytes.
        len: u64,
        /// Bytes of all images.
        has: u64,
    },
    /// Not one module for each that the VM's plan names.
    ModuleCount {
        /// The VM's place in the plan.
        vm: usize,
        /// Modules there are.
        modules: usize,
        /// Modules there should be.
        planned: usize,
    },
    /// Not as many bytes for a disk as the VM's plan names.
    DiskBytes {
        /// The VM's place in the plan.
        vm: usize,
    },
    /// Not one image for each VM.
    ImageCount {
        /// Images there are.
        images: usize,
        /// VMs in the plan.
        vms: usize,
    },
}

impl fmt::Display for PackError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoMagic => write!(f, "the packed plan does not begin with its magic, TANDEMPK"),
            Self::Version { version } => {
                write!(f, "the packed plan has version {version}; allowed: {VERSION}")
            }
            Self::Truncated { has, needed } => {
                write!(f, "the packed plan has {has} bytes; needed: {needed}")
            }
            Self::Checksum { computed, stated } => write!(
                f,
                "the packed plan's checksum is {computed:#010x}, its header says {stated:#010x}: \
                it was damaged on the way"
            ),
            Self::BadPlan { why } => write!(f, "the packed plan cannot be read: {why}"),
            Self::ImageRange { vm, offset, len, has } => write!(
                f,
                "the image of VM {vm} is {len} bytes at {offset}; all images have {has} bytes"
            ),
            Self::ModuleCount { vm, modules, planned } => {
                write!(f, "VM {vm} has {modules} packed modules; its plan names {planned}")
            }
            Self::DiskBytes { vm } => {
                write!(f, "VM {vm} has packed disks other than those that its plan names")
            }
            Self::ImageCount { images, vms } => {
                write!(f, "the packed plan has {images} images for {vms} VMs; needed: one for each")
            }
        }
    }
}

impl core::error::Error for PackError {}

/// Where a run of bytes lies among the images.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Span {
    /// First byte, from the first image's.
    offset: u64,
    len: u64,
}

/// Where a VM's images lie.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct ImageSpans {
    kernel: Span,
    bios: Option<Span>,
    modules: Vec<Span>,
    disks: Vec<Span>,
}

/// Packs `plan` with `images` and the contents of `disks`, of each of its VMs, in its order.
///
/// # Panics
/// The plan's texts take 4 GiB or more.
#[must_use]
pub fn pack(plan: &Plan, images: &[Images<'_>], disks: &[Vec<&[u8]>]) -> Vec<u8> {
    let mut store = Store::default();
    let mut spans = Vec::with_capacity(images.len());
    for (image, disks) in images.iter().zip(disks) {
        let bios = image.bios.map(|bios| store.put(bios));
        let modules = image.modules.iter().map(|module| store.put(module)).collect();
        let disks = disks.iter().map(|disk| store.put(disk)).collect();
        spans.push(ImageSpans { kernel: store.put(image.kernel), bios, modules, disks });
    }
    let contents = postcard::to_allocvec(&(plan, spans)).expect("a Vec takes what it is given");
    let contents_bytes = u32::try_from(contents.len()).expect("a plan is some kilobytes");
    let total = HEADER_BYTES + contents.len() + store.bytes.len();

    let mut bytes = Vec::with_capacity(total);
    bytes.extend_from_slice(&MAGIC);
    bytes.extend_from_slice(&VERSION.to_le_bytes());
    bytes.extend_from_slice(&[0; 4]);
    bytes.extend_from_slice(&(total as u64).to_le_bytes());
    bytes.extend_from_slice(&contents_bytes.to_le_bytes());
    bytes.extend_from_slice(&contents);
    bytes.extend_from_slice(&store.bytes);
    let checksum = crc32fast::hash(&bytes[AT_TOTAL..]);
    bytes[AT_CHECKSUM..AT_TOTAL].copy_from_slice(&checksum.to_le_bytes());
    bytes
}

/// Unpacks a plan. Bytes beyond its end are ignored.
///
/// # Errors
/// The bytes are none, or were cut off or changed.
pub fn unpack(bytes: &[u8]) -> Result<Packed<'_>, PackError> {
    if !bytes.starts_with(&MAGIC[..bytes.len().min(MAGIC.len())]) {
        return Err(PackError::NoMagic);
    }
    let (version, stated) = (u32_at(bytes, AT_VERSION)?, u32_at(bytes, AT_CHECKSUM)?);
    if version != VERSION {
        return Err(PackError::Version { version });
    }
    let total = u64::from_le_bytes(array_at(bytes, AT_TOTAL)?);
    let bytes = prefix(bytes, total)?;
    let contents_bytes = u32_at(bytes, AT_CONTENTS)?;
    let computed = crc32fast::hash(&bytes[AT_TOTAL..]);
    if computed != stated {
        return Err(PackError::Checksum { computed, stated });
    }
    let body = &bytes[HEADER_BYTES..];
    let contents = prefix(body, contents_bytes.into())?;
    let (plan, spans): (Plan, Vec<ImageSpans>) =
        postcard::from_bytes(contents).map_err(|why| PackError::BadPlan { why })?;
    if spans.len() != plan.vms.len() {
        return Err(PackError::ImageCount { images: spans.len(), vms: plan.vms.len() });
    }
    if let Some(vm) =
        (0..spans.len()).find(|vm| spans[*vm].modules.len() != plan.vms[*vm].boot.modules.len())
    {
        let (modules, planned) = (spans[vm].modules.len(), plan.vms[vm].boot.modules.len());
        return Err(PackError::ModuleCount { vm, modules, planned });
    }
    let store = &body[contents.len()..];
    let image = |(vm, spans): (usize, ImageSpans)| {
        let bios = spans.bios.map(|bios| cut(store, vm, bios)).transpose()?;
        let modules = spans.modules.into_iter().map(|module| cut(store, vm, module));
        let modules = modules.collect::<Result<_, _>>()?;
        Ok(Images { kernel: cut(store, vm, spans.kernel)?, bios, modules })
    };
    let disks = disks(&plan, &spans, store)?;
    let images = spans.into_iter().enumerate().map(image).collect::<Result<_, _>>()?;
    Ok(Packed { plan, images, disks })
}

/// What each VM's disks hold.
fn disks<'a>(
    plan: &Plan,
    spans: &[ImageSpans],
    store: &'a [u8],
) -> Result<Vec<Vec<&'a [u8]>>, PackError> {
    let of_vm = |(vm, spans): (usize, &ImageSpans)| {
        let sizes = plan.vms[vm].virtio.disks.iter().map(|disk| disk.bytes);
        if !sizes.eq(spans.disks.iter().map(|span| span.len)) {
            return Err(PackError::DiskBytes { vm });
        }
        spans.disks.iter().map(|span| cut(store, vm, *span)).collect()
    };
    spans.iter().enumerate().map(of_vm).collect()
}

/// Images one after another; equal ones are stored once.
#[derive(Default)]
struct Store<'a> {
    bytes: Vec<u8>,
    stored: Vec<(&'a [u8], Span)>,
}

impl<'a> Store<'a> {
    fn put(&mut self, image: &'a [u8]) -> Span {
        if let Some((_, span)) = self.stored.iter().find(|(other, _)| *other == image) {
            return *span;
        }
        let span = Span { offset: self.bytes.len() as u64, len: image.len() as u64 };
        self.bytes.extend_from_slice(image);
        self.stored.push((image, span));
        span
    }
}

fn cut(store: &[u8], vm: usize, span: Span) -> Result<&[u8], PackError> {
    let Span { offset, len } = span;
    let begin = usize::try_from(offset).ok();
    let end = offset.checked_add(len).and_then(|end| usize::try_from(end).ok());
    let range = begin.zip(end).and_then(|(begin, end)| store.get(begin..end));
    range.ok_or(PackError::ImageRange { vm, offset, len, has: store.len() as u64 })
}

/// The first `needed` bytes.
fn prefix(bytes: &[u8], needed: u64) -> Result<&[u8], PackError> {
    let range = usize::try_from(needed).ok().and_then(|needed| bytes.get(..needed));
    range.ok_or(PackError::Truncated { has: bytes.len() as u64, needed })
}

fn u32_at(bytes: &[u8], at: usize) -> Result<u32, PackError> {
    array_at(bytes, at).map(u32::from_le_bytes)
}

/// Bytes of the header, which must be there in full.
fn array_at<const N: usize>(bytes: &[u8], at: usize) -> Result<[u8; N], PackError> {
    let header = prefix(bytes, HEADER_BYTES as u64)?;
    Ok(header[at..at + N].try_into().expect("the slice has that length"))
}
