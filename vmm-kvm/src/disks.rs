//! The files behind VMs' disks.
//!
//! A disk is a raw image. `keep` writes to it, under a lock that no other run shares; the others
//! only read it, and put what the guest writes into an [`Overlay`]: an unnamed file for `discard`,
//! the user's for `to`. Data goes straight between the file and the guest's RAM.
//!
//! ```text
//! Request --store, overlay--> Job: steps --ring--> done at once, or under way
//!                                         --plain--> done (no io_uring)
//! ```

mod job;
mod lock;
mod overlay;
mod plain;
mod ring;

use crate::kvm::GuestRam;
use crate::sys;
use anyhow::{Context, Result, bail};
use job::{Job, Step};
use overlay::Overlay;
use ring::Ring;
use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::RawFd;
use std::os::unix::fs::FileTypeExt;
use std::sync::Arc;
use std::time::Duration;
use vmm_common::backing::{DiskIndex, Finished, Operation, Progress, Request, Status};
use vmm_common::plan::{DiskPlan, Plan, VmPlan, Writes};
use vmm_common::units::Escaped;

/// The disks of a run.
#[derive(Debug, Default)]
pub struct Disks {
    /// By VM.
    disks: Vec<Vec<Disk>>,
    /// None: there is no disk, or no io_uring.
    ring: Option<Ring>,
    /// Done, and not handed over yet.
    finished: VecDeque<Finished>,
    /// What the user has not been told yet.
    troubles: VecDeque<String>,
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
    Image(Arc<File>),
    /// The image, and what was written.
    Overlay(Overlay),
}

impl Disks {
    /// Opens the files of the plan's disks, and locks them; `core` is where the kernel works for
    /// them.
    ///
    /// # Errors
    /// A file that cannot be opened or is in use; a size that has changed.
    pub fn open(plan: &Plan, core: u64) -> Result<Self> {
        let of_vm = |vm: &VmPlan| {
            let disk = |plan: &DiskPlan| Disk::open(&vm.name, plan);
            vm.virtio.disks.iter().map(disk).collect::<Result<Vec<_>>>()
        };
        let disks = plan.vms.iter().map(of_vm).collect::<Result<Vec<_>>>()?;
        let mut made = Self { disks, ..Self::default() };
        if made.disks.iter().any(|disks| !disks.is_empty()) {
            match Ring::new(core) {
                Ok(ring) => made.ring = Some(ring),
                Err(error) => made.troubles.push_back(format!(
                    "disks: this host offers no io_uring ({error}): a slow file holds up all VMs"
                )),
            }
        }
        Ok(made)
    }

    /// What is readable while a request that was under way is done.
    pub fn completion_fd(&self) -> Option<RawFd> {
        self.ring.as_ref().map(Ring::fd)
    }

    /// Carries out a request, or begins to.
    pub fn request(
        &mut self,
        disk: DiskIndex,
        request: &Request<'_>,
        memory: &GuestRam,
    ) -> Progress {
        let Request { operation, buffers, token } = *request;
        let store = &mut self.disks[disk.vm.0][disk.number].store;
        let steps = match store.steps(operation, buffers, memory) {
            Ok(steps) => steps,
            Err(error) => return Progress::Done(self.ended(disk, operation, Err(error))),
        };
        let Some(ring) = &mut self.ring else {
            let result = plain::carry_out(steps);
            return Progress::Done(self.ended(disk, operation, result));
        };
        if steps.is_empty() {
            return Progress::Done(Status::Ok);
        }
        let id = match ring.begin(Job { disk, operation, token, steps, _mapped: memory.clone() }) {
            Ok(id) => id,
            Err(error) => return Progress::Done(self.ended(disk, operation, Err(error))),
        };
        // What the page cache has is done by now.
        while let Some((done, job, result)) = self.ring.as_mut().and_then(Ring::next_done) {
            let status = self.ended(job.disk, job.operation, result);
            if done == id {
                return Progress::Done(status);
            }
            let Job { disk, operation, token, .. } = job;
            self.finished.push_back(Finished { disk, operation, token, status });
        }
        Progress::UnderWay
    }

    /// The next request that was under way and is done.
    pub fn next_finished(&mut self) -> Option<Finished> {
        if let Some(finished) = self.finished.pop_front() {
            return Some(finished);
        }
        let (_, job, result) = self.ring.as_mut()?.next_done()?;
        let Job { disk, operation, token, .. } = job;
        let status = self.ended(disk, operation, result);
        Some(Finished { disk, operation, token, status })
    }

    /// The next message for the user.
    pub fn take_trouble(&mut self) -> Option<String> {
        self.troubles.pop_front()
    }

    /// The run is over: waits for what is under way, each request for `patience` at most, and
    /// writes what is to be kept.
    pub fn close(&mut self, patience: Duration) {
        let left = self.ring.as_mut().map(|ring| ring.drain(patience)).unwrap_or_default();
        for (_, job, result) in left {
            self.ended(job.disk, job.operation, result);
        }
        let count = self.ring.as_ref().map_or(0, Ring::under_way);
        if count > 0 {
            // A flush would wait behind them.
            let message = format!("disks: {count} requests are not done after {patience:?}");
            self.troubles.push_back(message);
            return;
        }
        for disk in self.disks.iter_mut().flatten() {
            if let Err(error) = plain::carry_out(disk.store.flush()) {
                self.troubles.push_back(format!("{}: cannot flush: {error}", disk.name));
            }
        }
    }

    /// Follows up a request of a disk that has ended.
    fn ended(&mut self, disk: DiskIndex, operation: Operation, result: io::Result<()>) -> Status {
        let disk = &mut self.disks[disk.vm.0][disk.number];
        if let Store::Overlay(overlay) = &mut disk.store {
            overlay.ended(operation, result.is_ok());
        }
        let Err(error) = result else { return Status::Ok };
        if !disk.has_failed {
            disk.has_failed = true;
            let (what, name) = (verb(operation), &disk.name);
            let why = match error.kind() {
                io::ErrorKind::UnexpectedEof => String::from("the file ends before"),
                _ => error.to_string(),
            };
            self.troubles.push_back(format!("{name}: cannot {what}: {why}; the guest sees errors"));
        }
        Status::IoError
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
        let image = Arc::new(image);
        Ok(match writes {
            Writes::Keep | Writes::Refuse => Self::Image(image),
            Writes::Discard => Self::Overlay(Overlay::unnamed(image, bytes)?),
            Writes::To(path) => Self::Overlay(
                Overlay::named(image, bytes, path.as_ref())
                    .with_context(|| format!("its writes to {}", Escaped(path)))?,
            ),
        })
    }

    /// What a request takes.
    fn steps(
        &mut self,
        operation: Operation,
        buffers: &[devices::virtio::Buffer],
        memory: &GuestRam,
    ) -> io::Result<VecDeque<Step>> {
        let image = match self {
            Self::Image(image) => image,
            Self::Overlay(overlay) => return overlay.steps(operation, buffers, memory),
        };
        let file = Arc::clone(image);
        let (step, is_durable) = match operation {
            Operation::Read { offset, bytes: _ } => {
                (Step::Read { file, offset, pieces: memory.pieces(buffers)? }, false)
            }
            Operation::Write { offset, bytes: _, is_durable } => {
                (Step::Write { file, offset, pieces: memory.pieces(buffers)? }, is_durable)
            }
            Operation::Flush => (Step::Sync { file }, false),
            Operation::WriteZeroes { offset, bytes, may_unmap: _ } => {
                (Step::Clear { file, offset, bytes }, false)
            }
            Operation::Discard { offset, bytes } => (Step::Free { file, offset, bytes }, false),
        };
        let sync = is_durable.then(|| Step::Sync { file: Arc::clone(image) });
        Ok([step].into_iter().chain(sync).filter(|step| !step.is_nothing()).collect())
    }

    /// What a flush takes.
    fn flush(&mut self) -> VecDeque<Step> {
        match self {
            Self::Image(image) => [Step::Sync { file: Arc::clone(image) }].into(),
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
