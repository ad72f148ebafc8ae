//! What a request takes to be carried out: steps, one after another. The ring and the plain calls
//! carry out the same ones.

use super::flushes::Asker;
use crate::kvm::{GuestRam, Piece};
use std::collections::VecDeque;
use std::fs::File;
use std::sync::Arc;
use vmm_common::backing::DiskIndex;

/// One transfer, or one call.
#[derive(Debug)]
pub enum Step {
    /// Fills the pieces from `offset` on.
    Read { file: Arc<File>, offset: u64, pieces: Vec<Piece> },
    /// Writes the pieces from `offset` on.
    Write { file: Arc<File>, offset: u64, pieces: Vec<Piece> },
    /// Writes bytes of ours.
    Save { file: Arc<File>, offset: u64, bytes: Vec<u8> },
    /// What was written before is on the disk when this is done (fdatasync).
    Sync { file: Arc<File> },
    /// Makes bytes zero, without writing them if the file system can.
    Clear { file: Arc<File>, offset: u64, bytes: u64 },
    /// Frees the room of bytes, if the file system can.
    Free { file: Arc<File>, offset: u64, bytes: u64 },
}

/// Steps under way.
#[derive(Debug)]
pub struct Job {
    /// Whose.
    pub disk: DiskIndex,
    /// What for.
    pub asked: Asked,
    /// What is left to do. The first one is under way.
    pub steps: VecDeque<Step>,
    /// Keeps the RAM mapped that pieces are in.
    pub mapped: GuestRam,
}

/// What a job is for.
#[derive(Debug)]
pub enum Asked {
    /// A request.
    One(Asker),
    /// The flush of an overlay with its map, for all of these.
    Save(Vec<Asker>),
}

impl Step {
    /// Takes `done` bytes off a transfer. True if that was all of it.
    pub fn advance(&mut self, done: usize) -> bool {
        match self {
            Self::Read { offset, pieces, .. } | Self::Write { offset, pieces, .. } => {
                *offset += done as u64;
                Piece::advance(pieces, done);
                pieces.is_empty()
            }
            Self::Save { offset, bytes, .. } => {
                *offset += done as u64;
                bytes.drain(..done.min(bytes.len()));
                bytes.is_empty()
            }
            Self::Sync { .. } | Self::Clear { .. } | Self::Free { .. } => true,
        }
    }

    /// Whether it transfers no byte.
    pub const fn is_nothing(&self) -> bool {
        match self {
            Self::Read { pieces, .. } | Self::Write { pieces, .. } => pieces.is_empty(),
            Self::Save { bytes, .. } => bytes.is_empty(),
            Self::Clear { bytes, .. } | Self::Free { bytes, .. } => *bytes == 0,
            Self::Sync { .. } => false,
        }
    }

    /// Whether it is a transfer, which may be done in part.
    pub const fn is_transfer(&self) -> bool {
        match self {
            Self::Read { .. } | Self::Write { .. } | Self::Save { .. } => true,
            Self::Sync { .. } | Self::Clear { .. } | Self::Free { .. } => false,
        }
    }

    /// What does the same on a file system that cannot do it at once; None: nothing has to be done.
    pub fn replacement(self) -> Option<Self> {
        /// Bytes written at once.
        const AT_ONCE: u64 = 1 << 20;
        match self {
            Self::Clear { file, offset, bytes } => {
                let pieces = (0..bytes.div_ceil(AT_ONCE))
                    .map(|n| Piece::of_zeroes((bytes - n * AT_ONCE).min(AT_ONCE) as usize))
                    .collect();
                Some(Self::Write { file, offset, pieces })
            }
            Self::Free { .. } => None,
            step @ (Self::Read { .. }
            | Self::Write { .. }
            | Self::Save { .. }
            | Self::Sync { .. }) => Some(step),
        }
    }
}
