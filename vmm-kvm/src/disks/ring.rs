//! Steps by io_uring (io_uring(7)): a slow file keeps a request under way, and not the turn.
//!
//! The ring may read, write, sync and allocate, and nothing else, though its operations pass by the
//! filter of system calls. The kernel's workers for what would wait run on the run's core, as all
//! threads do.

use super::job::{Job, Step};
use io_uring::{IoUring, Probe, opcode, register::Restriction, squeue, types};
use std::cell::Cell;
use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::time::Duration;

/// Requests that the ring takes at once. Each is submitted by itself.
const ENTRIES: u32 = 8;
/// Completions that it keeps: those of all requests that a plan's disks can have under way, nearly;
/// the kernel keeps more than that aside (IORING_FEAT_NODROP).
const COMPLETIONS: u32 = 4096;
/// IORING_REGISTER_IOWQ_AFF.
const REGISTER_WORKERS_CORE: u8 = 17;
const OPERATIONS: [u8; 4] =
    [opcode::Readv::CODE, opcode::Writev::CODE, opcode::Fsync::CODE, opcode::Fallocate::CODE];

thread_local! {
    /// The kernel's workers of this thread are on the run's core.
    static HAS_WORKERS_PLACED: Cell<bool> = const { Cell::new(false) };
}

/// A ring with the jobs that it has under way.
pub struct Ring {
    ring: IoUring,
    core: u64,
    jobs: BTreeMap<u64, Job>,
    next_id: u64,
}

impl std::fmt::Debug for Ring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ring").field("jobs", &self.jobs).finish_non_exhaustive()
    }
}

impl Ring {
    /// A ring whose workers run on `core`.
    ///
    /// # Errors
    /// The kernel has none, or forbids it, or lacks an operation.
    pub fn new(core: u64) -> io::Result<Self> {
        let ring: IoUring = IoUring::builder()
            .setup_r_disabled()
            .setup_cqsize(COMPLETIONS)
            .dontfork()
            .build(ENTRIES)?;
        let submitter = ring.submitter();
        let mut probe = Probe::new();
        submitter.register_probe(&mut probe)?;
        if !OPERATIONS.iter().all(|operation| probe.is_supported(*operation)) {
            return Err(io::ErrorKind::Unsupported.into());
        }
        let operations = OPERATIONS.map(Restriction::sqe_op);
        let mut allowed = Vec::from(operations);
        allowed.push(Restriction::register_op(REGISTER_WORKERS_CORE));
        submitter.register_restrictions(&mut allowed)?;
        submitter.register_enable_rings()?;
        Ok(Self { ring, core, jobs: BTreeMap::new(), next_id: 0 })
    }

    /// Readable while a completion waits.
    pub fn fd(&self) -> RawFd {
        self.ring.as_raw_fd()
    }

    /// Begins a job; its number.
    pub fn begin(&mut self, job: Job) -> io::Result<u64> {
        let id = self.next_id;
        self.next_id += 1;
        self.submit(&job, id)?;
        self.jobs.insert(id, job);
        Ok(id)
    }

    /// The next job that is done, and how.
    pub fn next_done(&mut self) -> Option<(u64, Job, io::Result<()>)> {
        while !self.jobs.is_empty() {
            let entry = self.ring.completion().next()?;
            let id = entry.user_data();
            let Some(mut job) = self.jobs.remove(&id) else { continue };
            match self.follow_up(&mut job, entry.result(), id) {
                Ok(true) => return Some((id, job, Ok(()))),
                Ok(false) => {
                    self.jobs.insert(id, job);
                }
                Err(error) => return Some((id, job, Err(error))),
            }
        }
        None
    }

    /// Waits for all jobs, each for `patience` at most; those that are done. The others stay under
    /// way.
    pub fn drain(&mut self, patience: Duration) -> Vec<(u64, Job, io::Result<()>)> {
        let limit = types::Timespec::from(patience);
        let mut all = Vec::new();
        while !self.jobs.is_empty() {
            if let Some(done) = self.next_done() {
                all.push(done);
                continue;
            }
            let wait = types::SubmitArgs::new().timespec(&limit);
            match self.ring.submitter().submit_with_args(1, &wait) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => break,
                Ok(_) | Err(_) => {}
            }
        }
        all
    }

    /// How many jobs are under way.
    pub fn under_way(&self) -> usize {
        self.jobs.len()
    }

    /// The first step of a job has come back with `result`. Whether that was its last.
    fn follow_up(&mut self, job: &mut Job, result: i32, id: u64) -> io::Result<bool> {
        let Some(step) = job.steps.front_mut() else { return Ok(true) };
        match usize::try_from(result) {
            Ok(done) if step.is_transfer() && done == 0 => {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            Ok(done) => {
                if step.advance(done) {
                    job.steps.pop_front();
                }
            }
            Err(_) => match io::Error::from_raw_os_error(-result) {
                error if error.kind() == io::ErrorKind::Interrupted => {}
                error if error.kind() == io::ErrorKind::Unsupported && !step.is_transfer() => {
                    let replacement = job.steps.pop_front().and_then(Step::replacement);
                    replacement.into_iter().for_each(|step| job.steps.push_front(step));
                }
                error => return Err(error),
            },
        }
        if job.steps.is_empty() {
            return Ok(true);
        }
        self.submit(job, id).map(|()| false)
    }

    /// Has the kernel begin with a job's first step.
    fn submit(&mut self, job: &Job, id: u64) -> io::Result<()> {
        self.place_workers();
        let Some(step) = job.steps.front() else { return Ok(()) };
        let save;
        let entry = match step {
            Step::Read { file, offset, pieces } => {
                let (first, count) = (pieces.as_ptr().cast(), pieces.len() as u32);
                opcode::Readv::new(types::Fd(file.as_raw_fd()), first, count)
                    .offset(*offset)
                    .build()
            }
            Step::Write { file, offset, pieces } => {
                let (first, count) = (pieces.as_ptr().cast(), pieces.len() as u32);
                opcode::Writev::new(types::Fd(file.as_raw_fd()), first, count)
                    .offset(*offset)
                    .build()
            }
            Step::Save { file, offset, bytes } => {
                save = [crate::kvm::Piece::of(bytes)];
                opcode::Writev::new(types::Fd(file.as_raw_fd()), save.as_ptr().cast(), 1)
                    .offset(*offset)
                    .build()
            }
            Step::Sync { file } => opcode::Fsync::new(types::Fd(file.as_raw_fd()))
                .flags(types::FsyncFlags::DATASYNC)
                .build(),
            Step::Clear { file, offset, bytes } => {
                allocation(file.as_raw_fd(), libc::FALLOC_FL_ZERO_RANGE, *offset, *bytes)
            }
            Step::Free { file, offset, bytes } => {
                allocation(file.as_raw_fd(), libc::FALLOC_FL_PUNCH_HOLE, *offset, *bytes)
            }
        };
        // SAFETY: the kernel copies the list of pieces at the submission, which follows
        // (IORING_FEAT_SUBMIT_STABLE). The bytes that they name stay until the completion: RAM, as
        // the job keeps it mapped; zeros, which are static; and the job's own.
        unsafe { self.ring.submission().push(&entry.user_data(id)) }
            .map_err(|_| io::ErrorKind::WouldBlock)?;
        loop {
            match self.ring.submit() {
                Ok(_) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Keeps the kernel's workers of this thread on the run's core.
    fn place_workers(&self) {
        if HAS_WORKERS_PLACED.replace(true) {
            return;
        }
        // A kernel before 5.14 knows no place for them; the ring works all the same.
        let _ = crate::sys::core_set(self.core)
            .and_then(|core| self.ring.submitter().register_iowq_aff(&core));
    }
}

impl Drop for Ring {
    /// The kernel may not write to RAM that is not a guest's any more: what is under way keeps it
    /// mapped for good.
    fn drop(&mut self) {
        std::mem::forget(std::mem::take(&mut self.jobs));
    }
}

fn allocation(fd: RawFd, mode: libc::c_int, offset: u64, bytes: u64) -> squeue::Entry {
    let mode = mode | libc::FALLOC_FL_KEEP_SIZE;
    opcode::Fallocate::new(types::Fd(fd), bytes).offset(offset).mode(mode).build()
}
