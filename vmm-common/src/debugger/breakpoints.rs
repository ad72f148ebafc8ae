//! A VM's breakpoints: those in its memory, and those in its debug registers.

use super::full_state::{HardwareBreakpoint, Watched};
use crate::memory::GuestMemory;
use alloc::vec::Vec;

/// INT3.
const INT3: u8 = 0xcc;
/// The most software breakpoints of one VM. A debugger that sets more has lost its way.
pub const MAX_SOFTWARE: usize = 4096;

/// One INT3 in the guest's RAM.
#[derive(Clone, Copy, Debug)]
struct Software {
    /// As the debugger named it.
    linear: u64,
    /// Where it lies.
    physical: u64,
    /// What was there.
    original: u8,
}

/// The breakpoints of one VM.
#[derive(Clone, Debug, Default)]
pub struct Breakpoints {
    /// By physical address, once each.
    software: Vec<Software>,
    /// As debug registers hold them.
    pub hardware: [Option<HardwareBreakpoint>; 4],
}

impl Breakpoints {
    /// Writes INT3 at `physical`, which `linear` leads to; false if that is no RAM, or there are
    /// too many.
    pub fn add(&mut self, memory: &impl GuestMemory, linear: u64, physical: u64) -> bool {
        match self.software.binary_search_by_key(&physical, |it| it.physical) {
            // The guest, or its restart, may have put something else there since.
            Ok(at) => {
                self.software.remove(at).take_away(memory);
                self.insert(memory, (at, linear, physical))
            }
            Err(_) if self.software.len() >= MAX_SOFTWARE => false,
            Err(at) => self.insert(memory, (at, linear, physical)),
        }
    }

    fn insert(
        &mut self,
        memory: &impl GuestMemory,
        (at, linear, physical): (usize, u64, u64),
    ) -> bool {
        let mut original = [0];
        let is_set = memory.read(physical, &mut original) && memory.write(physical, &[INT3]);
        if is_set {
            let [original] = original;
            self.software.insert(at, Software { linear, physical, original });
        }
        is_set
    }

    /// Takes the one away that was set at `linear`; false if there is none.
    pub fn remove(&mut self, memory: &impl GuestMemory, linear: u64) -> bool {
        let found = self.software.iter().position(|it| it.linear == linear);
        if let Some(at) = found {
            self.software.remove(at).take_away(memory);
        }
        found.is_some()
    }

    /// Takes all away.
    pub fn clear(&mut self, memory: &impl GuestMemory) {
        self.software.drain(..).for_each(|it| it.take_away(memory));
        self.hardware = [None; 4];
    }

    /// Whether there is one in memory.
    #[must_use]
    pub fn has_software(&self) -> bool {
        !self.software.is_empty()
    }

    /// How many there are in memory.
    #[must_use]
    pub fn software_count(&self) -> usize {
        self.software.len()
    }

    /// Whether the INT3 at `physical` is the debugger's.
    #[must_use]
    pub fn is_set_at(&self, physical: u64) -> bool {
        self.software.binary_search_by_key(&physical, |it| it.physical).is_ok()
    }

    /// Puts into `bytes`, read at `physical`, what the guest has there.
    pub fn hide(&self, physical: u64, bytes: &mut [u8]) {
        for it in self.among(physical, bytes.len()) {
            bytes[(it.physical - physical) as usize] = it.original;
        }
    }

    /// Replaces what the guest has under breakpoints by what is to be written at `physical`, and
    /// keeps the breakpoints in `bytes`.
    pub fn keep(&mut self, physical: u64, bytes: &mut [u8]) {
        let from = self.software.partition_point(|it| it.physical < physical);
        for it in &mut self.software[from..] {
            let Some(byte) = bytes.get_mut((it.physical - physical) as usize) else { return };
            it.original = core::mem::replace(byte, INT3);
        }
    }

    fn among(&self, physical: u64, len: usize) -> &[Software] {
        let end = physical.saturating_add(len as u64);
        let from = self.software.partition_point(|it| it.physical < physical);
        let to = self.software.partition_point(|it| it.physical < end);
        &self.software[from..to]
    }

    /// Takes a free debug register for this; false if there is none, or no register can watch it.
    pub fn add_hardware(&mut self, address: u64, len: u64, watched: Watched) -> bool {
        let bytes = len as u8;
        let is_possible = matches!(len, 1 | 2 | 4 | 8) && address.is_multiple_of(len);
        let Some(free) = self.hardware.iter_mut().find(|it| it.is_none()) else { return false };
        if is_possible {
            *free = Some(HardwareBreakpoint { address, bytes, watched });
        }
        is_possible
    }

    /// Frees the debug register that has this; false if there is none.
    pub fn remove_hardware(&mut self, address: u64, len: u64, watched: Watched) -> bool {
        let wanted = HardwareBreakpoint { address, bytes: len as u8, watched };
        let found = self.hardware.iter_mut().find(|it| **it == Some(wanted));
        found.map(|it| *it = None).is_some()
    }
}

impl Software {
    /// Puts back what was there, unless the guest has put something else there since.
    fn take_away(self, memory: &impl GuestMemory) {
        let mut now = [0];
        if memory.read(self.physical, &mut now) && now == [INT3] {
            memory.write(self.physical, &[self.original]);
        }
    }
}
