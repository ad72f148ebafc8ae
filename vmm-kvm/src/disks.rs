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

mod flushes;
mod job;
mod lock;
mod overlay;
mod plain;
mod ring;

use crate::kvm::GuestRam;
use crate::sys;
use anyhow::{Context, Result, bail};
use flushes::Asker;
use job::{Asked, Job, Step};
use overlay::Overlay;
use ring::Ring;
use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::RawFd;
use std::os::unix::fs::FileTypeExt;
use std::sync::Arc;
use std::time::Duration;
use vmm_common::backing::{DiskIndex, Finished, Operation, Progress, Request, Status, Token};
use vmm_common::plan::{DiskPlan, Plan, VmPlan, Writes};
use vmm_common::units::Escaped;

/// The disks of a run.
#[derive(Debug)]
pub struct Disks<E = Ring> {
    /// By VM.
    disks: Vec<Vec<Disk>>,
    /// None: there is no disk, or no io_uring.
    ring: Option<E>,
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

/// What carries out jobs while the run goes on: the kernel, by a [`Ring`].
trait Engine {
    /// Begins a job.
    fn begin(&mut self, job: Job);

    /// The next job that is done, and how.
    fn next_done(&mut self) -> Option<(Job, io::Result<()>)>;

    /// As [`Engine::next_done`], but waits for `patience` at most.
    fn wait(&mut self, patience: Duration) -> Option<(Job, io::Result<()>)>;

    /// How many jobs are under way.
    fn under_way(&self) -> usize;
}

impl<E> Default for Disks<E> {
    fn default() -> Self {
        let (finished, troubles) = (VecDeque::new(), VecDeque::new());
        Self { disks: Vec::new(), ring: None, finished, troubles }
    }
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
}

#[expect(private_bounds, reason = "only the disks' own tests have another engine")]
impl<E: Engine> Disks<E> {
    /// Carries out a request, or begins to.
    pub fn request(
        &mut self,
        disk: DiskIndex,
        request: &Request<'_>,
        memory: &GuestRam,
    ) -> Progress {
        let Request { operation, buffers, token } = *request;
        let is_save = operation == Operation::Flush && self.map_in_file(disk).is_some();
        if is_save && self.ring.is_some() {
            self.ask_for_save(disk, (operation, token), memory.clone());
            return self.progress(disk, token);
        }
        let steps = match self.disk(disk).store.steps(operation, buffers, memory) {
            Ok(steps) => steps,
            Err(error) => return Progress::Done(self.ended(disk, operation, Err(error))),
        };
        let Some(ring) = &mut self.ring else {
            return Progress::Done(self.carry_out(disk, operation, steps));
        };
        if steps.is_empty() {
            return Progress::Done(Status::Ok);
        }
        ring.begin(Job {
            disk,
            asked: Asked::One((operation, token)),
            steps,
            mapped: memory.clone(),
        });
        self.progress(disk, token)
    }

    /// The next request that was under way and is done.
    pub fn next_finished(&mut self) -> Option<Finished> {
        while self.finished.is_empty() {
            let (job, result) = self.ring.as_mut()?.next_done()?;
            self.follow_up(job, result);
        }
        self.finished.pop_front()
    }

    /// What has become of a request that has just begun: what the page cache has is done by now.
    fn progress(&mut self, disk: DiskIndex, token: Token) -> Progress {
        while let Some((job, result)) = self.ring.as_mut().and_then(Engine::next_done) {
            self.follow_up(job, result);
        }
        let is_it = |finished: &Finished| (finished.disk, finished.token) == (disk, token);
        let at = self.finished.iter().position(is_it);
        let finished = at.and_then(|at| self.finished.remove(at));
        finished.map_or(Progress::UnderWay, |finished| Progress::Done(finished.status))
    }

    /// Carries out a request by plain calls.
    fn carry_out(
        &mut self,
        disk: DiskIndex,
        operation: Operation,
        steps: VecDeque<Step>,
    ) -> Status {
        let status = self.ended(disk, operation, plain::carry_out(steps));
        let overlay = self.map_in_file(disk).filter(|_| is_durable(operation));
        match overlay.filter(|_| status == Status::Ok).map(Overlay::flush) {
            Some(save) => self.ended(disk, Operation::Flush, plain::carry_out(save)),
            None => status,
        }
    }

    /// A job is done: hands over what it was for, or begins what has to follow.
    fn follow_up(&mut self, job: Job, result: io::Result<()>) {
        let Job { disk, asked, mapped, .. } = job;
        let is_well = result.is_ok();
        let operation = match &asked {
            Asked::One((operation, _)) => *operation,
            Asked::Save(_) => Operation::Flush,
        };
        let status = self.ended(disk, operation, result);
        let done = |(operation, token)| Finished { disk, operation, token, status };
        match asked {
            Asked::One(asker) => {
                match is_well && is_durable(operation) && self.map_in_file(disk).is_some() {
                    true => self.ask_for_save(disk, asker, mapped),
                    false => self.finished.push_back(done(asker)),
                }
            }
            Asked::Save(askers) => {
                self.finished.extend(askers.into_iter().map(done));
                let next = self.map_in_file(disk).map(|overlay| overlay.flushes.ended());
                self.save(disk, next.unwrap_or_default(), mapped);
            }
        }
    }

    /// Has a request end with a flush of its overlay.
    fn ask_for_save(&mut self, disk: DiskIndex, asker: Asker, mapped: GuestRam) {
        let askers = self.map_in_file(disk).map(|overlay| overlay.flushes.ask(asker));
        self.save(disk, askers.unwrap_or_default(), mapped);
    }

    /// Begins a flush of an overlay for `askers`, if there are any.
    fn save(&mut self, disk: DiskIndex, askers: Vec<Asker>, mapped: GuestRam) {
        let steps = self.map_in_file(disk).filter(|_| !askers.is_empty()).map(Overlay::flush);
        if let (Some(steps), Some(ring)) = (steps, &mut self.ring) {
            ring.begin(Job { disk, asked: Asked::Save(askers), steps, mapped });
        }
    }

    fn disk(&mut self, disk: DiskIndex) -> &mut Disk {
        &mut self.disks[disk.vm.0][disk.number]
    }

    /// A disk's overlay, if that has a map in its file.
    fn map_in_file(&mut self, disk: DiskIndex) -> Option<&mut Overlay> {
        match &mut self.disk(disk).store {
            Store::Overlay(overlay) if overlay.has_map_in_file() => Some(overlay),
            Store::Overlay(_) | Store::Image(_) => None,
        }
    }

    /// The next message for the user.
    pub fn take_trouble(&mut self) -> Option<String> {
        self.troubles.pop_front()
    }

    /// The run is over: waits for what is under way, each request for `patience` at most, and
    /// writes what is to be kept.
    pub fn close(&mut self, patience: Duration) {
        while let Some((job, result)) = self.ring.as_mut().and_then(|ring| ring.wait(patience)) {
            self.follow_up(job, result);
        }
        let count = self.ring.as_ref().map_or(0, Engine::under_way);
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
            Operation::Read { offset, bytes: _ } => (
                Step::Read { file, offset, pieces: memory.pieces(buffers.iter().copied())? },
                false,
            ),
            Operation::Write { offset, bytes: _, is_durable } => (
                Step::Write { file, offset, pieces: memory.pieces(buffers.iter().copied())? },
                is_durable,
            ),
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

const fn is_durable(operation: Operation) -> bool {
    matches!(operation, Operation::Write { is_durable: true, .. })
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
