//! How a VM ends, and the message for it.

use crate::plan::{Outcome, Outcomes};
use crate::seam::Fault;
use core::fmt;

/// How a VM ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The guest powered off with this status.
    PowerOff {
        /// 0 is success.
        status: u32,
    },
    /// The guest asked for a reset.
    Reset,
    /// The guest said that it has panicked.
    Panicked,
    /// Triple fault.
    TripleFault,
    /// HLT with interrupts disabled and no non-maskable one possible: how systems stop that cannot
    /// power off.
    HaltedForGood,
    /// The guest did something that stops its own VM.
    Fault(Fault),
    /// The host ended the run first.
    Stopped {
        /// The reason, for messages.
        why: &'static str,
    },
}

impl Ending {
    /// The guest ended with status 0, or in a way without a status that the plan takes for success.
    #[must_use]
    pub fn is_success(&self, outcomes: Outcomes) -> bool {
        match self {
            Self::PowerOff { status } => *status == 0,
            Self::Reset => outcomes.on_reset == Outcome::Success,
            Self::HaltedForGood => outcomes.on_halt == Outcome::Success,
            Self::Panicked | Self::TripleFault | Self::Fault(_) | Self::Stopped { .. } => false,
        }
    }

    /// A fault or a panic stopped the guest.
    #[must_use]
    pub fn is_fault(&self) -> bool {
        match self {
            Self::Panicked | Self::TripleFault | Self::Fault(_) => true,
            Self::PowerOff { .. } | Self::Reset | Self::HaltedForGood | Self::Stopped { .. } => {
                false
            }
        }
    }

    /// The guest stopped by itself, did not say why, and was not expected to: its registers are
    /// worth a look.
    #[must_use]
    pub fn deserves_dump(&self, outcomes: Outcomes) -> bool {
        self.is_fault() || *self == Self::HaltedForGood && !self.is_success(outcomes)
    }
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PowerOff { status } => write!(f, "powered off, status {status}"),
            Self::Reset => write!(f, "asked for a reset"),
            Self::Panicked => write!(f, "panicked"),
            Self::TripleFault => write!(f, "stopped: triple fault"),
            Self::HaltedForGood => write!(f, "halted for good"),
            Self::Fault(fault) => write!(f, "stopped: {fault}"),
            Self::Stopped { why } => write!(f, "stopped: {why}"),
        }
    }
}
