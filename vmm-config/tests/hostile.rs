//! No input makes the loader panic, hang or fill the memory.
//!
//! Random cases follow from one seed, which a failing test prints; `TANDEM_SEED=N` replays them.

mod support;

use std::fs;
use std::hash::{BuildHasher, RandomState};
use std::path::Path;
use std::time::{Duration, Instant};
use vmm_config::{Faults, load_bytes, summary};

/// Far more than any takes; what hangs is what this is to find.
const PATIENCE: Duration = Duration::from_secs(20);

/// SplitMix64 (Steele, Lea and Flood, 2014).
struct Random(u64);

impl Random {
    fn new() -> Self {
        let given = std::env::var("TANDEM_SEED").ok().and_then(|seed| seed.parse().ok());
        let seed = given.unwrap_or_else(|| RandomState::new().hash_one(0));
        println!("TANDEM_SEED={seed}");
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    fn pick<'a, T: ?Sized>(&mut self, choices: &[&'a T]) -> &'a T {
        choices[self.below(choices.len())]
    }
}

/// Loads it, and renders whatever comes of it.
fn load(bytes: &[u8]) -> Result<String, Faults> {
    let loaded = load_bytes("hostile.yml", bytes, Path::new("/nowhere"), &support::environment());
    match &loaded {
        Ok(loaded) => assert_eq!(loaded.images.len(), loaded.plan.vms.len()),
        Err(faults) => {
            assert!(!faults.faults.is_empty() && faults.to_string().len() < 200_000);
            let lines = bytes.iter().filter(|byte| matches!(byte, b'\n' | b'\r')).count() + 1;
            // Of a file without a line end at its end, the parser may name the line after.
            assert!(faults.faults.iter().all(|fault| fault.line <= lines + 1), "{faults}");
        }
    }
    loaded.map(|loaded| summary(&loaded))
}

/// The configs that Tandem brings, the invalid ones too.
fn corpus() -> Vec<Vec<u8>> {
    support::enter_repository();
    let list = |directory| fs::read_dir(directory).expect("the configs are there");
    let paths = list("configs").chain(list("configs/invalid")).map(|file| file.unwrap().path());
    let yaml = paths.filter(|path| path.extension().is_some_and(|e| e == "yml"));
    yaml.map(|path| fs::read(path).unwrap()).collect()
}

#[test]
fn random_bytes_end_in_a_fault() {
    let mut random = Random::new();
    for _ in 0..5_000 {
        let len = random.below(200);
        let bytes: Vec<u8> = (0..len).map(|_| random.next() as u8).collect();
        assert!(load(&bytes).is_err());
    }
}

/// What YAML and our configs are made of.
#[rustfmt::skip]
const WORDS: &[&str] = &[
    "vms", "vm_count", "vm0", "vm63", "links", "slice", "core", "com1", "budget", "kernel", "name",
    "link", "switched", ": ", ":", "\n", "\n  ", "\n    ", "- ", "{", "}", "[", "]", ", ", "&a ",
    "*a", "<<: *a", "? ", "|\n", ">\n", "\"", "'", "# ", "---\n", "...\n", "!!int ", "!x ", "%YAML",
    "\t", "\r", "0", "1", "0x100_0000", "-1", "1e9", ".nan", "true", "null", "~", "5ms", "16MiB",
    "os", "./x", "é", "\u{feff}", "\u{85}", "\u{2028}", "@", "`", "console", "none", "\\", "\u{7f}",
];

#[test]
fn random_words_of_yaml_end_in_an_answer() {
    let mut random = Random::new();
    for _ in 0..20_000 {
        let words = random.below(60);
        let text: String = (0..words).map(|_| random.pick(WORDS)).collect();
        let _ = load(text.as_bytes());
    }
}

#[test]
fn changed_configs_end_in_an_answer() {
    let corpus = corpus();
    let mut random = Random::new();
    for _ in 0..10_000 {
        let mut bytes = corpus[random.below(corpus.len())].clone();
        for _ in 0..=random.below(8) {
            let at = random.below(bytes.len() + 1);
            match random.below(5) {
                0 => bytes.truncate(at),
                1 => bytes.insert(at, random.next() as u8),
                2 if at < bytes.len() => bytes[at] ^= 1 << random.below(8),
                3 => {
                    let end = (at + random.below(20)).min(bytes.len());
                    bytes.drain(at..end);
                }
                _ => {
                    let other = &corpus[random.below(corpus.len())];
                    let from = random.below(other.len() + 1);
                    let to = (from + random.below(60)).min(other.len());
                    bytes.splice(at..at, other[from..to].iter().copied());
                }
            }
        }
        let _ = load(&bytes);
    }
}

#[test]
fn every_beginning_of_a_config_ends_in_an_answer() {
    for bytes in corpus() {
        for end in (0..bytes.len()).step_by(1 + bytes.len() / 300) {
            let _ = load(&bytes[..end]);
        }
    }
}

#[test]
fn a_megabyte_of_anything_ends_soon() {
    let patterns = [
        "a",
        "a: ",
        "a: 1\n",
        "- ",
        "-\n",
        "- - ",
        "[",
        "{",
        "[]",
        "{a: ",
        "[a, ",
        "? ",
        "? a\n",
        "&a ",
        "*a ",
        "&a [*a, ",
        "\"",
        "'",
        "\"a\" ",
        "# ",
        "#\n",
        "\n",
        " ",
        "\t",
        "!",
        "!!int ",
        "%",
        "---\n",
        "--- a\n",
        "...\n",
        "|\n",
        ">\n",
        "é",
        "<<: ",
        ",",
        "}",
        "vms:\n",
        "x: &x 1\ny: *x\n",
        "- {a: 1}\n",
        "\u{feff}",
        "0",
        "0x",
        "&a a: *a\n",
        "\\",
        "\r",
    ];
    for pattern in patterns {
        for prefix in ["", "vms: ", "vms:\n  - ", "vms:\n  - name: \"", "vms: ["] {
            let text =
                format!("{prefix}{}", pattern.repeat((1_000_000 - prefix.len()) / pattern.len()));
            let begin = Instant::now();
            let _ = load(text.as_bytes());
            let took = begin.elapsed();
            assert!(took < PATIENCE, "{prefix:?} and then {pattern:?}: {took:?}");
        }
    }
}

#[test]
fn aliases_that_multiply_end_soon() {
    let list = |anchor: char, of: char| {
        format!("{anchor}: &{anchor} [{}]\n", vec![format!("*{of}"); 1000].join(", "))
    };
    let levels: String = ('b'..='z').map(|c| list(c, (c as u8 - 1) as char)).collect();
    let merges = format!("a: &a {{}}\nvms:\n{}", "  - <<: [*a, *a, *a, *a]\n".repeat(20_000));
    let wide = format!("vms:\n  - &a {{name: a}}\n{}", "  - *a\n".repeat(100_000));
    for text in [format!("a: &a [x]\n{levels}"), merges, wide] {
        let begin = Instant::now();
        let faults = load(text.as_bytes()).expect_err("it is too much").to_string();
        assert!(begin.elapsed() < PATIENCE && faults.contains("too much"), "{faults}");
    }
}

#[test]
fn thousands_of_vms_and_links_end_soon() {
    let unknown: String = (0..5_000).map(|n| format!("  - com1: {{link: none{n}}}\n")).collect();
    let links: String = (0..5_000).map(|n| format!("  - name: some{n}\n")).collect();
    let native = format!("vms:\n{unknown}links:\n{links}");
    let seed: String = (0..5_000).map(|n| format!("vm{n}: {{id: {n}}}\n")).collect();
    let seed = format!("vm_count: 3\n{seed}");
    for (text, expected) in [(native, "vms has 5000 entries"), (seed, "5000 VMs are described")] {
        let begin = Instant::now();
        let faults = load(text.as_bytes()).expect_err("it is too much");
        let is_reported = faults.faults.iter().any(|fault| fault.message.contains(expected));
        assert!(begin.elapsed() < PATIENCE && is_reported, "{faults}");
    }
}

#[test]
fn thousands_of_faults_are_counted_and_the_first_are_shown() {
    let text: String = (0..9_000).map(|number| format!("key{number}: 1\n")).collect();
    let faults = load(text.as_bytes()).expect_err("none is known");
    let text = faults.to_string();
    assert!(text.ends_with("9001 faults in hostile.yml, the first 100 shown\n"), "{text}");
    assert!(text.len() < 50_000);
}
