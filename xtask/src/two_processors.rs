//! Flat images for a VM with two processors, of a few instructions each: where a processor is, is
//! known to the byte.

/// What an image at 0x200000 begins with: starts the other processor on a copy of its code, and
/// waits until that has counted.
const START: [u8; 0x38] = [
    0xbe, 0x50, 0x00, 0x20, 0x00, //                            mov esi, 0x200050: OTHER
    0xbf, 0x00, 0x70, 0x00, 0x00, //                            mov edi, 0x7000
    0xb9, 0x40, 0x00, 0x00, 0x00, 0xf3, 0xa4, //                mov ecx, 64; rep movsb
    0xc7, 0x05, 0xf0, 0x00, 0xe0, 0xfe, 0xff, 0x01, 0, 0, //    SVR: on
    0xc7, 0x05, 0x00, 0x03, 0xe0, 0xfe, 0x00, 0x45, 0x0c, 0, // ICR: INIT to all others
    0xc7, 0x05, 0x00, 0x03, 0xe0, 0xfe, 0x07, 0x46, 0x0c, 0, // ICR: start-up at 0x7000
    0x80, 0x3d, 0x30, 0x70, 0x00, 0x00, 0x00, //             1: cmp byte ptr [0x7030], 0
    0x74, 0xf7, //                                              je 1b
];
const OTHER: usize = 0x50;
const OTHER_LENGTH: usize = 0x40;

/// jmp to itself, at 0x200038
pub const SPIN: &[u8] = &[0xeb, 0xfe];
/// 1: cli; hlt; jmp 1b
pub const HALT: &[u8] = &[0xfa, 0xf4, 0xeb, 0xfc];
/// lidt \[0x7038\], which is empty; ud2, at 0x20003f
pub const FAULT: &[u8] = &[0x0f, 0x01, 0x1d, 0x38, 0x70, 0x00, 0x00, 0x0f, 0x0b];

/// In real mode, at 0x700:0: cli; inc byte ptr cs:\[0x30\]; 1: jmp 1b, at 6
pub const OTHER_SPINS: &[u8] = &[0xfa, 0x2e, 0xfe, 0x06, 0x30, 0x00, 0xeb, 0xfe];
/// cli; inc byte ptr cs:\[0x30\]; 1: hlt; jmp 1b
pub const OTHER_HALTS: &[u8] = &[0xfa, 0x2e, 0xfe, 0x06, 0x30, 0x00, 0xf4, 0xeb, 0xfd];
/// lidt cs:\[0x38\]; ud2, at 6: the bootstrap processor goes on waiting.
pub const OTHER_FAULTS: &[u8] = &[0x2e, 0x0f, 0x01, 0x1e, 0x38, 0x00, 0x0f, 0x0b];

/// How a VM ends by a fault: what both processors do, which one is at fault, and where both are,
/// each at one of these addresses.
pub type Fault = (&'static [u8], &'static [u8], &'static str, [&'static [u64]; 2]);

/// By a fault of the bootstrap processor, and of the other one.
pub const FAULTS: [Fault; 2] = [
    (FAULT, OTHER_SPINS, "vm.0", [&[0x20_003f], &[0x6]]),
    (SPIN, OTHER_FAULTS, "vm.1", [&[0x20_002f, 0x20_0036], &[0x6]]),
];

/// The VM, with [`image`] in this file beside the config.
pub const CONFIG: &str =
    "vms: [{name: vm, kernel: ./image.bin, boot: raw, vcpus: 2, memory: 8MiB}]";

/// The bootstrap processor does `bootstrap` once the other one, which does `other`, has counted.
#[must_use]
pub fn image(bootstrap: &[u8], other: &[u8]) -> Vec<u8> {
    let mut image = START.to_vec();
    for (code, end) in [(bootstrap, OTHER), (other, OTHER + OTHER_LENGTH)] {
        image.extend(code);
        image.resize(end, 0);
    }
    image
}

/// Checks that `console` has the registers of both processors of `vm`, those of the one at fault
/// first, and that they are where they must be.
///
/// # Panics
/// They are not.
pub fn check_dump(console: &str, at_fault: &str, places: [&[u64]; 2]) {
    let rips: Vec<&str> = console.lines().filter(|line| line.contains("]   rip ")).collect();
    assert!(rips.len() == 2 && rips[0].starts_with(&format!("[{at_fault}]   ")), "{console}");
    for (id, places) in places.into_iter().enumerate() {
        let is_at = |rip: &u64| {
            let text = format!("[vm.{id}]   rip {rip:016x}  rflags ");
            rips.iter().any(|line| line.starts_with(&text))
        };
        assert!(places.iter().any(is_at), "vm.{id}:\n{console}");
        assert!(console.contains(&format!("[vm.{id}]   cr0 ")), "vm.{id}:\n{console}");
    }
}
