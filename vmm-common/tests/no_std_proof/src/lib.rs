//! A crate with a panic handler of its own that uses the shared crates. The standard library has
//! one too, and there may be but one: with std anywhere in the tree this does not compile.
//!
//! A library, so that it needs no allocator, which could not be had without unsafe code.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

use alloc::vec::Vec;
use vmm_common::plan::Share;
use vmm_common::scheduler::{Next, Scheduler};
use vmm_common::{Instant, boot, machine, receipt, seed, system};

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

/// Uses both crates, so that neither is left out of the tree.
pub fn shared_core() -> (Next, devices::uart::Port) {
    let port = devices::uart::Port::new(devices::uart::PortMode::Console);
    let next = Scheduler::new(&[Share::Weight(1)], 1).next(Instant::ZERO);
    (next, port)
}

/// What a target without an operating system calls, by name.
pub type Entrances = (
    fn(&[u8]) -> Result<Vec<seed::SeedVm>, seed::SeedError>,
    fn(&vmm_common::plan::Plan, &system::System, u64) -> receipt::Receipt,
    fn(&vmm_common::plan::VmPlan, machine::Surroundings) -> machine::Machine,
    boot::Boot,
);
