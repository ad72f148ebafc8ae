//! What firmware's ACPI tables say of this machine, as far as it is used: clocks, I/O APICs, and
//! how it is switched off (ACPI 6.5, chapter 5; AML in chapter 20). Everything in them is checked;
//! what is wrong is ignored.

use alloc::vec;
use alloc::vec::Vec;

#[cfg(test)]
mod tests;

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Acpi {
    /// The port of the power-management timer: 3.579545 MHz, at least 24 bits.
    pub timer_port: Option<u32>,
    /// Where the HPET's registers are.
    pub hpet: Option<u64>,
    /// Where I/O APICs' registers are.
    pub io_apics: Vec<u64>,
    /// How the machine is switched off.
    pub soft_off: Option<SoftOff>,
}

/// The state S5 (4.8.3.2.1, 7.4.2.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SoftOff {
    /// The ports of the control registers PM1a and PM1b; 0: there is none.
    pub control_ports: [u32; 2],
    /// What SLP_TYP of each is for S5.
    pub sleep_types: [u8; 2],
    /// By what byte on which port ACPI is switched on, where it is off; port 0: it is always on.
    pub enable: (u32, u8),
}

impl SoftOff {
    /// Packed into one word, which is never 0; ports keep their lower 16 bits.
    #[must_use]
    pub fn packed(self) -> u64 {
        let ([first, second], [type_a, type_b]) = (self.control_ports, self.sleep_types);
        let (command, value) = self.enable;
        let ports = [first, second, command].map(|port| u64::from(port as u16));
        ports[0]
            | ports[1] << 16
            | ports[2] << 32
            | u64::from(value) << 48
            | u64::from(type_a & 7) << 56
            | u64::from(type_b & 7) << 60
    }

    /// Unpacks such a word; None if its first port is 0.
    #[must_use]
    pub fn unpacked(word: u64) -> Option<Self> {
        let port = |shift: u32| u32::from((word >> shift) as u16);
        let soft_off = Self {
            control_ports: [port(0), port(16)],
            sleep_types: [(word >> 56 & 7) as u8, (word >> 60 & 7) as u8],
            enable: (port(32), (word >> 48) as u8),
        };
        (port(0) != 0).then_some(soft_off)
    }
}

/// The largest table that is read.
const MAX_TABLE_BYTES: usize = 1 << 20;
/// The most tables that are looked at.
const MAX_TABLES: usize = 64;
const HEADER_BYTES: usize = 36;

/// Memory, to be read: false where it cannot.
type Memory<'a> = &'a dyn Fn(u64, &mut [u8]) -> bool;

impl Acpi {
    /// Reads the tables by `memory`, which copies from a physical address.
    #[must_use]
    pub fn find(memory: Memory<'_>) -> Self {
        let mut found = Self::default();
        let tables = root(memory).unwrap_or_default();
        for address in tables.into_iter().take(MAX_TABLES) {
            let Some(table) = table(memory, address) else { continue };
            match &table[..4] {
                b"FACP" => found.take_fadt(memory, &table),
                b"APIC" => found.io_apics = io_apics(&table),
                b"HPET" => found.hpet = u64_at(&table, 44).filter(|_| table[40] == 0),
                _ => {}
            }
        }
        found
    }

    /// The fixed description (5.2.9).
    fn take_fadt(&mut self, memory: Memory<'_>, fadt: &[u8]) {
        let field = |at| u32_at(fadt, at).unwrap_or(0);
        self.timer_port = Some(field(76)).filter(|port| *port != 0);
        let dsdt = u64_at(fadt, 140).filter(|address| *address != 0);
        let dsdt = table(memory, dsdt.unwrap_or(field(40).into()));
        let sleep_types = dsdt.as_deref().and_then(sleep_types_of_s5);
        let control_ports = [field(64), field(68)];
        if let Some(sleep_types) = sleep_types.filter(|_| control_ports[0] != 0) {
            let enable = (field(48), fadt.get(52).copied().unwrap_or(0));
            self.soft_off = Some(SoftOff { control_ports, sleep_types, enable });
        }
    }
}

/// The addresses of all tables: those of the XSDT or, without one, of the RSDT. The root pointer
/// lies in the BIOS's memory or in its extended data area (5.2.5.1).
fn root(memory: Memory<'_>) -> Option<Vec<u64>> {
    const PLACES: [core::ops::Range<u64>; 2] = [0xe_0000..0x10_0000, 0x8_0000..0xa_0000];
    let pointer = PLACES.into_iter().flat_map(|place| place.step_by(16)).find_map(|address| {
        let mut pointer = [0; 36];
        let is_it = memory(address, &mut pointer)
            && pointer.starts_with(b"RSD PTR ")
            && sum(&pointer[..20]) == 0;
        is_it.then_some(pointer)
    })?;
    let has_xsdt = pointer[15] >= 2 && sum(&pointer) == 0;
    let xsdt = u64_at(&pointer, 24).filter(|address| has_xsdt && *address != 0);
    if let Some(xsdt) = xsdt.and_then(|address| table(memory, address)) {
        return Some(xsdt[HEADER_BYTES..].chunks_exact(8).filter_map(|at| u64_at(at, 0)).collect());
    }
    let rsdt = table(memory, u32_at(&pointer, 16)?.into())?;
    Some(
        rsdt[HEADER_BYTES..]
            .chunks_exact(4)
            .filter_map(|at| u32_at(at, 0))
            .map(u64::from)
            .collect(),
    )
}

/// A whole table, if its checksum is right.
fn table(memory: Memory<'_>, address: u64) -> Option<Vec<u8>> {
    let mut header = [0; HEADER_BYTES];
    let bytes = memory(address, &mut header).then(|| u32_at(&header, 4))?? as usize;
    if !(HEADER_BYTES..=MAX_TABLE_BYTES).contains(&bytes) {
        return None;
    }
    let mut table = vec![0; bytes];
    (memory(address, &mut table) && sum(&table) == 0).then_some(table)
}

/// Type 1 of the interrupt controllers in the MADT (5.2.12.3).
fn io_apics(madt: &[u8]) -> Vec<u64> {
    const IO_APIC: u8 = 1;
    let (mut at, mut found) = (44, Vec::new());
    while let Some([kind, bytes, ..]) = madt.get(at..) {
        if *kind == IO_APIC
            && let Some(address) = u32_at(madt, at + 4)
        {
            found.push(address.into());
        }
        at += usize::from(*bytes).max(2);
    }
    found
}

/// The first two elements of the package `\_S5_`, as every compiler of AML encodes it: constants.
fn sleep_types_of_s5(dsdt: &[u8]) -> Option<[u8; 2]> {
    const PACKAGE: u8 = 0x12;
    let name = dsdt.windows(5).position(|bytes| bytes == [b'_', b'S', b'5', b'_', PACKAGE])?;
    // The name operator, and perhaps a root character, lead.
    let is_named = name >= 2 && (dsdt[name - 1] == 8 || dsdt[name - 2..name] == [8, b'\\']);
    let length = *dsdt.get(name + 5)?;
    // The top two bits say how many bytes of the length follow; then the number of elements.
    let mut at = name + 5 + 1 + usize::from(length >> 6) + 1;
    let mut element = || {
        const BYTE: u8 = 0x0a;
        let first = *dsdt.get(at)?;
        at += if first == BYTE { 2 } else { 1 };
        match first {
            0 | 1 => Some(first),
            BYTE => dsdt.get(at - 1).copied().filter(|value| *value < 8),
            _ => None,
        }
    };
    if is_named { Some([element()?, element()?]) } else { None }
}

fn sum(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0, |sum, byte| sum.wrapping_add(*byte))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4)?.try_into().ok().map(u32::from_le_bytes)
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..at + 8)?.try_into().ok().map(u64::from_le_bytes)
}
