//! String I/O keeps the guest's own protection, and page tables in a hole raise #PF: error codes,
//! CR2, how far a string got, Accessed and Dirty flags, as Linux's KVM has them.

use crate::targets::{Outcome, Target};
use crate::transcript;
use xtask::scratch::Scratch;

#[rustfmt::skip]
const EXPECTED: [&str; 15] = [
    "page_faults: INSB to a writable page: done, 3 left, flags 60 00 00 00",
    "page_faults: INSB to a read-only page: error 3 at 001005, 3 left, flags 00 00 00 00",
    "page_faults: INSB to an absent page: error 2 at 002006, 3 left, flags 00 00 00 00",
    "page_faults: OUTSB from a read-only page: done, 3 left, flags 00 20 00 00",
    "page_faults: OUTSB from an absent page: error 0 at 002007, 3 left, flags 00 00 00 00",
    "page_faults: REP INSB into a read-only page: error 3 at 001000, 1 left, flags 60 00 00 00",
    "page_faults: REP OUTSB into an absent page: error 0 at 002000, 2 left, flags 00 20 00 00",
    "page_faults: INSD across into a read-only page: error 3 at 001000, 3 left, flags 60 00 00 00",
    "page_faults: OUTSW across from an absent page: error 0 at 002fff, 3 left, flags 00 00 00 00",
    "page_faults: a load by tables in a hole: error 0 at 200777, 3 left, flags 00 00 00 00",
    "page_faults: a store by tables in a hole: error 2 at 200777, 3 left, flags 00 00 00 00",
    "page_faults: an AND by tables in a hole: error 2 at 200777, 3 left, flags 00 00 00 00",
    "page_faults: STOSB by tables in a hole: error 2 at 200777, 3 left, flags 00 00 00 00",
    "page_faults: INSB by tables in a hole: error 2 at 200777, 3 left, flags 00 00 00 00",
    "[guest powered off, status 0]",
];

#[test]
fn string_io_and_tables_in_a_hole_raise_the_page_faults_of_a_processor_everywhere() {
    for target in [&[Target::Kvm], &Target::BARE[..], &[Target::KvmOnDebian]].concat() {
        let scratch = Scratch::new().expect("a folder for temporary files");
        let text = b"vms:\n  - {name: guest, kernel: page_faults, memory: 8MiB}\n";
        let config = scratch.write("page_faults.yml", text).expect("a file in it");
        let Outcome { console, exit, .. } = target.run_file(&config, &[]);
        assert_eq!(transcript::of(&console, "guest"), EXPECTED, "{}:\n{console}", target.name());
        assert_eq!(exit, 0, "{}", target.name());
    }
}
