//! Multiboot images, with address fields and as ELF files.

#![no_main]

use libfuzzer_sys::fuzz_target;
use tandem_fuzz::hold;
use vmm_common::plan::BootKind;

fuzz_target!(|input: &[u8]| hold(BootKind::Multiboot, input));
