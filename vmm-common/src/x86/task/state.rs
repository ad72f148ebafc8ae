//! A task-state segment (SDM vol. 3, figures 8-2 and 8-10).

use super::{Stop, TaskGuest, read, write};
use crate::registers::segment;

/// Of 80286's or 80386's format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Width {
    Two,
    Four,
}

const BYTES_32: usize = 104;
const BYTES_16: usize = 44;
/// What is saved begins with the instruction pointer; CR3 and the LDT's selector are not.
const IP_32: usize = 0x20;
const SAVED_END_32: usize = 0x60;
const LDT_32: usize = 0x60;
const CR3_32: usize = 0x1c;
const IP_16: usize = 0x0e;
const SAVED_END_16: usize = 0x2a;
const LDT_16: usize = 0x2a;

impl Width {
    /// By the type of its descriptor.
    pub const fn of(access: u32) -> Self {
        const IS_32: u32 = 1 << 3;
        if access & IS_32 != 0 { Self::Four } else { Self::Two }
    }

    /// Bytes of a register.
    pub const fn bytes(self) -> usize {
        match self {
            Self::Two => 2,
            Self::Four => 4,
        }
    }

    const fn ip(self) -> usize {
        match self {
            Self::Two => IP_16,
            Self::Four => IP_32,
        }
    }

    /// The selectors that such a task has: ES, CS, SS, DS, and FS, GS.
    const fn selectors(self) -> usize {
        match self {
            Self::Two => 4,
            Self::Four => 6,
        }
    }
}

/// What a task is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Image {
    pub cr3: Option<u32>,
    pub ip: u32,
    pub flags: u32,
    pub general: [u32; 8],
    /// In the order of [`segment`].
    pub selectors: [u16; 6],
    pub ldt: u16,
}

impl Image {
    /// The current task, which resumes at `ip`.
    pub fn of<G: TaskGuest>(guest: &G, ip: u64) -> Self {
        let general = [0, 1, 2, 3, 4, 5, 6, 7].map(|index| guest.general(index) as u32);
        let selectors = [0, 1, 2, 3, 4, 5].map(|index| guest.segment(index).selector);
        let ldt = guest.segment(segment::LDTR as u8).selector;
        let flags = guest.rflags() as u32;
        Self { cr3: None, ip: ip as u32, flags, general, selectors, ldt }
    }

    /// From the TSS at `base`.
    pub fn read<G: TaskGuest>(guest: &mut G, base: u64, width: Width) -> Result<Self, Stop> {
        let mut bytes = [0; BYTES_32];
        let (len, ldt) = match width {
            Width::Two => (BYTES_16, LDT_16),
            Width::Four => (BYTES_32, LDT_32),
        };
        read(guest, base, &mut bytes[..len])?;
        let number = |at: usize| {
            let value =
                u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
            if width == Width::Two { value & 0xffff } else { value }
        };
        let field = |index: usize| number(width.ip() + index * width.bytes());
        let mut selectors = [0; 6];
        for (index, selector) in selectors.iter_mut().take(width.selectors()).enumerate() {
            *selector = field(10 + index) as u16;
        }
        Ok(Self {
            cr3: (width == Width::Four).then(|| number(CR3_32)),
            ip: field(0),
            flags: field(1),
            general: [0, 1, 2, 3, 4, 5, 6, 7].map(|index| field(2 + index)),
            selectors,
            ldt: number(ldt) as u16,
        })
    }

    /// To the TSS at `base`, the fields that a switch saves.
    pub fn write<G: TaskGuest>(&self, guest: &mut G, base: u64, width: Width) -> Result<(), Stop> {
        let mut bytes = [0; SAVED_END_32 - IP_32];
        let mut at = 0;
        let mut put = |value: u32| {
            bytes[at..at + width.bytes()].copy_from_slice(&value.to_le_bytes()[..width.bytes()]);
            at += width.bytes();
        };
        put(self.ip);
        put(self.flags);
        self.general.into_iter().for_each(&mut put);
        self.selectors
            .into_iter()
            .take(width.selectors())
            .for_each(|selector| put(selector.into()));
        let len = match width {
            Width::Two => SAVED_END_16 - IP_16,
            Width::Four => SAVED_END_32 - IP_32,
        };
        write(guest, base + width.ip() as u64, &bytes[..len])
    }
}
