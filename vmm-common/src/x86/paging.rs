//! The guest's own page tables: the walk that the processor makes for an access, with its
//! permissions, its Accessed and Dirty flags, and the error code of the #PF it raises (SDM vol. 3,
//! 4.3 to 4.8).
//!
//! Tables that lie where no RAM is read as an entry that is not present. Linux's KVM does the same.

use crate::architecture::{cr0, cr4, efer};
use crate::memory::GuestMemory;

pub(crate) const PRESENT: u64 = 1 << 0;
pub(crate) const WRITABLE: u64 = 1 << 1;
pub(crate) const USER: u64 = 1 << 2;
const ACCESSED: u64 = 1 << 5;
const DIRTY: u64 = 1 << 6;
pub(crate) const LARGE: u64 = 1 << 7;
pub(crate) const NO_EXECUTE: u64 = 1 << 63;
pub(crate) const ADDRESS: u64 = 0x000f_ffff_ffff_f000;

/// The error code of a page fault (SDM vol. 3, 4.7).
#[allow(missing_docs)]
pub mod error {
    pub const PRESENT: u32 = 1 << 0;
    pub const WRITE: u32 = 1 << 1;
    pub const USER: u32 = 1 << 2;
    pub const RESERVED: u32 = 1 << 3;
    pub const FETCH: u32 = 1 << 4;
}

/// What an access does.
#[allow(missing_docs)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccessKind {
    Read,
    Write,
    Execute,
}

/// An access, and its privilege.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access {
    /// What it does.
    pub kind: AccessKind,
    /// By ring 3, and not to a system structure.
    pub is_user: bool,
    /// To user pages under SMAP: RFLAGS.AC of an explicit access.
    pub may_reach_user: bool,
}

/// Registers that control paging (SDM vol. 3, 4.1.1), and the processor's paging features.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Paging {
    /// CR0.
    pub cr0: u64,
    /// CR3.
    pub cr3: u64,
    /// CR4.
    pub cr4: u64,
    /// IA32_EFER.
    pub efer: u64,
    /// The entries that PAE paging keeps in the processor; None: they are read from memory (APM
    /// vol. 2, 15.25.10).
    pub pdptes: Option<[u64; 4]>,
    /// MAXPHYADDR.
    pub physical_bits: u8,
    /// Pages of 1 GiB exist.
    pub has_1g: bool,
}

/// #PF with this error code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageFault {
    /// See [`error`].
    pub error: u32,
}

/// Tables of 8-byte entries: the first bit of the linear address that the root is indexed by.
const LONG_SHIFT: u32 = 39;
/// Behind the four entries that are looked up first.
const PAE_SHIFT: u32 = 21;
const INDEX_BITS: u32 = 9;
/// The same of 4-byte entries.
const LEGACY_SHIFT: u32 = 22;
const LEGACY_INDEX_BITS: u32 = 10;
const PAGE_SHIFT: u32 = 12;

/// Where a walk ended, and what the entries on the way have in common.
#[derive(Clone, Copy)]
struct Page {
    address: u64,
    /// AND of all entries.
    all: u64,
    /// OR of all entries.
    any: u64,
    /// The last one.
    last: u64,
}

impl Paging {
    /// Paging is off.
    #[must_use]
    pub const fn is_off(&self) -> bool {
        self.cr0 & cr0::PG == 0
    }

    /// The guest-physical address of `linear`, if the access is allowed; sets Accessed and Dirty
    /// flags then.
    ///
    /// # Errors
    /// The #PF that the processor would raise.
    pub fn translate(
        &self,
        memory: &impl GuestMemory,
        linear: u64,
        access: Access,
    ) -> Result<u64, PageFault> {
        if self.is_off() {
            return Ok(linear & 0xffff_ffff);
        }
        let is_long = self.efer & efer::LMA != 0;
        let linear = if is_long { linear } else { linear & 0xffff_ffff };
        let page = self.walk(memory, linear, access, |_, _| {})?;
        if !self.allows(page, access) {
            return Err(self.fault(access, error::PRESENT));
        }
        let is_dirty = access.kind != AccessKind::Write || page.last & DIRTY != 0;
        if page.all & ACCESSED == 0 || !is_dirty {
            let dirty = if access.kind == AccessKind::Write { DIRTY } else { 0 };
            self.walk(memory, linear, access, |at, (entry, is_last)| {
                let flags = ACCESSED | if is_last { dirty } else { 0 };
                if entry & flags != flags {
                    memory.write(at, &[(entry | flags) as u8]);
                }
            })?;
        }
        Ok(page.address)
    }

    /// The guest-physical address of `linear`, if it is mapped at all: for a debugger, which needs
    /// no permission and leaves no Accessed flag.
    #[must_use]
    pub fn look_up(&self, memory: &impl GuestMemory, linear: u64) -> Option<u64> {
        let is_long = self.efer & efer::LMA != 0;
        let linear = if is_long { linear } else { linear & 0xffff_ffff };
        if self.is_off() {
            return Some(linear & 0xffff_ffff);
        }
        let access = Access { kind: AccessKind::Read, is_user: false, may_reach_user: true };
        self.walk(memory, linear, access, |_, _| {}).ok().map(|page| page.address)
    }

    /// Down the tables to the page; each entry, and whether it is the last, is shown to `visit`.
    #[inline]
    fn walk(
        &self,
        memory: &impl GuestMemory,
        linear: u64,
        access: Access,
        visit: impl Fn(u64, (u64, bool)),
    ) -> Result<Page, PageFault> {
        let (mut table, mut shift) = if self.efer & efer::LMA != 0 {
            (self.cr3 & ADDRESS, LONG_SHIFT)
        } else if self.cr4 & cr4::PAE != 0 {
            (self.page_directory(memory, linear, access)?, PAE_SHIFT)
        } else {
            return self.walk_legacy(memory, linear, access, visit);
        };
        let reserved = self.reserved(shift);
        let (mut all, mut any) = (u64::MAX, 0);
        loop {
            let at = table + (linear >> shift & ((1 << INDEX_BITS) - 1)) * 8;
            let entry = memory.word(at).unwrap_or(0);
            if entry & PRESENT == 0 {
                return Err(self.fault(access, 0));
            }
            let is_large = entry & LARGE != 0 && shift != PAGE_SHIFT;
            if entry & reserved != 0 || (is_large && !self.is_large_page(entry, shift)) {
                return Err(self.fault(access, error::PRESENT | error::RESERVED));
            }
            all &= entry;
            any |= entry;
            let is_last = is_large || shift == PAGE_SHIFT;
            visit(at, (entry, is_last));
            if is_last {
                let offset = (1 << shift) - 1;
                let address = (entry & ADDRESS & !offset) | (linear & offset);
                return Ok(Page { address, all, any, last: entry });
            }
            table = entry & ADDRESS;
            shift -= INDEX_BITS;
        }
    }

    /// 32-bit paging (SDM vol. 3, 4.3).
    fn walk_legacy(
        &self,
        memory: &impl GuestMemory,
        linear: u64,
        access: Access,
        visit: impl Fn(u64, (u64, bool)),
    ) -> Result<Page, PageFault> {
        let (mut table, mut shift) = (self.cr3 & 0xffff_f000, LEGACY_SHIFT);
        let mut all = u64::MAX;
        loop {
            let at = table + (linear >> shift & ((1 << LEGACY_INDEX_BITS) - 1)) * 4;
            let pair = memory.word(at & !7).unwrap_or(0);
            let entry = if at & 4 == 0 { pair & 0xffff_ffff } else { pair >> 32 };
            if entry & PRESENT == 0 {
                return Err(self.fault(access, 0));
            }
            let is_large = shift == LEGACY_SHIFT && entry & LARGE != 0 && self.cr4 & cr4::PSE != 0;
            if is_large && entry & self.reserved_legacy() != 0 {
                return Err(self.fault(access, error::PRESENT | error::RESERVED));
            }
            all &= entry;
            let is_last = is_large || shift == PAGE_SHIFT;
            visit(at, (entry, is_last));
            if is_last {
                let high = if is_large { (entry >> 13 & 0xff) << 32 } else { 0 };
                let offset = (1 << shift) - 1;
                let address = high | (entry & 0xffff_f000 & !offset) | (linear & offset);
                return Ok(Page { address, all, any: 0, last: entry });
            }
            table = entry & 0xffff_f000;
            shift -= LEGACY_INDEX_BITS;
        }
    }

    /// The entry for `linear` of the four that PAE paging begins with. Its reserved bits were
    /// checked when it was loaded.
    fn page_directory(
        &self,
        memory: &impl GuestMemory,
        linear: u64,
        access: Access,
    ) -> Result<u64, PageFault> {
        let index = linear >> 30 & 3;
        let entry = match self.pdptes {
            Some(entries) => entries[index as usize],
            None => memory.word((self.cr3 & 0xffff_ffe0) + 8 * index).unwrap_or(0),
        };
        if entry & PRESENT == 0 {
            return Err(self.fault(access, 0));
        }
        Ok(entry & ADDRESS)
    }

    /// Bits that are reserved in all entries of 8 bytes (SDM vol. 3, tables 4-11 and 4-15 to 4-20).
    const fn reserved(&self, root_shift: u32) -> u64 {
        let beyond = match self.physical_bits {
            bits @ 0..52 => ADDRESS & !((1 << bits) - 1),
            _ => 0,
        };
        let no_execute = if self.efer & efer::NXE == 0 { NO_EXECUTE } else { 0 };
        let unused = if root_shift == PAE_SHIFT { 0x7ff0_0000_0000_0000 } else { 0 };
        beyond | no_execute | unused
    }

    /// Whether an entry above the last level that has PS set may have it; its lower address bits
    /// are reserved then, but for PAT.
    const fn is_large_page(&self, entry: u64, shift: u32) -> bool {
        let can_be = shift == 21 || (shift == 30 && self.has_1g);
        can_be && entry & ((1 << shift) - 1) & ADDRESS & !0x1000 == 0
    }

    /// Bits that are reserved in an entry for 4 MiB: of 20:13, which are address bits 39:32, those
    /// that the processor has not (SDM vol. 3, table 4-4).
    const fn reserved_legacy(&self) -> u64 {
        let bits = match self.physical_bits {
            40.. => 8,
            bits @ 33..40 => bits - 32,
            _ => 0,
        };
        1 << 21 | (0x1f_e000 & !((1 << (13 + bits)) - 1))
    }

    /// SDM vol. 3, 4.6.1.
    fn allows(&self, page: Page, access: Access) -> bool {
        let is_user_page = page.all & USER != 0;
        let is_writable = page.all & WRITABLE != 0;
        let is_no_execute = page.any & NO_EXECUTE != 0;
        if access.is_user && !is_user_page {
            return false;
        }
        let is_on_users = !access.is_user && is_user_page;
        match access.kind {
            AccessKind::Execute if is_on_users && self.cr4 & cr4::SMEP != 0 => false,
            AccessKind::Execute => !is_no_execute,
            AccessKind::Read | AccessKind::Write
                if is_on_users && self.cr4 & cr4::SMAP != 0 && !access.may_reach_user =>
            {
                false
            }
            AccessKind::Read => true,
            AccessKind::Write => is_writable || (!access.is_user && self.cr0 & cr0::WP == 0),
        }
    }

    fn fault(&self, access: Access, error: u32) -> PageFault {
        let has_no_execute = self.cr4 & cr4::PAE != 0 && self.efer & efer::NXE != 0;
        let kind = match access.kind {
            AccessKind::Read => 0,
            AccessKind::Write => error::WRITE,
            AccessKind::Execute if has_no_execute || self.cr4 & cr4::SMEP != 0 => error::FETCH,
            AccessKind::Execute => 0,
        };
        let user = if access.is_user { error::USER } else { 0 };
        PageFault { error: error | kind | user }
    }
}
