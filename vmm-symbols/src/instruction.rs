//! One instruction, as an assembler writes it.

use iced_x86::{Decoder, DecoderOptions, Formatter, IntelFormatter};

/// The first instruction of these hexadecimal bytes, which lie at `address`; where it branches
/// to, by name.
pub fn text(
    bits: &str,
    bytes: &str,
    address: u64,
    name: impl Fn(u64) -> Option<String>,
) -> Option<String> {
    let bits = bits.parse().ok().filter(|bits| matches!(bits, 16 | 32 | 64))?;
    let bytes: Vec<u8> =
        bytes.split(' ').map(|byte| u8::from_str_radix(byte, 16)).collect::<Result<_, _>>().ok()?;
    let instruction = Decoder::with_ip(bits, &bytes, address, DecoderOptions::NONE).decode();
    let mut formatter = IntelFormatter::new();
    let options = formatter.options_mut();
    options.set_hex_prefix("0x");
    options.set_hex_suffix("");
    options.set_uppercase_hex(false);
    options.set_space_after_operand_separator(true);
    options.set_leading_zeros(false);
    options.set_branch_leading_zeros(false);
    let mut text = String::new();
    formatter.format(&instruction, &mut text);
    let target = instruction.near_branch_target();
    match name(target).filter(|_| target != 0) {
        Some(name) => Some(text.replace(&format!("{target:#x}"), &name)),
        None => Some(text),
    }
}
