//! What holds of every instruction, guest and device: carrying it out ends, never panics, asks a
//! device for a few reads of 1 to 8 bytes, and leaves the registers alone where it raises an
//! exception.

use crate::guest::TestGuest;
use vmm_common::registers::{INSTRUCTION_BYTES, Segment};
use vmm_common::x86::paging::Paging;
use vmm_common::x86::{Outcome, Read, Reads, Resolved, Write, carry_out, decode, plain};

const RAM_BYTES: usize = 0x4000;
const MOST_PARTS: usize = 4;

/// A number for each field from the bytes, zeros behind their end.
struct Source<'a>(&'a [u8]);

impl Source<'_> {
    fn bytes<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        let len = N.min(self.0.len());
        let (head, rest) = self.0.split_at(len);
        bytes[..len].copy_from_slice(head);
        self.0 = rest;
        bytes
    }

    fn byte(&mut self) -> u8 {
        let [byte] = self.bytes();
        byte
    }

    /// Small, or a power of two and its neighbours, or anything.
    fn word(&mut self) -> u64 {
        match self.byte() {
            short @ 0..128 => u64::from(short) * 0x81,
            power @ 128..192 => (1_u64 << (power & 63)).wrapping_sub(u64::from(self.byte() & 15)),
            _ => u64::from_le_bytes(self.bytes()),
        }
    }
}

fn guest(source: &mut Source<'_>) -> TestGuest {
    const PROTECTED: u64 = 1 << 31 | 1 << 16 | 1;
    let mut guest = TestGuest::new(0, RAM_BYTES);
    guest.code_bits = [16, 32, 64][usize::from(source.byte() % 3)];
    guest.cpl = source.byte() & 3;
    guest.rip = source.word();
    guest.rflags = source.word();
    guest.general.fill_with(|| source.word());
    let mut pdptes = None;
    if source.byte() & 1 != 0 {
        pdptes = Some([0, 1, 2, 3].map(|_| source.word()));
    }
    guest.paging = Paging {
        cr0: source.word() & PROTECTED,
        cr3: source.word(),
        cr4: source.word(),
        efer: source.word(),
        pdptes,
        physical_bits: source.byte(),
        has_1g: source.byte() & 1 != 0,
    };
    for segment in &mut guest.segments {
        let (base, limit, access) = (source.word(), source.word() as u32, source.word() as u32);
        *segment = Segment { selector: 8, base, limit, access };
    }
    for word in guest.ram.bytes.borrow_mut().chunks_exact_mut(8) {
        word.copy_from_slice(&source.word().to_le_bytes());
    }
    guest
}

/// Panics if something that is promised does not hold.
pub fn hold(input: &[u8]) {
    let mut source = Source(input);
    let bytes: [u8; INSTRUCTION_BYTES] = source.bytes();
    let mut guest = guest(&mut source);
    let Ok(instruction) = decode(guest.code_bits, &bytes) else { return };
    assert!((1..=INSTRUCTION_BYTES).contains(&instruction.len.into()));
    let resolved = match source.byte() & 3 {
        0 => None,
        kind => Some(Resolved { address: source.word(), is_write: kind == 1 }),
    };
    if let Some(resolved) = resolved
        && instruction.memory.is_some()
    {
        let _ = plain::of(&mut guest.clone(), &instruction, resolved);
    }
    let before = (guest.general, guest.rflags, guest.vectors);
    let mut reads = Reads::NONE;
    for _ in 0..=MOST_PARTS {
        match carry_out(&mut guest, &instruction, &reads, resolved) {
            Outcome::Wants(Read::Memory { size, .. } | Read::Port { size, .. }) => {
                assert!((1..=8).contains(&size));
                assert_eq!((guest.general, guest.rflags, guest.vectors), before);
                reads.push(source.word());
            }
            Outcome::Done { mut writes, .. } => {
                while let Some(Write::Memory { size, .. } | Write::Port { size, .. }) =
                    writes.take()
                {
                    assert!((1..=8).contains(&size));
                }
                return;
            }
            Outcome::Exception(exception) => {
                assert!(exception.vector < 32);
                assert_eq!((guest.general, guest.rflags, guest.vectors), before);
                return;
            }
        }
    }
    panic!("no instruction reads more than {MOST_PARTS} parts: {instruction:?}");
}
