//! Fuzz targets. For the loaders of kernels, what a fuzzer's bytes mean, and what must hold of it,
//! are those of `vmm-common/tests/images`, which replays on a stable toolchain what the targets
//! start from.
//!
//! For instructions, it is those of `vmm-common/tests/instructions/promises.rs`; for the rings of
//! virtio devices, those of `devices/tests/rings`.
//!
//! From the repository's root, ten seconds of one target (multiboot, elf, pvh, linux, flat,
//! instruction, rings):
//!
//! ```text
//! cargo +nightly run --release --manifest-path fuzz/Cargo.toml --bin seeds -- target/fuzz
//! RUSTFLAGS="-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
//!     -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
//!     -Cllvm-args=-sanitizer-coverage-pc-table \
//!     -Cllvm-args=-sanitizer-coverage-trace-compares -Zsanitizer=address --cfg fuzzing" \
//! cargo +nightly run --release --manifest-path fuzz/Cargo.toml --target x86_64-unknown-linux-gnu \
//!     --bin multiboot -- -max_total_time=10 -max_len=16384 -artifact_prefix=target/fuzz/ \
//!     target/fuzz/multiboot
//! ```
//!
//! What one finds and cannot place becomes a file in `vmm-common/tests/bad_images`.

use vmm_common::plan::BootKind;

// The tests take the rest.
#[allow(dead_code)]
#[path = "../../vmm-common/tests/instructions/guest.rs"]
mod guest;
#[path = "../../vmm-common/tests/instructions/promises.rs"]
mod instruction_promises;

mod rings;

#[path = "../../vmm-common/tests/images/case.rs"]
mod case;
#[path = "../../vmm-common/tests/images/promises.rs"]
mod promises;
// The tests take the rest.
#[allow(dead_code)]
#[path = "../../vmm-common/tests/images/samples.rs"]
mod samples;
#[allow(dead_code)]
#[path = "../../vmm-common/tests/images/seeds.rs"]
mod seeds;

/// Places what a fuzzer's bytes describe and panics if a promise is broken.
pub fn hold(kind: BootKind, input: &[u8]) {
    if let Some(case) = case::Case::decode(kind, input) {
        promises::hold(&case);
    }
}

pub use instruction_promises::hold as carry_out;
pub use rings::promises::hold as serve_rings;

/// One of each kind that is carried out.
const INSTRUCTIONS: [&[u8]; 8] = [
    &[0x48, 0x83, 0x27, 0xfb],
    &[0xf3, 0xa5],
    &[0xf2, 0x66, 0xaf],
    &[0x6d],
    &[0x0f, 0xa3, 0x07],
    &[0x66, 0x0f, 0x7f, 0x07],
    &[0x8f, 0x04, 0x24],
    &[0x0f, 0xc7, 0x0f],
];

/// What each target starts from, by its name.
pub fn corpora() -> Vec<(&'static str, Vec<Vec<u8>>)> {
    let corpus = |(loader, _)| {
        let bad = seeds::bad_images(loader).into_iter().map(|path| seeds::read(&path).0);
        let cases = bad.chain(seeds::valid(loader));
        (loader, cases.map(|case| case.encode()).collect())
    };
    let instructions = INSTRUCTIONS.map(|bytes| [bytes, &[0; 512]].concat());
    let instructions = ("instruction", instructions.to_vec());
    let rings = ("rings", rings::seeds::all());
    seeds::LOADERS.into_iter().map(corpus).chain([instructions, rings]).collect()
}
