//! The bare-metal target: VMX and SVM switching without an operating system.
//!
//! ```text
//! start: plan, memory --> run: one vCPU for each VM --> the shared loop
//! guest: seam of vmm-common  <->  vendor: Resume, Left
//!                                     vmx   |   svm        twins
//! host: clock, console, keyboard, power               metal: all that needs privilege
//! ```
//!
//! Read [`run`] (the loop), [`guest::vcpu`] (exits and replies), [`guest::vendor`] (the seam
//! between the vendors) and one of [`vmx`] and [`svm`].
#![cfg_attr(feature = "bare", no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod guest;
pub mod host;
pub mod run;
pub mod start;
pub mod svm;
pub mod vmx;
