//! What an exit costs on this machine: the measure for whether a guest does anything between two.

/// Port exits that are looked at, the first ones: guests begin by programming their devices.
const SAMPLES: usize = 31;

/// The typical cost of a port exit, once enough were seen.
#[derive(Clone, Debug)]
pub struct ExitCost {
    samples_ns: [u64; SAMPLES],
    taken: usize,
}

impl ExitCost {
    /// Nothing seen yet.
    pub const fn new() -> Self {
        Self { samples_ns: [0; SAMPLES], taken: 0 }
    }

    /// A guest was entered and left for a port access after `guest_ns`.
    pub fn add(&mut self, guest_ns: u64) {
        if self.taken < SAMPLES {
            self.samples_ns[self.taken] = guest_ns;
            self.taken += 1;
            if self.taken == SAMPLES {
                self.samples_ns.sort_unstable();
            }
        }
    }

    /// The median, ns; None until enough exits were seen.
    pub fn typical_ns(&self) -> Option<u64> {
        (self.taken == SAMPLES).then_some(self.samples_ns[SAMPLES / 2])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stray_exits_do_not_count() {
        let mut cost = ExitCost::new();
        for exit in 0..SAMPLES as u64 {
            assert_eq!(cost.typical_ns(), None);
            cost.add(if exit % 5 == 0 { 1 } else { 1000 + exit });
        }
        assert!(cost.typical_ns().is_some_and(|ns| (1000..1100).contains(&ns)));
        cost.add(1);
        assert!(cost.typical_ns().is_some_and(|ns| ns >= 1000));
    }
}
