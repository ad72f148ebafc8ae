//! Readers that leave or do not read, and full disks: the guests go on, and the loss is reported.

use crate::harness::{Signal, Tandem, config, with_mounts};
use std::io::{BufRead, BufReader, Read};
use std::thread;
use std::time::Duration;

/// The line that ends a VM which nothing disturbed.
const ENDED: &str = "[busy powered off, status 0]";
const BUSY: &str = "vms: [{name: busy, cmdline: usertests; poweroff}]";

#[test]
fn a_reader_that_leaves_after_a_line_ends_the_run() {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    let running = Tandem::run(config("two.yml")).output_to(writer).start();
    let mut line = String::new();
    BufReader::new(reader).read_line(&mut line).expect("it can be read");
    assert!(line.contains("| Tandem guest OS"), "{line}");
    let run = running.finish().ended_with(1);
    run.complains("stopped: the output has no reader any more").complains("receipt: ").adds_up();
}

#[test]
fn a_run_ends_when_its_errors_have_no_reader_either() {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    let errors = writer.try_clone().expect("a descriptor to spare");
    let running = Tandem::run(config("two.yml")).output_to(writer).errors_to(errors).start();
    let mut first = [0];
    BufReader::with_capacity(1, reader).read_exact(&mut first).expect("it can be read");
    assert_eq!(running.finish().code(), Some(1));
}

#[test]
fn help_without_a_reader_is_no_panic() {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    Tandem::with(["--help"]).output_to(writer).finish().ended_with(0);
}

/// The output is more than the 4 MiB that are kept for the reader: each empty line is led by a
/// name.
#[test]
fn a_reader_that_does_not_read_stops_no_guest_and_is_told_what_it_missed() {
    const NAME: &str = "a_long_name_for_longer_lines";
    const LINES: u32 = 150_000;
    let text = format!("vms: [{{name: {NAME}, kernel: ./lines.bin, boot: flat, memory: 4MiB}}]");
    for reads_at_last in [false, true] {
        let (mut reader, writer) = std::io::pipe().expect("a pipe");
        let run = Tandem::run_text(&text).output_to(writer);
        run.scratch().file("lines.bin", empty_lines(LINES));
        let (running, log) = run.logging(NAME);
        log.holds(LINES as usize);
        let run = if reads_at_last {
            let mut output = String::new();
            reader.read_to_string(&mut output).expect("it prints text");
            assert!(output.contains("receipt: "), "{output}");
            running.finish().ended_with(1)
        } else {
            running.receives(Signal::TERM);
            let run = running.finish().ended_with(143).adds_up();
            run.complains("bytes of output left out: they were not read")
        };
        assert_eq!(run.vm(NAME)["ending"], "powered off, status 0");
        run.complains(&format!("bytes of {NAME}'s output left out: they were not read"));
    }
}

/// What the pipe and a patience of seconds would lose.
#[test]
fn a_reader_that_sleeps_gets_all_and_the_exit_code_is_0() {
    const BYTES: usize = 200_000;
    const ASLEEP: Duration = Duration::from_secs(3);
    let text = format!("vms: [{{name: burst, kernel: console_burst, cmdline: '{BYTES}'}}]");
    let (mut reader, writer) = std::io::pipe().expect("a pipe");
    let (running, log) = Tandem::run_text(&text).output_to(writer).logging("burst");
    log.holds(BYTES);
    thread::sleep(ASLEEP);
    let mut output = String::new();
    reader.read_to_string(&mut output).expect("it prints text");
    running.finish().ended_with(0).complains_of_nothing();
    let printed = output.lines().filter_map(|line| line.strip_prefix("burst | "));
    assert_eq!(printed.map(|line| line.len() + 1).sum::<usize>(), BYTES);
}

#[test]
fn a_time_limit_ends_the_wait_for_a_reader_too() {
    let text = "vms: [{name: burst, kernel: console_burst, cmdline: '200000'}]";
    let (reader, writer) = std::io::pipe().expect("a pipe");
    let run = Tandem::run_text(text).output_to(writer).arg("--timeout").arg("1s");
    run.finish().ended_with(1).complains("bytes of output left out: they were not read");
    drop(reader);
}

/// A flat image that prints empty lines and powers off.
fn empty_lines(count: u32) -> Vec<u8> {
    let mut image = vec![0x66, 0xba, 0xf8, 0x03]; //     mov dx, 0x3f8: COM1
    image.extend([0xb0, b'\n']); //                       mov al, 10
    image.push(0xb9); //                                 mov ecx, count
    image.extend(count.to_le_bytes());
    image.push(0xee); //                              2: out dx, al
    image.extend([0xe2, 0xfd]); //                       loop 2b
    image.extend([0x66, 0xba, 0x04, 0x06]); //           mov dx, 0x604: power
    image.extend([0x66, 0xb8, 0x00, 0x20]); //           mov ax, 0x2000: off
    image.extend([0x66, 0xef, 0xf4]); //                 out dx, ax; hlt
    image
}

#[test]
fn a_full_disk_for_a_log_is_told_and_harms_no_vm() {
    const PRINTED: u32 = 20_000;
    let run = Tandem::run_text("vms: [{name: busy, kernel: ./lines.bin, boot: raw}]");
    run.scratch().file("lines.bin", empty_lines(PRINTED));
    let logs = run.scratch().directory("logs");
    let script = format!("mount -t tmpfs -o size=4k none '{}'; exec \"$@\"", logs.display());
    let run = with_mounts(run.arg("--log-dir").arg(&logs), &script).finish();
    let run = run.ended_with(1).shows(ENDED).adds_up();
    let run = run.complains("busy's log is not complete: No space left on device");
    assert_eq!(run.lines_of("busy").len(), PRINTED as usize);
}

#[test]
fn a_full_disk_for_standard_output_ends_the_run_and_is_told() {
    let run = Tandem::run_text(BUSY).output_to_path("/dev/full").finish().ended_with(1);
    run.complains("No space left on device").complains("receipt: ").adds_up();
}

#[test]
fn a_receipt_that_cannot_be_written_is_told_and_fails_the_run() {
    let run = Tandem::with([config("two.yml")]).arg("--receipt").arg("/dev/full").finish();
    run.ended_with(1).complains("cannot write the receipt to /dev/full: No space left on device");
}

#[test]
fn a_timeline_that_cannot_be_opened_is_told_before_anything_runs() {
    let run = Tandem::run_text(BUSY).arg("--trace").arg("/no/such/directory/trace").finish();
    run.ended_with(3)
        .complains("cannot write the timeline to /no/such/directory/trace: No such file");
}
