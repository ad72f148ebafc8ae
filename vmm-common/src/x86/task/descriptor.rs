//! Segment descriptors, and loading a segment register of a new task (SDM vol. 3, 3.4.5 and 8.3,
//! table 8-1).

use super::{Exception, Segment, Stop, TaskGuest, descriptor_address, read, segment, write};

const UNUSABLE: u32 = 1 << 16;
const CODE_OR_DATA: u32 = 1 << 4;
const CODE: u32 = 1 << 3;
const CONFORMING: u32 = 1 << 2;
const READABLE_OR_WRITABLE: u32 = 1 << 1;
const ACCESSED: u32 = 1 << 0;
const PRESENT: u32 = 1 << 7;
const TABLE: u16 = 1 << 2;
const NULL: u16 = 3;

/// Vectors: invalid TSS, segment not present, stack fault.
const TS: u8 = 10;
const NP: u8 = 11;
const SS: u8 = 12;

/// 8 bytes of a descriptor table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Descriptor(pub u64);

impl Descriptor {
    pub const fn base(self) -> u64 {
        (self.0 >> 16 & 0xff_ffff) | (self.0 >> 56) << 24
    }

    /// As [`Segment::access`].
    pub const fn access(self) -> u32 {
        (self.0 >> 40) as u32 & 0xf0ff
    }

    pub const fn segment(self, selector: u16) -> Segment {
        const GRANULARITY: u32 = 1 << 15;
        let limit = (self.0 & 0xffff) as u32 | (self.0 >> 32) as u32 & 0xf_0000;
        let access = self.access();
        let limit = if access & GRANULARITY != 0 { limit << 12 | 0xfff } else { limit };
        Segment { selector, base: self.base(), limit, access }
    }

    const fn level(self) -> u8 {
        (self.access() >> 5 & 3) as u8
    }
}

/// Cannot be used, as by a null selector.
pub const fn unusable(selector: u16) -> Segment {
    Segment { selector, base: 0, limit: 0, access: UNUSABLE }
}

/// SDM vol. 3, 21.2.
pub const fn of_virtual_8086(selector: u16) -> Segment {
    Segment { selector, base: (selector as u64) << 4, limit: 0xffff, access: 0xf3 }
}

const fn refused(vector: u8, selector: u16) -> Stop {
    let error = Some((selector & !NULL) as u32);
    Stop::Raises(Exception { vector, error, cr2: None })
}

/// LDTR; a null selector means none.
pub fn load_ldt<G: TaskGuest>(guest: &mut G, selector: u16) -> Result<Segment, Stop> {
    const LDT: u32 = 2;
    if selector & !NULL == 0 {
        return Ok(unusable(selector));
    }
    if selector & TABLE != 0 {
        return Err(refused(TS, selector));
    }
    let (descriptor, _) = find(guest, selector)?;
    let access = descriptor.access();
    if access & 0x1f != LDT || access & PRESENT == 0 {
        return Err(refused(TS, selector));
    }
    Ok(descriptor.segment(selector))
}

/// ES, CS, SS, DS, FS or GS of a task at this privilege level.
pub fn load<G: TaskGuest>(
    guest: &mut G,
    index: usize,
    selector: u16,
    cpl: u8,
) -> Result<Segment, Stop> {
    let is_required = index == segment::CS || index == segment::SS;
    if selector & !NULL == 0 {
        return if is_required { Err(refused(TS, selector)) } else { Ok(unusable(selector)) };
    }
    let (descriptor, at) = find(guest, selector)?;
    let access = descriptor.access();
    if access & CODE_OR_DATA == 0 || !is_allowed(descriptor, index, selector, cpl) {
        return Err(refused(TS, selector));
    }
    if access & PRESENT == 0 {
        return Err(refused(if index == segment::SS { SS } else { NP }, selector));
    }
    if access & ACCESSED == 0 {
        write(guest, at + 5, &[access as u8 | ACCESSED as u8])?;
    }
    let loaded = descriptor.segment(selector);
    Ok(Segment { access: access | ACCESSED, ..loaded })
}

fn is_allowed(descriptor: Descriptor, index: usize, selector: u16, cpl: u8) -> bool {
    let (access, level) = (descriptor.access(), descriptor.level());
    let requested = (selector & NULL) as u8;
    let (is_code, is_open) = (access & CODE != 0, access & READABLE_OR_WRITABLE != 0);
    let is_conforming = is_code && access & CONFORMING != 0;
    match index {
        segment::CS if is_conforming => level <= cpl,
        segment::CS => is_code && level == cpl,
        segment::SS => !is_code && is_open && level == cpl && requested == cpl,
        _ => (!is_code || is_open) && (is_conforming || level >= cpl.max(requested)),
    }
}

/// A descriptor, and where it lies.
fn find<G: TaskGuest>(guest: &mut G, selector: u16) -> Result<(Descriptor, u64), Stop> {
    let (base, limit) = if selector & TABLE == 0 {
        let table = guest.gdtr();
        (table.base, table.limit.into())
    } else {
        let table = guest.segment(segment::LDTR as u8);
        let is_usable = table.access & UNUSABLE == 0;
        (table.base, if is_usable { table.limit } else { 0 })
    };
    if u32::from(selector | 7) > limit {
        return Err(refused(TS, selector));
    }
    let at = descriptor_address(base, selector);
    let mut bytes = [0; 8];
    read(guest, at, &mut bytes)?;
    Ok((Descriptor(u64::from_le_bytes(bytes)), at))
}
