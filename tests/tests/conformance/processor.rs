//! The edges of a processor that hypervisors carry out or inject themselves, where processors are
//! emulated as they should be. (The KVM of the host may be one that interprets ring 0.)

use crate::targets::Target;
use crate::transcript;
use xtask::scratch::Scratch;

const GROUPS: [&str; 9] =
    ["faults", "msrs", "xsave", "kvm", "step", "halt", "cr8", "nmi", "apic_base"];
const OFF: &str = "[guest powered off, status 0]";

#[test]
fn a_processor_does_at_its_edges_what_the_manuals_say() {
    let scratch = Scratch::new().expect("a folder for temporary files");
    let config = b"vms: [{name: guest, kernel: processor}]\n";
    let file = scratch.write("processor.yml", config).expect("a file in it");
    let mut expected = GROUPS.map(|group| format!("processor: {group}: right")).to_vec();
    expected.push(OFF.into());
    for target in [&Target::BARE[..], &[Target::KvmOnDebian]].concat() {
        let outcome = target.run_file(&file, &[]);
        assert_eq!(transcript::of(&outcome.console, "guest"), expected, "on {}", target.name());
    }
}
