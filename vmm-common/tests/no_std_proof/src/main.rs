//! A program with a panic handler and an allocator of its own that uses the shared crates, as one
//! without an operating system would. The standard library has a panic handler too, and there may
//! be but one: with std anywhere in the tree this does not compile.
#![no_std]
#![no_main]

extern crate alloc;

use alloc::vec::Vec;
use core::alloc::{GlobalAlloc, Layout};
use vmm_common::plan::Share;
use vmm_common::scheduler::{Next, Scheduler};
use vmm_common::{Instant, boot, machine, memory, receipt, seed, system};

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

/// Never has memory: the program is compiled, not run.
struct NoMemory;

// SAFETY: null is an allowed answer, and what was never given is never given back.
unsafe impl GlobalAlloc for NoMemory {
    unsafe fn alloc(&self, _: Layout) -> *mut u8 {
        core::ptr::null_mut()
    }

    unsafe fn dealloc(&self, _: *mut u8, _: Layout) {}
}

#[global_allocator]
static ALLOCATOR: NoMemory = NoMemory;

/// Uses both crates, so that neither is left out of the tree.
pub fn shared_core() -> (Next, devices::uart::Port) {
    let port = devices::uart::Port::new(devices::uart::PortMode::Console);
    let next = Scheduler::new(&[(Share::Weight(1), 1)], 1).next(Instant::ZERO);
    (next, port)
}

/// What a target without an operating system calls, by name.
pub type Entrances = (
    fn(&[u8]) -> Result<Vec<seed::SeedVm>, seed::SeedError>,
    fn(&vmm_common::plan::Plan, &system::System<memory::NoMemory>, u64) -> receipt::Receipt,
    fn(&vmm_common::plan::VmPlan, machine::Surroundings) -> machine::Machine,
    boot::Boot,
);
