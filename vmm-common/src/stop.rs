//! Why a run ends before its VMs do, and a target's exit code for it.

/// Every VM ended with status 0, or as its plan takes for success.
pub const SUCCESS: u8 = 0;
/// A VM failed, or the run was ended by something other than a signal.
pub const VM_FAILED: u8 = 1;
/// The config or the command line is wrong.
pub const BAD_PLAN: u8 = 2;
/// The host, or the machine, cannot run it.
pub const HOST_REFUSED: u8 = 3;
/// Ended by a signal: this and the signal's number, as shells have it.
const SIGNALLED: u8 = 128;
/// The signal that Ctrl-C stands for (POSIX, `kill`).
const SIGINT: u8 = 2;

/// Why a run ends before its VMs do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopRequest {
    /// Ctrl-C, or the console's key for it.
    Interrupted,
    /// A signal with this number that asks to end.
    Signal(u8),
    /// The run has reached its time limit.
    TimedOut,
    /// The output has no reader any more.
    OutputClosed,
}

/// What is shown of a VM that still runs when the run ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detail {
    /// Its ending.
    Nothing,
    /// A line for the vCPU that ran last: whether it ran or halted, and where.
    Line,
    /// Everything, of all vCPUs.
    All,
}

impl StopRequest {
    /// The reason on the console and in the receipt, for each VM that was still running.
    #[must_use]
    pub const fn why(self) -> &'static str {
        match self {
            Self::Interrupted => "interrupted from the keyboard",
            Self::Signal(_) => "the run was ended by a signal",
            Self::TimedOut => "the time limit was reached",
            Self::OutputClosed => "the output has no reader any more",
        }
    }

    /// What VMs that still ran show: at a time limit they may be stuck, and after a Ctrl-C the
    /// user may want no more than to be out.
    #[must_use]
    pub const fn detail(self) -> Detail {
        match self {
            Self::TimedOut => Detail::All,
            Self::Interrupted => Detail::Line,
            Self::Signal(_) | Self::OutputClosed => Detail::Nothing,
        }
    }
}

/// The exit code of a run that ended by `request`, or by itself.
#[must_use]
pub const fn exit_code(request: Option<StopRequest>, is_success: bool) -> u8 {
    match request {
        Some(StopRequest::Interrupted) => SIGNALLED + SIGINT,
        Some(StopRequest::Signal(signal)) => SIGNALLED.wrapping_add(signal),
        Some(StopRequest::TimedOut | StopRequest::OutputClosed) => VM_FAILED,
        None if is_success => SUCCESS,
        None => VM_FAILED,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_are_a_shells() {
        let code = |request| exit_code(request, true);
        assert_eq!(code(Some(StopRequest::Interrupted)), 130);
        assert_eq!(code(Some(StopRequest::Signal(15))), 143);
        assert_eq!(code(Some(StopRequest::TimedOut)), 1);
        assert_eq!(code(Some(StopRequest::OutputClosed)), 1);
        assert_eq!((code(None), exit_code(None, false)), (0, 1));
    }
}
