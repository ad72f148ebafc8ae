//! Logs, taps and captures, written while VMs run, by a thread of their own: a write to a file
//! waits for its file system, for ever on a server that is gone, and a vCPU's thread holds the
//! turn.
//!
//! Bytes are gathered without a lock, handed over between turns, and dropped and counted where the
//! file takes them too slowly. The thread is on the same core as all others.

use super::{capture_name, check_is_plain, check_kind, log_name, log_path, tap_name};
use anyhow::{Context, Result};
use std::fs::{File, OpenOptions};
use std::io;
use std::mem;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use vmm_common::plan::Plan;
use writer::start_thread;

mod writer;

/// The most bytes kept for a file that takes them slowly.
const QUEUE_BYTES: usize = 4 << 20;
/// The thread's name.
pub const THREAD: &str = "files";
/// The files that a run writes while it runs, by [`Slot`].
#[derive(Debug, Default)]
pub struct Recorder {
    names: Vec<String>,
    gathered: Vec<Vec<u8>>,
    omitted: Vec<u64>,
    shared: Arc<Shared>,
    thread: Option<i32>,
}

/// An open file.
#[derive(Debug)]
pub struct NamedFile {
    /// What messages call it.
    pub name: String,
    /// Itself, empty.
    pub file: File,
    /// What it is made of.
    pub form: Form,
}

/// What a file is made of, and so where it may end if it takes no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Text: anywhere.
    Text,
    /// Blocks of a capture: behind one.
    Blocks,
}

/// A file of a [`Recorder`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot(usize);

/// The logs of all VMs, if there are any, the taps of links and the captures of networks that have
/// one.
#[derive(Debug, Default)]
pub struct LogFiles {
    /// By VM.
    pub logs: Vec<Option<Slot>>,
    /// By link.
    pub taps: Vec<Option<Slot>>,
    /// By network.
    pub captures: Vec<Option<Slot>>,
}

/// A file that lacks something, as a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Incomplete(pub String);

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    queues: Vec<Queue>,
    /// Pieces written so far, of all files.
    progress: u64,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: Vec<u8>,
    /// Bytes that the thread has taken and not written yet.
    in_flight: usize,
    error: Option<io::Error>,
}

impl Recorder {
    /// Opens the logs in `log_dir`, the taps and the captures of `plan`, for [`Recorder::start`].
    ///
    /// # Errors
    /// The first that cannot be opened. All are looked at before one is truncated.
    pub fn open(plan: &Plan, log_dir: Option<&Path>) -> Result<(Vec<NamedFile>, LogFiles)> {
        let mut wanted: Vec<(String, PathBuf, Form)> = Vec::new();
        let mut want = |name: String, path: PathBuf, form| {
            wanted.push((name, path, form));
            Slot(wanted.len() - 1)
        };
        let log = |dir: &Path, vm: &str| (log_name(vm), log_path(dir, vm));
        let logs = plan.vms.iter().map(|vm| {
            let (name, path) = log(log_dir?, &vm.name);
            Some(want(name, path, Form::Text))
        });
        let logs = logs.collect();
        let taps = plan.links.iter().map(|link| {
            let path = link.tap.as_ref()?.into();
            Some(want(tap_name(&link.name), path, Form::Text))
        });
        let taps = taps.collect();
        let captures = plan.networks.iter().map(|network| {
            let path = network.pcap.as_ref()?.into();
            Some(want(capture_name(&network.name), path, Form::Blocks))
        });
        let files = LogFiles { logs, taps, captures: captures.collect() };
        if let Some(dir) = log_dir {
            std::fs::create_dir_all(dir)
                .with_context(|| format!("the log directory {}", dir.display()))?;
        }
        let context = |name: &str, path: &Path| format!("{name}, {}", path.display());
        for (name, path, _) in &wanted {
            check_is_plain(path).with_context(|| context(name, path))?;
        }
        let mut opened = Vec::new();
        for (name, path, form) in wanted {
            let file = open_plain(&path).with_context(|| context(&name, &path))?;
            opened.push(NamedFile { name, file, form });
        }
        for NamedFile { name, file, .. } in &opened {
            file.set_len(0).with_context(|| name.clone())?;
        }
        Ok((opened, files))
    }

    /// Starts the thread that writes these files, if there are any; first, it prepares itself.
    ///
    /// # Errors
    /// The host cannot start a thread, or it cannot prepare itself.
    pub fn start(
        files: Vec<NamedFile>,
        prepare: impl FnOnce() -> Result<()> + Send + 'static,
    ) -> Result<Self> {
        let names: Vec<String> = files.iter().map(|file| file.name.clone()).collect();
        let count = names.len();
        let queues = names.iter().map(|_| Queue::default()).collect();
        let state = Mutex::new(State { queues, progress: 0 });
        let shared = Arc::new(Shared { state, changed: Condvar::new() });
        let thread =
            (count > 0).then(|| start_thread(files, Arc::clone(&shared), prepare)).transpose()?;
        let (gathered, omitted) = (vec![Vec::new(); count], vec![0; count]);
        Ok(Self { names, gathered, omitted, shared, thread })
    }

    /// The number of the thread, if there is one.
    #[must_use]
    pub fn thread(&self) -> Option<i32> {
        self.thread
    }

    /// Takes bytes for a file. Never waits.
    pub fn push(&mut self, Slot(slot): Slot, bytes: &[u8]) {
        let gathered = &mut self.gathered[slot];
        let room = QUEUE_BYTES - gathered.len().min(QUEUE_BYTES);
        let taken = bytes.len().min(room);
        gathered.extend_from_slice(&bytes[..taken]);
        self.omitted[slot] += (bytes.len() - taken) as u64;
    }

    /// Takes a piece of so many bytes for a file, as `fill` makes it, or leaves it out as a whole.
    /// Never waits.
    pub fn push_whole(&mut self, Slot(slot): Slot, bytes: usize, fill: impl FnOnce(&mut [u8])) {
        let gathered = &mut self.gathered[slot];
        if gathered.len() + bytes > QUEUE_BYTES {
            self.omitted[slot] += bytes as u64;
            return;
        }
        let begin = gathered.len();
        gathered.resize(begin + bytes, 0);
        fill(&mut gathered[begin..]);
    }

    /// Hands over what was gathered. Never waits: while the thread holds the lock, the bytes stay
    /// for the next call.
    pub fn hand_over(&mut self) {
        if self.gathered.iter().all(Vec::is_empty) {
            return;
        }
        let shared = Arc::clone(&self.shared);
        if let Ok(state) = shared.state.try_lock() {
            self.hand_over_to(state);
        }
    }

    fn hand_over_to(&mut self, mut state: MutexGuard<'_, State>) {
        for (gathered, queue) in self.gathered.iter_mut().zip(&mut state.queues) {
            if queue.error.is_some() {
                gathered.clear();
            } else if queue.waiting.is_empty() {
                mem::swap(gathered, &mut queue.waiting);
            }
        }
        drop(state);
        self.shared.changed.notify_all();
    }

    /// Waits for the files to be written, for `patience` while none takes anything; those that
    /// lack something.
    #[must_use]
    pub fn finish(mut self, patience: Duration) -> Vec<Incomplete> {
        let shared = Arc::clone(&self.shared);
        let mut state = shared.lock();
        let mut progress = state.progress;
        loop {
            self.hand_over_to(state);
            state = shared.lock();
            let is_written = state.queues.iter().all(|queue| queue.left() == 0);
            if is_written && self.gathered.iter().all(Vec::is_empty) {
                break;
            }
            let waited = shared.changed.wait_timeout_while(state, patience, |state| {
                state.progress == progress && state.queues.iter().any(|queue| queue.left() > 0)
            });
            let timeout;
            (state, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
            if timeout.timed_out() {
                break;
            }
            progress = state.progress;
        }
        let files = self.names.iter().zip(&state.queues).zip(&self.gathered).zip(&self.omitted);
        let incomplete = files.filter_map(|(((name, queue), gathered), omitted)| {
            let left = *omitted + (queue.left() + gathered.len()) as u64;
            match (&queue.error, left) {
                (Some(error), _) => Some(format!("{name} is not complete: {error}")),
                (None, 1..) => Some(format!("{name} lacks {left} bytes: the file took too few")),
                (None, 0) => None,
            }
        });
        incomplete.map(Incomplete).collect()
    }
}

impl Queue {
    fn left(&self) -> usize {
        self.waiting.len() + self.in_flight
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Opens a file to write, not yet truncated, without following a link and without waiting for a
/// FIFO's reader.
fn open_plain(path: &Path) -> io::Result<File> {
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY;
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .custom_flags(flags)
        .open(path)?;
    // The file may have been replaced since it was checked.
    check_kind(&file.metadata()?)?;
    Ok(file)
}

#[cfg(test)]
mod tests;
