//! What the tests load configs with: the same on every host.

use std::path::Path;
use vmm_common::plan::Limits;
use vmm_config::Environment;

/// A multiboot 1 image: loaded at 1 MiB by its address fields, and halts.
static MULTIBOOT: [u8; 36] = {
    // Magic, flag 16 (address fields), checksum; header, load, load end, bss end, entry.
    let words: [u32; 9] = [
        0x1bad_b002,
        0x0001_0000,
        0u32.wrapping_sub(0x1bad_b002).wrapping_sub(0x0001_0000),
        0x10_0000,
        0x10_0000,
        0x10_0024,
        0x10_0024,
        0x10_0020,
        0xf4f4_f4f4,
    ];
    let mut bytes = [0; 36];
    let mut byte = 0;
    while byte < bytes.len() {
        bytes[byte] = words[byte / 4].to_le_bytes()[byte % 4];
        byte += 1;
    }
    bytes
};

/// Images with the names of Tandem's guests.
static BUILTIN: [(&str, &[u8]); 4] =
    [("os", &MULTIBOOT), ("spin", &MULTIBOOT), ("bulk", &MULTIBOOT), ("flat_hello", &[0xf4])];

/// A host with 8 GiB and two cores.
pub fn environment() -> Environment<'static> {
    let limits = Limits { host_memory_bytes: 8 << 30, min_slice_ns: 200_000, cores: vec![0, 1] };
    Environment { limits, builtin: &BUILTIN }
}

/// Makes paths as users of the repository type them.
pub fn enter_repository() {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace");
    std::env::set_current_dir(repository).expect("the workspace is there");
}
