//! The time-stamp counters of processors, which are one.

use super::TscClock;

#[test]
fn counters_held_back_in_different_steps_stay_equal() {
    for hz in [2_500_000_001, 999_999_999, 31_250_000, 4_999_999_937] {
        let (mut in_steps, mut held_ns) = (0, 0);
        for step_ns in (1..2_000).map(|step| step * 7_919 % 5_003) {
            in_steps += TscClock::fall(hz, held_ns, held_ns + step_ns);
            held_ns += step_ns;
        }
        assert_eq!(held_ns, 5_011_652);
        assert_eq!(in_steps, TscClock::fall(hz, 0, held_ns), "{hz} Hz");
    }
    assert_eq!(TscClock::fall(2_500_000_001, 0, 5_011_652), 12_529_130);
    assert_eq!(TscClock::fall(2_500_000_001, 1, 2), 3);
    assert_eq!(TscClock::fall(2_500_000_001, 0, 1), 2);
}
