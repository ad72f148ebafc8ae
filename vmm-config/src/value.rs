//! How scalars are spelled: whole numbers, sizes, times; and which word was meant.

/// A whole number, decimal or with `0x`, `0o`, `0b`; `_` may separate digits.
///
/// A leading zero is refused: YAML 1.1 takes `010` for eight, 1.2 for ten.
pub(crate) fn parse_integer(text: &str) -> Option<u64> {
    let (digits, radix) = match text.get(..2) {
        Some("0x" | "0X") => (&text[2..], 16),
        Some("0o") => (&text[2..], 8),
        Some("0b") => (&text[2..], 2),
        _ => (text, 10),
    };
    let is_ambiguous = radix == 10 && digits.len() > 1 && digits.starts_with('0');
    let first = digits.chars().next()?;
    if is_ambiguous || !first.is_digit(radix) {
        return None;
    }
    let plain: String = digits.chars().filter(|c| *c != '_').collect();
    u64::from_str_radix(&plain, radix).ok()
}

/// Bytes: a whole number, optionally followed by `KiB`, `MiB` or `GiB`.
pub(crate) fn parse_size(text: &str) -> Option<u64> {
    let units = [("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30)];
    let with_unit = units.iter().find_map(|(unit, bytes)| Some((text.strip_suffix(unit)?, *bytes)));
    let (number, bytes) = with_unit.unwrap_or((text, 1_u64));
    parse_integer(number.trim_end_matches(' '))?.checked_mul(bytes)
}

/// Nanoseconds of a number followed by `ns`, `us`, `ms`, `s` or `m` (minutes), as `5ms` or
/// `1.5s`; None if it is not that, or not a whole number of nanoseconds that 64 bits hold.
#[must_use]
pub fn parse_duration_ns(text: &str) -> Option<u64> {
    const UNITS: [(&str, u64); 6] = [
        ("ns", 1),
        ("us", 1_000),
        ("µs", 1_000),
        ("ms", 1_000_000),
        ("s", 1_000_000_000),
        ("m", 60_000_000_000),
    ];
    let (number, unit_ns) =
        UNITS.iter().find_map(|(unit, ns)| Some((text.strip_suffix(unit)?, *ns)))?;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    let is_decimal = |digits: &str| {
        !digits.is_empty() && digits.len() <= 20 && digits.bytes().all(|b| b.is_ascii_digit())
    };
    if !is_decimal(whole) || !is_decimal(fraction) {
        return None;
    }
    let scale = 10_u128.checked_pow(u32::try_from(fraction.len()).ok()?)?;
    let number = whole.parse::<u128>().ok()?.checked_mul(scale)? + fraction.parse::<u128>().ok()?;
    let scaled_ns = number.checked_mul(u128::from(unit_ns))?;
    (scaled_ns % scale == 0).then(|| u64::try_from(scaled_ns / scale).ok())?
}

/// An Ethernet address: six bytes of two hexadecimal digits, between colons.
pub(crate) fn parse_mac(text: &str) -> Option<[u8; 6]> {
    let mut mac = [0; 6];
    let mut parts = text.split(':');
    for byte in &mut mac {
        let part = parts.next().filter(|part| part.len() == 2)?;
        let is_hex = part.bytes().all(|digit| digit.is_ascii_hexdigit());
        *byte = u8::from_str_radix(part, 16).ok().filter(|_| is_hex)?;
    }
    parts.next().is_none().then_some(mac)
}

/// A time limit on a command line, ns: a number over 0 with `ms`, `s` or `m` behind it, or alone,
/// in seconds.
///
/// # Errors
/// What is allowed.
pub fn parse_time_limit_ns(text: &str) -> Result<u64, String> {
    let seconds = format!("{text}s");
    parse_duration_ns(text).or_else(|| parse_duration_ns(&seconds)).filter(|ns| *ns > 0).ok_or_else(
        || String::from("allowed: a time over 0 as 60s, 500ms or 2m, or a number of seconds"),
    )
}

/// The candidate that `word` was most likely meant to be, if it is close to one.
pub(crate) fn nearest<'a>(
    word: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let word: Vec<char> = word.chars().take(64).collect();
    let close = |candidate: &&str| {
        let candidate: Vec<char> = candidate.chars().collect();
        let most = usize::max(word.len(), candidate.len());
        let distance = edit_distance(&word, &candidate);
        // A word of three letters may differ in one, longer ones in a third.
        (distance <= usize::max(1, most / 3) && distance < most).then_some(distance)
    };
    let scored = candidates.into_iter().filter_map(|c| Some((close(&c)?, c)));
    scored.min().map(|(_, candidate)| candidate)
}

/// Insertions, deletions, replacements and swaps of neighbours between two words, case ignored.
fn edit_distance(left: &[char], right: &[char]) -> usize {
    let is_same = |l: usize, r: usize| left[l].eq_ignore_ascii_case(&right[r]);
    let mut rows = vec![vec![0; right.len() + 1]; left.len() + 1];
    rows[0] = (0..=right.len()).collect();
    for l in 0..left.len() {
        rows[l + 1][0] = l + 1;
        for r in 0..right.len() {
            let replaced = rows[l][r] + usize::from(!is_same(l, r));
            let mut least = replaced.min(rows[l][r + 1] + 1).min(rows[l + 1][r] + 1);
            if l > 0 && r > 0 && is_same(l, r - 1) && is_same(l - 1, r) {
                least = least.min(rows[l - 1][r - 1] + 1);
            }
            rows[l + 1][r + 1] = least;
        }
    }
    rows[left.len()][right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_numbers_have_four_bases_and_separators() {
        let numbers = [
            ("0", 0),
            ("7", 7),
            ("1_000", 1000),
            ("0x100_0000", 0x100_0000),
            ("0Xff", 255),
            ("0o17", 15),
            ("0b101", 5),
            ("18446744073709551615", u64::MAX),
        ];
        for (text, number) in numbers {
            assert_eq!(parse_integer(text), Some(number), "{text}");
        }
        let others =
            ["", "_1", "0x", "0x_1", "010", "-1", "+1", "1.0", "1e3", " 1", "0xg", "é", "0é"];
        for text in others.into_iter().chain(["18446744073709551616"]) {
            assert_eq!(parse_integer(text), None, "{text}");
        }
    }

    #[test]
    fn sizes_have_binary_units_only() {
        assert_eq!(parse_size("16MiB"), Some(16 << 20));
        assert_eq!(parse_size("0x10 KiB"), Some(16 << 10));
        assert_eq!(parse_size("2GiB"), Some(2 << 30));
        assert_eq!(parse_size("4096"), Some(4096));
        for text in ["16MB", "16M", "MiB", "1.5GiB", "17179869184GiB", "16mib"] {
            assert_eq!(parse_size(text), None, "{text}");
        }
    }

    #[test]
    fn times_have_a_unit_and_may_have_a_fraction() {
        let times = [
            ("5ms", 5_000_000),
            ("250us", 250_000),
            ("250µs", 250_000),
            ("7ns", 7),
            ("1.5s", 1_500_000_000),
            ("2m", 120_000_000_000),
            ("0.5m", 30_000_000_000),
            ("0s", 0),
        ];
        for (text, ns) in times {
            assert_eq!(parse_duration_ns(text), Some(ns), "{text}");
        }
        let others =
            ["", "5", "ms", "5 ms", "-5ms", "1.ms", ".5ms", "0.1ns", "5h", "1e3s", "99999999999s"];
        for text in others.into_iter().chain(["99999999999999999999.99999999999999999999m"]) {
            assert_eq!(parse_duration_ns(text), None, "{text}");
        }
    }

    #[test]
    fn a_time_limit_has_a_unit_or_is_in_seconds() {
        for (text, ns) in [("5", 5_000_000_000), ("1.5", 1_500_000_000), ("5s", 5_000_000_000)] {
            assert_eq!(parse_time_limit_ns(text), Ok(ns), "{text}");
        }
        assert_eq!(parse_time_limit_ns("2m"), Ok(120_000_000_000));
        assert_eq!(parse_time_limit_ns("500ms"), Ok(500_000_000));
        for text in ["0", "0ms", "", "s", "-1", "5h", "5 s", "five", "5ss"] {
            let message = "allowed: a time over 0 as 60s, 500ms or 2m, or a number of seconds";
            assert_eq!(parse_time_limit_ns(text), Err(message.into()), "{text}");
        }
    }

    #[test]
    fn the_nearest_word_is_found_if_it_is_near() {
        let words = ["memory", "name", "kernel", "com1", "vms", "hpet"];
        let near = [
            ("memry", "memory"),
            ("Memory", "memory"),
            ("nmae", "name"),
            ("com11", "com1"),
            ("vm", "vms"),
        ];
        for (word, meant) in near {
            assert_eq!(nearest(word, words), Some(meant), "{word}");
        }
        for word in ["frobnicate", "", "x", "disk"] {
            assert_eq!(nearest(word, words), None, "{word}");
        }
    }
}
