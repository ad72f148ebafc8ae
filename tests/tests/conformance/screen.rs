//! The text screen and the keyboard: the same on every target, and what a guest finds in plain
//! QEMU, whose monitor saves the screen and types the keys.

use crate::targets::Target;
use crate::transcript;
use std::time::Duration;
use xtask::emulate::Typed;
use xtask::emulate::alone::{Kernel, monitor};
use xtask::scratch::Scratch;

/// Far beyond what any run takes: only a hang gets here.
const TIMEOUT: Duration = Duration::from_secs(600);
const TARGETS: [Target; 4] = [Target::Kvm, Target::VmxBochs, Target::SvmQemu, Target::SvmBochs];
/// The keyboard guest asks for keys so.
const PROMPT: &str = "keyboard: type a line";
/// The same keys, as a terminal sends them and as QEMU's monitor names them.
const TYPED: &[u8] = b"aB1!\x1b[A~\x02/b\n";
const KEYS: &[&str] =
    &["a", "shift-b", "1", "shift-1", "up", "shift-grave_accent", "ctrl-b", "slash", "b", "ret"];
const ROWS: usize = 25;

/// `configs/screen.yml`: typed to the VM with the keyboard, which is the second.
pub fn check(config: &str) {
    let keys = Typed { after: format!("keys   | {PROMPT}"), keys: b"aB1\n".to_vec() };
    let runs = TARGETS.map(|target| (target, target.run(config, std::slice::from_ref(&keys))));
    let lines: Vec<String> = (0..40).map(|line| format!("line {line:02}")).collect();
    for (target, outcome) in runs {
        let (name, shown) = (target.name(), &outcome.console);
        assert_eq!(outcome.exit, 0, "{name}:\n{shown}");
        let screen = transcript::of(shown, "screen");
        assert_eq!(screen[0], "hello on 0xb8000", "{name}");
        assert_eq!(screen[1..=40], lines, "{name}");
        let rest =
            ["cursor 0789", "the loader says: text", "\u{263a}\u{2554}\u{2550}\u{2557}\u{df}"];
        assert_eq!(screen[41..44], rest, "{name}");
        let typed = transcript::of(shown, "keys");
        assert!(typed.iter().any(|line| line == "text aB1"), "{name}:\n{shown}");
    }
}

#[test]
fn the_text_screen_and_the_keyboard_are_the_same_everywhere() {
    check("screen");
}

/// The rows that a VM's screen ended with are those in QEMU's video memory.
#[test]
fn a_screen_shows_what_it_shows_in_plain_qemu() {
    let folder = xtask::guest_files::write().expect("the guests as files");
    let file = folder.join("text_screen.bin");
    let kernel = Kernel { file: &file, cmdline: "stay" };
    let cells = monitor::screen_of(kernel, "stays", TIMEOUT).expect("a screen of QEMU's");
    let rows: Vec<String> = cells.chunks(160).map(row).collect();
    let scratch = Scratch::new().expect("a folder for temporary files");
    let text = "vms:\n  - {name: guest, kernel: text_screen, screen: console}\n";
    let config = scratch.write("screen.yml", text.as_bytes()).expect("a file in it");
    let outcome = Target::SvmQemu.run_file(&config, &[]);
    let mut lines = transcript::of(&outcome.console, "guest");
    lines.pop();
    let last = &lines[lines.len() - ROWS..];
    // QEMU's loader says nothing of the text mode that it leaves.
    let said = rows.iter().position(|row| row == "the loader says nothing of text").expect("a row");
    for (index, (row, line)) in rows.iter().zip(last).enumerate() {
        let expected = if index == said { "the loader says: text" } else { row };
        assert_eq!(line, expected, "row {index}:\n{rows:#?}\n{}", outcome.console);
    }
}

/// Characters of a row; those of the guest that are not ASCII.
fn row(cells: &[u8]) -> String {
    let character = |cell: &[u8]| match cell[0] {
        0x01 => '\u{263a}',
        0xc9 => '\u{2554}',
        0xcd => '\u{2550}',
        0xbb => '\u{2557}',
        0xe1 => '\u{df}',
        byte => char::from(byte),
    };
    let text: String = cells.chunks(2).map(character).collect();
    text.trim_end().to_owned()
}

/// Commands and their answers, codes of all sets, by polling and by interrupts.
#[test]
fn a_keyboard_answers_and_sends_what_it_does_in_plain_qemu() {
    let folder = xtask::guest_files::write().expect("the guests as files");
    let file = folder.join("keyboard.bin");
    for cmdline in ["", "irq", "set1", "irq set2"] {
        let kernel = Kernel { file: &file, cmdline };
        let alone = monitor::with_keys(kernel, PROMPT, KEYS, TIMEOUT).expect("a run in QEMU");
        let control = transcript::of_one(&alone.console);
        let vm =
            format!("kernel: keyboard, cmdline: \"{cmdline}\", devices: {{ps2_keyboard: true}}");
        let text = format!("vms:\n  - {{name: guest, {vm}}}\n");
        let scratch = Scratch::new().expect("a folder for temporary files");
        let config = scratch.write("keyboard.yml", text.as_bytes()).expect("a file in it");
        for target in TARGETS {
            let typed = Typed { after: format!("guest | {PROMPT}"), keys: TYPED.to_vec() };
            let outcome = target.run_file(&config, &[typed]);
            let mut lines = transcript::of(&outcome.console, "guest");
            lines.pop();
            let name = target.name();
            assert_eq!(lines, control, "{cmdline} on {name}:\n{}", outcome.console);
        }
    }
}
