//! A guest's RAM by guest-physical address. The VM owns it ([`crate::vm::Vm::memory`]); a backend
//! keeps a handle to the same bytes.
//!
//! The target maps the bytes; all code that acts for a guest (string I/O, an
//! instruction on a device, the clock structures, virtio devices) reaches them through this one
//! trait. Linear addresses are translated by [`crate::x86::paging`], the one page walk.

pub use devices::memory::{GuestMemory, NoMemory};
