//! The guest's own page tables: the walk that the processor makes for an access, with its permissions,
//! its Accessed and Dirty flags, and the error code of the #PF it raises (SDM vol. 3, 4.3 to 4.8).
//!
//! Tables that lie where no RAM is read as an entry that is not present. Linux's KVM does the same.

/// CR0.WP and CR0.PG.
const CR0_WP: u64 = 1 << 16;
const CR0_PG: u64 = 1 << 31;
const CR4_PSE: u64 = 1 << 4;
const CR4_PAE: u64 = 1 << 5;
const CR4_SMEP: u64 = 1 << 20;
const CR4_SMAP: u64 = 1 << 21;
const EFER_LMA: u64 = 1 << 10;
const EFER_NXE: u64 = 1 << 11;

const PRESENT: u64 = 1 << 0;
const WRITABLE: u64 = 1 << 1;
const USER: u64 = 1 << 2;
const ACCESSED: u64 = 1 << 5;
const DIRTY: u64 = 1 << 6;
const LARGE: u64 = 1 << 7;
const NO_EXECUTE: u64 = 1 << 63;
const ADDRESS: u64 = 0x000f_ffff_ffff_f000;

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

/// An access, and on whose behalf.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access {
    /// What it does.
    pub kind: AccessKind,
    /// By ring 3, and not to a system structure.
    pub is_user: bool,
    /// To user pages under SMAP: RFLAGS.AC of an explicit access.
    pub may_reach_user: bool,
}

/// What paging translates by (SDM vol. 3, 4.1.1), and what of it the processor has.
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
    /// The entries that PAE paging keeps in the processor; None: they are read from memory (APM vol. 2,
    /// 15.25.10).
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

/// RAM as page tables lie in it.
pub trait Tables {
    /// Copies RAM at a guest-physical address; false if it is not all RAM.
    fn read(&self, address: u64, to: &mut [u8]) -> bool;

    /// Writes a byte of RAM that [`Tables::read`] could read.
    fn write(&mut self, address: u64, byte: u8);
}

/// How the tables of a paging mode are made.
#[derive(Clone, Copy)]
struct Mode {
    /// The first bit of the linear address that the root's index has, and its bits.
    shift: u32,
    index_bits: u32,
    entry_bytes: u8,
}

const LONG: Mode = Mode { shift: 39, index_bits: 9, entry_bytes: 8 };
/// Behind the four entries that are looked up first.
const PAE: Mode = Mode { shift: 21, index_bits: 9, entry_bytes: 8 };
const LEGACY: Mode = Mode { shift: 22, index_bits: 10, entry_bytes: 4 };
/// Four levels at most.
const MOST_LEVELS: usize = 4;

/// Entries on the way to a page.
struct Path {
    entries: [(u64, u64); MOST_LEVELS],
    len: usize,
    /// AND of all entries for USER and WRITABLE, OR for NO_EXECUTE.
    rights: u64,
}

impl Paging {
    /// Paging is off.
    #[must_use]
    pub const fn is_off(&self) -> bool {
        self.cr0 & CR0_PG == 0
    }

    /// The guest-physical address of `linear`, if the access is allowed; sets Accessed and Dirty flags then.
    ///
    /// # Errors
    /// The #PF that the processor would raise.
    pub fn translate(
        &self,
        tables: &mut impl Tables,
        linear: u64,
        access: Access,
    ) -> Result<u64, PageFault> {
        if self.is_off() {
            return Ok(linear & 0xffff_ffff);
        }
        let mut path = Path { entries: [(0, 0); MOST_LEVELS], len: 0, rights: USER | WRITABLE };
        let is_long = self.efer & EFER_LMA != 0;
        let (mode, root) = if is_long {
            (LONG, self.cr3 & ADDRESS)
        } else if self.cr4 & CR4_PAE != 0 {
            (PAE, self.page_directory(tables, linear, access)?)
        } else {
            (LEGACY, self.cr3 & 0xffff_f000)
        };
        let linear = if is_long { linear } else { linear & 0xffff_ffff };
        let physical = self.walk(tables, &mut path, mode, root, linear, access)?;
        if !self.allows(&path, access) {
            return Err(self.fault(access, error::PRESENT));
        }
        path.mark(tables, access);
        Ok(physical)
    }

    /// Down the tables to the page.
    fn walk(
        &self,
        tables: &impl Tables,
        path: &mut Path,
        mode: Mode,
        root: u64,
        linear: u64,
        access: Access,
    ) -> Result<u64, PageFault> {
        let (mut table, mut shift) = (root, mode.shift);
        loop {
            let index = linear >> shift & ((1 << mode.index_bits) - 1);
            let at = table + index * u64::from(mode.entry_bytes);
            let entry = entry(tables, at, mode.entry_bytes);
            if entry & PRESENT == 0 {
                return Err(self.fault(access, 0));
            }
            let is_page = shift == 12 || (entry & LARGE != 0 && self.can_be_large(mode, shift));
            if self.has_reserved(entry, mode, shift, is_page) {
                return Err(self.fault(access, error::PRESENT | error::RESERVED));
            }
            path.push(at, entry);
            if is_page {
                return Ok(page_address(entry, mode, shift) | (linear & ((1 << shift) - 1)));
            }
            table = entry & ADDRESS;
            shift -= mode.index_bits;
        }
    }

    /// The entry for `linear` of the four that PAE paging begins with. Its reserved bits were
    /// checked when it was loaded.
    fn page_directory(
        &self,
        tables: &impl Tables,
        linear: u64,
        access: Access,
    ) -> Result<u64, PageFault> {
        let index = linear >> 30 & 3;
        let entry = match self.pdptes {
            Some(entries) => entries[index as usize],
            None => entry(tables, (self.cr3 & 0xffff_ffe0) + 8 * index, 8),
        };
        if entry & PRESENT == 0 {
            return Err(self.fault(access, 0));
        }
        Ok(entry & ADDRESS)
    }

    /// Whether PS in an entry of this level maps a page.
    fn can_be_large(&self, mode: Mode, shift: u32) -> bool {
        match (mode.entry_bytes, shift) {
            (4, _) => self.cr4 & CR4_PSE != 0,
            (_, 21) => true,
            (_, 30) => self.has_1g,
            _ => false,
        }
    }

    /// SDM vol. 3, tables 4-5, 4-11 and 4-15 to 4-20.
    fn has_reserved(&self, entry: u64, mode: Mode, shift: u32, is_page: bool) -> bool {
        let above = |bit: u8| if bit >= 52 { 0 } else { ADDRESS & !((1 << bit) - 1) };
        let beyond = above(self.physical_bits);
        let reserved = match (mode.entry_bytes, shift) {
            (4, 22) if is_page => {
                // Bits 20:13 are address bits 39:32; of those only MAXPHYADDR's exist.
                let bits = self.physical_bits.clamp(32, 40) - 32;
                1 << 21 | (0x1f_e000 & !((1 << (13 + bits)) - 1))
            }
            (4, _) => 0,
            (_, 12) => beyond,
            (_, shift) if is_page => beyond | (((1 << shift) - 1) & ADDRESS & !0x1000),
            (_, 21) => beyond,
            // PS means nothing here.
            (_, 30) if self.has_1g => beyond,
            _ => beyond | LARGE,
        };
        let long = mode.entry_bytes == 8;
        let no_execute = if long && self.efer & EFER_NXE == 0 { NO_EXECUTE } else { 0 };
        let is_pae = long && mode.shift == PAE.shift;
        let unused = if is_pae { 0x7ff0_0000_0000_0000 } else { 0 };
        entry & (reserved | no_execute | unused) != 0
    }

    /// SDM vol. 3, 4.6.1.
    fn allows(&self, path: &Path, access: Access) -> bool {
        let is_user_page = path.rights & USER != 0;
        let is_writable = path.rights & WRITABLE != 0;
        let is_no_execute = path.rights & NO_EXECUTE != 0;
        if access.is_user && !is_user_page {
            return false;
        }
        let is_on_users = !access.is_user && is_user_page;
        match access.kind {
            AccessKind::Execute if is_on_users && self.cr4 & CR4_SMEP != 0 => false,
            AccessKind::Execute => !is_no_execute,
            AccessKind::Read | AccessKind::Write
                if is_on_users && self.cr4 & CR4_SMAP != 0 && !access.may_reach_user =>
            {
                false
            }
            AccessKind::Read => true,
            AccessKind::Write => is_writable || (!access.is_user && self.cr0 & CR0_WP == 0),
        }
    }

    fn fault(&self, access: Access, error: u32) -> PageFault {
        let has_no_execute = self.cr4 & CR4_PAE != 0 && self.efer & EFER_NXE != 0;
        let kind = match access.kind {
            AccessKind::Read => 0,
            AccessKind::Write => error::WRITE,
            AccessKind::Execute if has_no_execute || self.cr4 & CR4_SMEP != 0 => error::FETCH,
            AccessKind::Execute => 0,
        };
        let user = if access.is_user { error::USER } else { 0 };
        PageFault { error: error | kind | user }
    }
}

fn entry(tables: &impl Tables, at: u64, bytes: u8) -> u64 {
    let mut entry = [0; 8];
    if tables.read(at, &mut entry[..usize::from(bytes)]) { u64::from_le_bytes(entry) } else { 0 }
}

fn page_address(entry: u64, mode: Mode, shift: u32) -> u64 {
    let high = if mode.entry_bytes == 4 && shift == 22 { (entry >> 13 & 0xff) << 32 } else { 0 };
    let low = if mode.entry_bytes == 4 { entry & 0xffff_f000 } else { entry & ADDRESS };
    high | (low & !((1 << shift) - 1))
}

impl Path {
    fn push(&mut self, at: u64, entry: u64) {
        self.entries[self.len] = (at, entry);
        self.len += 1;
        self.rights = (self.rights & (entry | NO_EXECUTE)) | (entry & NO_EXECUTE);
    }

    /// Sets Accessed in all entries, and Dirty in the page's if it is written.
    fn mark(&self, tables: &mut impl Tables, access: Access) {
        let dirty = if access.kind == AccessKind::Write { DIRTY } else { 0 };
        for (index, (at, entry)) in self.entries[..self.len].iter().enumerate() {
            let flags = ACCESSED | if index + 1 == self.len { dirty } else { 0 };
            if entry & flags != flags {
                tables.write(*at, (entry | flags) as u8);
            }
        }
    }
}
