//! IN and OUT of 1, 2 and 4 bytes, also across the bounds of devices.

use crate::{Stream, common::cpu};

/// What may be done at a port.
#[derive(Clone, Copy)]
struct Place {
    port: u16,
    /// Bytes of an access.
    sizes: &'static [u8],
    is_written: bool,
    /// Bits of what is read that count; and of what is written.
    mask: u32,
    /// Any PC has the same there. (Not where devices meet: QEMU gives an access to the owner of its
    /// first port.)
    is_common: bool,
}

const ALL: &[u8] = &[1, 2, 4];

const fn place(port: u16, sizes: &'static [u8], mask: u32, is_common: bool) -> Place {
    Place { port, sizes, is_written: true, mask, is_common }
}

const fn read_only(port: u16, sizes: &'static [u8], mask: u32, is_common: bool) -> Place {
    Place { port, sizes, is_written: false, mask, is_common }
}

/// Left out: what time changes (the 8254, the clock's registers, the upper half of 0x61), what ends
/// the VM (0x92, 0xCF9, 0xF4, the ACPI block, the keyboard controller), what prints.
#[rustfmt::skip]
const PLACES: &[Place] = &[
    place(0x21, &[1], 0xFF, true),
    place(0xA1, &[1], 0xFF, true),
    // A chip's initialisation, modes and polls.
    place(0x20, ALL, u32::MAX, false),
    place(0xA0, ALL, u32::MAX, false),
    place(0x21, ALL, u32::MAX, false),
    place(0xA1, ALL, u32::MAX, false),
    place(0x4D0, &[1], 0xFF, true),
    place(0x4D1, &[1], u32::MAX, true),
    place(0x4D0, &[2, 4], u32::MAX, false),
    place(0x1E, ALL, u32::MAX, false),
    place(0x1F, ALL, u32::MAX, false),
    place(0x9E, ALL, u32::MAX, false),
    place(0x4CE, ALL, u32::MAX, false),
    place(0x4CD, ALL, u32::MAX, false),
    // COM2 is absent.
    place(0x2F8, ALL, u32::MAX, false),
    place(0x2FE, ALL, u32::MAX, false),
    // COM1: the scratch register, modem status before it; what comes before its data register is
    // read alone.
    place(0x3FF, &[1], 0xFF, true),
    place(0x3FF, ALL, u32::MAX, false),
    place(0x3FE, &[2, 4], u32::MAX, false),
    read_only(0x3F6, ALL, u32::MAX, false),
    read_only(0x3F9, &[1], 0xFF, true),
    // CMOS: the index and the byte behind it at once.
    place(0x71, &[1], 0xFF, true),
    place(0x70, &[2], 0xFF00, false),
    place(0x71, &[2, 4], u32::MAX, false),
    place(0x61, &[1], 0x03, true),
    place(0x80, &[1], 0xFF, true),
    place(0x80, ALL, u32::MAX, false),
    place(0xCF8, ALL, u32::MAX, false),
    place(0xCFC, ALL, u32::MAX, false),
    place(0xE0, ALL, u32::MAX, true),
    place(0x1234, ALL, u32::MAX, true),
    place(0xFFFE, &[1, 2], u32::MAX, true),
    // Beyond the last port.
    place(0xFFFE, &[4], u32::MAX, false),
];

/// The bytes of CMOS that are tried, which no firmware uses.
const CMOS: core::ops::Range<u8> = 0x60..0x70;

pub fn initialise() {
    for index in CMOS {
        cpu::out8(0x70, index);
        cpu::out8(0x71, index);
    }
    for (port, value) in [(0x3FF, 0), (0x21, 0xFF), (0xA1, 0xFF), (0x4D0, 0), (0x4D1, 0)] {
        cpu::out8(port, value);
    }
}

pub fn step(stream: &mut Stream) {
    let place = loop {
        let place = stream.random.pick(PLACES);
        if place.is_common || !stream.is_common {
            break *place;
        }
    };
    let size = *stream.random.pick(place.sizes);
    let is_written = place.is_written && stream.random.below(2) == 0;
    let mut registers = stream.registers();
    registers.0[2] = (registers.0[2] & !0xFFFF) | u64::from(place.port);
    if place.port == 0x70 {
        let index = u64::from(CMOS.start) + stream.random.below(16);
        registers.0[0] = (registers.0[0] & !0xFF) | index;
    }
    if place.port == 0x61 {
        registers.0[0] &= !0xFC;
    }
    let immediate = place.port as u8;
    let is_immediate = place.port < 0x100 && stream.random.below(2) == 0;
    let opcode = if is_immediate { 0xE4 } else { 0xEC };
    let opcode = opcode | u8::from(is_written) << 1 | u8::from(size > 1);
    let code = [0x66, opcode, immediate];
    let code = &code[usize::from(size != 2)..if is_immediate { 3 } else { 2 }];
    if is_written {
        // SAFETY: no device does more than keep it.
        unsafe { stream.run(code, &mut registers) };
    } else {
        // SAFETY: only reads a device.
        let trap = unsafe { crate::execute(code, &mut registers) };
        stream.note_trap(trap);
        let kept = if size == 4 { 0 } else { u64::MAX << (8 * size) };
        registers.0[0] &= u64::from(place.mask) | kept;
        for value in registers.0 {
            stream.note(value);
        }
    }
    note_devices(stream);
}

/// The registers of devices that keep what is written.
pub fn note_devices(stream: &mut Stream) {
    const KEPT: [u16; 5] = [0x21, 0xA1, 0x4D0, 0x4D1, 0x3FF];
    let sum = KEPT.iter().fold(0, |sum, port| sum << 8 | u64::from(cpu::in8(*port)));
    stream.note(sum);
}
