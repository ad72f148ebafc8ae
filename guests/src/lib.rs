//! The images Tandem boots: a small 64-bit OS and single-purpose test guests.
//!
//! | folder    | what                                                               |
//! |-----------|--------------------------------------------------------------------|
//! | `os/`     | the guest OS: kernel (ring 0) and programs (ring 3)                |
//! | `single/` | guests that do one thing, good or bad, and end                     |
//! | `nimble/` | a guest that does to a machine what the seed's kernel does         |
//! | `common/` | what these share: the way into 64-bit mode, console, clock, power  |
//! | `link/`   | linker scripts                                                     |
//! | `build/`  | the build script: compiles all of them, checks ring-0 code         |
//!
//! An image is a multiboot 1 file with address fields (loaded at 1 MiB, entered in 32-bit protected
//! mode, parameters on the command line), except `flat_hello`, which is a raw image for 2 MiB, and
//! `nimble`, which is both, at 2 MiB.
#![no_std]
#![forbid(unsafe_code)]

/// An image that can be booted.
#[derive(Debug)]
pub struct Image {
    /// The name that configurations and commands use.
    pub name: &'static str,
    /// What it does, and its parameters with their defaults.
    pub summary: &'static str,
    /// The file, as a boot loader would read it.
    pub bytes: &'static [u8],
}

/// All images.
pub static IMAGES: &[Image] = include!(concat!(env!("OUT_DIR"), "/images.rs"));

/// Where the build has put the images with their symbols, `NAME.elf`; for debuggers, as long as
/// no code has cleaned up.
pub const BUILT: &str = env!("OUT_DIR");

/// The image with that name.
pub fn find(name: &str) -> Option<&'static Image> {
    IMAGES.iter().find(|image| image.name == name)
}
