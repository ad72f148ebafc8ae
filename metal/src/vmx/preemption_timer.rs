//! The VMX-preemption timer, which ends a guest's run at its deadline, and so a slice (SDM vol. 3,
//! 25.5.1). It counts down while the guest runs, once in 2^shift ticks of the TSC.

/// What it is set to so that the guest is left after so many ticks of the TSC.
#[inline]
pub fn value(ticks: u64, shift: u32) -> u32 {
    ((ticks >> shift) + 1).min(u32::MAX.into()) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_never_runs_out_much_early_and_never_overflows() {
        assert_eq!(value(1, 0), 2);
        assert_eq!(value(63, 5), 2);
        assert_eq!(value(1 << 40, 5), u32::MAX);
    }
}
