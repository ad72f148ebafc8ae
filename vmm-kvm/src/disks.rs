//! The files behind VMs' disks.
//!
//! A disk is a raw image. `keep` writes to it, under a lock that no other run shares; the others
//! only read it, and put what the guest writes into an [`Overlay`]: an unnamed file for `discard`,
//! the user's for `to`. Data goes straight between the file and the guest's RAM.

mod lock;
mod overlay;

use crate::kvm::GuestRam;
use crate::sys;
use anyhow::{Context, Result, bail};
use overlay::Overlay;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileTypeExt;
use vmm_common::backing::{DiskIndex, Operation, Progress, Request, Status};
use vmm_common::plan::{DiskPlan, Plan, VmPlan, Writes};
use vmm_common::units::Escaped;

/// The disks of a run.
#[derive(Debug, Default)]
pub struct Disks {
    /// By VM.
    disks: Vec<Vec<Disk>>,
    /// What the user has not been told yet.
    troubles: Vec<String>,
}

#[derive(Debug)]
struct Disk {
    /// The VM's name and the file's, for messages.
    name: String,
    store: Store,
    /// Its first error has been told.
    has_failed: bool,
}

#[derive(Debug)]
enum Store {
    /// The image itself.
    Image(File),
    /// The image, and what was written.
    Overlay(Overlay),
}

impl Disks {
    /// Opens the files of the plan's disks, and locks them.
    ///
    /// # Errors
    /// A file that cannot be opened or is in use; a size that has changed.
    pub fn open(plan: &Plan) -> Result<Self> {
        let of_vm = |vm: &VmPlan| {
            let disk = |plan: &DiskPlan| Disk::open(&vm.name, plan);
            vm.virtio.disks.iter().map(disk).collect::<Result<_>>()
        };
        Ok(Self { disks: plan.vms.iter().map(of_vm).collect::<Result<_>>()?, troubles: Vec::new() })
    }

    /// Carries out a request.
    pub fn request(
        &mut self,
        DiskIndex { vm, number }: DiskIndex,
        request: &Request<'_>,
        memory: &GuestRam,
    ) -> Progress {
        let disk = &mut self.disks[vm.0][number];
        let Err(error) = disk.store.carry_out(request, memory) else {
            return Progress::Done(Status::Ok);
        };
        if !disk.has_failed {
            disk.has_failed = true;
            let (what, name) = (verb(request.operation), &disk.name);
            self.troubles
                .push(format!("{name}: cannot {what}: {error}; the guest sees I/O errors"));
        }
        Progress::Done(Status::IoError)
    }

    /// The next message for the user.
    pub fn take_trouble(&mut self) -> Option<String> {
        self.troubles.pop()
    }

    /// The run is over: what is to be kept is written.
    pub fn close(&mut self) {
        for disk in self.disks.iter_mut().flatten() {
            if let Err(error) = disk.store.flush() {
                self.troubles.push(format!("{}: cannot flush: {error}", disk.name));
            }
        }
    }
}

impl Disk {
    fn open(vm: &str, plan: &DiskPlan) -> Result<Self> {
        let DiskPlan { file: path, bytes, writes } = plan;
        let name = format!("VM {vm}: disk {}", Escaped(path));
        let store = Store::open(path, *bytes, writes).with_context(|| name.clone())?;
        Ok(Self { name, store, has_failed: false })
    }
}

impl Store {
    fn open(path: &str, bytes: u64, writes: &Writes) -> Result<Self> {
        let is_kept = *writes == Writes::Keep;
        let image = OpenOptions::new().read(true).write(is_kept).open(path)?;
        check_kind(&image)?;
        let now = sys::file_bytes(&image)?;
        if now != bytes {
            bail!("it had {bytes} bytes when the config was read, and has {now} now");
        }
        lock::take(&image, is_kept)?;
        Ok(match writes {
            Writes::Keep | Writes::Refuse => Self::Image(image),
            Writes::Discard => Self::Overlay(Overlay::unnamed(image, bytes)?),
            Writes::To(path) => Self::Overlay(
                Overlay::named(image, bytes, path.as_ref())
                    .with_context(|| format!("its writes to {}", Escaped(path)))?,
            ),
        })
    }

    fn carry_out(&mut self, request: &Request<'_>, memory: &GuestRam) -> io::Result<()> {
        match request.operation {
            Operation::Read { offset } => match self {
                Self::Image(image) => memory.read_from(image, offset, request.buffers),
                Self::Overlay(overlay) => overlay.read(offset, request.buffers, memory),
            },
            Operation::Write { offset, is_durable } => {
                match self {
                    Self::Image(image) => memory.write_to(image, offset, request.buffers)?,
                    Self::Overlay(overlay) => overlay.write(offset, request.buffers, memory)?,
                }
                if is_durable { self.flush() } else { Ok(()) }
            }
            Operation::Flush => self.flush(),
            Operation::WriteZeroes { offset, bytes, may_unmap: _ } => match self {
                Self::Image(image) => sys::write_zeroes(image, offset, bytes),
                Self::Overlay(overlay) => overlay.clear(offset, bytes),
            },
            // What they hold afterwards is the disk's choice: zeros, where that frees room.
            Operation::Discard { offset, bytes } => match self {
                Self::Image(image) => sys::discard(image, offset, bytes),
                Self::Overlay(_) => Ok(()),
            },
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Image(image) => image.sync_data(),
            Self::Overlay(overlay) => overlay.flush(),
        }
    }
}

fn check_kind(file: &File) -> Result<()> {
    let kind = file.metadata()?.file_type();
    if !kind.is_file() && !kind.is_block_device() {
        bail!("it is no regular file and no block device, which a disk must be");
    }
    Ok(())
}

const fn verb(operation: Operation) -> &'static str {
    match operation {
        Operation::Read { .. } => "read",
        Operation::Write { .. } | Operation::WriteZeroes { .. } => "write",
        Operation::Flush => "flush",
        Operation::Discard { .. } => "discard",
    }
}

#[cfg(test)]
mod tests;
