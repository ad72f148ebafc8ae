//! What the standard library does not offer of Linux: pinning, per-thread timers that end KVM_RUN,
//! signals as a file, terminal settings, and the one clock that all of these share.
//!
//! `unsafe` here is system calls on our own memory; each block argues its soundness.

mod clock;
mod cores;
mod files;
mod host_memory;
mod listener;
mod privileges;
mod refused_call;
mod signals;
mod storage;
mod timer;
mod tun;

pub use clock::{Clock, process_cpu_ns};
pub use cores::{
    allowed_cores, allowed_cores_of, core_set, current_core, is_pinned_to, pin_thread_to, pin_to,
    this_thread,
};
pub use files::{
    is_foreground, is_writable, set_blocking, set_terminal_settings, stdin, stdout,
    terminal_columns, terminal_settings,
};
pub use host_memory::{available_memory, forget_start_up, share_one_heap};
pub use listener::Listener;
pub use privileges::{
    Capability, allow_no_new_privileges, close_inherited, drop_capabilities, forbid_dumps,
    has_call_filters, inherited_files,
};
pub use refused_call::{name_this_thread, report_refused_calls};
pub use signals::{Signal, Signals, StopSignal};
pub use storage::{allocate, file_bytes, fill_with_random, lock_file, unnamed_file};
pub use timer::ThreadTimer;
pub use tun::{SET_OFFLOADS, TUN_DEVICE, attach_tap, has_interface, open_tun, set_tap_offloads};
