//! The page walk, entry by entry as SDM vol. 3, 4.3 to 4.8 has them.

use std::cell::RefCell;
use std::collections::BTreeMap;
use vmm_common::memory::GuestMemory;
use vmm_common::x86::paging::{Access, AccessKind, PageFault, Paging};

/// Sparse RAM below this; 8-byte words.
const RAM_BYTES: u64 = 1 << 32;

#[derive(Clone, Debug, Default)]
struct Words(RefCell<BTreeMap<u64, u64>>);

impl Words {
    fn new(words: &[(u64, u64)]) -> Self {
        Self(RefCell::new(words.iter().copied().collect()))
    }
}

impl GuestMemory for Words {
    fn read(&self, address: u64, to: &mut [u8]) -> bool {
        assert_eq!((address % 8, to.len()), (0, 8));
        let word = self.0.borrow().get(&address).copied().unwrap_or(0);
        to.copy_from_slice(&word.to_le_bytes());
        address < RAM_BYTES
    }

    fn write(&self, address: u64, from: &[u8]) -> bool {
        let mut words = self.0.borrow_mut();
        let word = words.get_mut(&(address & !7)).expect("an entry that was read");
        let shift = address % 8 * 8;
        *word = *word & !(0xff << shift) | u64::from(from[0]) << shift;
        from.len() == 1
    }

    fn has(&self, address: u64, bytes: u64) -> bool {
        address.checked_add(bytes).is_some_and(|end| end <= RAM_BYTES)
    }
}

const CR0: u64 = 1 << 31 | 1;
const WP: u64 = 1 << 16;
const PAE: u64 = 1 << 5;
const PSE: u64 = 1 << 4;
const SMEP: u64 = 1 << 20;
const SMAP: u64 = 1 << 21;
const NXE: u64 = 1 << 11;
const LONG: Paging = Paging {
    cr0: CR0 | WP,
    cr3: 0x1000,
    cr4: PAE,
    efer: 0x500 | NXE,
    pdptes: None,
    physical_bits: 40,
    has_1g: true,
};
const LEGACY: Paging = Paging { cr4: PSE, efer: 0, ..LONG };

const fn by(kind: AccessKind, is_user: bool) -> Access {
    Access { kind, is_user, may_reach_user: false }
}

const READ: Access = by(AccessKind::Read, false);
const WRITE: Access = by(AccessKind::Write, false);
const FETCH: Access = by(AccessKind::Execute, false);
const USER_READ: Access = by(AccessKind::Read, true);
const USER_WRITE: Access = by(AccessKind::Write, true);
const USER_FETCH: Access = by(AccessKind::Execute, true);

fn walk(paging: Paging, words: &[(u64, u64)], linear: u64, access: Access) -> Result<u64, u32> {
    let translated = paging.translate(&Words::new(words), linear, access);
    translated.map_err(|PageFault { error }| error)
}

/// Four levels to a page of 4 KiB at 0x7000 whose entries have these flags.
fn page(flags: [u64; 4]) -> [(u64, u64); 4] {
    let [a, b, c, d] = flags;
    [(0x1000, 0x2000 | a), (0x2000, 0x3000 | b), (0x3000, 0x4000 | c), (0x4000, 0x7000 | d)]
}

#[test]
fn four_levels_with_all_page_sizes() {
    let words = [
        (0x1000, 0x2003),
        (0x2000, 0x3003),
        (0x2008, 0x4000_0083),
        (0x3000, 0x4003),
        (0x3008, 0x60_0083),
        (0x4008, 0x1234_5003),
    ];
    assert_eq!(walk(LONG, &words, 0x1abc, READ), Ok(0x1234_5abc));
    assert_eq!(walk(LONG, &words, 0x20_0abc, READ), Ok(0x60_0abc));
    assert_eq!(walk(LONG, &words, 0x4012_3456, READ), Ok(0x4012_3456));
    assert_eq!(walk(LONG, &words, 0x2000, READ), Err(0));
    assert_eq!(walk(LONG, &words, 1 << 39, WRITE), Err(2));
    // Without pages of 1 GiB, PS is reserved there.
    assert_eq!(walk(Paging { has_1g: false, ..LONG }, &words, 0x4012_3456, READ), Err(9));
}

#[test]
fn thirty_two_bit_tables_and_none() {
    let words = [(0x1000, 0x3003 << 32 | 0x80_0083), (0x3000, 0x7003)];
    assert_eq!(walk(LEGACY, &words, 0x1234, READ), Ok(0x80_1234));
    assert_eq!(walk(LEGACY, &words, 0x40_0123, READ), Ok(0x7123));
    assert_eq!(walk(LEGACY, &words, 0x1_0000_1234, READ), Ok(0x80_1234));
    assert_eq!(walk(Paging { cr0: 1, ..LEGACY }, &[], 0x1_0000_1234, READ), Ok(0x1234));
    // PSE-36: bits 20:13 are address bits 39:32, and 21 is reserved.
    let wide = [(0x1000, 0x80_0083 | 0x1_6000)];
    assert_eq!(walk(LEGACY, &wide, 0x1234, READ), Ok(0xb_0080_1234));
    assert_eq!(walk(Paging { physical_bits: 34, ..LEGACY }, &wide, 0x1234, READ), Err(9));
    assert_eq!(walk(LEGACY, &[(0x1000, 0xa0_0083)], 0x1234, READ), Err(9));
    // Without PSE it leads to a table.
    let without = Paging { cr4: 0, ..LEGACY };
    assert_eq!(
        walk(without, &[(0x1000, 0x3083), (0x3000, 0x9003 << 32)], 0x1234, READ),
        Ok(0x9234)
    );
}

#[test]
fn pae_begins_with_four_entries_in_memory_or_in_the_processor() {
    let pae = Paging { cr3: 0x1020, efer: NXE, ..LONG };
    let words = [(0x1038, 0x3001), (0x3000, 0x4003), (0x4008, 0x8003), (0x3008, 0x60_0083)];
    assert_eq!(walk(pae, &words, 0xc000_1234, READ), Ok(0x8234));
    assert_eq!(walk(pae, &words, 0xc020_1234, READ), Ok(0x60_1234));
    assert_eq!(walk(pae, &words, 0x1234, USER_WRITE), Err(6));
    let kept = Paging { pdptes: Some([0x3001, 0, 0, 0]), ..pae };
    assert_eq!(walk(kept, &words, 0x1234, READ), Ok(0x8234));
    assert_eq!(walk(kept, &words, 0xc000_1234, READ), Err(0));
    // Bits 62:52 of the entries behind are reserved here, and ignored in four levels.
    assert_eq!(
        walk(pae, &[(0x1038, 0x3001), (0x3000, 1 << 52 | 0x4003)], 0xc000_0000, READ),
        Err(9)
    );
    assert_eq!(walk(LONG, &page([1 << 52 | 3, 3, 3, 3]), 0, READ), Ok(0x7000));
}

#[test]
fn rights_are_those_that_all_entries_give() {
    for level in 0..4 {
        let mut flags = [7; 4];
        flags[level] = 5;
        assert_eq!(walk(LONG, &page(flags), 0, USER_WRITE), Err(7), "read-only at {level}");
        assert_eq!(walk(LONG, &page(flags), 0, WRITE), Err(3), "read-only at {level}");
        assert_eq!(walk(LONG, &page(flags), 0, USER_READ), Ok(0x7000));
        let without_wp = Paging { cr0: CR0, ..LONG };
        assert_eq!(walk(without_wp, &page(flags), 0, WRITE), Ok(0x7000));
        assert_eq!(walk(without_wp, &page(flags), 0, USER_WRITE), Err(7));
        flags[level] = 3;
        assert_eq!(walk(LONG, &page(flags), 0, USER_READ), Err(5), "supervisor's at {level}");
        assert_eq!(walk(LONG, &page(flags), 0, USER_FETCH), Err(0x15));
        assert_eq!(walk(LONG, &page(flags), 0, WRITE), Ok(0x7000));
        flags[level] = 1 << 63 | 7;
        assert_eq!(walk(LONG, &page(flags), 0, FETCH), Err(0x11), "no execute at {level}");
        assert_eq!(walk(LONG, &page(flags), 0, USER_WRITE), Ok(0x7000));
        // Without NXE the bit is reserved, and a fetch does not say that it is one.
        let without_nx = Paging { efer: 0x500, ..LONG };
        assert_eq!(walk(without_nx, &page(flags), 0, READ), Err(9));
        assert_eq!(walk(without_nx, &page(flags), 0, USER_FETCH), Err(0xd));
        flags[level] = 1 << 40 | 7;
        assert_eq!(walk(LONG, &page(flags), 0, WRITE), Err(0xb), "beyond MAXPHYADDR at {level}");
        flags[level] = 6;
        assert_eq!(walk(LONG, &page(flags), 0, USER_FETCH), Err(0x14), "not present at {level}");
    }
}

#[test]
fn supervisors_neither_execute_nor_touch_users_pages_where_smep_and_smap_say_so() {
    let users = page([7; 4]);
    let smep = Paging { cr4: PAE | SMEP, ..LONG };
    assert_eq!(walk(LONG, &users, 0, FETCH), Ok(0x7000));
    assert_eq!(walk(smep, &users, 0, FETCH), Err(0x11));
    assert_eq!(walk(smep, &users, 0, USER_FETCH), Ok(0x7000));
    let smap = Paging { cr4: PAE | SMAP, ..LONG };
    assert_eq!(walk(smap, &users, 0, READ), Err(1));
    assert_eq!(walk(smap, &users, 0, WRITE), Err(3));
    assert_eq!(walk(smap, &users, 0, USER_WRITE), Ok(0x7000));
    assert_eq!(walk(smap, &users, 0, Access { may_reach_user: true, ..WRITE }), Ok(0x7000));
    assert_eq!(walk(smap, &page([7, 7, 3, 7]), 0, WRITE), Ok(0x7000));
}

#[test]
fn large_pages_have_reserved_bits_below_their_address() {
    let at = |entry: u64| [(0x1000, 0x2003), (0x2000, 0x3003), (0x3000, entry)];
    assert_eq!(walk(LONG, &at(0x60_0083), 0x1234, READ), Ok(0x60_1234));
    assert_eq!(walk(LONG, &at(0x60_1083), 0x1234, READ), Ok(0x60_1234)); // PAT
    assert_eq!(walk(LONG, &at(0x60_2083), 0x1234, READ), Err(9));
    assert_eq!(walk(LONG, &[(0x1000, 0x2083)], 0x1234, READ), Err(9)); // PS in the root
}

fn marked(access: Access, words: &[(u64, u64)]) -> Vec<u64> {
    let words = Words::new(words);
    let _ = LONG.translate(&words, 0, access);
    words.0.into_inner().into_values().map(|entry| entry & 0x60).collect()
}

#[test]
fn accessed_and_dirty_flags_are_set_by_accesses_that_are_allowed() {
    assert_eq!(marked(READ, &page([3; 4])), [0x20; 4]);
    assert_eq!(marked(WRITE, &page([3; 4])), [0x20, 0x20, 0x20, 0x60]);
    assert_eq!(marked(WRITE, &page([0x23; 4])), [0x20, 0x20, 0x20, 0x60]);
    assert_eq!(marked(FETCH, &page([3; 4])), [0x20; 4]);
    assert_eq!(marked(USER_READ, &page([3; 4])), [0; 4]);
    assert_eq!(marked(WRITE, &page([3, 3, 3, 1])), [0; 4]);
    let large = [(0x1000, 0x2003), (0x2000, 0x3003), (0x3000, 0x60_0083)];
    assert_eq!(marked(WRITE, &large), [0x20, 0x20, 0x60]);
    // The upper of two entries in a word.
    let words = Words::new(&[(0x1000, 0x3003 << 32), (0x3000, 0x7003)]);
    assert_eq!(LEGACY.translate(&words, 0x40_0000, WRITE), Ok(0x7000));
    assert_eq!(words.0.into_inner().into_values().collect::<Vec<_>>(), [0x3023 << 32, 0x7063]);
}

#[test]
fn tables_where_no_ram_is_are_not_present() {
    let hole = [(0x1000, RAM_BYTES | 3)];
    assert_eq!(walk(LONG, &hole, 0x1234, READ), Err(0));
    assert_eq!(walk(LONG, &hole, 0x1234, USER_WRITE), Err(6));
    assert_eq!(walk(Paging { cr3: RAM_BYTES, ..LONG }, &[], 0x1234, FETCH), Err(0x10));
}
