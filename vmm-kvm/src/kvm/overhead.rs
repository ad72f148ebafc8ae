//! What it costs to get into and out of a guest, as far as KVM_RUN's caller can know. The guest
//! does not run then, and whoever is preempted more often than others must not pay for it from its
//! share.
//!
//! Getting in: the way to KVM_RUN is measured, and KVM's own way from there is half of what a guest
//! that leaves at once takes, which port accesses show. Getting out of a guest that the timer
//! stops: mostly the same time from the deadline on, so that what is usual is the overhead and what
//! is beyond it the guest ran on, or the host took. Over a KVM that interprets, leaving takes some
//! 45 us.

use vmm_common::Instant;

/// Both ways, for one vCPU.
#[derive(Clone, Copy, Debug, Default)]
pub struct Overhead {
    /// A guest that leaves at once.
    round_trip: Usual,
    /// From the deadline to KVM_RUN's return.
    leaving: Usual,
}

impl Overhead {
    /// KVM_RUN took so long for a guest that left it by itself for a port.
    pub fn left_for_port(&mut self, took_ns: u64) {
        self.round_trip.add(took_ns);
    }

    /// The timer, set to `deadline`, ended KVM_RUN: `called` after `entering` began, and it
    /// returned at `returned`. The overhead of this entry, ns.
    pub fn stopped(
        &mut self,
        (entering, called): (Instant, Instant),
        deadline: Instant,
        returned: Instant,
    ) -> u64 {
        let late_ns = returned.ns_since(deadline);
        if returned >= deadline {
            self.leaving.add(late_ns);
        }
        called.ns_since(entering) + self.round_trip.ns() / 2 + late_ns.min(self.leaving.ns())
    }
}

/// The lower quartile of the last samples: what is usual even where the host takes the core at
/// every other exit.
#[derive(Clone, Copy, Debug, Default)]
struct Usual {
    last: [u64; Self::SAMPLES],
    count: usize,
}

impl Usual {
    const SAMPLES: usize = 16;

    fn add(&mut self, sample: u64) {
        self.last[self.count % Self::SAMPLES] = sample;
        self.count += 1;
    }

    /// 0 before the first sample.
    fn ns(&self) -> u64 {
        let mut sorted = self.last;
        let known = self.count.min(Self::SAMPLES);
        let sorted = &mut sorted[..known];
        sorted.sort_unstable();
        sorted.get(known / 4).copied().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usual_is_what_most_are_near_whatever_the_strays() {
        let mut usual = Usual::default();
        for n in 0..1000_u64 {
            usual.add(if n % 2 == 0 { 30_000_000 } else { 45_000 + n % 100 });
        }
        assert!((40_000..55_000).contains(&usual.ns()), "{}", usual.ns());
    }

    #[test]
    fn what_is_beyond_the_usual_was_not_overhead() {
        let at = Instant::from_ns;
        let mut overhead = Overhead::default();
        for _ in 0..50 {
            overhead.left_for_port(9_000);
            assert_eq!(overhead.stopped((at(0), at(1_000)), at(500_000), at(545_000)), 50_500);
        }
        let stalled = overhead.stopped((at(0), at(1_000)), at(500_000), at(3_000_000_000));
        assert!((50_500..55_000).contains(&stalled), "{stalled}");
        // A signal may end it before its time.
        assert_eq!(overhead.stopped((at(0), at(1_000)), at(500_000), at(400_000)), 5_500);
    }
}
