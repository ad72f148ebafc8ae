//! What the standard library does not offer of Linux: pinning, per-thread timers that end KVM_RUN,
//! signals as a file, terminal settings, and the one clock that all of these share.
//!
//! `unsafe` here is system calls on our own memory; each block argues its soundness.

mod clock;
mod cores;
mod files;
mod host_memory;
mod timer;

pub use clock::{Clock, process_cpu_ns};
pub use cores::{allowed_cores, pin_to};
pub use files::{
    is_writable, set_terminal_settings, signal_file, stdin, stdout, terminal_columns,
    terminal_settings, unblock,
};
pub use host_memory::{available_memory, forget_start_up};
pub use timer::ThreadTimer;
