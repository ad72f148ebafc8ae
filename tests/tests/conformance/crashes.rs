//! Kernels that go wrong in one known way each (`tests/kernels`): what is said of them names the
//! function, the line, the first exception and the reason, in the same words on every target. QEMU
//! without Tandem is the witness of the exception and of its address.

use crate::targets::Target;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;
use xtask::emulate::Typed;
use xtask::emulate::alone::{self, Kernel};
use xtask::kernels;

/// Far beyond what QEMU takes to the first exception of any of them.
const WITNESS: Duration = Duration::from_secs(60);

/// What is said of a kernel that crashes, up to its stack: the line that its source marks is within
/// it.
const CRASHES: &[(&str, &[&str])] = &[
    ("bug64", &[
        "#UD at put+0x1d (bug64.c:@): ud2",
        "then #NP(0x33) while delivering #UD: the IDT's gate 6 is not present",
        "then #NP(0x5b) while delivering #NP: the IDT's gate 11 is not present; a double fault",
        "then #NP(0x43) while delivering #DF: the IDT's gate 8 is not present; a triple fault",
        "call trace: put+0x1d <- kmain+0x4d <- _start+0x12",
    ]),
];
