use super::*;
use crate::seed::{SeedVm, to_plan};
use crate::vm::Ending;

const SETTINGS: ConsoleSettings = ConsoleSettings {
    display: Display::Stream,
    has_command_keys: true,
    output_bytes: 4096,
    typed_ahead_bytes: 3,
};

/// A console of VMs `left` and `right`.
fn console(settings: ConsoleSettings) -> Console {
    let vm = |id| SeedVm { id, memory: 1 << 24, vcpu_count: 1, io_apic: 1, hpet: 0, local_apic: 1 };
    let mut plan = to_plan(&[vm(0), vm(1)]);
    for (vm, name) in plan.vms.iter_mut().zip(["left", "right"]) {
        vm.name = name.into();
        vm.has_keyboard = true;
    }
    Console::new(&plan, settings)
}

fn printed(console: &mut Console) -> String {
    let text = String::from_utf8(console.waiting().to_vec()).expect("the tests print ASCII");
    console.written(text.len());
    text
}

#[test]
fn lines_are_led_by_names_and_endings_by_ours() {
    let mut console = console(SETTINGS);
    console.print(1, b"hello\r\nunfinished");
    console.vm_ended(VcpuIndex::only_of(VmIndex(1)), &Ending::PowerOff { status: 0 }, None);
    let text = "right | hello\nright | unfinished\n[right powered off, status 0]\n";
    assert_eq!(printed(&mut console), text);
}

#[test]
fn a_dump_follows_the_ending_and_the_keyboard_goes_on() {
    let mut console = console(SETTINGS);
    console.vm_ended(
        VcpuIndex::only_of(VmIndex(0)),
        &Ending::TripleFault,
        Some("#GP at 0x0\nrip 0"),
    );
    let text = printed(&mut console);
    let mut lines = text.lines();
    assert_eq!(lines.next(), Some("[left stopped: triple fault]"));
    assert!(lines.next().is_some_and(|line| line == "[left]   #GP at 0x0"), "{text}");
    assert_eq!(lines.next_back(), Some("[the keyboard is right's]"));
    console.say_dump(VcpuIndex::only_of(VmIndex(1)), "a: 1\nb: 2");
    assert_eq!(printed(&mut console), "[right]   a: 1\n[right]   b: 2\n");
}

#[test]
fn commands_move_the_keyboard_help_and_end_the_run() {
    let mut console = console(SETTINGS);
    assert_eq!(console.typed(b"a\x011b"), None);
    assert_eq!(printed(&mut console), "[the keyboard is right's]\n");
    assert_eq!((console.take_key(0), console.take_key(1)), (Some(b'a'), Some(b'b')));
    assert_eq!(console.typed(b"\x01?"), None);
    assert_eq!(printed(&mut console), alloc::format!("{HELP}\n"));
    assert_eq!(console.typed(b"\x01x"), Some(StopRequest::Interrupted));
    assert_eq!(console.typed(b"\x01t"), Some(StopRequest::TimedOut));
}

#[test]
fn lost_keys_are_reported_once() {
    let mut console = console(SETTINGS);
    assert_eq!(console.typing_room(), 3);
    assert_eq!(console.typed(b"abcd"), None);
    let text = "[keys are lost: more were typed ahead than there is room for]\n";
    assert_eq!(printed(&mut console), text);
    assert_eq!(console.typed(b"e"), None);
    assert_eq!(printed(&mut console), "");
}

#[test]
fn output_that_was_left_out_is_reported_for_its_vm() {
    let mut console = console(ConsoleSettings { output_bytes: 12, ..SETTINGS });
    console.print(0, b"123\n12345\n");
    assert_eq!(printed(&mut console), "left  | 123\n");
    let said: Vec<String> = console.omissions().collect();
    assert_eq!(said, ["6 bytes of left's output left out: they were not read"]);
}

const TERMINAL: Display = Display::Terminal { columns: 40, ability: Ability::Colours };
const LEFT: &str = "\x1b[36mleft  |\x1b[0m ";
const RIGHT: &str = "\x1b[33mright |\x1b[0m ";

fn on_terminal() -> Console {
    console(ConsoleSettings { display: TERMINAL, ..SETTINGS })
}

fn ms(ms: u64) -> Instant {
    Instant::from_ns(ms * 1_000_000)
}

/// All rows that a reader sees, however programs and terminals end lines.
fn rows(text: &str) -> Vec<&str> {
    text.split(['\n', '\r', '\x0b', '\x0c', '\u{85}', '\u{2028}', '\u{2029}']).collect()
}

#[test]
fn whatever_a_guest_prints_each_of_its_rows_begins_with_its_name() {
    let mut state = 1_u64;
    for display in [Display::Stream, TERMINAL] {
        let mut console = console(ConsoleSettings { display, output_bytes: 1 << 20, ..SETTINGS });
        let mut now_ms = 0;
        for step in 0..20_000_u64 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let bytes = match state >> 60 {
                0..8 => [(state >> 32) as u8, (state >> 40) as u8, (state >> 48) as u8].to_vec(),
                8..10 => b"\x1b[31m".to_vec(),
                10 => b"\x08 \x08".to_vec(),
                11 => b"\r".to_vec(),
                12 => "\u{2028}\u{9b}\u{65e5}".as_bytes().to_vec(),
                13 => b"[left powered off, status 0]".to_vec(),
                14.. => b"left  | forged".to_vec(),
            };
            console.print(1, &bytes);
            if step % 7 == 0 {
                now_ms += 30;
                console.show_prompts(ms(now_ms));
            }
        }
        console.finish();
        let mut text = String::new();
        while let first @ [_, ..] = console.waiting() {
            text += core::str::from_utf8(first).expect("it is UTF-8");
            let bytes = first.len();
            console.written(bytes);
        }
        let prefix = if display.is_terminal() { RIGHT } else { "right | " };
        for row in rows(&text).into_iter().filter(|row| !row.is_empty()) {
            assert!(row.starts_with(prefix), "{row:?}");
            let is_allowed = |c: char| !c.is_control() || matches!(c, '\t' | '\x1b' | '\x08');
            assert!(row.chars().all(is_allowed), "{row:?}");
            assert!(display.is_terminal() || !row.contains(['\x1b', '\x08']), "{row:?}");
        }
    }
}

#[test]
fn rows_end_before_the_terminal_wraps_them_and_colours_with_them() {
    let mut console = on_terminal();
    console.print(0, b"\x1b[1;31m");
    console.print(0, "x".repeat(35).as_bytes());
    console.print(0, b"\n");
    let first = "x".repeat(39 - "right | ".len());
    let text = alloc::format!("{LEFT}\x1b[1;31m{first}\x1b[0m\r\n{LEFT}xxxx\r\n");
    assert_eq!(printed(&mut console), text);
}

#[test]
fn without_colours_no_style_passes() {
    for ability in [Ability::Monochrome, Ability::Dumb] {
        let display = Display::Terminal { columns: 80, ability };
        let mut console = console(ConsoleSettings { display, ..SETTINGS });
        console.print(1, b"a \x1b[31mred\x1b[m line\n");
        assert_eq!(printed(&mut console), "right | a red line\r\n");
    }
    let mut console = console(SETTINGS);
    console.print(1, b"a \x1b[31mred\x1b[m line\n");
    assert_eq!(printed(&mut console), "right | a red line\n");
}

#[test]
fn unfinished_lines_of_two_vms_keep_apart() {
    let mut console = on_terminal();
    console.print(0, b"$ \x1b[32m");
    console.print(1, b"login: ");
    console.show_prompts(ms(0));
    console.show_prompts(ms(20));
    assert_eq!(printed(&mut console), alloc::format!("{LEFT}$ \x1b[32m"));
    // The other VM's once, after a second, in a row of its own.
    assert_eq!(console.prompt_due(), Some(ms(1000)));
    console.show_prompts(ms(1000));
    let text = alloc::format!("\x1b[0m\r\n{RIGHT}login: \r\n{LEFT}$ \x1b[32m");
    assert_eq!(printed(&mut console), text);
    assert_eq!(console.prompt_due(), None);
    console.print(1, b"root");
    console.print(0, b"ls\n");
    console.print(1, b"\n");
    console.show_prompts(ms(5000));
    let text = alloc::format!("ls\x1b[0m\r\n{RIGHT}login: root\r\n");
    assert_eq!(printed(&mut console), text);
}

#[test]
fn an_erased_character_goes_from_the_terminal_and_the_prefix_stays() {
    let mut console = on_terminal();
    console.print(0, b"ab");
    console.show_prompts(ms(0));
    console.show_prompts(ms(20));
    console.print(0, b"\x08 \x08\x08 \x08\x08 \x08");
    console.show_prompts(ms(21));
    console.print(0, b"\n");
    let text = alloc::format!("{LEFT}ab\x08 \x08\x08 \x08^H ^H\r\n");
    assert_eq!(printed(&mut console), text);
}

#[test]
fn a_dumb_terminal_gets_the_corrected_line_anew() {
    let display = Display::Terminal { columns: 80, ability: Ability::Dumb };
    let mut console = console(ConsoleSettings { display, ..SETTINGS });
    console.print(0, b"ab");
    console.show_prompts(ms(0));
    console.show_prompts(ms(20));
    console.print(0, b"\x08 \x08");
    console.show_prompts(ms(30));
    console.show_prompts(ms(50));
    assert_eq!(printed(&mut console), "left  | ab\r\nleft  | a");
    assert_eq!(console.typed(b"\x01f"), None);
    assert!(printed(&mut console).contains("[no VM can have the terminal raw"));
}

#[test]
fn a_vm_has_the_terminal_raw_while_it_has_the_keyboard() {
    let mut console = on_terminal();
    console.print(0, b"$ ");
    assert_eq!(console.typed(b"\x01f"), None);
    let line = "[left has the terminal raw until Ctrl-A f]";
    let text = alloc::format!("{LEFT}$ \r\n{line}\r\n\x1b[22;0t");
    assert_eq!(printed(&mut console), text);
    let screen = b"\x1b[?1049h\x1b[2J\x9b1;1Htext\n";
    console.print(0, screen);
    console.print(1, b"meanwhile\n");
    console.say("[a line of Tandem's]");
    assert_eq!(console.waiting(), screen);
    console.written(screen.len());
    console.show_prompts(ms(1000));
    assert_eq!((console.waiting(), console.prompt_due()), (&b""[..], None));
    assert_eq!(console.typed(b"\x011"), None);
    let text = printed(&mut console);
    assert!(text.starts_with("\x18\x1b\\\x1b[!p\x1b[?1049l"), "{text:?}");
    let lines = alloc::format!("{RIGHT}meanwhile\r\n[a line of Tandem's]\r\n");
    assert!(text.ends_with(&alloc::format!("\r\n{lines}[the keyboard is right's]\r\n")));
    // With the keyboard the VM has the terminal raw again, until it ends.
    assert_eq!(console.typed(b"\x010"), None);
    printed(&mut console);
    console.print(0, b"\x1b[6n");
    assert_eq!(printed(&mut console), "\x1b[6n");
    console.vm_ended(VcpuIndex::only_of(VmIndex(0)), &Ending::PowerOff { status: 0 }, None);
    let text = printed(&mut console);
    assert!(text.starts_with("\x18\x1b\\") && text.contains("[left powered off, status 0]\r\n"));
    console.print(1, b"\x1b[6n\n");
    assert_eq!(printed(&mut console), alloc::format!("{RIGHT}^[[6n\r\n"));
}

#[test]
fn a_vm_has_no_terminal_that_is_another_programs() {
    let mut console = on_terminal();
    assert_eq!(console.typed(b"\x01f"), None);
    printed(&mut console);
    console.lend_terminal(false);
    console.print(0, b"\x1b[2J\n");
    let text = printed(&mut console);
    let line = alloc::format!("\r\n{LEFT}^[[2J\r\n");
    assert!(text.starts_with("\x18\x1b\\") && text.ends_with(&line), "{text:?}");
    console.lend_terminal(true);
    printed(&mut console);
    console.print(0, b"\x1b[2J");
    assert_eq!(printed(&mut console), "\x1b[2J");
}

#[test]
fn a_run_that_ends_takes_the_terminal_back() {
    let mut console = on_terminal();
    assert_eq!(console.typed(b"\x01f"), None);
    printed(&mut console);
    console.finish();
    assert!(printed(&mut console).starts_with("\x18\x1b\\"));
}

#[test]
fn tandems_own_lines_have_a_limit_and_room_beyond_the_guests() {
    let mut console = console(ConsoleSettings { output_bytes: 4000, ..SETTINGS });
    for _ in 0..1000 {
        console.print(0, b"a flood of lines\n");
    }
    let full = console.waiting_bytes();
    assert!((3950..=4000).contains(&full), "{full}");
    console.say("[one more]");
    assert_eq!(console.waiting_bytes(), full + 11);
    for _ in 0..1000 {
        assert_eq!(console.typed(b"\x01?"), None);
    }
    // And the line that says how much was left out.
    assert!(console.waiting_bytes() <= 5060, "{}", console.waiting_bytes());
    printed(&mut console);
    console.say("[back]");
    let text = printed(&mut console);
    assert!(text.ends_with(" bytes of Tandem's lines left out]\n[back]\n"), "{text}");
}

#[test]
fn on_a_terminal_the_run_begins_with_who_has_the_keyboard() {
    let ability = Ability::Monochrome;
    let display = Display::Terminal { columns: 80, ability };
    let mut terminal = console(ConsoleSettings { display, ..SETTINGS });
    terminal.begin();
    assert_eq!(printed(&mut terminal), "[the keyboard is left's]\r\n");
    let mut pipe = console(ConsoleSettings { display, has_command_keys: false, ..SETTINGS });
    pipe.begin();
    assert_eq!(printed(&mut pipe), "");
}

#[test]
fn a_screens_text_shares_no_line_with_what_is_printed() {
    let mut console = console(ConsoleSettings { display: Display::Stream, ..SETTINGS });
    console.print(0, b"serial");
    console.print_screen(0, "screen\n$ ");
    console.print_screen(0, "ls");
    console.print(0, b" more\n");
    console.print_screen(0, "\nlast \x1b[31m\n");
    let lines = ["serial", "screen", "$ ls", " more", "last "];
    let expected: String = lines.iter().map(|line| format!("left  | {line}\n")).collect();
    assert_eq!(printed(&mut console), expected);
}
