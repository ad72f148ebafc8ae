//! Tandem as its users run it: the `vmm-kvm` binary on the real /dev/kvm, with real guests.
//!
//! A test starts the binary by [`harness::Tandem`], talks to it by what it prints and takes, and
//! looks at how it ended. No clock decides: waiting is for a text or for the end, and the time
//! limits are there only so that what hangs fails loudly.

mod bad_guests;
mod captures;
mod command_line;
mod configs;
mod console;
mod control;
mod cores;
mod disks;
mod endings;
mod escapes;
mod gdb;
mod harness;
mod host_refuses;
mod inputs;
mod job_control;
mod killed;
mod main_job;
mod one_core;
mod output_files;
mod output_troubles;
mod posture;
mod screen;
mod several_processors;
mod symbols;
mod terminal;
mod timeline;
mod uplinks;
