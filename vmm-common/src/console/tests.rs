use super::*;
use crate::seed::{SeedVm, to_plan};
use crate::vm::Ending;

const SETTINGS: ConsoleSettings = ConsoleSettings {
    is_terminal: false,
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
    console.vm_ended(1, &Ending::PowerOff { status: 0 }, None);
    let text = "right | hello\nright | unfinished\n[right powered off, status 0]\n";
    assert_eq!(printed(&mut console), text);
}

#[test]
fn a_dump_follows_the_ending_and_the_keyboard_goes_on() {
    let mut console = console(SETTINGS);
    console.vm_ended(0, &Ending::TripleFault, Some(&CpuState::default()));
    let text = printed(&mut console);
    let mut lines = text.lines();
    assert_eq!(lines.next(), Some("[left stopped: triple fault]"));
    assert!(lines.next().is_some_and(|line| line.starts_with("[left]   ")), "{text}");
    assert_eq!(lines.next_back(), Some("[the keyboard is right's]"));
    console.say_dump(1, "a: 1\nb: 2");
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
