//! A guest that is registers and a stretch of RAM, in 64-bit mode without page tables.

use std::cell::RefCell;
use vmm_common::memory::GuestMemory;
use vmm_common::registers::Segment;
use vmm_common::x86::Guest;
use vmm_common::x86::paging::Paging;

/// Registers and RAM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TestGuest {
    pub general: [u64; 16],
    pub rip: u64,
    pub rflags: u64,
    pub segments: [Segment; 6],
    pub code_bits: u8,
    pub cpl: u8,
    pub paging: Paging,
    pub vectors: [u128; 16],
    pub ram: Ram,
}

/// RAM from `base` on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ram {
    pub base: u64,
    pub bytes: RefCell<Vec<u8>>,
}

/// No page tables: linear addresses are physical ones.
pub const NO_PAGING: Paging =
    Paging { cr0: 1, cr3: 0, cr4: 0, efer: 0x500, pdptes: None, physical_bits: 40, has_1g: true };

impl TestGuest {
    pub fn new(ram_base: u64, bytes: usize) -> Self {
        Self {
            general: [0; 16],
            rip: 0x1000,
            rflags: 2,
            segments: [Segment { limit: u32::MAX, access: 0xc093, ..Segment::default() }; 6],
            code_bits: 64,
            cpl: 0,
            paging: NO_PAGING,
            vectors: [0; 16],
            ram: Ram { base: ram_base, bytes: RefCell::new(vec![0; bytes]) },
        }
    }
}

impl Ram {
    fn place(&self, address: u64, len: usize) -> Option<usize> {
        let at = usize::try_from(address.checked_sub(self.base)?).ok()?;
        (at.checked_add(len)? <= self.bytes.borrow().len()).then_some(at)
    }
}

impl GuestMemory for Ram {
    fn read(&self, address: u64, to: &mut [u8]) -> bool {
        let Some(at) = self.place(address, to.len()) else { return false };
        to.copy_from_slice(&self.bytes.borrow()[at..at + to.len()]);
        true
    }

    fn write(&self, address: u64, from: &[u8]) -> bool {
        let Some(at) = self.place(address, from.len()) else { return false };
        self.bytes.borrow_mut()[at..at + from.len()].copy_from_slice(from);
        true
    }

    fn has(&self, address: u64, bytes: u64) -> bool {
        self.place(address, bytes as usize).is_some()
    }
}

impl Guest for TestGuest {
    type Memory = Ram;

    fn general(&self, index: u8) -> u64 {
        self.general[usize::from(index)]
    }

    fn set_general(&mut self, index: u8, value: u64) {
        self.general[usize::from(index)] = value;
    }

    fn rip(&self) -> u64 {
        self.rip
    }

    fn rflags(&self) -> u64 {
        self.rflags
    }

    fn set_rflags(&mut self, value: u64) {
        self.rflags = value;
    }

    fn segment(&self, index: u8) -> Segment {
        self.segments[usize::from(index)]
    }

    fn code_bits(&self) -> u8 {
        self.code_bits
    }

    fn cpl(&self) -> u8 {
        self.cpl
    }

    fn paging(&self) -> Paging {
        self.paging
    }

    fn vector(&self, index: u8) -> u128 {
        self.vectors[usize::from(index)]
    }

    fn set_vector(&mut self, index: u8, value: u128) {
        self.vectors[usize::from(index)] = value;
    }

    fn memory(&self) -> &Ram {
        &self.ram
    }
}
