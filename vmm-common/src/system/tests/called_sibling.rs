//! Two vCPUs of one VM, one of which calls the other.

use super::scripted::{World, store};
use crate::index::VmIndex;
use crate::plan::{ImageSource, VmPlan};
use crate::seam::ExitReason;
use alloc::string::String;
use alloc::vec;

/// Interrupt command register, low and high; spurious-interrupt vector register.
const COMMAND: u64 = 0xfee0_0300;
const COMMAND_HIGH: u64 = 0xfee0_0310;
const SPURIOUS: u64 = 0xfee0_00f0;

#[test]
fn what_is_left_of_an_exit_comes_before_a_sibling_that_it_calls() {
    let kernel = ImageSource::Builtin(String::from("os"));
    let vm = VmPlan { vcpu_count: 2, ..VmPlan::plain(0, kernel) };
    let marker = ExitReason::PortOut { port: 0x80, size: 1, value: 7 };
    let first = vec![
        store(COMMAND_HIGH, 1 << 24),
        // INIT, start-up at page 8: the sibling runs, and halts with its local APIC on.
        store(COMMAND, 0x4500),
        store(COMMAND, 0x4608),
        // Three parts of one exit: the call, and what follows it.
        store(COMMAND, 0x4041),
        marker,
        marker,
    ];
    let sibling = vec![store(SPURIOUS, 0x1ff), ExitReason::Halt];
    let mut world = World::new(vec![vm], vec![first, sibling], (0, 0));
    world.guests[0].parts = 3;
    while !(world.guests[1].is_started && world.guests[1].script.is_empty()) {
        world.turn();
    }
    let is_halted = |world: &World| world.system.vms[VmIndex(0)].vcpus()[1].is_halted;
    while world.guests[0].script.len() > 3 || !is_halted(&world) {
        world.turn();
    }
    assert_eq!(world.guests[0].script.len(), 3, "the call is yet to come");
    let entered = world.guests[1].entries.len();
    assert_eq!(world.turn().id(), 0);
    assert!(world.guests[0].script.is_empty(), "the rest of the exit was carried out");
    assert_eq!(world.guests[1].entries.len(), entered, "before the sibling had the core");
    assert_eq!(world.turn().id(), 1, "which is next");
}
