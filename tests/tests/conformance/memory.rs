//! RAM that does not fit below the hole for devices, where a machine can have so much: in Bochs it
//! cannot.

use crate::targets::Target;
use crate::transcript;
use xtask::scratch::Scratch;

/// 3584 MiB lie below the hole, the rest from 4 GiB on.
const CONFIG: &str = "vms: [{name: large, kernel: large_memory, memory: 3600MiB}]\n";
/// Of the first MiB, 619 KiB; both ends of what lies on either side of the hole, and of each GiB.
const SAYS: &str = "large_memory: 10 places in 3599 MiB up to 0101000000";

#[test]
fn ram_beyond_the_hole_lies_at_4_gib() {
    let scratch = Scratch::new().expect("a folder for temporary files");
    let config = scratch.write("large.yml", CONFIG.as_bytes()).expect("a file in it");
    for target in [Target::Kvm, Target::SvmQemu] {
        let outcome = target.run_file(&config, &[]);
        let (name, shown) = (target.name(), &outcome.console);
        let lines = [SAYS, "[large powered off, status 0]"];
        assert_eq!(transcript::of(shown, "large"), lines, "{name}:\n{shown}");
        assert_eq!(outcome.exit, 0, "{name}:\n{shown}");
    }
}
