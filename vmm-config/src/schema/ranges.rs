//! Ranges of numbers with units as regular expressions, since to JSON Schema they are text.

use super::INTEGER;

/// Sizes from `min` to `max` bytes: decimal with a unit; without one, or in another base, any.
pub(super) fn sizes(min: u64, max: u64) -> String {
    let with = |(unit, bytes): (&str, u64)| {
        format!("{} *{unit}", whole(min.div_ceil(bytes).max(1), max / bytes))
    };
    let units = [("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30)].map(with);
    // A separator or a prefix: the loader alone checks these.
    let others = format!("(?=.*_|0[xob]){INTEGER} *(KiB|MiB|GiB)?");
    format!("^({}|{others})$", units.join("|"))
}

/// Times from `min` to `max` nanoseconds. A fraction may exceed the minimum's unit.
pub(super) fn durations(min_ns: u64, max_ns: u64) -> String {
    const UNITS: [(&str, u64); 5] = [
        ("ns", 1),
        ("(us|µs)", 1_000),
        ("ms", 1_000_000),
        ("s", 1_000_000_000),
        ("m", 60_000_000_000),
    ];
    let with = |(unit, ns): (&str, u64)| {
        let wholes = (min_ns.div_ceil(ns), max_ns / ns);
        let exact = (wholes.0 <= wholes.1).then(|| format!("{}{unit}", leading(wholes)));
        // The fraction adds less than one.
        let before = (min_ns / ns, max_ns.div_ceil(ns) - 1);
        let inexact = (before.0 <= before.1).then(|| format!("{}[.][0-9]+{unit}", leading(before)));
        let zero = (wholes.0 <= wholes.1).then(|| format!("{}[.]0+{unit}", leading(wholes)));
        [exact, inexact, zero].into_iter().flatten().collect::<Vec<_>>()
    };
    format!("^({})$", UNITS.into_iter().flat_map(with).collect::<Vec<_>>().join("|"))
}

/// With zeros in front, which times may have.
fn leading((min, max): (u64, u64)) -> String {
    format!("0*{}", whole(min, max))
}

/// The whole numbers from `min` to `max` in decimal, `min` at most `max`.
fn whole(min: u64, max: u64) -> String {
    let mut parts = Vec::new();
    let mut low = min;
    while low <= max {
        // The longest run of trailing digits that may be anything.
        let mut span = 1;
        while low.is_multiple_of(span * 10) && span <= max / 10 && low + (span * 10 - 1) <= max {
            span *= 10;
        }
        // As many such runs as share a leading digit.
        let (head, digit) = (low / span / 10, low / span % 10);
        let last = (digit..=9).take_while(|d| (head * 10 + d + 1) * span - 1 <= max).last();
        let last = last.unwrap_or(digit);
        let head = if head == 0 { String::new() } else { head.to_string() };
        let digits = if digit == last { digit.to_string() } else { format!("[{digit}-{last}]") };
        let free = span.ilog10();
        let free = if free == 0 { String::new() } else { format!("[0-9]{{{free}}}") };
        parts.push(format!("{head}{digits}{free}"));
        low += (last - digit + 1) * span;
    }
    format!("({})", parts.join("|"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, text: &str) -> bool {
        let schema = serde_json::json!({ "pattern": pattern });
        jsonschema::validator_for(&schema).expect("it is a schema").is_valid(&text.into())
    }

    #[test]
    fn whole_numbers_of_a_range_match_and_no_others() {
        let ranges = [(0, 0), (0, 9), (1, 256), (4, 1000), (7, 7), (99, 101), (200, 1999)];
        for (min, max) in ranges {
            let schema = serde_json::json!({ "pattern": format!("^{}$", whole(min, max)) });
            let validator = jsonschema::validator_for(&schema).expect("it is a schema");
            for number in 0..2500 {
                let is_valid = validator.is_valid(&number.to_string().into());
                assert_eq!(is_valid, (min..=max).contains(&number), "{number} in {min}..={max}");
            }
        }
        assert!(matches(&whole(1, 256 << 30), "274877906944"));
        assert!(!matches(&format!("^{}$", whole(1, 256 << 30)), "274877906945"));
    }

    #[test]
    fn times_of_a_range_match() {
        let slices = durations(200_000, 1_000_000_000);
        for time in ["5ms", "200us", "200µs", "1s", "0.5s", "1.000s", "000250us", "0.01m", "1000ms"]
        {
            assert!(matches(&slices, time), "{time}");
        }
        for time in ["199us", "50us", "60s", "1.5s", "2s", "1m", "5", "1001ms", "5 ms", "ms"] {
            assert!(!matches(&slices, time), "{time}");
        }
    }

    #[test]
    fn sizes_of_a_range_match() {
        let memory = sizes(4096, 256 << 30);
        for size in ["4KiB", "16MiB", "16 MiB", "256GiB", "0x100_0000", "1_024KiB"] {
            assert!(matches(&memory, size), "{size}");
        }
        for size in ["257GiB", "3KiB", "0MiB", "16MB", "262145MiB", "1.5GiB"] {
            assert!(!matches(&memory, size), "{size}");
        }
    }
}
