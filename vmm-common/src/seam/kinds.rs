//! The kinds of exits, as accounts and reports count and name them.

use super::ExitReason;

impl ExitReason {
    /// The names of the kinds, in the order of [`ExitReason::kind`].
    pub const KINDS: [&'static str; 13] = [
        "port in",
        "port out",
        "mmio read",
        "mmio write",
        "msr read",
        "msr write",
        "halt",
        "shutdown",
        "interrupt window",
        "preempted",
        "fault",
        "pause",
        "debug",
    ];

    /// An access to a port.
    #[must_use]
    pub const fn is_port(&self) -> bool {
        matches!(self, Self::PortIn { .. } | Self::PortOut { .. })
    }

    /// No instruction is under way that the next entry completes.
    #[must_use]
    pub const fn is_between_instructions(&self) -> bool {
        matches!(self, Self::Preempted | Self::Debug(_))
    }

    /// The position of this reason in [`ExitReason::KINDS`].
    #[must_use]
    pub const fn kind(&self) -> usize {
        match self {
            Self::PortIn { .. } => 0,
            Self::PortOut { .. } => 1,
            Self::MmioRead { .. } => 2,
            Self::MmioWrite { .. } => 3,
            Self::MsrRead { .. } => 4,
            Self::MsrWrite { .. } => 5,
            Self::Halt => 6,
            Self::Shutdown => 7,
            Self::InterruptWindow => 8,
            Self::Preempted => 9,
            Self::Fault(_) => 10,
            Self::Pause => 11,
            Self::Debug(_) => 12,
        }
    }
}
