//! The section of BENCHMARKS.md, and its place among the others. What people wrote there stays.

use super::operations::Counted;
use super::{CPUS, Figures, Line};
use std::process::Command;

const HEADING: &str = "## On the bare machine";

/// What is written above the table.
const ABOUT: &str = "\
In Bochs the clock is the instruction counter: the figures are numbers of instructions, and a second
run gives the same ones. What caches and TLBs cost is not among them. Exits and switches are
differences of two runs' whole time, and not what the hypervisor books on itself.

- *Exit*: `exit_storm` with 1,000 and with 5,000 rounds, alone and within one slice. What a round
  takes, less the guest's own instructions, the exiting one among them: 3 where it writes, 4 where
  it asks CPUID (leaf 1). Linux 6.1's KVM, for comparison, by RDTSC around 20,000 exits: 983 (VMX,
  in Bochs) and 2541 (SVM, in QEMU) for CPUID, 3053 and 3277 for an OUT to user space and back,
  before any device is asked.
- *Switch*: VMs that count to 200,000 in ring 3, once in slices of 1 s, which none of them uses up,
  and once of 1 ms. What the second run takes longer, over the switches it has more: being left, the
  scheduler, registers and FPU state of both VMs, the entry.
- *IPI*, *lock*: `siblings` with two vCPUs, alone, 100 and 300 rounds. The processors halt until the
  other one's interrupt comes: each sends one by its x2APIC, halts, and takes one by a handler that
  ends the interrupt, three exits; or take a ticket lock in turn, waiting with PAUSE. With the
  guest's own instructions.
- *Share errors and blackouts*: VMs that spin for 2 s, slices of 5 ms, by the receipt.
- *Memory*: frames and heap in use at the end of a run, of 64 VMs with 4 MiB each and of one.
- *Code lines* are neither blank nor comments nor for tests; other people's crates are not counted.
";

/// What is written above the table of operations.
const ABOUT_OPERATIONS: &str = "\
What an operation takes in all, beside Linux 6.1's KVM with a bare loop in user space, in the same
emulator: instructions of the guest, the hypervisor and, there, the kernel and the loop.
`exit_storm` with 1,000 and with 3,000 rounds; KVM's by a kernel test suite's `vmexit`. Each counts
its own loop, two instructions and more.
";

/// The section.
#[must_use]
pub fn section(lines: &[Line], operations: &[Counted]) -> String {
    let [date, commit] =
        [said("date", &["-u", "+%Y-%m-%d"]), said("git", &["rev-parse", "--short=10", "HEAD"])];
    let svm = CPUS[1].unwrap_or_default();
    let made = format!(
        "Made by `cargo xtask bench bare` on {date}, commit {commit}, in Bochs: VMX on \
         `xtask run`'s default CPU, SVM on `{svm}`.\n"
    );
    let mut rows = String::from("| instructions, or what else is named | VMX | SVM | target | |\n");
    rows.push_str("|---|---:|---:|---:|---|\n");
    for line in lines {
        let [vmx, svm] = cells(line);
        let (what, most, verdict) = (&line.what, most(line), verdict(line));
        rows.push_str(&format!("| {what} | {vmx} | {svm} | {most} | {verdict} |\n"));
    }
    let mut table = String::from(
        "| an operation, instructions | VMX (Bochs) | KVM there | SVM (QEMU) | KVM there | |\n\
         |---|---:|---:|---:|---:|---|\n",
    );
    for counted in operations {
        let [vmx, svm] = counted.figures.map(number);
        let [kvm_vmx, kvm_svm] = kvm_cells(counted);
        let (what, verdict) = (counted.what, operation_verdict(counted));
        table
            .push_str(&format!("| {what} | {vmx} | {kvm_vmx} | {svm} | {kvm_svm} | {verdict} |\n"));
    }
    format!("{HEADING}\n\n{made}{ABOUT}\n{rows}\n{ABOUT_OPERATIONS}\n{table}")
}

/// An operation for a terminal.
#[must_use]
pub fn operation_text(counted: &Counted) -> String {
    let [vmx, svm] = counted.figures.map(number);
    let [kvm_vmx, kvm_svm] = kvm_cells(counted);
    let (what, verdict) = (counted.what, operation_verdict(counted));
    format!("{what:40} VMX {vmx:>8}, KVM {kvm_vmx:>8}; SVM {svm:>8}, KVM {kvm_svm:>8} {verdict}\n")
}

fn kvm_cells(counted: &Counted) -> [String; 2] {
    counted.kvm.map(|figure| figure.map_or_else(|| "-".into(), number))
}

fn operation_verdict(counted: &Counted) -> &'static str {
    if counted.is_met() { "met" } else { "slower" }
}

/// A line for a terminal.
#[must_use]
pub fn text(line: &Line) -> String {
    let [vmx, svm] = cells(line);
    let (what, most, verdict) = (&line.what, most(line), verdict(line));
    format!("{what:72} {vmx:>12} {svm:>12} {most:>8} {verdict}\n")
}

/// The page with `table`, its title and all, in place of what is before its first section.
#[must_use]
pub fn with_table(page: &str, table: &str) -> String {
    let after = page.find("\n## ").map_or("", |begin| &page[begin..]);
    format!("{table}{after}")
}

/// The page with `section` where the one before was, or at its end.
#[must_use]
pub fn with_section(page: &str, section: &str) -> String {
    let Some(begin) = page.find(HEADING) else {
        return format!("{}\n\n{section}", page.trim_end());
    };
    let (before, rest) = page.split_at(begin);
    let after = rest.find("\n## ").map_or("", |end| &rest[end..]);
    format!("{before}{section}{after}")
}

/// What a program says, as far as it can be run.
#[must_use]
pub fn said(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    output.map_or_else(|_| "?".into(), |out| String::from_utf8_lossy(&out.stdout).trim().into())
}

fn cells(line: &Line) -> [String; 2] {
    match line.figures {
        Figures::Each(figures) => figures.map(|figure| figure.map_or_else(|| "-".into(), number)),
        Figures::Common(figure) => [number(figure), "the same".into()],
    }
}

/// With as many digits as say something.
fn number(figure: f64) -> String {
    match figure {
        whole if whole.fract() == 0.0 => format!("{whole:.0}"),
        large if large >= 10.0 => format!("{large:.1}"),
        small => format!("{small:.3}"),
    }
}

fn most(line: &Line) -> String {
    line.most.map_or_else(String::new, |most| format!("<= {most}"))
}

fn verdict(line: &Line) -> &'static str {
    let Some(most) = line.most else { return "" };
    let is_met = |figure: Option<f64>| figure.map(|figure| figure <= most);
    match line.figures {
        Figures::Common(figure) if figure <= most => "met",
        Figures::Common(_) => "missed",
        Figures::Each(figures) => match figures.map(is_met) {
            [None, _] | [_, None] => "not reported by the hypervisor",
            [Some(true), Some(true)] => "met",
            [Some(false), Some(true)] => "missed on VMX",
            [Some(true), Some(false)] => "missed on SVM",
            [Some(false), Some(false)] => "missed",
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(figures: Figures, most: Option<f64>) -> Line {
        Line { what: "a thing".into(), figures, most }
    }

    #[test]
    fn a_missed_target_is_told() {
        let check = |figures, expected| assert_eq!(verdict(&line(figures, Some(9.0))), expected);
        check(Figures::Each([Some(9.0), Some(1.0)]), "met");
        check(Figures::Each([Some(9.1), Some(1.0)]), "missed on VMX");
        check(Figures::Each([Some(9.0), Some(10.0)]), "missed on SVM");
        check(Figures::Each([Some(99.0), Some(99.0)]), "missed");
        check(Figures::Each([None, Some(1.0)]), "not reported by the hypervisor");
        check(Figures::Common(9.1), "missed");
        assert_eq!(verdict(&line(Figures::Common(9.1), None)), "");
    }

    #[test]
    fn a_row_shows_what_is_there() {
        let text = section(&[line(Figures::Each([Some(311.25), None]), Some(300.0))], &[]);
        assert!(text.contains("| a thing | 311.2 | - | <= 300 | not reported"), "{text}");
        assert!(
            section(&[line(Figures::Common(12.0), None)], &[])
                .contains("| a thing | 12 | the same |  |  |")
        );
    }

    #[test]
    fn an_operation_stands_beside_kvms() {
        let counted = |svm| Counted {
            what: "EOI",
            figures: [2081.0, svm],
            kvm: [Some(4419.0), Some(2000.5)],
        };
        let text = section(&[], &[counted(2000.5), counted(2000.6)]);
        assert!(text.contains("| EOI | 2081 | 4419 | 2000.5 | 2000.5 | met |"), "{text}");
        assert!(text.contains("| EOI | 2081 | 4419 | 2000.6 | 2000.5 | slower |"), "{text}");
    }

    #[test]
    fn the_rest_of_the_page_stays() {
        let section = "## On the bare machine\n\nnew\n";
        let page = "# Benchmarks\n\n| a |\n\n## About\n\ntext\n";
        let with = format!("{page}\n{section}");
        assert_eq!(with_section(page, section), with);
        assert_eq!(with_section(&with, section), with);
        let between = "# Benchmarks\n\n## On the bare machine\n\nold\n\n## About\n\ntext\n";
        let expected = "# Benchmarks\n\n## On the bare machine\n\nnew\n\n## About\n\ntext\n";
        assert_eq!(with_section(between, section), expected);
        let table = "# Benchmarks\n\n| b |\n";
        let expected = "# Benchmarks\n\n| b |\n\n## About\n\ntext\n";
        assert_eq!(with_table(page, table), expected);
        assert_eq!(with_table("# Benchmarks\n", table), table);
    }
}
