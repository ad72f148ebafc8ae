//! A ring of the last events, written before each exit is handled, for diagnosis.

use crate::Instant;
use crate::index::{VcpuIndex, VmIndex};
use crate::seam::ExitReason;
use alloc::boxed::Box;
use alloc::vec;

/// Something that happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// A VM got the core.
    TurnBegins,
    /// It gave the core away.
    TurnEnds,
    /// An exit, not yet handled.
    Exit(ExitReason),
    /// A maskable interrupt was injected.
    Interrupt(u8),
    /// No VM can run.
    IdleBegins,
    /// A VM can.
    IdleEnds,
    /// The host ran something else for so long up to now; the vCPU is of no meaning.
    HostTook {
        /// Nanoseconds.
        ns: u64,
    },
    /// A VM ended.
    Ended,
    /// A VM begins anew.
    Restarted,
}

/// An event, with its time and vCPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// When.
    pub at: Instant,
    /// The vCPU; of no meaning while idle.
    pub vcpu: VcpuIndex,
    /// What.
    pub what: What,
}

/// The last events, as many as it was made for.
#[derive(Clone, Debug)]
pub struct Trace {
    /// A power of two of them, or none.
    ring: Box<[Event]>,
    written: u64,
}

impl Trace {
    /// A ring for the last `events` events, rounded up to a power of two; 0 records nothing.
    #[must_use]
    pub fn new(events: usize) -> Self {
        let vcpu = VcpuIndex::only_of(VmIndex(0));
        let blank = Event { at: Instant::ZERO, vcpu, what: What::IdleEnds };
        let len = if events == 0 { 0 } else { events.next_power_of_two() };
        Self { ring: vec![blank; len].into_boxed_slice(), written: 0 }
    }

    /// Records an event of a vCPU over the oldest.
    #[inline]
    pub fn record(&mut self, at: Instant, vcpu: VcpuIndex, what: What) {
        let next = self.written as usize & self.ring.len().wrapping_sub(1);
        if let Some(slot) = self.ring.get_mut(next) {
            *slot = Event { at, vcpu, what };
            self.written += 1;
        }
    }

    /// How many events were overwritten.
    #[must_use]
    pub fn overwritten(&self) -> u64 {
        self.written.saturating_sub(self.ring.len() as u64)
    }

    /// The recorded events, oldest first.
    pub fn events(&self) -> impl Iterator<Item = &Event> {
        let len = self.ring.len() as u64;
        (self.overwritten()..self.written).map(move |at| &self.ring[(at % len) as usize])
    }
}
