//! What every Tandem target shares: no privileged instruction, no system call, no port number that
//! a backend would have to know.
//!
//! ```text
//! Plan --> System { Vm { Vcpu, Machine { devices } } ..., links, Scheduler, Ledger, Trace }
//!                     ^ Exit                 | Entry
//!                     |                      v
//!                  VcpuBackend: KVM, VMX, SVM, or a scripted guest in a simulation
//! ```
//!
//! Read [`seam`] (what crosses to a backend), [`vm`], [`machine`] (a VM's hardware less its CPU),
//! [`system`] (the loop) and [`scheduler`] to know how Tandem runs its machines.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod architecture;
pub mod backing;
pub mod boot;
pub mod console;
pub mod control;
pub mod cpuid;
pub mod debugger;
pub mod diagnosis;
mod ending;
mod fault;
pub mod grant;
pub mod index;
pub mod ledger;
pub mod machine;
pub mod memory;
pub mod pack;
pub mod plan;
pub mod polling;
pub mod receipt;
pub mod registers;
pub mod scheduler;
pub mod screen;
pub mod seam;
pub mod seed;
pub mod stop;
pub mod switch_on;
pub mod system;
pub mod trace;
pub mod units;
pub mod vm;
pub mod x86;

pub use devices::time::Instant;
