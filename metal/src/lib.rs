//! The parts of the bare-metal target that need privilege or `unsafe`: the processor, physical
//! memory, and a guest's confinement. Its interface is safe: no call lets a guest reach what a
//! [`Grant`](vmm_common::grant::Grant) does not name, or Rust memory that is not its caller's.
//!
//! ```text
//! loader --> Memory { Free, Frames } --> GuestRam ----.
//!                                                     v
//! Grant ---------> maps, masks, tables --> vmx::Vmcs | svm::Vmcb --load--> Loaded --enter-->
//! ```
//!
//! Memory comes from the loader's map alone, and a control block from a grant alone. A control
//! block is touched through a `Loaded`, which borrows the processor: there is one at a time, and
//! it is that of the vCPU whose state the processor has.
#![cfg_attr(not(test), no_std)]
// Only the start in a program that boots uses all of it.
#![cfg_attr(not(feature = "bare"), allow(dead_code))]

extern crate alloc;

/// RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI, R8 to R15: the order of their encoding. The slot of RSP
/// is not used (nor, on SVM, that of RAX): the control block has them; an entry still keeps slot 0
/// up to date.
pub type General = [u64; 16];

pub mod architecture;
pub mod barriers;
pub mod carve;
pub mod cpu;
mod descriptors;
pub mod extended_state;
pub mod firmware;
pub mod frames;
pub mod guest_ram;
#[cfg(feature = "bare")]
pub mod heap;
pub mod host_serial;
pub mod hpet;
pub mod interrupts;
pub mod io_apic;
pub mod loader;
pub mod local_apic;
pub mod machine_check;
pub mod nmi_timer;
pub mod paging;
pub mod pci;
pub mod port;
pub mod random;
pub mod screen;
pub mod second_level;
pub mod siblings;
mod stale_interrupts;
pub mod svm;
mod vector_registers;
pub mod vmx;
mod zero_bits;

#[cfg(test)]
mod tests;
