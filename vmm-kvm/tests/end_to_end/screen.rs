//! The text screen beside what a VM prints elsewhere, one that is not shown, and Ctrl-A s.

use crate::harness::{PseudoTerminal, Tandem};

/// A raw kernel that prints `e9` and a line feed at port 0xe9, writes `Hi` to the screen, reads the
/// port, and ends with what that gave as its status.
const PRINTS_BOTH: [u8; 34] = [
    0xb0, b'e', 0xe6, 0xe9, //                mov al, 'e'; out 0xe9, al
    0xb0, b'9', 0xe6, 0xe9, //                mov al, '9'; out 0xe9, al
    0x66, 0xc7, 0x05, 0x00, 0x80, 0x0b, 0x00, b'H', 0x07, // mov word [0xb8000], 'H'
    0x66, 0xc7, 0x05, 0x02, 0x80, 0x0b, 0x00, b'i', 0x07, // mov word [0xb8002], 'i'
    0x31, 0xc0, 0xe4, 0xe9, //                xor eax, eax; in al, 0xe9
    0xe7, 0xf4, //                            out 0xf4, eax
    0xeb, 0xfe, //                            jmp to itself
];

fn run(keys: &str) -> crate::harness::Finished {
    let text = format!("vms: [{{name: vm, kernel: ./both.bin, boot: raw{keys}}}]");
    let run = Tandem::run_text(&text);
    run.scratch().file("both.bin", PRINTS_BOTH);
    run.finish().ended_with(1).complains_of_nothing().adds_up()
}

#[test]
fn port_e9_prints_and_shares_no_line_with_the_screen() {
    let run = run(", screen: console");
    assert_eq!(run.lines_of("vm"), ["e9", "Hi"], "{}", run.shown());
    assert_eq!(run.vm("vm")["ending"], "powered off, status 233");
    assert!(!run.output.contains("writes the text screen"), "{}", run.shown());
}

#[test]
fn a_screen_that_is_not_shown_is_told_of_once() {
    let run = run("");
    assert_eq!(run.lines_of("vm"), ["e9"], "{}", run.shown());
    let told = "[vm writes the text screen at 0xb8000; screen: console in its config shows it]";
    assert_eq!(run.output.matches(told).count(), 1, "{}", run.shown());
}

#[test]
fn ctrl_a_s_shows_the_screen_as_it_stands() {
    let text = "vms: [{name: vm, kernel: text_screen, cmdline: stay, on_halt: success}, \
                {name: other, kernel: storm_forever, keyboard: false}]";
    let terminal = PseudoTerminal::new();
    let run = Tandem::run_text(text).start_on(&terminal);
    terminal.reads_until("[the keyboard is other's]");
    // The keyboard has moved on; the screen of a VM that has ended stays as it was.
    terminal.types("\x010\x01s");
    terminal.reads_until("[vm's text screen, the cursor at row 25, column 6]");
    terminal.reads_until("the loader says: text");
    terminal.types("\x01x");
    run.finish().ended_with(130);
}
