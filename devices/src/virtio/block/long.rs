//! A transfer that is too long to be carried out at once: in parts, one after another. It is in the
//! device's chain, and the chains behind it wait.

use super::{Operation, Request, Status, Token};
use crate::virtio::{Buffer, Chain, MAX_BUFFERS, cut};
use alloc::vec::Vec;

/// Bytes that a disk is asked for at once: what a core copies in a small part of a slice.
pub const MOST_AT_ONCE: u64 = 1 << 20;

/// A long transfer.
#[derive(Clone, Debug)]
pub(super) struct Long {
    under_way: Option<UnderWay>,
    /// Of the part that is with the disk, in room for any.
    buffers: Vec<Buffer>,
}

#[derive(Clone, Copy, Debug)]
struct UnderWay {
    /// All of it.
    operation: Operation,
    token: Token,
    done: u64,
    /// A part is with the disk.
    is_out: bool,
}

/// What the end of a part means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// It was no part.
    Whole(Operation),
    /// There is more to do.
    Part,
}

impl Default for Long {
    fn default() -> Self {
        Self { under_way: None, buffers: Vec::with_capacity(MAX_BUFFERS) }
    }
}

impl Long {
    pub const fn is_under_way(&self) -> bool {
        self.under_way.is_some()
    }

    /// Takes the transfer on, if it is long.
    pub fn begin(&mut self, operation: Operation, token: Token) {
        if operation.transferred().is_some_and(|bytes| bytes > MOST_AT_ONCE) {
            self.under_way = Some(UnderWay { operation, token, done: 0, is_out: false });
        }
    }

    /// The next part of the transfer that `chain` asks for, unless one is with the disk.
    pub fn next_part(&mut self, chain: &Chain) -> Option<Request<'_>> {
        let UnderWay { operation, token, done, is_out } = self.under_way.as_mut()?;
        if *is_out {
            return None;
        }
        *is_out = true;
        self.buffers.clear();
        self.buffers.extend(cut(operation.data(chain), *done..*done + MOST_AT_ONCE));
        let (operation, token) = (operation.part(*done, MOST_AT_ONCE), *token);
        Some(Request { operation, buffers: &self.buffers, token })
    }

    /// A request has come back: what its end is the end of.
    pub fn ended(&mut self, operation: Operation, token: Token, status: Status) -> Ended {
        let Some(long) = self.under_way.as_mut().filter(|long| long.is_out && long.token == token)
        else {
            return Ended::Whole(operation);
        };
        long.is_out = false;
        long.done += operation.transferred().unwrap_or(0);
        let whole = long.operation;
        if status == Status::Ok && whole.transferred() > Some(long.done) {
            return Ended::Part;
        }
        self.under_way = None;
        Ended::Whole(whole)
    }

    /// Its chain is the driver's again.
    pub const fn forget(&mut self) {
        self.under_way = None;
    }
}
