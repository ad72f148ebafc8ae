//! Formats times, sizes and shares. A unit follows its number without a space, as in
//! the config.

use core::fmt;

const US: u64 = 1_000;
const MS: u64 = 1_000_000;
const S: u64 = 1_000_000_000;

/// Nanoseconds that were measured: three or four digits, so that columns of them line up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MeasuredTime(pub u64);

/// Nanoseconds to a tenth of the unit that fits; `none` for 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RoundedTime(pub u64);

/// Nanoseconds exactly, in the largest unit of which they are a multiple.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExactTime(pub u64);

/// Bytes exactly, in the largest unit of which they are a multiple.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bytes(pub u64);

/// Parts of a million as per cent, rounded to hundredths; with a precision of 1 (`{:.1}`), tenths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Percent(pub u64);

/// Text as YAML has it in double quotes, if it holds what does not print on one line: controls,
/// line separators, and what changes the direction of text; or nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Escaped<'a>(pub &'a str);

/// Whether a character ends lines, moves the cursor or changes the direction of text: C1 with NEL
/// (U+0085), the separators (UAX #14, class BK), and Bidi_Control (UAX #9, 2).
#[must_use]
pub const fn acts_on_text(character: char) -> bool {
    matches!(
        character,
        '\u{80}'..='\u{9f}'
            | '\u{2028}' | '\u{2029}'
            | '\u{61c}' | '\u{200e}' | '\u{200f}'
            | '\u{202a}'..='\u{202e}'
            | '\u{2066}'..='\u{2069}'
    )
}

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const IS_SPECIAL: fn(char) -> bool =
            |c| c.is_control() || acts_on_text(c) || c == '\u{feff}';
        if !self.0.contains(IS_SPECIAL) && !self.0.is_empty() {
            return f.write_str(self.0);
        }
        f.write_str("\"")?;
        for c in self.0.chars() {
            match c {
                '"' | '\\' => write!(f, "\\{c}")?,
                '\0' => f.write_str("\\0")?,
                '\t' => f.write_str("\\t")?,
                '\n' => f.write_str("\\n")?,
                '\r' => f.write_str("\\r")?,
                '\x1b' => f.write_str("\\e")?,
                c if IS_SPECIAL(c) && u32::from(c) < 0x100 => write!(f, "\\x{:02x}", u32::from(c))?,
                c if IS_SPECIAL(c) => write!(f, "\\u{:04x}", u32::from(c))?,
                c => write!(f, "{c}")?,
            }
        }
        f.write_str("\"")
    }
}

impl fmt::Display for MeasuredTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            ns @ 0..US => write!(f, "{ns}ns"),
            ns @ US..MS => write!(f, "{}.{}us", ns / US, ns / 100 % 10),
            ns @ MS..S => write!(f, "{}.{:02}ms", ns / MS, ns / 10_000 % 100),
            ns => write!(f, "{}.{:03}s", ns / S, ns / MS % 1_000),
        }
    }
}

impl fmt::Display for RoundedTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (unit_ns, unit) = match self.0 {
            0..US => (1, "ns"),
            US..MS => (US, "us"),
            MS..S => (MS, "ms"),
            _ => (S, "s"),
        };
        let unit_ns = u128::from(unit_ns);
        let tenths = (u128::from(self.0) * 10 + unit_ns / 2) / unit_ns;
        match (tenths / 10, tenths % 10) {
            (0, 0) => write!(f, "none"),
            (whole, 0) => write!(f, "{whole}{unit}"),
            (whole, tenth) => write!(f, "{whole}.{tenth}{unit}"),
        }
    }
}

impl fmt::Display for ExactTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        exact(self.0, &[(S, "s"), (MS, "ms"), (US, "us"), (1, "ns")], f)
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        exact(self.0, &[(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"), (1, " bytes")], f)
    }
}

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if f.precision() == Some(1) {
            let tenths = self.0.saturating_add(500) / 1000;
            return write!(f, "{}.{}%", tenths / 10, tenths % 10);
        }
        let hundredths = self.0.saturating_add(50) / 100;
        write!(f, "{}.{:02}%", hundredths / 100, hundredths % 100)
    }
}

/// 0 needs no unit.
fn exact(value: u64, units: &[(u64, &str)], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let unit = units.iter().find(|(unit, _)| value != 0 && value.is_multiple_of(*unit));
    match unit {
        Some((unit, name)) => write!(f, "{}{name}", value / unit),
        None => write!(f, "0"),
    }
}

/// An Ethernet address.
#[derive(Clone, Copy, Debug)]
pub struct Mac(pub [u8; 6]);

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [first, rest @ ..] = self.0;
        write!(f, "{first:02x}")?;
        rest.iter().try_for_each(|byte| write!(f, ":{byte:02x}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn measured_times_have_three_or_four_digits() {
        let check = |ns, text: &str| assert_eq!(MeasuredTime(ns).to_string(), text);
        check(0, "0ns");
        check(999, "999ns");
        check(1_250, "1.2us");
        check(5_300_000, "5.30ms");
        check(703_660_000, "703.66ms");
        check(12_345_678_901, "12.345s");
        check(u64::MAX, "18446744073.709s");
    }

    #[test]
    fn rounded_times_have_one_decimal_at_most() {
        let check = |ns, text: &str| assert_eq!(RoundedTime(ns).to_string(), text);
        check(0, "none");
        check(5_000_000, "5ms");
        check(5_349_999, "5.3ms");
        check(5_350_000, "5.4ms");
        check(u64::MAX, "18446744073.7s");
    }

    #[test]
    fn exact_times_and_sizes_are_as_a_config_has_them() {
        let time = |ns| ExactTime(ns).to_string();
        assert_eq!([time(0), time(1), time(200_000)], ["0", "1ns", "200us"]);
        assert_eq!([time(2_500_000), time(30_000_000_000)], ["2500us", "30s"]);
        let size = |bytes| Bytes(bytes).to_string();
        assert_eq!([size(0), size(5), size(8192)], ["0", "5 bytes", "8KiB"]);
        assert_eq!([size(0x100_0000), size(3 << 30)], ["16MiB", "3GiB"]);
    }

    #[test]
    fn shares_are_per_cent() {
        let both =
            |ppm| [alloc::format!("{}", Percent(ppm)), alloc::format!("{:.1}", Percent(ppm))];
        assert_eq!(both(499_870), ["49.99%", "50.0%"]);
        assert_eq!(both(1_000_000), ["100.00%", "100.0%"]);
        assert_eq!(both(49), ["0.00%", "0.0%"]);
        assert_eq!(both(u64::MAX)[0], "1844674407370955.16%");
    }
}
