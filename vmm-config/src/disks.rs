//! The files of disks: there, of a kind that a disk can be, and of whole sectors.

use crate::draft::Draft;
use crate::fault::Collector;
use std::fs::{self, File};
use std::io::{Seek, SeekFrom};
use std::os::unix::fs::FileTypeExt;
use vmm_common::units::Escaped;

/// Bytes of a sector.
const SECTOR_BYTES: u64 = 512;

/// Takes the sizes of all disks from their files.
pub(crate) fn measure(draft: &mut Draft, faults: &mut Collector) {
    for (vm, records) in draft.plan.vms.iter_mut().zip(&draft.disks) {
        for (disk, record) in vm.virtio.disks.iter_mut().zip(records) {
            let site = record.site(&["file"]);
            if !site.is_sound {
                continue;
            }
            match size(&disk.file) {
                Ok(bytes) => disk.bytes = bytes,
                Err(why) => faults.add(site.at, format!("file is {}: {why}", Escaped(&disk.file))),
            }
        }
    }
}

/// The size of the file at `path`.
fn size(path: &str) -> Result<u64, String> {
    let kind = fs::metadata(path).map_err(|error| error.to_string())?.file_type();
    // Before the open: that of a FIFO waits, that of a device may do something.
    if !kind.is_file() && !kind.is_block_device() {
        let what = match () {
            () if kind.is_dir() => "a directory",
            () if kind.is_fifo() => "a FIFO",
            () if kind.is_socket() => "a socket",
            () => "a character device",
        };
        return Err(format!("it is {what}; allowed: a regular file or a block device"));
    }
    let mut file = File::open(path).map_err(|error| error.to_string())?;
    let bytes = file.seek(SeekFrom::End(0)).map_err(|error| error.to_string())?;
    if bytes == 0 || !bytes.is_multiple_of(SECTOR_BYTES) {
        let allowed = "allowed: a raw image, of whole sectors of 512 bytes";
        return Err(format!("it has {bytes} bytes; {allowed}"));
    }
    Ok(bytes)
}
