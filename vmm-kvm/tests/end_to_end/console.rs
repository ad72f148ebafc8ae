//! The console in a pipe: plain lines led by names, typed bytes that arrive whole, logs and taps.

use crate::harness::{Tandem, config, with_mounts};
use std::fs;

const FNV_OFFSET: u32 = 0x811c_9dc5;
const FNV_PRIME: u32 = 0x0100_0193;

/// What the guest OS's `count_input` computes.
pub fn checksum(bytes: &[u8]) -> u32 {
    bytes.iter().fold(FNV_OFFSET, |sum, byte| (sum ^ u32::from(*byte)).wrapping_mul(FNV_PRIME))
}

/// Bytes of all values in no order that a lost or doubled piece would keep.
fn varied(len: usize) -> Vec<u8> {
    let mut state = 1_u32;
    let next = |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    (0..len).map(next).collect()
}

/// Types `len` bytes to a guest that counts them, while another computes.
fn check_input_arrives(len: usize) {
    let text = format!(
        "
vms:
  - {{name: reader, cmdline: count_input {len}; poweroff}}
  - {{name: other, cmdline: primes 300000; poweroff}}
"
    );
    let bytes = varied(len);
    let sum = checksum(&bytes);
    let run = Tandem::run_text(&text)
        .typing(bytes)
        .finish()
        .ended_with(0)
        .complains_of_nothing()
        .adds_up();
    run.shows(&format!("reader | count_input: {len} bytes, checksum {sum:08x}\n"));
}

#[test]
fn in_a_pipe_lines_are_plain_and_led_by_the_vms_name() {
    let run = Tandem::run(config("two.yml")).finish().ended_with(0);
    assert!(!run.output.contains(['\x1b', '\r']), "{}", run.shown());
    let is_led = |line: &&str| line.starts_with("left  | ") || line.starts_with("right | ");
    let mut others: Vec<_> = run.output.lines().filter(|line| !is_led(line)).collect();
    // Which of them is over first is theirs to decide.
    others[..2].sort_unstable();
    assert_eq!(others[..2], ["[left powered off, status 0]", "[right powered off, status 0]"]);
    assert!(others[2].starts_with("core "), "{others:?}");
}

#[test]
fn what_is_piped_in_arrives_whole() {
    check_input_arrives(32 << 10);
}

#[test]
fn a_regular_file_on_standard_input_is_typed_too() {
    let run = Tandem::run_text("vms: [{name: reader, cmdline: ''}]");
    let file = run.scratch().file("commands", "hello_world\npoweroff\n");
    let script = format!("exec \"$@\" <'{}'", file.display());
    let run = run.started_by_shell(&script).finish().ended_with(0).complains_of_nothing();
    run.shows("reader | $ hello_world\nreader | Hello, world!\n");
}

#[test]
fn a_shell_runs_what_is_piped_in() {
    let typed = "echo one; echo two\nhello_wrold\npoweroff\n";
    let run = Tandem::run_text("vms: [{name: shell, cmdline: ''}]").typing(typed).finish();
    let run = run.ended_with(1).complains_of_nothing().shows("[shell powered off, status 1]");
    let lines = run.lines_of("shell");
    let expected = [
        "$ echo one; echo two",
        "one",
        "two",
        "$ hello_wrold",
        "hello_wrold: no such command; did you mean hello_world?",
        "$ poweroff",
    ];
    assert_eq!(lines[1..], expected);
}

#[test]
fn the_end_of_standard_input_ends_no_vm() {
    let mut running = Tandem::run_text("vms: [{name: shell, cmdline: ''}]").with_keyboard().start();
    running.shows("Tandem guest OS").types("echo the last words; primes 300000; poweroff\n");
    running.types_no_more();
    running.finish().ended_with(0).shows("shell | the last words");
}

#[test]
fn the_keyboard_is_first_the_vms_that_the_config_says() {
    let text = "
vms:
  - {name: first, cmdline: poweroff}
  - {name: second, cmdline: '', keyboard: true}
";
    let run = Tandem::run_text(text).typing("poweroff\n").finish().ended_with(0);
    run.shows("second | $ poweroff");
}

#[test]
fn files_are_typed_to_the_vms_that_are_named() {
    let text = "vms: [{name: first, cmdline: ''}, {name: second, cmdline: ''}]";
    let run = Tandem::run_text(text);
    let [first, second] = ["first", "second"].map(|vm| {
        let keys = format!("echo keys for {vm}\npoweroff\n");
        format!("{vm}={}", run.scratch().file(vm, keys).display())
    });
    let run = run.arg("--type").arg(first).arg("--type").arg(second).finish();
    let run = run.ended_with(0).complains_of_nothing().adds_up();
    for vm in ["first", "second"] {
        assert_eq!(run.lines_of(vm)[2], format!("keys for {vm}"), "{}", run.shown());
    }
}

/// A file is typed to a VM that ends before it has read all. The pipe goes on to the next one, and
/// behind that there is none.
#[test]
fn input_that_no_vm_reads_is_reported() {
    let text = "vms: [{name: first, cmdline: ''}, {name: second, cmdline: ''}]";
    let run = Tandem::run_text(text);
    let keys = run.scratch().file("keys", format!("poweroff\n{:1000}", "lost"));
    let run = run.arg("--type").arg(format!("first={}", keys.display()));
    let run = run.typing(format!("poweroff\n{:1000}", "lost")).finish().ended_with(0).adds_up();
    let run = run.complains("1000 bytes typed to first were not read: it had ended\n");
    run.complains("1000 bytes typed to second were not read: it had ended\n");
}

#[test]
fn a_file_for_no_vm_and_one_that_is_not_there_are_refused() {
    let config = "
vms: [{name: one, kernel: spin}, {name: two, kernel: spin, com1: none}]
";
    let run = Tandem::run_text(config).arg("--type").arg("three=keys");
    let run = run.arg("--type").arg("one=no/such/file").arg("--type").arg("two=keys");
    let run = run.finish().ended_with(2);
    let run = run.complains("--type three: no VM has this name; allowed: one, two\n");
    let run = run.complains("--type one: cannot read no/such/file: No such file or directory");
    run.complains("--type two: none of its ports is a console; allowed: console: com1 or hvc0\n");
    let run = Tandem::run_text(config).arg("--type").arg("one").finish().ended_with(2);
    run.complains("allowed: a VM's name, =, and a file, as left=keys.txt");
}

#[test]
fn what_is_typed_is_not_written_over() {
    let run = Tandem::run_text("vms: [{name: one, cmdline: ''}]");
    let keys = run.scratch().file("keys", "poweroff\n");
    let typed = format!("one={}", keys.display());
    let run = run.arg("--type").arg(typed).arg("--trace").arg(&keys).finish().ended_with(2);
    let run = run.complains("which is what is typed to VM one; allowed: a file of its own");
    assert_eq!(fs::read_to_string(run.scratch.path("keys")).expect("it is there"), "poweroff\n");
}

#[test]
fn a_log_holds_the_raw_bytes_of_its_vm() {
    let run = Tandem::run(config("two.yml"));
    let logs = run.scratch().path("logs/of/this/run");
    let run = run.arg("--log-dir").arg(&logs).finish().ended_with(0).complains_of_nothing();
    for vm in ["left", "right"] {
        let log = fs::read(logs.join(format!("{vm}.log"))).expect("it was written");
        let log = String::from_utf8(log).expect("the guest OS prints text");
        assert_eq!(log.lines().collect::<Vec<_>>(), run.lines_of(vm));
    }
}

/// The tap's lines: nanoseconds, the sender's port, and its bytes in hexadecimal.
#[test]
fn a_tap_holds_what_passes_on_its_link() {
    let text = "
vms:
  - {name: one, cmdline: put_char; poweroff, com1: {switched: wire}}
  - {name: two, cmdline: get_char; poweroff, com1: {switched: wire}}
links: [{name: wire, tap: wire.log}]
";
    let run = Tandem::run_text(text).finish().ended_with(0).complains_of_nothing();
    let tap = fs::read_to_string(run.scratch.path("wire.log")).expect("it was written");
    let mut passed = Vec::new();
    for line in tap.lines() {
        let mut words = line.split(' ');
        assert!(words.next().is_some_and(|word| word.parse::<u64>().is_ok()), "{line}");
        assert_eq!(words.next(), Some("one.com1"));
        passed.extend(words.map(|word| u8::from_str_radix(word, 16).expect("hexadecimal")));
    }
    assert_eq!(String::from_utf8_lossy(&passed), "COM1 writes OK!!!!\n");
}

#[test]
fn a_full_disk_for_a_tap_is_told_and_harms_no_vm() {
    let text = "
vms:
  - {name: one, cmdline: put_char; poweroff, com1: {switched: wire}}
  - {name: two, cmdline: get_char; poweroff, com1: {switched: wire}}
links: [{name: wire, tap: full/wire.tap}]
";
    let run = Tandem::run_text(text);
    let full = run.scratch().directory("full");
    let fill = "mount -t tmpfs -o size=4k none DIR; head -c 4096 /dev/zero > DIR/filler";
    let script = format!("{fill}; exec \"$@\"").replace("DIR", &full.display().to_string());
    let run = with_mounts(run, &script).finish().ended_with(1).adds_up();
    let run = run.shows("two | the result: COM1 writes OK!!!!");
    run.complains("the tap of link wire is not complete: No space left on device");
}

/// It halts until its transmitter is empty: nothing else ever wakes it.
#[test]
fn a_guest_that_is_told_of_room_prints_to_the_end() {
    let text = "vms: [{name: burst, kernel: console_burst, cmdline: 6400 irq}]";
    let run = Tandem::run_text(text).finish().ended_with(0).complains_of_nothing().adds_up();
    let lines = run.lines_of("burst");
    assert_eq!(lines.len(), 100, "{}", run.shown());
    assert!(lines[99].starts_with("console_burst 00099 "), "{}", run.shown());
}
