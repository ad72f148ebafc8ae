//! The files that a run writes: not over what it reads, not through links, not into pipes, and
//! whole or not at all.

use crate::harness::{Finished, Scratch, Tandem, config};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

const SMALL: &str = "vms: [{name: small, cmdline: poweroff}]";
/// Two VMs with a link whose tap is a file beside the config; their kernels are files, too.
const TAPPED: &str = "
vms:
  - {name: one, kernel: ./one.bin, boot: raw, com2: {link: wire}}
  - {name: two, kernel: ./one.bin, boot: raw, com2: {link: wire}}
links: [{name: wire, tap: ./TAP}]
";

/// A flat image that powers off.
const POWERS_OFF: [u8; 11] = [0x66, 0xba, 0x04, 0x06, 0x66, 0xb8, 0x00, 0x20, 0x66, 0xef, 0xf4];

/// A run of [`TAPPED`] with its tap at this name.
fn tapped(tap: &str) -> Tandem {
    let run = Tandem::run_text(&TAPPED.replace("TAP", tap));
    run.scratch().file("one.bin", POWERS_OFF);
    run
}

fn make_fifo(path: &Path) {
    let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    rustix::fs::mknodat(rustix::fs::CWD, path, rustix::fs::FileType::Fifo, mode, 0)
        .expect("the directory is ours");
}

/// Checks that nothing ran, that the exit code blames the command line or the config, and that the
/// message says `what`.
fn check_wrong(run: Finished, what: &str) {
    let run = run.ended_with(2).complains(what);
    assert!(run.output.is_empty(), "{}", run.shown());
}

#[test]
fn a_link_in_the_log_directory_is_refused_and_its_target_stays() {
    let run = Tandem::run_text(SMALL);
    let victim = run.scratch().file("victim", "as it was");
    let logs = run.scratch().directory("logs");
    symlink(&victim, logs.join("small.log")).expect("the directory is ours");
    let run = run.arg("--log-dir").arg(&logs).finish().ended_with(3);
    let run = run.complains("small.log: it is a symbolic link; allowed: a regular file");
    assert_eq!(fs::read_to_string(run.scratch.path("victim")).expect("it is there"), "as it was");
}

#[test]
fn a_further_name_of_another_file_is_no_log() {
    let run = Tandem::run_text(SMALL);
    let victim = run.scratch().file("victim", "as it was");
    let logs = run.scratch().directory("logs");
    fs::hard_link(&victim, logs.join("small.log")).expect("the directory is ours");
    let run = run.arg("--log-dir").arg(&logs).finish().ended_with(3);
    let run = run.complains("small.log: it is a file with further names (hard links)");
    assert_eq!(fs::read_to_string(run.scratch.path("victim")).expect("it is there"), "as it was");
}

#[test]
fn fifos_and_links_are_neither_logs_nor_taps() {
    let run = Tandem::run_text(SMALL);
    let logs = run.scratch().directory("logs");
    make_fifo(&logs.join("small.log"));
    let run = run.arg("--log-dir").arg(&logs).finish().ended_with(3);
    run.complains("small's log, ").complains("small.log: it is a FIFO; allowed: a regular file");
    let run = tapped("wire.tap");
    make_fifo(&run.scratch().path("wire.tap"));
    run.finish().ended_with(3).complains("wire.tap: it is a FIFO; allowed: a regular file");
    let run = tapped("wire.tap");
    symlink("/dev/null", run.scratch().path("wire.tap")).expect("the directory is ours");
    run.finish().ended_with(3).complains("the tap of link wire, ").complains("a symbolic link");
}

#[test]
fn what_a_run_reads_is_not_written() {
    let run = Tandem::run_text(SMALL);
    let path = run.scratch().path("config.yml");
    let run = run.arg("--trace").arg(&path).finish();
    let kept = fs::read_to_string(&path).expect("it is there");
    let message = format!(
        "the timeline would be written to {}, which is the config; allowed: a file of its own",
        path.display()
    );
    check_wrong(run, &message);
    assert_eq!(kept, SMALL);
    check_wrong(tapped("one.bin").finish(), "one.bin, which is VM one's kernel; allowed: a file");
    let scratch = Scratch::new();
    let other = scratch.path("other.bin");
    let run = tapped("wire.tap");
    fs::hard_link(run.scratch().path("one.bin"), &other).expect("one file system");
    check_wrong(run.arg("--trace").arg(&other).finish(), "which is VM one's kernel");
    assert_eq!(fs::read(&other).expect("it is there"), POWERS_OFF);
}

#[test]
fn two_files_of_a_run_are_not_one() {
    let run = Tandem::run_text(SMALL);
    run.scratch().directory("logs");
    let (here, there) = (run.scratch().path("both"), run.scratch().path("logs/../both"));
    let run = Tandem::with(["run".as_ref(), run.scratch().path("config.yml").as_os_str()])
        .arg("--receipt")
        .arg(&here)
        .arg("--trace")
        .arg(&there)
        .finish();
    check_wrong(run, "logs/../both, which is the receipt; allowed: a file of its own");
    let run = tapped("one.log");
    let logs = run.scratch().path("");
    let run = run.arg("--log-dir").arg(logs).finish();
    check_wrong(run, "the tap of link wire would be written to ");
}

#[test]
fn check_says_what_a_run_writes() {
    let scratch = Scratch::new();
    scratch.file("one.bin", POWERS_OFF);
    let path = scratch.file("config.yml", TAPPED.replace("TAP", "wire.tap"));
    let run = Tandem::with(["check".as_ref(), path.as_os_str()]).finish().ended_with(0);
    let tap = scratch.path("wire.tap");
    run.shows(&format!(
        "\na run creates or overwrites\n  {} (the tap of link wire)\n",
        tap.display()
    ));
    assert!(!tap.exists());
    scratch.file("config.yml", TAPPED.replace("TAP", "config.yml"));
    let run = Tandem::with(["check".as_ref(), path.as_os_str()]).finish();
    check_wrong(run, "config.yml, which is the config; allowed: a file of its own");
}

#[test]
fn a_run_that_is_refused_leaves_reports_as_they_were() {
    const OLD: &str = "an older timeline";
    let run = Tandem::run_text(SMALL).started_by(["prlimit", "--nofile=8"]);
    let trace = run.scratch().file("trace", OLD);
    let logs = run.scratch().directory("logs");
    let log = run.scratch().file("logs/small.log", OLD);
    let run = run.arg("--trace").arg(&trace).arg("--log-dir").arg(&logs).finish().ended_with(3);
    for path in [trace, log] {
        assert_eq!(fs::read_to_string(path).expect("it is there"), OLD);
    }
    let left = Scratch::names_in(&run.scratch.path(""));
    assert_eq!(left, ["config.yml", "here", "logs", "temporary", "trace"]);
}

#[test]
fn a_report_goes_where_a_link_leads_and_into_a_pipe() {
    let run = Tandem::run_text(SMALL);
    let (target, link) = (run.scratch().file("target", "old"), run.scratch().path("latest"));
    symlink("target", &link).expect("the directory is ours");
    let run = run.arg("--trace").arg(&link).finish().ended_with(0).complains_of_nothing();
    assert!(fs::read_to_string(target).expect("it is there").contains("traceEvents"));
    assert!(fs::symlink_metadata(run.scratch.path("latest")).expect("it is there").is_symlink());
    let run = Tandem::with([config("two.yml").as_os_str(), "--receipt".as_ref()]);
    let run = run.arg("/dev/stdout").finish().ended_with(0);
    run.shows("\"accounted_ns\": ");
}

#[test]
fn a_fifo_without_a_reader_is_no_place_for_a_report() {
    let run = Tandem::run_text(SMALL);
    let fifo = run.scratch().path("fifo");
    make_fifo(&fifo);
    let run = run.arg("--trace").arg(&fifo).finish().ended_with(3);
    run.complains("cannot write the timeline to ").complains("No such device or address");
}
