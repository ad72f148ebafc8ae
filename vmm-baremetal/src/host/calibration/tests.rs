use super::*;
use vmm_common::cpuid::CpuidResult;

fn agree(opinions: &[(&'static str, u64)]) -> Result<u64, String> {
    let opinions = opinions.iter().map(|&(clock, tsc_hz)| Opinion { clock, tsc_hz });
    agreed(&opinions.collect::<Vec<_>>())
}

#[test]
fn the_first_clock_that_another_agrees_with_is_believed() {
    let (pit, timer, hpet) = (("8254", 2_000_000), ("timer", 3_000_000), ("HPET", 3_010_000));
    assert_eq!(agree(&[("8254", 3_000_001), timer, hpet]), Ok(3_000_001));
    assert_eq!(agree(&[pit, timer, hpet]), Ok(3_000_000), "the 8254 is outvoted");
    assert_eq!(agree(&[hpet]), Ok(3_010_000), "there is no other");
    assert_eq!(agree(&[timer, ("8254", 3_030_000)]), Ok(3_000_000), "within 1 %");
}

#[test]
fn clocks_that_disagree_are_refused_each_with_its_rate() {
    let error = agree(&[("8254", 2_000_000), ("timer", 3_000_000)]).expect_err("they disagree");
    assert!(error.contains("2000000 Hz by 8254, 3000000 Hz by timer"), "{error}");
    let error = agree(&[]).expect_err("there is none");
    assert!(error.contains("none counts"), "{error}");
}

#[test]
fn a_reference_that_stood_still_or_wrapped_says_nothing() {
    let timer =
        |port| Reference { name: "", hz: 3_579_545, mask: 0xff_ffff, read: Read::Timer(port) };
    let timer = timer(Port::of_power_management(0x608).expect("it is one"));
    let at = |tsc, ticks| Sample { tsc, ticks };
    let hz = |ticks| timer.tsc_hz(at(1_000_000, 0xff_0000), at(151_000_000, ticks));
    assert_eq!(hz((0xff_0000 + 178_977) & 0xff_ffff), Some(3_000_004_190), "50 ms of 3 GHz");
    assert_eq!(hz(0xff_0000), None);
    assert_eq!(hz(0xff_0100), None);
}

#[test]
fn cpuid_gives_a_rate_where_it_gives_all_of_it() {
    let leaf = |eax, ebx, ecx, max| {
        by_cpuid(move |leaf, _| match leaf {
            0 => CpuidResult { eax: max, ..CpuidResult::default() },
            _ => CpuidResult { eax, ebx, ecx, edx: 0 },
        })
    };
    assert_eq!(leaf(2, 250, 24_000_000, 0x16), Some(3_000_000_000));
    assert_eq!(leaf(2, 250, 0, 0x16), None);
    assert_eq!(leaf(0, 250, 24_000_000, 0x16), None);
    assert_eq!(leaf(2, 0, 24_000_000, 0x16), None);
    assert_eq!(leaf(2, 250, 24_000_000, 0x14), None);
}
