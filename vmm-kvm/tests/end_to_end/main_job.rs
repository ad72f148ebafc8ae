//! The main job: two VMs on one core, each running the guest OS's user tests, and a line sent from
//! one to the other.

use crate::harness::{Finished, Tandem, config};

const MESSAGE: &str = "the result: COM1 writes OK!!!!";
const MESSAGE_BYTES: u64 = 19;
const ALL_PASSED: &str = "usertests: all passed";

/// Both VMs did all their tests in turns, and the line came across once.
fn check_main_job(run: Finished, sender: &str, receiver: &str) {
    let run = run.ended_with(0).complains_of_nothing().adds_up();
    for vm in [sender, receiver] {
        let lines = run.lines_of(vm);
        assert!(lines.iter().any(|line| line == ALL_PASSED), "{}", run.shown());
        assert!(!lines.iter().any(|line| line.contains("FAILED")), "{}", run.shown());
        assert_eq!(run.vm(vm)["ending"], "powered off, status 0");
        assert_eq!(run.vm(vm)["is_success"], true);
        let exits = run.vm(vm)["exits"].as_object().expect("exits by reason");
        assert!(exits.values().filter_map(|count| count.as_u64()).sum::<u64>() > 0);
        assert!(exits.contains_key("preempted"), "no VM was preempted: {exits:?}");
        assert!(run.output.contains(&format!("[{vm} powered off, status 0]")));
    }
    let is_message = |line: &&String| *line == MESSAGE;
    assert_eq!(run.lines_of(receiver).iter().filter(is_message).count(), 1, "{}", run.shown());
    assert_eq!(run.lines_of(sender).iter().filter(is_message).count(), 0, "{}", run.shown());
    let switches = run.number("/switches");
    assert!(switches > 10, "{switches} switches");
    let lines = run.lines();
    let first_end = lines.iter().position(|(_, line)| line == ALL_PASSED).expect("as seen above");
    let changes = lines[..first_end].windows(2).filter(|two| two[0].0 != two[1].0).count();
    assert!(changes >= 10, "the lines change hands {changes} times\n{}", run.shown());
    let ends = run.receipt["links"][0]["ends"].as_array().expect("the link's ends");
    let sent_at = |name: &str| ends.iter().find(|end| end["vm"] == name).expect("an end of each");
    assert_eq!(sent_at(sender)["sent"], MESSAGE_BYTES);
    assert_eq!(sent_at(sender)["delivered"], MESSAGE_BYTES);
    assert_eq!(sent_at(receiver)["sent"], 0);
}

/// Two VMs that only talk, with these command lines; their order in the file is as given.
fn check_line_comes_across(vms: [(&str, &str); 2]) {
    let vm = |(name, cmdline): (&str, &str)| {
        format!("  - {{name: {name}, cmdline: {cmdline}, com1: {{switched: wire}}}}\n")
    };
    let text = format!("vms:\n{}{}links: [{{name: wire}}]\n", vm(vms[0]), vm(vms[1]));
    let run = Tandem::run_text(&text).finish().ended_with(0).complains_of_nothing().adds_up();
    let received = run.lines_of("receiver");
    assert!(received.iter().any(|line| line == MESSAGE), "{}", run.shown());
    assert!(!run.lines_of("sender").iter().any(|line| line == MESSAGE), "{}", run.shown());
}

#[test]
fn two_vms_pass_their_tests_in_turns_and_a_line_comes_across() {
    check_main_job(Tandem::run(config("two.yml")).finish(), "left", "right");
}

#[test]
fn the_seeds_own_file_does_the_main_job() {
    check_main_job(Tandem::run(config("seed.yml")).finish(), "vm0", "vm1");
}

#[test]
fn without_a_core_named_the_main_job_runs_on_the_first_allowed_one() {
    let run = Tandem::with([config("two.yml")]).finish().ended_with(0).complains_of_nothing();
    let first = vmm_kvm::sys::allowed_cores().expect("the allowed cores")[0];
    run.shows(&format!("core {first}; receipt: ")).shows(MESSAGE);
}

#[test]
fn a_line_comes_across_when_the_receiver_waits_long_before() {
    check_line_comes_across([
        ("sender", "sleep_simple 300; put_char; poweroff"),
        ("receiver", "get_char; poweroff"),
    ]);
}

#[test]
fn a_line_comes_across_when_the_receiver_comes_long_after() {
    check_line_comes_across([
        ("sender", "put_char; sleep_simple 400; poweroff"),
        ("receiver", "sleep_simple 300; get_char; poweroff"),
    ]);
}

#[test]
fn a_line_comes_across_when_its_sender_is_long_off() {
    check_line_comes_across([
        ("sender", "put_char; poweroff"),
        ("receiver", "sleep_simple 300; get_char; poweroff"),
    ]);
}

#[test]
fn a_line_comes_across_when_the_receiver_is_first_in_the_file() {
    check_line_comes_across([("receiver", "get_char; poweroff"), ("sender", "put_char; poweroff")]);
}

#[test]
fn a_line_comes_across_in_each_direction() {
    let text = "
vms:
  - {name: one, cmdline: put_char; get_char; poweroff, com1: {switched: wire}}
  - {name: two, cmdline: get_char; put_char; poweroff, com1: {switched: wire}}
links: [{name: wire}]
";
    let run = Tandem::run_text(text).finish().ended_with(0).complains_of_nothing().adds_up();
    for vm in ["one", "two"] {
        assert!(run.lines_of(vm).iter().any(|line| line == MESSAGE), "{}", run.shown());
    }
}

#[test]
fn every_vm_is_a_named_thread_on_the_one_core() {
    let text = "
vms:
  - {name: first, kernel: spin, cmdline: forever, memory: 8MiB}
  - {name: second, kernel: spin, cmdline: forever, memory: 8MiB}
";
    let running = Tandem::run_text(text).start();
    running.shows("first  | spin: for ever").shows("second | spin: for ever");
    let tasks = format!("/proc/{}/task", running.pid());
    let mut names = Vec::new();
    let mut cores = Vec::new();
    for task in std::fs::read_dir(tasks).expect("it runs").flatten() {
        let read = |file: &str| std::fs::read_to_string(task.path().join(file)).expect("it runs");
        names.push(read("comm").trim().to_owned());
        let status = read("status");
        let allowed = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
        cores.push(allowed.expect("Linux says where it may run").trim().to_owned());
    }
    // KVM has helpers of its own in the process that made a VM.
    names.retain(|name| !name.starts_with("kvm-"));
    names.sort();
    assert_eq!(names, ["first.0", "second.0", "vmm-kvm"]);
    assert!(cores.iter().all(|core| *core == cores[0] && core.parse::<u64>().is_ok()), "{cores:?}");
}
