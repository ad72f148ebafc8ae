//! How often a VM may begin anew by itself.

use super::{Field, Problems};
use crate::plan::{MAX_RESTART_SPAN_NS, MAX_RESTARTS, MIN_RESTART_SPAN_NS, VmPlan};
use crate::units::ExactTime;
use alloc::format;

pub(super) fn check(index: usize, vm: &VmPlan, problems: &mut Problems) {
    let (times, within_ns) = (vm.restarts.times, vm.restarts.within_ns);
    let is_often = (1..=MAX_RESTARTS).contains(&times);
    let is_long = (MIN_RESTART_SPAN_NS..=MAX_RESTART_SPAN_NS).contains(&within_ns);
    if !is_often || !is_long {
        problems.add(
            Field::VmRestarts(index),
            format!(
                "{times} restarts within {}; allowed: 1 to {MAX_RESTARTS} within {} to {}",
                ExactTime(within_ns),
                ExactTime(MIN_RESTART_SPAN_NS),
                ExactTime(MAX_RESTART_SPAN_NS)
            ),
        );
    }
}
