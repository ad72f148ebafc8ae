//! The thread that writes what a [`super::Recorder`] hands over.

use super::{Form, NamedFile, Shared, THREAD};
use crate::capture::pcapng;
use crate::sys::this_thread;
use anyhow::{Context, Result};
use std::fs::File;
use std::io::{self, Write};
use std::sync::{Arc, PoisonError, mpsc};
use std::{mem, thread};

/// The most bytes of one write; a file that takes them makes progress.
const CHUNK_BYTES: usize = 64 << 10;

impl Shared {
    /// The thread: writes what is handed over, until the process ends.
    fn write_all(&self, files: Vec<NamedFile>) {
        let mut bytes = Vec::new();
        let mut lengths = vec![0_u64; files.len()];
        loop {
            let mut state = self.lock();
            let slot = loop {
                match state.queues.iter().position(|queue| !queue.waiting.is_empty()) {
                    Some(slot) => break slot,
                    None => {
                        let woken = self.changed.wait(state);
                        state = woken.unwrap_or_else(PoisonError::into_inner);
                    }
                }
            };
            let queue = &mut state.queues[slot];
            bytes.clear();
            mem::swap(&mut bytes, &mut queue.waiting);
            queue.in_flight = bytes.len();
            drop(state);
            let begin = lengths[slot];
            for chunk in bytes.chunks(CHUNK_BYTES) {
                let written = write(&files[slot].file, chunk, &mut lengths[slot]);
                if written.is_err() && files[slot].form == Form::Blocks {
                    let whole = pcapng::whole_blocks(&bytes, (lengths[slot] - begin) as usize);
                    // The error that is reported is the first.
                    let _ = files[slot].file.set_len(begin + whole as u64);
                }
                let mut state = self.lock();
                state.progress += 1;
                let queue = &mut state.queues[slot];
                queue.in_flight -= chunk.len();
                let has_failed = written.is_err();
                if let Err(error) = written {
                    (queue.error, queue.in_flight) = (Some(error), 0);
                    queue.waiting.clear();
                }
                drop(state);
                self.changed.notify_all();
                if has_failed {
                    break;
                }
            }
        }
    }
}

/// Writes all of `bytes`, and adds to `length` what is written.
fn write(mut file: &File, mut bytes: &[u8], length: &mut u64) -> io::Result<()> {
    while !bytes.is_empty() {
        match file.write(bytes) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => {
                *length += written as u64;
                bytes = &bytes[written..];
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Starts the thread; its number. It is not joined: it may be inside a write that does not return.
pub(super) fn start_thread(
    files: Vec<NamedFile>,
    shared: Arc<Shared>,
    prepare: impl FnOnce() -> Result<()> + Send + 'static,
) -> Result<i32> {
    let (sender, receiver) = mpsc::channel();
    let thread = thread::Builder::new().name(THREAD.into());
    let work = move || {
        let prepared = prepare();
        let is_prepared = prepared.is_ok();
        // The caller waits for this message below.
        let _ = sender.send(prepared.map(|()| this_thread()));
        if is_prepared {
            shared.write_all(files);
        }
    };
    thread.spawn(work).context("the host cannot start a thread")?;
    receiver.recv().context("the thread that writes files has ended")?
}
