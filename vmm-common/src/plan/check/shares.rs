//! Whether the core can be divided as the plan says.

use super::{Field, Limits, MAX_BUDGET_PERIOD_NS, MAX_WEIGHT, Problems};
use crate::plan::{Plan, Share};
use crate::units::ExactTime;
use alloc::format;
use alloc::string::String;

const MILLION: u128 = 1_000_000;

pub(super) fn check(plan: &Plan, limits: &Limits, problems: &mut Problems) {
    check_weights(plan, limits, problems);
    let mut sum_ppm = 0;
    for (index, vm) in plan.vms.iter().enumerate() {
        let Share::Budget { run_ns, period_ns } = vm.share else { continue };
        let field = Field::VmShare(index);
        let is_longer = run_ns > period_ns || period_ns > MAX_BUDGET_PERIOD_NS;
        if run_ns < limits.min_slice_ns || is_longer {
            let (run, period) = (ExactTime(run_ns), ExactTime(period_ns));
            let (min, max) = (ExactTime(limits.min_slice_ns), ExactTime(MAX_BUDGET_PERIOD_NS));
            let allowed = format!("run from {min} to every, every up to {max}");
            problems.add(field, format!("budget is {run} every {period}; allowed: {allowed}"));
            continue;
        }
        let before_ppm = sum_ppm;
        sum_ppm += u128::from(run_ns) * MILLION / u128::from(period_ns.max(1));
        if sum_ppm > MILLION && before_ppm <= MILLION {
            let (percent, tenths) = (sum_ppm / 10_000, sum_ppm / 1000 % 10);
            problems.add(
                field,
                format!("budgets up to this one sum to {percent}.{tenths} %; allowed: 100 %"),
            );
        }
    }
    if sum_ppm == MILLION
        && let Some(index) = plan.vms.iter().position(|vm| matches!(vm.share, Share::Weight(_)))
    {
        problems.add(
            Field::VmShare(index),
            String::from("budgets take 100 % and leave nothing to weights; allowed: less"),
        );
    }
}

fn check_weights(plan: &Plan, limits: &Limits, problems: &mut Problems) {
    let weights = plan.vms.iter().enumerate().filter_map(|(index, vm)| match vm.share {
        Share::Weight(weight) => Some((index, weight)),
        Share::Budget { .. } => None,
    });
    let sum: u64 = weights.clone().map(|(_, weight)| u64::from(weight)).sum();
    let cycle_ns = u128::from(plan.slice_ns) * weights.clone().count() as u128;
    for (index, weight) in weights {
        let field = Field::VmShare(index);
        if sum == 0 {
            let message = format!("weights sum to 0; allowed: 1 to {MAX_WEIGHT} for each VM");
            problems.add(field, message);
            return;
        }
        if weight == 0 || weight > MAX_WEIGHT {
            problems.add(field, format!("weight is {weight}; allowed: 1 to {MAX_WEIGHT}"));
            continue;
        }
        let quantum = cycle_ns * u128::from(weight) / u128::from(sum);
        let quantum_ns = u64::try_from(quantum).unwrap_or(u64::MAX);
        if quantum_ns < limits.min_slice_ns && plan.slice_ns >= limits.min_slice_ns {
            let (quantum, min) = (ExactTime(quantum_ns), ExactTime(limits.min_slice_ns));
            problems.add(
                field,
                format!(
                    "weight {weight} of {sum} makes turns of {quantum}; allowed: {min} or longer, \
                    by a larger weight or a longer slice"
                ),
            );
        }
    }
}
