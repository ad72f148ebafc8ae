//! Steps by plain system calls: for hosts without io_uring, and for what is done when the run ends.
//! A slow file holds up whoever has the turn.

use super::job::Step;
use crate::{kvm, sys};
use std::collections::VecDeque;
use std::io;

/// Carries out all steps.
pub fn carry_out(mut steps: VecDeque<Step>) -> io::Result<()> {
    while let Some(step) = steps.front_mut() {
        match call(step) {
            Ok(done) if step.is_transfer() && done == 0 && !step.advance(0) => {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            Ok(done) => {
                if step.advance(done) {
                    steps.pop_front();
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::Unsupported && !step.is_transfer() => {
                let replacement = steps.pop_front().and_then(Step::replacement);
                replacement.into_iter().for_each(|step| steps.push_front(step));
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// How many bytes a call has transferred.
fn call(step: &Step) -> io::Result<usize> {
    match step {
        Step::Read { file, offset, pieces } => kvm::read_at(file, *offset, pieces),
        Step::Write { file, offset, pieces } => kvm::write_at(file, *offset, pieces),
        Step::Save { file, offset, bytes } => {
            std::os::unix::fs::FileExt::write_at(&**file, bytes, *offset)
        }
        Step::Sync { file } => file.sync_data().map(|()| 0),
        Step::Clear { file, offset, bytes } => {
            sys::allocate(file, libc::FALLOC_FL_ZERO_RANGE, *offset, *bytes).map(|()| 0)
        }
        Step::Free { file, offset, bytes } => {
            sys::allocate(file, libc::FALLOC_FL_PUNCH_HOLE, *offset, *bytes).map(|()| 0)
        }
    }
}
