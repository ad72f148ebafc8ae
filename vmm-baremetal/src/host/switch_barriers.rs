//! What a switch to another VM does against speculation, and what that costs. The cost is measured
//! at the start, because measuring each switch would itself cost time in every run.

use super::clock::Clock;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use metal::barriers::Barriers;
use metal::cpu;
use vmm_common::plan::{OnSwitch, Plan};
use vmm_common::units::MeasuredTime;

/// The barriers of a run.
#[derive(Clone, Copy, Debug)]
pub struct SwitchBarriers {
    barriers: Barriers,
    is_needed: bool,
    /// What one switch pays, ns.
    cost_ns: u64,
    was_asked_for: bool,
}

impl SwitchBarriers {
    /// The barriers that the plan asks for, if there are two VMs and the processor has any.
    #[must_use]
    pub fn of(plan: &Plan, clock: &Clock) -> Self {
        let was_asked_for = plan.on_switch == OnSwitch::Barriers && plan.vms.len() > 1;
        let barriers = if was_asked_for { Barriers::of_processor() } else { Barriers::default() };
        let is_needed = !barriers.is_empty();
        let cost_ns = if is_needed { measure(barriers, clock) } else { 0 };
        Self { barriers, is_needed, cost_ns, was_asked_for }
    }

    /// Executes the barriers, before another VM gets the core.
    #[inline]
    pub fn execute(&self) {
        if self.is_needed {
            self.barriers.execute();
        }
    }

    /// The receipt's line, for so many switches.
    #[must_use]
    pub fn line(&self, switches: u64) -> String {
        let names: Vec<&str> = self.barriers.names().collect();
        match (self.is_needed, self.was_asked_for) {
            (true, _) => {
                let (each, all) =
                    (MeasuredTime(self.cost_ns), MeasuredTime(self.cost_ns * switches));
                format!("between VMs: {}; {each} a switch, some {all} in all", names.join(", "))
            }
            (false, true) => String::from("between VMs: this processor needs, or has, no barrier"),
            (false, false) => String::from("between VMs: no barrier, as the config says"),
        }
    }
}

/// The mean of some, ns.
fn measure(barriers: Barriers, clock: &Clock) -> u64 {
    const TIMES: u64 = 32;
    let begin = cpu::tsc();
    (0..TIMES).for_each(|_| barriers.execute());
    let ticks = cpu::tsc() - begin;
    (u128::from(ticks) * 1_000_000_000 / u128::from(clock.hz().max(1)) / u128::from(TIMES)) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_receipt_names_the_barriers_and_their_price() {
        let barriers = Barriers { has_ibpb: true, has_l1d_flush: false, has_verw: true };
        let run = SwitchBarriers { barriers, is_needed: true, cost_ns: 1500, was_asked_for: true };
        let line = "between VMs: IBPB, VERW; 1.5us a switch, some 3.00ms in all";
        assert_eq!(run.line(2000), line);
        let none = Barriers::default();
        let run = SwitchBarriers { barriers: none, is_needed: false, ..run };
        assert_eq!(run.line(7), "between VMs: this processor needs, or has, no barrier");
        let run = SwitchBarriers { was_asked_for: false, ..run };
        assert_eq!(run.line(7), "between VMs: no barrier, as the config says");
    }
}
