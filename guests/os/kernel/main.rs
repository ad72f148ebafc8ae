//! The guest OS kernel: processes in ring 3, preempted by a timer, talking over COM1.
//!
//! It is an event machine. Interrupts are off in ring 0; a trap from ring 3 saves the registers
//! straight into the process's record (`trap`), one event is handled (`system_call`, `fault`, the
//! timer), the next process is picked (`kernel`), and its registers are loaded. So there is one
//! kernel stack, nothing in the kernel is ever preempted, and a call that has to wait is simply
//! executed again when its condition holds.
#![no_std]
#![no_main]

#[path = "../abi.rs"]
mod abi;
#[path = "../../common/mod.rs"]
mod common;
mod fault;
mod floating_point;
mod kernel;
mod memory;
mod process;
mod schedule;
mod system_call;
mod trap;

use common::{boot, clock, console};

#[unsafe(no_mangle)]
extern "C" fn guest_main() -> ! {
    console::initialise(console::COM1);
    trap::initialise(); // from here on a fault is reported
    let kernel = trap::kernel();
    kernel.timer.initialise(clock::time_stamp_kilohertz());
    let mut command = [0; abi::LONGEST_COMMAND]; // the loader's copy lies in memory to be used
    let length = boot::command_line().len().min(command.len());
    let command = copy_prefix(&mut command, boot::command_line(), length);
    kernel.frames.initialise(boot::memory_end());
    memory::map_programs();
    let free = kernel.frames.free_kibibytes();
    console::Line::new().text("Tandem guest OS, ").decimal(free).text(" KiB free").print();
    kernel.start_shell(command);
    trap::resume(kernel.run())
}

fn copy_prefix<'a>(to: &'a mut [u8], from: &[u8], length: usize) -> &'a [u8] {
    for (to, from) in to.iter_mut().zip(from) {
        *to = *from;
    }
    to.get(..length).unwrap_or(&[])
}
