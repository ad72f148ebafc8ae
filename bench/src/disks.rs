//! Disks: a request through the whole VMM, against one exit and one read into the guest's RAM.

use crate::bare::{Access, Bare, line_status_idle};
use crate::code::{self, DISK_BLOCK, DISK_BLOCKS, DISK_DATA, DISK_HEADER, DISK_NOTIFY};
use crate::lines::{Line, ratio};
use crate::measure::{marginal, seconds, side_by_side};
use crate::tandem::{Guest, run_quietly};
use anyhow::{Context, Result, ensure};
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend};
use vmm_common::plan::BootKind;

const SLICE_NS: u64 = 5_000_000;

/// An image whose blocks differ, in the page cache; gone with the value.
struct Image(PathBuf);

impl Image {
    fn new() -> Result<Self> {
        let path = std::env::temp_dir().join(format!("tandem-bench-disk-{}", std::process::id()));
        let image = Self(path);
        let blocks = (0..DISK_BLOCKS).flat_map(|block| [block as u8; DISK_BLOCK]);
        fs::write(&image.0, blocks.collect::<Vec<_>>()).context("a temporary image")?;
        Ok(image)
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        // It is in the folder for temporary files.
        let _ = fs::remove_file(&self.0);
    }
}

/// Reads of 4 KiB, here and there, of a file that the page cache has.
///
/// # Errors
/// The host refuses something.
pub fn reads(core: u64) -> Result<Line> {
    const COUNTS: (u32, u32) = (500, 5_500);
    let image = Image::new()?;
    let ours = |count| {
        let mut guest = Guest::flat(code::disk_reads(count));
        guest.disk = Some(image.0.clone());
        seconds(|| {
            let outcome = run_quietly(&[guest], SLICE_NS, core)?;
            let served = outcome.receipt.vms[0].devices[0].counts.get("bytes read").copied();
            let wanted = u64::from(count) * DISK_BLOCK as u64;
            ensure!(served == Some(wanted), "{served:?} bytes were read, not {wanted}");
            Ok(())
        })
    };
    let file = File::open(&image.0).context("the image")?;
    let floor = |count| {
        let mut vm = Bare::new(&code::disk_reads(count), BootKind::Flat, "")?;
        seconds(|| run_to_end(&mut vm, &file))
    };
    let costs = side_by_side(9, || marginal(COUNTS, ours), || marginal(COUNTS, floor))?;
    Ok(ratio("4 KiB read of a virtio disk / one exit and pread into RAM", "us", 1e6, costs, 1.15))
}

/// Runs a guest that reads a disk to its end, each request by one read.
fn run_to_end(vm: &mut Bare, file: &File) -> Result<()> {
    loop {
        match vm.run(line_status_idle)? {
            Access::Off => return Ok(()),
            Access::Store(DISK_NOTIFY) => {
                let sector: u64 = vm.ram.read_obj(GuestAddress(DISK_HEADER + 8))?;
                let data = vm.ram.get_slice(GuestAddress(DISK_DATA), DISK_BLOCK)?;
                let guard = data.ptr_guard_mut();
                // SAFETY: the block is RAM of the guest, mapped as long as the VM is, and the guest
                // does not run.
                let data = unsafe { std::slice::from_raw_parts_mut(guard.as_ptr(), DISK_BLOCK) };
                file.read_exact_at(data, sector * 512)?;
            }
            Access::Store(_) | Access::Out(..) | Access::In(_) => {}
            Access::Halt | Access::Signal | Access::Other => {}
        }
    }
}
