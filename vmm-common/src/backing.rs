//! What a host keeps behind its VMs' virtio devices. Requests cross as values, and so do their
//! results: at once, or between turns.

use crate::Instant;
use crate::index::VmIndex;
pub use devices::virtio::block::{Operation, Request, Status, Token};
pub use devices::virtio::net::{Content, Frame, Offloads};

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

/// What has come to a network from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FromUplink<'a> {
    /// Nothing that has not been taken.
    Nothing,
    /// A frame, behind its header ([`Frame::from_outside`]).
    Frame(&'a [u8]),
    /// The uplink is gone for good.
    Gone,
}

/// What has become of a frame for outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ToUplink {
    /// The uplink has it.
    Done,
    /// There is no room now.
    Full,
    /// The uplink does not take it.
    Refused,
    /// The uplink is gone for good.
    Gone,
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

    /// What has come to a network from outside: the same until [`Self::finish_uplink_frame`].
    fn receive_from_uplink(&mut self, network: usize) -> FromUplink<'_> {
        let _ = network;
        FromUplink::Gone
    }

    /// The frame that has come to a network from outside needs its bytes no more.
    fn finish_uplink_frame(&mut self, network: usize) {
        let _ = network;
    }

    /// Sends a frame out of a network.
    fn send_to_uplink(&mut self, network: usize, frame: &Frame<'_, M>) -> ToUplink {
        let _ = (network, frame);
        ToUplink::Gone
    }

    /// The drivers at a network take this of frames that are not finished.
    fn set_uplink_offloads(&mut self, network: usize, offloads: Offloads) {
        let _ = (network, offloads);
    }

    /// Records a frame that enters a network by this port, for networks of which the plan wants
    /// that. None: the frame that has come from outside.
    fn capture(&mut self, network: usize, port: usize, frame: Option<&Frame<'_, M>>, now: Instant) {
        let _ = (network, port, frame, now);
    }

    /// Fills `to` with random bytes.
    fn random(&mut self, to: &mut [u8]) {
        let _ = to;
    }
}
