//! The bare-metal hypervisor in an emulated machine, and guests that are not ours, for developers
//! and for tests.
//!
//! ```text
//! CONFIG --load--> Load { plan, pack }  -.
//!                                         >- emulate::run --> Report { console, exit, receipt }
//! hypervisor::build --> ELF kernel     -'      '- image::write makes the ISO that Bochs boots
//!
//! Debian --linux::ensure--> target/linux/ { vmlinuz, initramfs.cpio, modules }
//! ```
#![forbid(unsafe_code)]

mod child;
pub mod disk_images;
pub mod emulate;
pub mod gdb_session;
pub mod guest_files;
pub mod hypervisor;
pub mod image;
pub mod kernels;
pub mod linux;
pub mod load;
pub mod packages;
pub mod pseudo_terminal;
pub mod scratch;
pub mod terminal;
pub mod two_processors;
