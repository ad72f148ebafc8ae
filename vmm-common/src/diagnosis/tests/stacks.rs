//! Call traces of stacks that are whole, and of such as are not.

use super::*;
use crate::diagnosis::frames;
use crate::diagnosis::scene::Scene;

fn trace(state: &CpuState, ram: &Ram) -> String {
    frames::call_trace(&Scene::new(state, ram)).expect("it is no 16-bit code")
}

/// nop
const CODE_BYTES: [u8; 1] = [0x90];

#[test]
fn frames_lead_to_the_first_function() {
    let (mut state, ram) = long_mode(&CODE_BYTES);
    state.general[general::RBP] = 0x1_f000;
    ram.put(0x1_f000, &[0x1_f100, 0x1_0111]);
    ram.put(0x1_f100, &[0, 0x1_0222]);
    assert_eq!(trace(&state, &ram), "call trace: 0x10000 <- 0x10111 <- 0x10222");
    // Without a caller.
    ram.put(0x1_f100, &[0, 0]);
    assert_eq!(trace(&state, &ram), "call trace: 0x10000 <- 0x10111");
    // A return address that is in no page.
    ram.put(0x1_f000, &[0x1_f100, NOWHERE]);
    assert_eq!(trace(&state, &ram), "call trace: 0x10000");
    // A frame pointer that is none.
    for nowhere in [0, NOWHERE, 0x8000_0000_0000, u64::MAX] {
        state.general[general::RBP] = nowhere;
        assert_eq!(trace(&state, &ram), "call trace: 0x10000");
    }
}

#[test]
fn frames_that_loop_and_frames_without_end_end() {
    let (mut state, ram) = long_mode(&CODE_BYTES);
    state.general[general::RBP] = 0x1_f000;
    ram.put(0x1_f000, &[0x1_f000, 0x1_0111]);
    assert_eq!(trace(&state, &ram), "call trace: 0x10000 <- 0x10111");
    ram.put(0x1_f000, &[0x1_e000, 0x1_0111]);
    assert_eq!(trace(&state, &ram), "call trace: 0x10000 <- 0x10111", "it leads down");
    // A recursion, and as many functions as fit.
    for at in (0x1_f000..0x2_0000).step_by(16) {
        ram.put(at, &[at + 16, 0x1_0111]);
    }
    assert_eq!(trace(&state, &ram), "call trace: 0x10000 <- 0x10111 (256 times)");
    for at in (0x1_f000..0x2_0000).step_by(16) {
        ram.put(at, &[at + 16, 0x1_0000 + (at & 0xfff)]);
    }
    let text = trace(&state, &ram);
    assert!(text.ends_with(" <- ..."), "{text}");
    assert_eq!(text.matches("0x").count(), 16, "{text}");
}

/// A page table of each level whose first entry leads to itself maps only what is there.
#[test]
fn page_tables_that_lead_to_themselves_end() {
    let (mut state, ram) = long_mode(&CODE_BYTES);
    ram.put(0x1000, &[0x1003]);
    state.general[general::RBP] = 0;
    assert!(trace(&state, &ram).starts_with("call trace: 0x10000"));
    assert!(frames::stack(&Scene::new(&state, &ram)).starts_with("stack at 0x20000: "));
}

#[test]
fn a_call_of_nowhere_and_a_return_to_nowhere_are_told_apart() {
    let (mut state, ram) = long_mode(&[0xff, 0xd0]);
    state.rip = NOWHERE;
    // It called, and what follows the CALL is on the stack.
    ram.put(STACK, &[CODE + 2]);
    assert_eq!(trace(&state, &ram), "call trace: 0x3fe00000 <- 0x10002");
    assert_eq!(frames::bad_return(&Scene::new(&state, &ram)), None);
    // It returned: below the top is what it took.
    ram.put(STACK - 8, &[NOWHERE, 0]);
    let why = frames::bad_return(&Scene::new(&state, &ram));
    assert_eq!(why.as_deref(), Some("a RET took 0x3fe00000 from the stack"));
    assert_eq!(trace(&state, &ram), "call trace: 0x3fe00000");
}

#[test]
fn before_its_frame_is_made_a_function_has_its_caller_at_the_stacks_top() {
    // push rbp
    let (state, ram) = long_mode(&[0x55]);
    assert!(ram.write(0x1_1000, &[0xe8]));
    ram.put(STACK, &[0x1_1005]);
    assert_eq!(trace(&state, &ram), "call trace: 0x10000 <- 0x11005");
}

#[test]
fn words_of_the_stack_up_to_its_end() {
    let (mut state, ram) = long_mode(&CODE_BYTES);
    ram.put(STACK, &[1, 0xabc]);
    let stack = |state: &CpuState| frames::stack(&Scene::new(state, &ram));
    assert_eq!(stack(&state), "stack at 0x20000: 1 abc 0 0 0 0 0 0");
    state.general[general::RSP] = RAM_BYTES - 8;
    assert_eq!(stack(&state), "stack at 0x27ff8: 0");
    state.general[general::RSP] = NOWHERE;
    assert_eq!(stack(&state), "stack at 0x3fe00000: in no page");
}
