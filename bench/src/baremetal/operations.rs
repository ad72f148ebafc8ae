//! Single operations of a guest's, counted, beside what Linux's KVM takes for the same in the same
//! emulator.

use super::Counting;
use super::arithmetic::more_instructions;
use anyhow::{Context, Result, ensure};
use std::path::Path;
use xtask::emulate::Emulator;

/// An operation: what it is called, `exit_storm`'s word for it, and what Linux 6.1's KVM takes for
/// it: on VMX in Bochs, on SVM in QEMU, instructions. A kernel test suite's `vmexit` counted them,
/// by RDTSC, its own loop among them: three instructions and more.
type Operation = (&'static str, &'static str, [Option<f64>; 2]);

const OPERATIONS: [Operation; 9] = [
    ("CPUID", "cpuid", [Some(1134.0), Some(2969.7)]),
    ("MOV from CR8", "cr8_read", [Some(7.0), Some(7.3)]),
    ("MOV to CR8", "cr8_write", [Some(8.0), Some(8.2)]),
    ("IN of 4 bytes, absent port", "absent", [Some(3353.0), Some(3314.5)]),
    ("IN of 4 bytes, 8259 pair (0x4D0)", "pic_read", [Some(1287.0), Some(1450.0)]),
    ("OUT of 4 bytes, 8259 pair (0x4D0)", "pic_write", [Some(1294.0), Some(1470.0)]),
    ("WBINVD", "wbinvd", [None, Some(2685.4)]),
    ("EOI", "eoi", [Some(4419.0), Some(4086.6)]),
    ("self-IPI, taken behind STI, EOI", "self_ipi", [Some(15024.0), Some(14000.7)]),
];

/// An operation counted.
#[derive(Clone, Debug)]
pub struct Counted {
    /// What was done.
    pub what: &'static str,
    /// Instructions a round, the guest's own loop among them: on VMX in Bochs, on SVM in QEMU.
    pub figures: [f64; 2],
    /// What Linux's KVM takes there.
    pub kvm: [Option<f64>; 2],
}

impl Counted {
    /// No figure is above KVM's.
    #[must_use]
    pub fn is_met(&self) -> bool {
        self.figures.iter().zip(self.kvm).all(|(figure, kvm)| kvm.is_none_or(|kvm| *figure <= kvm))
    }
}

/// Counts all operations; `report` gets each as soon as it is counted.
///
/// # Errors
/// An emulator cannot be run, or a run failed.
pub fn count(kernel: &Path, mut report: impl FnMut(&Counted)) -> Result<Vec<Counted>> {
    let machines =
        [Emulator::Bochs, Emulator::Qemu].map(|emulator| Counting::new(kernel, emulator, None));
    let mut counted = Vec::new();
    for (what, word, kvm) in OPERATIONS {
        let mut figures = [0.0; 2];
        for (figure, machine) in figures.iter_mut().zip(&machines) {
            *figure = per_round(machine, word)
                .with_context(|| format!("{what}, in {}", machine.name()))?;
        }
        let operation = Counted { what, figures, kvm };
        report(&operation);
        counted.push(operation);
    }
    Ok(counted)
}

/// Instructions a round of `exit_storm`, from two runs within one slice.
fn per_round(machine: &Counting, word: &str) -> Result<f64> {
    const ROUNDS: [u64; 2] = [1000, 3000];
    let run = |rounds: u64| {
        machine.run(&super::config("1s", &[1], &format!("exit_storm, cmdline: {rounds} {word}")))
    };
    let (few, many) = (run(ROUNDS[0])?, run(ROUNDS[1])?);
    let turns = |run: &super::counting::Run| run.receipt.vms[0].exits.get("preempted").copied();
    ensure!(turns(&few) == turns(&many), "the rounds do not fit into one slice");
    Ok(more_instructions(&few, &many) / (ROUNDS[1] - ROUNDS[0]) as f64)
}
