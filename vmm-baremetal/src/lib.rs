//! The bare-metal target: VMX and SVM switching with no operating system beneath.
//!
//! ```text
//! boot --> memory map, plan, Frames --> one Vcpu<Vmx or Svm> for each VM --> the shared loop
//!             vcpu: seam of vmm-common  <->  hardware: Event, registers
//!                                               vmx/   |   svm/        twins, file for file
//! ```
//!
//! Read [`run`] (the loop), [`vcpu`] (exits and replies), [`hardware`] (the seam between the
//! vendors) and one of [`vmx`] and [`svm`].
#![cfg_attr(feature = "bare", no_std)]

extern crate alloc;

pub mod carve;
pub mod clock;
pub mod control_registers;
pub mod cpu;
pub mod descriptors;
pub mod frames;
pub mod hardware;
pub mod host;
pub mod input;
pub mod interrupts;
pub mod local_apic;
pub mod multiboot;
pub mod paging;
pub mod power;
pub mod ram;
pub mod run;
pub mod second_level;
pub mod serial;
pub mod state;
pub mod svm;
pub mod vcpu;
pub mod vmx;
pub mod wall_clock;
