//! Chains of exceptions, each from a processor that has been set up to shut down in one way. What
//! raises what is from the manual (SDM vol. 3, 6.15 and tables 6-4 and 6-5).

use super::of_triple_fault;
use crate::memory::GuestMemory;
use crate::registers::{CpuState, Segment, TableRegister, general, segment};
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use core::cell::RefCell;

const CODE: u64 = 0x1_0000;
const IDT: u64 = 0x5000;
const GDT: u64 = 0x6000;
const TSS: u64 = 0x7000;
const STACK: u64 = 0x2_0000;
const RAM_BYTES: u64 = 0x2_8000;
/// Where no page is, below an entry of level 3 that is there.
const NOWHERE: u64 = 0x3fe0_0000;

struct Ram(RefCell<Vec<u8>>);

impl Ram {
    fn put(&self, address: u64, words: &[u64]) {
        for (at, word) in (address..).step_by(8).zip(words) {
            assert!(self.write(at, &word.to_le_bytes()));
        }
    }
}

impl GuestMemory for Ram {
    fn read(&self, address: u64, to: &mut [u8]) -> bool {
        if !self.has(address, to.len() as u64) {
            return false;
        }
        to.copy_from_slice(&self.0.borrow()[address as usize..][..to.len()]);
        true
    }

    fn write(&self, address: u64, from: &[u8]) -> bool {
        if !self.has(address, from.len() as u64) {
            return false;
        }
        self.0.borrow_mut()[address as usize..][..from.len()].copy_from_slice(from);
        true
    }

    fn has(&self, address: u64, bytes: u64) -> bool {
        address.checked_add(bytes).is_some_and(|end| end <= RAM_BYTES)
    }
}

const fn segment_of(selector: u16, access: u32) -> Segment {
    Segment { selector, base: 0, limit: 0xffff_ffff, access }
}

/// A processor at `code` in 64-bit mode, with 2 MiB mapped, a GDT, a TSS, and no IDT.
fn long_mode(code: &[u8]) -> (CpuState, Ram) {
    let ram = Ram(RefCell::new(vec![0; RAM_BYTES as usize]));
    ram.put(0x1000, &[0x2003]);
    ram.put(0x2000, &[0x3003]);
    ram.put(0x3000, &[0x83]);
    // Code and data of ring 0 (SDM vol. 3, 3.4.5).
    ram.put(GDT, &[0, 0x0020_9b00_0000_0000, 0x0000_9300_0000_0000]);
    assert!(ram.write(CODE, code));
    let mut state = CpuState::after_init();
    (state.cr0, state.cr3, state.cr4, state.efer) = (0x8000_0011, 0x1000, 0x20, 0x500);
    state.rip = CODE;
    state.general[general::RSP] = STACK;
    state.gdtr = TableRegister { base: GDT, limit: 23 };
    state.idtr = TableRegister { base: IDT, limit: 0 };
    state.segments[segment::CS] = segment_of(8, 0xa09b);
    state.segments[segment::SS] = segment_of(16, 0xc093);
    state.segments[segment::TR] = Segment { selector: 24, base: TSS, limit: 0x67, access: 0x8b };
    (state, ram)
}

/// A gate of the IDT of 64-bit mode: an interrupt gate to `offset`, with these bits besides.
fn put_gate(state: &mut CpuState, ram: &Ram, vector: u64, offset: u64, bits: u64) {
    let low = offset & 0xffff | 8 << 16 | 0x8e00 << 32 | (offset >> 16 & 0xffff) << 48;
    ram.put(IDT + 16 * vector, &[low ^ bits, offset >> 32]);
    state.idtr.limit = 0xfff;
}

fn lines(state: &CpuState, ram: &Ram) -> Vec<String> {
    let before = ram.0.borrow().clone();
    let text = of_triple_fault(state, None, ram);
    assert!(*ram.0.borrow() == before, "RAM is as it was");
    assert!(text.ends_with('\n'));
    // The bytes of the instruction are looked at apart.
    let known = |line: &str| {
        line.split_once("-bit code").map_or(line.into(), |(line, _)| {
            String::from(line.rsplit_once(": ").expect("the width follows").0)
        })
    };
    text.lines().map(known).collect()
}

/// mov dword ptr [rax], 1
const STORE: [u8; 6] = [0xc7, 0x00, 1, 0, 0, 0];

#[test]
fn a_store_to_nowhere_without_an_idt() {
    let (mut state, ram) = long_mode(&STORE);
    state.general[general::RAX] = NOWHERE;
    assert_eq!(
        lines(&state, &ram),
        [
            "page fault (write to 0x3fe00000, level 2 entry not present) at 0x10000",
            "then #GP while delivering it: the IDT has no gate 14 (limit 0), then a triple fault",
        ]
    );
    // Level 4 and 3, and an address that no table has.
    state.general[general::RAX] = 0xdead_0000;
    assert!(lines(&state, &ram)[0].contains("write to 0xdead0000, level 3 entry not present"));
    state.general[general::RAX] = 0x80_0000_0000;
    assert!(lines(&state, &ram)[0].contains("write to 0x8000000000, level 4 entry not present"));
    state.general[general::RAX] = 0x8000_0000_0000;
    let expected = "#GP (0x800000000000 is no canonical address) at 0x10000";
    assert_eq!(lines(&state, &ram)[0], expected);
}

#[test]
fn a_stack_that_has_run_out() {
    // push rax
    let (mut state, ram) = long_mode(&[0x50]);
    for vector in [8, 14] {
        put_gate(&mut state, &ram, vector, 0x1_1000, 0);
    }
    state.general[general::RSP] = NOWHERE;
    assert_eq!(
        lines(&state, &ram),
        [
            "page fault (write to 0x3fdffff8, level 2 entry not present) at 0x10000",
            "then page fault (write to 0x3fdffff8, level 2 entry not present) while \
             delivering #PF: the stack that its frame goes to; a double fault",
            "then page fault (write to 0x3fdffff8, level 2 entry not present) while \
             delivering #DF: the stack that its frame goes to; a triple fault",
        ]
    );
    // With a stack of its own, the double fault's handler runs.
    put_gate(&mut state, &ram, 8, 0x1_1000, 1 << 32);
    ram.put(TSS + 0x24, &[STACK]);
    assert_eq!(lines(&state, &ram)[2], "#DF can be delivered");
}

#[test]
fn a_fetch_from_nowhere_and_what_its_tables_say() {
    let (mut state, ram) = long_mode(&[]);
    state.rip = NOWHERE;
    assert!(lines(&state, &ram)[0].starts_with("page fault (fetch from 0x3fe00000, level 2 entry"));
    // No-execute, in a page of level 2.
    (state.rip, state.efer) = (CODE, 0xd00);
    ram.put(0x3000, &[1 << 63 | 0x83]);
    assert!(
        lines(&state, &ram)[0].contains(
            "fetch from 0x10000, the page is no-execute, level 2 entry 0x8000000000000083"
        )
    );
    // A reserved bit: NX without EFER.NXE.
    state.efer = 0x500;
    assert!(lines(&state, &ram)[0].contains("a reserved bit is set in the level 2 entry"));
    state.rip = 0x8000_0000_0000;
    let expected = "#GP (0x800000000000 is no canonical address) at 0x800000000000";
    assert_eq!(lines(&state, &ram)[0], expected);
}

#[test]
fn a_store_to_a_page_that_is_read_only_or_the_supervisors() {
    let (mut state, ram) = long_mode(&STORE);
    ram.put(0x4000, &[0x8001, 0x9003]);
    ram.put(0x3008, &[0x4003]);
    state.general[general::RAX] = 0x20_0000;
    state.cr0 |= 1 << 16;
    assert!(
        lines(&state, &ram)[0]
            .contains("write to 0x200000, the page is read-only, level 1 entry 0x8001")
    );
    // By ring 3, to which no page of these is open.
    state.segments[segment::SS].access |= 3 << 5;
    state.segments[segment::CS].access |= 3 << 5;
    assert!(
        lines(&state, &ram)[0]
            .contains("fetch from 0x10000 by ring 3, the page is the supervisor's")
    );
}

#[test]
fn gates_and_segments_that_cannot_be_entered() {
    // ud2, and then what is wrong with gate 6.
    let (mut state, ram) = long_mode(&[0x0f, 0x0b]);
    put_gate(&mut state, &ram, 6, 0x1_1000, 1 << 47);
    assert_eq!(
        lines(&state, &ram)[..2],
        [
            "#UD at 0x10000",
            // Serially: an undefined opcode is benign.
            "then #NP(0x33) while delivering #UD: the IDT's gate 6 is not present",
        ]
    );
    let second = |state: &CpuState, ram: &Ram| lines(state, ram)[1].clone();
    put_gate(&mut state, &ram, 6, 0x1_1000, 0x40 << 16);
    assert_eq!(
        second(&state, &ram),
        "then #GP(0x49) while delivering #UD: the gate 6 has selector 0x48, beyond the GDT (limit \
         0x17)"
    );
    put_gate(&mut state, &ram, 6, 0x1_1000, 8 << 16);
    assert!(second(&state, &ram).contains("has selector 0x0, which is null"));
    put_gate(&mut state, &ram, 6, 0x1_1000, 0x18 << 16);
    assert!(second(&state, &ram).contains("is of no code segment"));
    put_gate(&mut state, &ram, 6, 0x1_1000, 0x0f00 << 32);
    assert!(second(&state, &ram).contains("the IDT's entry 6 is no gate"));
    put_gate(&mut state, &ram, 6, 0x8000_0000_0000, 0);
    assert_eq!(
        second(&state, &ram),
        "then #GP(0x1) while delivering #UD: its handler is at 0x800000000000, which is no \
         canonical address"
    );
    // The table is in no page.
    state.idtr.base = NOWHERE;
    assert_eq!(
        second(&state, &ram),
        "then page fault (read of 0x3fe00060, level 2 entry not present) while delivering #UD: the \
         IDT's entry"
    );
}

#[test]
fn a_software_interrupt_needs_a_gate_for_its_ring() {
    let (mut state, ram) = long_mode(&[0xcd, 0x80]);
    assert_eq!(
        lines(&state, &ram)[..2],
        [
            "int 0x80 at 0x10000",
            "then #GP while delivering it: the IDT has no gate 128 (limit 0), then a triple fault",
        ]
    );
    put_gate(&mut state, &ram, 0x80, 0x1_1000, 0);
    assert_eq!(lines(&state, &ram)[1], "vector 0x80 can be delivered");
}

#[test]
fn a_divide_error_and_an_instruction_that_is_not_replayed() {
    // div ecx
    let (mut state, ram) = long_mode(&[0xf7, 0xf1]);
    let shown = lines(&state, &ram);
    assert_eq!(shown[0], "#DE at 0x10000");
    assert!(shown[1].starts_with("then #GP while delivering it: the IDT has no gate 0 (limit 0)"));
    // One gate, which is empty.
    state.idtr.limit = 15;
    let shown = lines(&state, &ram);
    assert!(shown[1].starts_with("then #GP(0x3) while delivering #DE"));
    assert!(shown[1].ends_with("; a double fault"), "both are contributory");
    state.idtr.limit = 0;
    for (code, registers) in [
        (&[0x66, 0xf7, 0xf1][..], [0, 0xffff_0000]),
        (&[0x48, 0xf7, 0xf9], [0, 0]),
        (&[0xf6, 0xf5], [0, 0xff]),
        (&[0x41, 0xf6, 0xf1], [0, 0xff]),
    ] {
        assert!(ram.write(CODE, code));
        [state.general[9], state.general[general::RCX]] = registers;
        assert_eq!(lines(&state, &ram)[0], "#DE at 0x10000", "{code:x?}");
        [state.general[9], state.general[general::RCX]] = [1, 0x101];
        assert!(lines(&state, &ram)[0].starts_with("an exception that is not known"), "{code:x?}");
    }
    // hlt, by ring 3; pages are open to it.
    let outer = state;
    for register in [segment::CS, segment::SS] {
        state.segments[register].access |= 3 << 5;
    }
    for (at, entry) in [(0x1000, 0x2007), (0x2000, 0x3007), (0x3000, 0x87)] {
        ram.put(at, &[entry]);
    }
    assert!(ram.write(CODE, &[0xf4]));
    assert_eq!(lines(&state, &ram)[0], "#GP at 0x10000");
    state = outer;
    // lgdt [rax], which may raise anything.
    assert!(ram.write(CODE, &[0x0f, 0x01, 0x10]));
    state.general[general::RAX] = NOWHERE;
    let shown = lines(&state, &ram);
    assert_eq!(shown[0], "an exception that is not known at 0x10000");
    assert!(shown[1].starts_with("then #GP(0x43) while delivering #DF"));
}

#[test]
fn protected_mode_of_32_bits_and_real_mode() {
    // mov eax, [eax]
    let (mut state, ram) = long_mode(&[0x8b, 0x00]);
    (state.efer, state.cr4) = (0, 0);
    // 32-bit paging: 4 MiB, and then nothing.
    state.cr4 = 0x10;
    ram.put(0x1000, &[0x83]);
    state.segments[segment::CS].access = 0xc09b;
    ram.put(GDT, &[0, 0x00cf_9b00_0000_ffff]);
    state.segments[segment::DS] = segment_of(16, 0xc093);
    state.general[general::RAX] = 0xcafe_0000;
    assert_eq!(
        lines(&state, &ram)[..2],
        [
            "page fault (read of 0xcafe0000, level 2 entry not present) at 0x10000",
            "then #GP while delivering it: the IDT has no gate 14 (limit 0), then a triple fault",
        ]
    );
    // A gate that leads to its handler, but for a stack that ends before the frame.
    ram.put(IDT + 8 * 14, &[8 << 16 | 0x1000 | 0x8e00 << 32]);
    state.idtr.limit = 0x7ff;
    assert_eq!(lines(&state, &ram)[1], "#PF can be delivered");
    state.segments[segment::SS].limit = 0x1000;
    assert!(lines(&state, &ram)[1].starts_with("then #SS(0x1) while delivering #PF: the stack"));
    // Real mode: a table of vectors that ends before.
    (state.cr0, state.cr4) = (0x10, 0);
    state.segments[segment::CS] = Segment { base: CODE, ..segment_of(0x1000, 0x9b) };
    (state.rip, state.idtr) = (0, TableRegister { base: 0, limit: 7 });
    assert!(ram.write(CODE, &[0x0f, 0x0b]));
    assert_eq!(
        lines(&state, &ram)[..2],
        [
            "#UD at 0x10000",
            "then #GP while delivering it: the IDT has no gate 6 (limit 7), then a triple fault",
        ]
    );
}

#[test]
fn whatever_a_guest_has_left_is_looked_at_without_harm() {
    let mut random = 0x1234_5678_9abc_def0_u64;
    let mut next = || {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        // Numbers at the edges as often as others.
        match random % 8 {
            0 => 0,
            1 => u64::MAX,
            2 => 1 << (random >> 8 & 63),
            3 => (1 << (random >> 8 & 63)) - 1,
            _ => random.wrapping_mul(0x2545_f491_4f6c_dd1d),
        }
    };
    for round in 0..2_000 {
        let (mut state, ram) = long_mode(&next().to_le_bytes());
        let words: Vec<u64> = (0..64).map(|_| next()).collect();
        for at in [IDT, GDT, TSS, 0x4000] {
            ram.put(at, &words);
        }
        state.idtr = TableRegister { base: IDT, limit: next() as u16 };
        state.general.fill_with(&mut next);
        for segment in &mut state.segments {
            if round % 3 != 0 {
                let (base, limit, access) = (next(), next() as u32, next() as u32 & 0x1_f0ff);
                *segment = Segment { selector: next() as u16, base, limit, access };
            }
        }
        match round % 4 {
            0 => {}
            1 => (state.gdtr.base, state.idtr.base, state.rip) = (next(), next(), next()),
            2 => (state.cr0, state.cr3, state.cr4) = (next(), next(), next()),
            _ => (state.efer, state.cr0, state.rip) = (next(), next(), next()),
        }
        assert!(!lines(&state, &ram).is_empty());
    }
}

mod stacks;

#[test]
fn an_interrupt_without_a_gate_is_told_from_an_exception() {
    // jmp $
    let (mut state, ram) = long_mode(&[0xeb, 0xfe]);
    let said = |state: &CpuState| of_triple_fault(state, Some(0x20), &ram);
    assert_eq!(
        said(&state),
        "interrupt 0x20 at 0x10000: 64-bit code eb fe 00 00 00 00 00 00 00 00 00 00 00 00 00\n\
         then #GP while delivering it: the IDT has no gate 32 (limit 0), then a triple fault\n"
    );
    // It has a gate: what its handler did is another matter.
    put_gate(&mut state, &ram, 0x20, 0x1_1000, 0);
    assert!(!said(&state).contains("interrupt 0x20"), "{}", said(&state));
}

#[test]
fn a_segment_that_the_gdt_does_not_have() {
    // mov ds, ax
    let (mut state, ram) = long_mode(&[0x8e, 0xd8]);
    state.general[general::RAX] = 0x50;
    assert_eq!(lines(&state, &ram)[0], "#GP(0x50) at 0x10000");
    // A descriptor that is not present (SDM vol. 2, "MOV": #NP, and #SS for SS).
    ram.put(GDT + 16, &[0x0000_1300_0000_0000]);
    state.general[general::RAX] = 0x10;
    assert_eq!(lines(&state, &ram)[0], "#NP(0x10) at 0x10000");
    assert!(ram.write(CODE, &[0x8e, 0xd0]));
    assert_eq!(lines(&state, &ram)[0], "#SS(0x10) at 0x10000");
    // CS is loaded otherwise.
    assert!(ram.write(CODE, &[0x8e, 0xc8]));
    assert_eq!(lines(&state, &ram)[0], "#UD at 0x10000");
}
