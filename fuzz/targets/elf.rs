//! What an image says it is: ELF files of all kinds, and all else.

#![no_main]

use libfuzzer_sys::fuzz_target;
use tandem_fuzz::hold;
use vmm_common::plan::BootKind;

fuzz_target!(|input: &[u8]| hold(BootKind::Auto, input));
