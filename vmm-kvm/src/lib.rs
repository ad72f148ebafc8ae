//! Several virtual machines on one core of a Linux host, over KVM.
//!
//! [`run`] is the run from plan to receipt, [`kvm`] the backend, [`turn`] the access to shared
//! state, [`host`] this process as the loop's host, [`outputs`] the files that a run writes. The
//! command line is in `main.rs`.

pub mod capture;
pub mod cli;
pub mod confinement;
pub mod console;
pub mod control;
pub mod disks;
pub mod events;
pub mod gdb;
pub mod host;
pub mod kvm;
pub mod outputs;
mod parking;
pub mod placement;
pub mod run;
pub mod sys;
pub mod tap;
mod threads;
pub mod timeline;
pub mod turn;
pub mod typed;
pub mod uplinks;
