//! What devices see of an instruction, and what the guest does.

use crate::guest::{NO_PAGING, TestGuest};
use vmm_common::memory::GuestMemory;
use vmm_common::registers::{Segment, general, segment};
use vmm_common::x86::flag::{DF, ZF};
use vmm_common::x86::{
    Exception, Outcome, Read, Reads, Refusal, Resolved, Write, carry_out, decode,
};

const RAM_BYTES: usize = 0x2000;
/// The first address behind the RAM.
const DEVICE: u64 = RAM_BYTES as u64;
const RAX: usize = general::RAX;
const RCX: usize = general::RCX;
const RDX: usize = general::RDX;
const RSP: usize = general::RSP;
const RSI: usize = general::RSI;
const RDI: usize = general::RDI;

/// A device that returns these values, one after the other.
struct Run {
    guest: TestGuest,
    reads: Vec<Read>,
    writes: Vec<Write>,
    end: Result<u64, Exception>,
}

fn guest() -> TestGuest {
    TestGuest { rip: 0x1000, ..TestGuest::new(0, RAM_BYTES) }
}

fn run(mut guest: TestGuest, bytes: &[u8], returns: &[u64]) -> Run {
    let instruction = decode(guest.code_bits, &[bytes, &[0x90; 15]].concat()).expect("ours");
    let (mut known, mut reads) = (Reads::NONE, Vec::new());
    loop {
        match carry_out(&mut guest, &instruction, &known, None) {
            Outcome::Wants(read) => {
                known.push(returns[reads.len()]);
                reads.push(read);
            }
            Outcome::Done { next_rip, mut writes } => {
                let writes = std::iter::from_fn(|| writes.take()).collect();
                return Run { guest, reads, writes, end: Ok(next_rip) };
            }
            Outcome::Exception(exception) => {
                return Run { guest, reads, writes: Vec::new(), end: Err(exception) };
            }
        }
    }
}

const fn read(address: u64, size: u8) -> Read {
    Read::Memory { address, size }
}

const fn write(address: u64, size: u8, value: u64) -> Write {
    Write::Memory { address, size, value }
}

#[test]
fn a_read_modify_write_is_a_load_and_a_store_and_then_flags() {
    let mut guest = guest();
    guest.general[RDI] = DEVICE + 0x100;
    // and qword ptr [rdi], -5
    let run = run(guest, &[0x48, 0x83, 0x27, 0xfb], &[7]);
    assert_eq!(run.reads, [read(DEVICE + 0x100, 8)]);
    assert_eq!(run.writes, [write(DEVICE + 0x100, 8, 3)]);
    assert_eq!((run.end, run.guest.rflags), (Ok(0x1004), 2 | 1 << 2));
}

#[test]
fn accesses_that_cross_a_page_are_two_and_wide_ones_are_pieces_of_eight_bytes() {
    let mut across = guest();
    across.general[RDI] = DEVICE - 3;
    across.general[RAX] = 0x1122_3344_5566_7788;
    // mov [rdi], rax; mov rax, [rdi]
    let stored = run(across.clone(), &[0x48, 0x89, 0x07], &[]);
    assert_eq!(stored.writes, [write(DEVICE, 5, 0x11_2233_4455)]);
    assert_eq!(stored.guest.ram.bytes.borrow()[RAM_BYTES - 3..], [0x88, 0x77, 0x66]);
    let loaded = run(stored.guest, &[0x48, 0x8b, 0x07], &[0xaa_bbcc_ddee]);
    assert_eq!(loaded.reads, [read(DEVICE, 5)]);
    assert_eq!(loaded.guest.general[RAX], 0xaabb_ccdd_ee66_7788);
    // movdqu [rdi], xmm1 in one page and across two
    let mut wide = guest();
    wide.general[RDI] = DEVICE + 8;
    wide.vectors[1] = 0x1111_2222_3333_4444_5555_6666_7777_8888;
    let low = 0x5555_6666_7777_8888;
    let high = 0x1111_2222_3333_4444;
    let stored = run(wide.clone(), &[0xf3, 0x0f, 0x7f, 0x0f], &[]);
    assert_eq!(stored.writes, [write(DEVICE + 8, 8, low), write(DEVICE + 16, 8, high)]);
    wide.general[RDI] = DEVICE + 0xff7;
    let stored = run(wide, &[0xf3, 0x0f, 0x7f, 0x0f], &[]);
    let last = [write(DEVICE + 0xff7, 8, low), write(DEVICE + 0xfff, 1, 0x44)];
    assert_eq!(stored.writes, [&last[..], &[write(DEVICE + 0x1000, 7, high >> 8)]].concat());
}

#[test]
fn a_string_goes_from_device_to_device_element_by_element() {
    let mut strings = guest();
    strings.general[RSI] = DEVICE + 0x20;
    strings.general[RDI] = DEVICE + 0x40;
    strings.general[RCX] = 2;
    // rep movsd
    let first = run(strings, &[0xf3, 0xa5], &[5]);
    assert_eq!(
        (first.reads, first.writes),
        (vec![read(DEVICE + 0x20, 4)], vec![write(DEVICE + 0x40, 4, 5)])
    );
    assert_eq!((first.end, first.guest.general[RCX]), (Ok(0x1000), 1));
    let second = run(TestGuest { rflags: 2 | DF, ..first.guest }, &[0xf3, 0xa5], &[6]);
    assert_eq!((second.end, second.guest.general[RCX]), (Ok(0x1002), 0));
    assert_eq!(second.guest.general[RSI], DEVICE + 0x20);
    let none = run(second.guest, &[0xf3, 0xa5], &[]);
    assert_eq!((none.end, none.writes), (Ok(0x1002), vec![]));
}

#[test]
fn a_comparison_reads_both_devices_the_source_first() {
    let mut strings = guest();
    strings.general[RSI] = DEVICE;
    strings.general[RDI] = DEVICE + 0x1000 - 2;
    strings.general[RCX] = 9;
    // repe cmpsd
    let run = run(strings, &[0xf3, 0xa7], &[0x0403_0201, 0x0201, 0x0503]);
    assert_eq!(run.reads, [read(DEVICE, 4), read(DEVICE + 0xffe, 2), read(DEVICE + 0x1000, 2)]);
    assert_eq!((run.end, run.guest.general[RCX], run.guest.rflags & ZF), (Ok(0x1002), 8, 0));
}

#[test]
fn port_strings_check_memory_before_the_port() {
    let mut strings = guest();
    strings.general[RDX] = 0x3f8;
    strings.general[RDI] = DEVICE;
    let input = run(strings.clone(), &[0x6d], &[0x1234_5678]);
    assert_eq!(input.reads, [Read::Port { port: 0x3f8, size: 4 }]);
    assert_eq!(input.writes, [write(DEVICE, 4, 0x1234_5678)]);
    strings.general[RDI] = 1 << 47;
    let refused = run(strings.clone(), &[0x6d], &[]);
    assert_eq!((refused.end, refused.reads), (Err(Exception::GENERAL_PROTECTION), vec![]));
    strings.general[RSI] = DEVICE;
    let output = run(strings, &[0x66, 0x6f], &[0xabcd]);
    assert_eq!(output.writes, [Write::Port { port: 0x3f8, size: 2, value: 0xabcd }]);
}

#[test]
fn a_stack_in_a_device_is_pushed_to_and_popped_from() {
    let mut stack = guest();
    stack.general[RSP] = DEVICE + 0x10;
    stack.general[RAX] = 0x55;
    let pushed = run(stack.clone(), &[0x50], &[]);
    assert_eq!(pushed.writes, [write(DEVICE + 8, 8, 0x55)]);
    assert_eq!(pushed.guest.general[RSP], DEVICE + 8);
    // pop [rsp]: the address is of what RSP is then
    let popped = run(stack.clone(), &[0x8f, 0x04, 0x24], &[7]);
    assert_eq!(
        (popped.reads, popped.writes),
        (vec![read(DEVICE + 0x10, 8)], vec![write(DEVICE + 0x18, 8, 7)])
    );
    // call +0x10; ret 8
    let called = run(stack.clone(), &[0xe8, 0x10, 0, 0, 0], &[]);
    assert_eq!((called.end, called.writes), (Ok(0x1015), vec![write(DEVICE + 8, 8, 0x1005)]));
    let returned = run(stack, &[0xc2, 8, 0], &[0x4000]);
    assert_eq!((returned.end, returned.guest.general[RSP]), (Ok(0x4000), DEVICE + 0x20));
}

#[test]
fn a_fault_leaves_everything_as_it_was() {
    let mut divided = guest();
    divided.general[RDI] = DEVICE;
    divided.general[RAX] = 7;
    // div dword ptr [rdi], by 0
    let run_ = run(divided.clone(), &[0xf7, 0x37], &[0]);
    assert_eq!((run_.end, run_.guest), (Err(Exception::DIVIDE), divided.clone()));
    // movdqa [rdi], xmm0 at no multiple of 16; fs is not at 0
    divided.general[RDI] = DEVICE + 8;
    let run_ = run(divided, &[0x66, 0x0f, 0x7f, 0x07], &[]);
    assert_eq!((run_.end, run_.writes), (Err(Exception::GENERAL_PROTECTION), vec![]));
}

/// 32-bit code whose data segment is this.
fn segmented(access: u32, limit: u32, offset: u64, index: usize) -> Result<u64, Exception> {
    let mut guest = TestGuest { code_bits: 32, ..guest() };
    guest.segments[index] = Segment { base: 0x100, limit, access, ..Segment::default() };
    guest.general[RDI] = offset;
    // mov es:[edi], eax or mov ss:[edi], eax
    let prefix = if index == segment::SS { 0x36 } else { 0x26 };
    run(guest, &[prefix, 0x89, 0x07], &[]).end
}

#[test]
fn segments_have_limits_and_types() {
    const DATA: u32 = 0x4093;
    const EXPAND_DOWN: u32 = 0x4097;
    const SMALL_EXPAND_DOWN: u32 = 0x97;
    const CODE: u32 = 0x409b;
    const READ_ONLY: u32 = 0x4091;
    const NULL: u32 = 0x1_0000;
    let refused = Err(Exception::GENERAL_PROTECTION);
    let es = |access, limit, offset| segmented(access, limit, offset, segment::ES);
    assert_eq!(es(DATA, 0xfff, 0xffc), Ok(0x1003));
    assert_eq!(es(DATA, 0xfff, 0xffd), refused);
    assert_eq!(es(DATA, u32::MAX, 0xffff_fffd), refused);
    assert_eq!(es(EXPAND_DOWN, 0xfff, 0xfff), refused);
    assert_eq!(es(EXPAND_DOWN, 0xfff, 0x1000), Ok(0x1003));
    assert_eq!(es(SMALL_EXPAND_DOWN, 0xfff, 0xfffd), refused);
    for access in [CODE, READ_ONLY, NULL] {
        assert_eq!(es(access, u32::MAX, 0), refused, "{access:#x}");
    }
    assert_eq!(segmented(DATA, 0xfff, 0xffd, segment::SS), Err(Exception::STACK));
    // Real mode asks for the limit alone.
    let mut real = TestGuest { code_bits: 16, ..guest() };
    real.paging.cr0 = 0;
    real.segments[segment::DS] =
        Segment { base: 0x100, limit: 0xffff, access: CODE, ..Segment::default() };
    real.general[RDI] = 0xfff0;
    assert_eq!(run(real.clone(), &[0x89, 0x05], &[]).end, Ok(0x1002));
    real.general[RDI] = 0xffff;
    assert_eq!(run(real, &[0x89, 0x05], &[]).end, refused);
}

#[test]
fn page_faults_come_with_the_address_that_faults() {
    // RAM at 0x1000 is a page table whose first page is there and whose second is not.
    let mut paged = guest();
    paged.paging = vmm_common::x86::paging::Paging {
        cr0: 1 << 31 | 1 << 16 | 1,
        cr3: 0x1000,
        cr4: 1 << 4,
        efer: 0,
        ..NO_PAGING
    };
    paged.code_bits = 32;
    paged.ram.write(0x1000, &0x1003_u64.to_le_bytes());
    paged.general[RDI] = 0x1ffe;
    paged.ram.write(0x1004, &0x0003_u32.to_le_bytes());
    let faulted = run(paged.clone(), &[0x89, 0x07], &[]);
    assert_eq!(faulted.end, Err(Exception::page_fault(2, 0x2000)));
    paged.cpl = 3;
    let faulted = run(paged, &[0x89, 0x07], &[]);
    assert_eq!(faulted.end, Err(Exception::page_fault(7, 0x1ffe)));
}

#[test]
fn what_the_processor_has_translated_is_not_looked_up_again() {
    let mut guest = guest();
    // Page tables that map nothing.
    guest.paging.cr0 = 1 << 31 | 1;
    guest.general[RDI] = 0x7f00_0000_0034;
    let instruction = decode(64, &[0x8b, 0x07, 0x90]).expect("a load");
    let carried = |guest: &mut TestGuest, address, is_write| {
        carry_out(guest, &instruction, &Reads::NONE, Some(Resolved { address, is_write }))
    };
    let wants = Outcome::Wants(read(DEVICE + 0x34, 4));
    assert_eq!(carried(&mut guest, DEVICE + 0x34, false), wants);
    // Another access, such as that of a page table, or the second page of two.
    let fault = Outcome::Exception(Exception::page_fault(0, 0x7f00_0000_0034));
    assert_eq!(carried(&mut guest, DEVICE + 0x38, false), fault);
    assert_eq!(carried(&mut guest, DEVICE + 0x34, true), fault);
}

#[test]
fn what_is_not_carried_out_is_told_apart() {
    // fld dword ptr [rdi]; lgdt [rdi]; vmovdqu ymm0, [rdi]; add eax, ebx
    for bytes in [&[0xd9, 0x07][..], &[0x0f, 0x01, 0x17], &[0xc5, 0xfe, 0x6f, 0x07], &[1, 0xd8]] {
        assert_eq!(decode(64, &[bytes, &[0x90; 15]].concat()), Err(Refusal::Unknown), "{bytes:x?}");
    }
}
