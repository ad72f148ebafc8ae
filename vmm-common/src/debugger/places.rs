//! The registers that gdb sees: their order, names and sizes.
//!
//! The standard features have the names that gdb gives them (gdb manual, "i386 Features"); the
//! control registers have those that QEMU gives them, so that scripts for kernels find them.

use crate::registers::segment;
use alloc::vec::Vec;

/// The processor as gdb sees it.
#[allow(missing_docs)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Width {
    Bits32,
    #[default]
    Bits64,
}

/// A register that gdb knows.
#[allow(missing_docs)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Register {
    /// The position in [`crate::registers::CpuState::general`].
    General(usize),
    Ip,
    Flags,
    /// The position in [`crate::registers::CpuState::segments`].
    Selector(usize),
    Base(usize),
    St(usize),
    /// FCTRL, FSTAT, FTAG, FISEG, FIOFF, FOSEG, FOOFF, FOP.
    X87(usize),
    Xmm(usize),
    Mxcsr,
    KernelGsBase,
    Cr(usize),
    Efer,
}

/// Features of the description, in order.
#[allow(missing_docs)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Feature {
    Core,
    Sse,
    Segments,
    System,
}

/// The most bytes of all registers.
pub const MAX_BYTES: usize = 608;

const NAMES_64: [(&str, usize); 16] = [
    ("rax", 0),
    ("rbx", 3),
    ("rcx", 1),
    ("rdx", 2),
    ("rsi", 6),
    ("rdi", 7),
    ("rbp", 5),
    ("rsp", 4),
    ("r8", 8),
    ("r9", 9),
    ("r10", 10),
    ("r11", 11),
    ("r12", 12),
    ("r13", 13),
    ("r14", 14),
    ("r15", 15),
];
const NAMES_32: [(&str, usize); 8] = [
    ("eax", 0),
    ("ecx", 1),
    ("edx", 2),
    ("ebx", 3),
    ("esp", 4),
    ("ebp", 5),
    ("esi", 6),
    ("edi", 7),
];
const SELECTORS: [(&str, usize); 6] = [
    ("cs", segment::CS),
    ("ss", segment::SS),
    ("ds", segment::DS),
    ("es", segment::ES),
    ("fs", segment::FS),
    ("gs", segment::GS),
];
const ST: [&str; 8] = ["st0", "st1", "st2", "st3", "st4", "st5", "st6", "st7"];
const X87: [&str; 8] = ["fctrl", "fstat", "ftag", "fiseg", "fioff", "foseg", "fooff", "fop"];
const XMM: [&str; 16] = [
    "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10",
    "xmm11", "xmm12", "xmm13", "xmm14", "xmm15",
];
const CR: [(&str, usize); 5] = [("cr0", 0), ("cr2", 2), ("cr3", 3), ("cr4", 4), ("cr8", 8)];

/// A register's place in gdb's list.
#[allow(missing_docs)]
#[derive(Clone, Copy, Debug)]
pub struct Place {
    pub name: &'static str,
    pub register: Register,
    pub feature: Feature,
    pub bytes: usize,
    /// A type of gdb's, or one that the feature defines.
    pub kind: &'static str,
}

/// The list for this width.
pub fn places(width: Width) -> Vec<Place> {
    use Feature::{Core, Segments, Sse, System};
    let is_64 = width == Width::Bits64;
    let (word, general, int, pc, data) = match width {
        Width::Bits64 => (8, &NAMES_64[..], "int64", "code_ptr", "data_ptr"),
        Width::Bits32 => (4, &NAMES_32[..], "int32", "code_ptr", "data_ptr"),
    };
    let mut list = Vec::new();
    let mut add = |name, register, feature, bytes, kind| {
        list.push(Place { name, register, feature, bytes, kind });
    };
    for (name, at) in general {
        let kind = if matches!(at, 4 | 5) { data } else { int };
        add(*name, Register::General(*at), Core, word, kind);
    }
    add(if is_64 { "rip" } else { "eip" }, Register::Ip, Core, word, pc);
    add("eflags", Register::Flags, Core, 4, "i386_eflags");
    for (name, at) in SELECTORS {
        add(name, Register::Selector(at), Core, 4, "int32");
    }
    for (at, name) in ST.into_iter().enumerate() {
        add(name, Register::St(at), Core, 10, "i387_ext");
    }
    for (at, name) in X87.into_iter().enumerate() {
        add(name, Register::X87(at), Core, 4, "int");
    }
    for (at, name) in XMM.into_iter().enumerate().take(if is_64 { 16 } else { 8 }) {
        add(name, Register::Xmm(at), Sse, 16, "vec128");
    }
    add("mxcsr", Register::Mxcsr, Sse, 4, "i386_mxcsr");
    // gdb knows the feature of the bases for 64-bit processors only.
    let bases = if is_64 { Segments } else { System };
    add("fs_base", Register::Base(segment::FS), bases, word, int);
    add("gs_base", Register::Base(segment::GS), bases, word, int);
    add("k_gs_base", Register::KernelGsBase, System, word, int);
    for (name, at) in CR {
        let kind = match at {
            0 => "x86_cr0",
            4 => "x86_cr4",
            _ => int,
        };
        add(name, Register::Cr(at), System, word, kind);
    }
    add("efer", Register::Efer, System, word, "x86_efer");
    list
}
