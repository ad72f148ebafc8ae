//! Instructions on devices: any bytes in any width of code, with any registers, on RAM, page tables
//! and devices of any contents.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| tandem_fuzz::carry_out(input));
