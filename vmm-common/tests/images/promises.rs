//! What `boot::place` promises, whatever it is given.

use super::case::{Case, told};
use vmm_common::boot::{Content, Part};
use vmm_common::registers::segment;

/// Places `case` and panics if a promise is broken.
pub fn hold(case: &Case) {
    let boot = match case.place() {
        Ok(boot) => boot,
        Err(error) => {
            let says_what_is_allowed = ["allowed", "needed"].iter().any(|w| error.why.contains(w));
            assert!(says_what_is_allowed, "{}", told(&error));
            if let Part::Module(index) = error.part {
                assert!(index < case.modules.len(), "{}", told(&error));
            }
            return;
        }
    };
    for piece in &boot.pieces {
        let is_in_range = match &piece.content {
            Content::Kernel { offset, len } => {
                offset.checked_add(*len).is_some_and(|end| end <= case.kernel.len())
            }
            Content::Module(index) => *index < case.modules.len(),
            Content::Bytes(_) => true,
        };
        assert!(is_in_range, "{piece:x?}");
    }
    let images = case.images();
    let entry = boot.registers.segments[segment::CS].base + boot.registers.rip;
    let mut taken: Vec<(u64, u64)> = Vec::new();
    for (address, bytes) in boot.contents(&images) {
        let end = address.checked_add(bytes.len() as u64).expect("the end is an address");
        let ram = case.ram_bytes;
        assert!(end <= ram, "{address:#x} to {end:#x} in {ram:#x}");
        let is_apart = |(begin, before): &(u64, u64)| *before <= address || end <= *begin;
        let is_free = address == end || taken.iter().all(is_apart);
        assert!(is_free, "{address:#x} to {end:#x} lies on one of {taken:x?}");
        if address < end {
            taken.push((address, end));
        }
    }
    let is_loaded = taken.iter().any(|(begin, end)| (*begin..*end).contains(&entry));
    assert!(is_loaded, "entered at {entry:#x}, loaded are {taken:x?}");
}
