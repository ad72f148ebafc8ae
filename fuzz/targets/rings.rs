//! Virtio devices: rings of any contents, and stores of any value to their registers.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| tandem_fuzz::serve_rings(input));
