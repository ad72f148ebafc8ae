//! `config.bin`: any bytes are read or refused, and what was written is read back.

use crate::runner::check;
use proptest::collection::vec;
use proptest::prelude::*;
use vmm_common::plan::{Limits, MAX_VMS, check as check_plan};
use vmm_common::seed::{CONFIG_BYTES, SeedVm, decode, encode, from_plan, to_plan};

fn vm() -> impl Strategy<Value = SeedVm> {
    let flag = || prop_oneof![0_u64..2, any::<u64>()];
    (any::<u64>(), any::<u64>(), any::<u64>(), flag(), flag(), flag()).prop_map(
        |(id, memory, vcpu_count, io_apic, hpet, local_apic)| SeedVm {
            id,
            memory,
            vcpu_count,
            io_apic,
            hpet,
            local_apic,
        },
    )
}

#[test]
fn what_was_encoded_is_decoded() {
    check(300, vec(vm(), 1..=MAX_VMS), |vms| {
        let bytes = encode(&vms).expect("as many as a plan may have fit");
        assert_eq!(bytes.len(), CONFIG_BYTES);
        assert_eq!(decode(&bytes), Ok(vms));
    });
}

#[test]
fn any_bytes_are_read_or_refused_and_what_is_read_makes_a_plan_to_check() {
    // Small counts in front, so that some of them are read.
    let count = prop_oneof![(0_u64..70).prop_map(u64::to_le_bytes), any::<[u8; 8]>()];
    check(500, (count, vec(any::<u8>(), 0..CONFIG_BYTES)), |(count, rest)| {
        let bytes: Vec<u8> = count.into_iter().chain(rest).collect();
        let Ok(vms) = decode(&bytes) else { return };
        let plan = to_plan(&vms);
        let read_back = from_plan(&plan);
        assert!(read_back.iter().zip(&vms).all(|(a, b)| (a.id, a.memory) == (b.id, b.memory)));
        let limits = Limits { host_memory_bytes: 1 << 30, min_slice_ns: 100, cores: vec![0] };
        let problems = check_plan(&plan, &limits);
        assert!(problems.iter().all(|problem| problem.message.contains("allowed")), "{problems:?}");
    });
}
