//! Controls that the processor demands, which another hypervisor beneath us may choose: one that
//! causes exits, or an effect, that nothing here handles is refused at the start, and not met when
//! a guest runs.

use super::capabilities::Capabilities;
use super::controls::{self, Control};
use super::missing::Missing;

/// A control that is understood if it is demanded, by its word: what is always 1 (SDM vol. 3,
/// appendix A.3 to A.5), what is wanted, and exits that are handled.
const UNDERSTOOD: [u32; 5] = [
    sum(&controls::PIN) | 0x16,
    // Exits of CR3 loads and stores, and of PAUSE; the bitmaps override unconditional I/O exiting.
    sum(&controls::PRIMARY) | 0x0401_e172 | 1 << 24 | 1 << 30,
    sum(&controls::SECONDARY) | controls::SECONDARY_OPTIONAL,
    sum(&controls::EXIT) | 0x3_6dff,
    sum(&controls::ENTRY) | 0x11ff,
];
const WORDS: [&str; 5] =
    ["pin-based", "primary processor-based", "secondary processor-based", "VM-exit", "VM-entry"];

/// Whether all that is demanded is understood.
///
/// # Errors
/// [`Missing::Off`] names the first control that is not.
pub fn check(capabilities: &Capabilities) -> Result<(), Missing> {
    let Capabilities { pin, primary, secondary, exit, entry, .. } = *capabilities;
    let demanded = [pin, primary, secondary, exit, entry].map(|word| word as u32);
    for ((word, demanded), understood) in WORDS.into_iter().zip(demanded).zip(UNDERSTOOD) {
        let unknown = demanded & !understood;
        if unknown != 0 {
            return Err(Missing::Off { word, bit: unknown.trailing_zeros() });
        }
    }
    Ok(())
}

/// Their bits.
const fn sum(mut controls: &[Control]) -> u32 {
    let mut bits = 0;
    while let [(bit, _), rest @ ..] = controls {
        (bits, controls) = (bits | *bit, rest);
    }
    bits
}

#[cfg(test)]
mod tests {
    use super::super::capabilities::tests::skylake;
    use super::*;

    #[test]
    fn a_control_that_nothing_handles_is_refused_by_name() {
        let demanding = |at: u32, bit: u32| {
            let capabilities = Capabilities::read(move |index| {
                let is_it = index == at || index == at + 12 && at < 0x485;
                skylake(index) | if is_it { 1 << bit } else { 0 }
            });
            check(&capabilities).map_err(|missing| missing.to_string())
        };
        assert_eq!(demanding(0x481, 0), Ok(()), "it is wanted");
        assert_eq!(demanding(0x482, 15), Ok(()), "CR3");
        for (at, bit, word) in [
            (0x481, 7, "pin-based"),
            (0x482, 2, "primary processor-based"),
            (0x482, 12, "primary processor-based"),
            (0x48b, 0, "secondary processor-based"),
            (0x483, 12, "VM-exit"),
            (0x484, 9, "VM-entry"),
        ] {
            let error = demanding(at, bit).expect_err("nothing handles it");
            let says = format!("demands bit {bit} of the {word} controls");
            assert!(error.contains(&says), "{error}");
        }
    }
}
