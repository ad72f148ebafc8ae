//! What a host keeps behind its VMs' virtio devices. Requests cross as values, and so do their
//! results: at once, or between turns.

use crate::index::VmIndex;
pub use devices::virtio::block::{Operation, Request, Status, Token};

/// A disk of the plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DiskIndex {
    /// Its VM.
    pub vm: VmIndex,
    /// Its place among the VM's disks.
    pub number: usize,
}

/// What has become of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// It is done.
    Done(Status),
    /// It is under way: [`Backing::next_finished`] will give its result.
    UnderWay,
}

/// A request that was under way and is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Finished {
    /// Whose.
    pub disk: DiskIndex,
    /// What it was.
    pub operation: Operation,
    /// Which it was.
    pub token: Token,
    /// How it ended.
    pub status: Status,
}

/// What stands behind the virtio devices of VMs whose RAM is an `M`. A host without them takes the
/// methods as they are.
pub trait Backing<M> {
    /// Carries out a request of a disk, or begins to. The buffers are in `memory`.
    fn disk(&mut self, disk: DiskIndex, request: &Request<'_>, memory: &M) -> Progress {
        let _ = (disk, request, memory);
        Progress::Done(Status::IoError)
    }

    /// The next request that was under way and is done.
    #[inline]
    fn next_finished(&mut self) -> Option<Finished> {
        None
    }

    /// Fills `to` with random bytes.
    fn random(&mut self, to: &mut [u8]) {
        let _ = to;
    }
}
