//! Steps by io_uring (io_uring(7)): a slow file keeps a request under way, and not the turn.
//!
//! The ring may read, write, sync and allocate, and nothing else, though its operations pass by the
//! filter of system calls. The kernel's workers for what would wait run on the run's core, as all
//! threads do.

use super::Engine;
use super::job::{Job, Step};
use io_uring::{IoUring, Probe, opcode, register::Restriction, squeue, types};
use std::cell::Cell;
use std::collections::{BTreeMap, VecDeque};
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
const OPERATIONS: [u8; 5] = [
    opcode::Readv::CODE,
    opcode::Writev::CODE,
    opcode::Write::CODE,
    opcode::Fsync::CODE,
    opcode::Fallocate::CODE,
];

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
    /// Jobs whose first steps the ring has had no room for.
    unqueued: VecDeque<u64>,
    /// The kernel has not taken all that is in the ring.
    is_submission_due: bool,
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
        let (jobs, unqueued) = (BTreeMap::new(), VecDeque::new());
        Ok(Self { ring, core, jobs, next_id: 0, unqueued, is_submission_due: false })
    }

    /// Readable while a completion waits.
    pub fn fd(&self) -> RawFd {
        self.ring.as_raw_fd()
    }

    /// Has the kernel begin with the first steps of jobs that are new to it. What it cannot take
    /// now, for want of memory, say, it takes when the next completion is looked for.
    fn submit(&mut self) {
        self.place_workers();
        while let Some(id) = self.unqueued.front() {
            let step = self.jobs.get(id).and_then(|job| job.steps.front());
            if let Some(step) = step {
                let entry = entry_of(step).user_data(*id);
                // SAFETY: what the entry points to lies in the step, whose job stays until the
                // completion: the list of pieces, and bytes of ours. The bytes that pieces name
                // stay as well: RAM, as the job keeps it mapped, and zeros, which are static.
                if unsafe { self.ring.submission().push(&entry) }.is_err() {
                    break;
                }
            }
            self.unqueued.pop_front();
        }
        let result = loop {
            match self.ring.submit() {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => break result,
            }
        };
        let is_empty = self.unqueued.is_empty() && self.ring.submission().is_empty();
        self.is_submission_due = result.is_err() || !is_empty;
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

impl Engine for Ring {
    fn begin(&mut self, job: Job) {
        let id = self.next_id;
        self.next_id += 1;
        self.jobs.insert(id, job);
        self.unqueued.push_back(id);
        self.submit();
    }

    fn next_done(&mut self) -> Option<(Job, io::Result<()>)> {
        if self.is_submission_due {
            self.submit();
        }
        while !self.jobs.is_empty() {
            let entry = self.ring.completion().next()?;
            let id = entry.user_data();
            let Some(job) = self.jobs.get_mut(&id) else { continue };
            match follow_up(&mut job.steps, entry.result()) {
                Ok(()) if !job.steps.is_empty() => {
                    self.unqueued.push_back(id);
                    self.submit();
                }
                result => return self.jobs.remove(&id).map(|job| (job, result)),
            }
        }
        None
    }

    fn wait(&mut self, patience: Duration) -> Option<(Job, io::Result<()>)> {
        let limit = types::Timespec::from(patience);
        while !self.jobs.is_empty() {
            if let Some(done) = self.next_done() {
                return Some(done);
            }
            let wait = types::SubmitArgs::new().timespec(&limit);
            match self.ring.submitter().submit_with_args(1, &wait) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => break,
                Ok(_) | Err(_) => {}
            }
        }
        None
    }

    fn under_way(&self) -> usize {
        self.jobs.len()
    }
}

impl Drop for Ring {
    /// The kernel may not write to RAM that is not a guest's any more: what is under way keeps it
    /// mapped for good.
    fn drop(&mut self) {
        std::mem::forget(std::mem::take(&mut self.jobs));
    }
}

/// The first of `steps` has come back with `result`: takes off what is done.
fn follow_up(steps: &mut VecDeque<Step>, result: i32) -> io::Result<()> {
    let Some(step) = steps.front_mut() else { return Ok(()) };
    match usize::try_from(result) {
        Ok(0) if step.is_transfer() => return Err(io::ErrorKind::UnexpectedEof.into()),
        Ok(done) => {
            if step.advance(done) {
                steps.pop_front();
            }
        }
        Err(_) => match io::Error::from_raw_os_error(-result) {
            error if error.kind() == io::ErrorKind::Interrupted => {}
            error if error.kind() == io::ErrorKind::Unsupported && !step.is_transfer() => {
                let replacement = steps.pop_front().and_then(Step::replacement);
                replacement.into_iter().for_each(|step| steps.push_front(step));
            }
            error => return Err(error),
        },
    }
    Ok(())
}

fn entry_of(step: &Step) -> squeue::Entry {
    let fd = |file: &std::fs::File| types::Fd(file.as_raw_fd());
    match step {
        Step::Read { file, offset, pieces } => {
            let (first, count) = (pieces.as_ptr().cast(), pieces.len() as u32);
            opcode::Readv::new(fd(file), first, count).offset(*offset).build()
        }
        Step::Write { file, offset, pieces } => {
            let (first, count) = (pieces.as_ptr().cast(), pieces.len() as u32);
            opcode::Writev::new(fd(file), first, count).offset(*offset).build()
        }
        Step::Save { file, offset, bytes } => {
            // The rest, if it is cut short, follows as that of any transfer.
            let count = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
            opcode::Write::new(fd(file), bytes.as_ptr(), count).offset(*offset).build()
        }
        Step::Sync { file } => {
            opcode::Fsync::new(fd(file)).flags(types::FsyncFlags::DATASYNC).build()
        }
        Step::Clear { file, offset, bytes } => {
            allocation(fd(file), libc::FALLOC_FL_ZERO_RANGE, *offset, *bytes)
        }
        Step::Free { file, offset, bytes } => {
            allocation(fd(file), libc::FALLOC_FL_PUNCH_HOLE, *offset, *bytes)
        }
    }
}

fn allocation(fd: types::Fd, mode: libc::c_int, offset: u64, bytes: u64) -> squeue::Entry {
    let mode = mode | libc::FALLOC_FL_KEEP_SIZE;
    opcode::Fallocate::new(fd, bytes).offset(offset).mode(mode).build()
}
