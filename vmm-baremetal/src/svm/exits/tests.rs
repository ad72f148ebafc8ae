use super::*;
use crate::guest::vendor::MemoryAccess;

fn instruction(code_bits: u8, start: &[u8]) -> Instruction {
    let mut bytes = [0x90; INSTRUCTION_BYTES];
    bytes[..start.len()].copy_from_slice(start);
    Instruction { bytes, len: INSTRUCTION_BYTES, code_bits }
}

fn none() -> Instruction {
    panic!("no need for the instruction")
}

fn exit(code: u64, info1: u64, info2: u64) -> Event {
    decode(&Exit { code, info1, info2, interrupt_info: 0 })
}

#[test]
fn plain_in_of_a_byte_and_out_of_four() {
    let event = PortEvent { port: 0x3f8, size: 1, is_in: true, string: None };
    assert_eq!(port(0x03f8_0011, none), event);
    let event = PortEvent { port: 0xf4, size: 4, is_in: false, string: None };
    assert_eq!(port(0x00f4_0040, none), event);
}

#[test]
fn rep_outs_takes_its_segment_from_the_prefix() {
    let rep_fs_outsb = instruction(32, &[0xf3, 0x64, 0x6e]);
    // STR, REP, SZ8, A32; no segment, as without decode assists.
    let event = port(0x03f8_011c, || rep_fs_outsb);
    let operand = StringOperand { segment: segment::FS, address_bits: 32, is_repeated: true };
    let expected = PortEvent { port: 0x3f8, size: 1, is_in: false, string: Some(operand) };
    assert_eq!(event, expected);
}

#[test]
fn ins_goes_to_es_whatever_the_prefix() {
    let fs_insw = instruction(16, &[0x64, 0x6d]);
    let event = port(0x01f0_00a5, || fs_insw);
    let operand = StringOperand { segment: segment::ES, address_bits: 16, is_repeated: false };
    assert_eq!((event.size, event.string), (2, Some(operand)));
}

#[test]
fn address_size_that_the_exit_lacks_follows_from_the_instruction() {
    let bits = |code_bits, bytes: &[u8]| {
        let instruction = instruction(code_bits, bytes);
        let event = port(0x03f8_0014, || instruction);
        event.string.expect("a string").address_bits
    };
    assert_eq!(bits(64, &[0x6e]), 64);
    assert_eq!(bits(64, &[0x67, 0x6e]), 32);
    assert_eq!(bits(32, &[0x6e]), 32);
    assert_eq!(bits(32, &[0x67, 0x6e]), 16);
    assert_eq!(bits(16, &[0x6e]), 16);
    assert_eq!(bits(16, &[0x67, 0x6e]), 32);
}

#[test]
fn prefixes_are_counted_and_the_last_segment_counts() {
    let found = instruction(32, &[0x26, 0x66, 0x2e, 0x0f, 0xa2]).prefixes();
    let expected = Prefixes {
        len: 3,
        segment: Some(segment::CS),
        has_operand_size: true,
        ..Prefixes::default()
    };
    assert_eq!(found, expected);
    // 64-bit: DS is without effect, REX counts as a prefix.
    let found = instruction(64, &[0x65, 0x3e, 0x48, 0x0f, 0x30]).prefixes();
    let expected = Prefixes { len: 3, segment: Some(segment::GS), ..Prefixes::default() };
    assert_eq!(found, expected);
    // 32-bit: 48 is an opcode.
    assert_eq!(instruction(32, &[0x48]).prefixes(), Prefixes::default());
}

#[test]
fn prefixes_end_where_the_bytes_do() {
    let cut = Instruction { len: 1, ..instruction(16, &[0x66, 0x66, 0x6e]) };
    assert_eq!(cut.prefixes().len, 1);
}

#[test]
fn the_operand_of_a_write_to_a_control_register_is_found() {
    let check = |bits, bytes: &[u8], expected: Option<(usize, bool)>| {
        let found = instruction(bits, bytes).control_register_write();
        assert_eq!(found.map(|w| (w.general, w.is_status_word)), expected, "{bytes:x?}");
    };
    check(64, &[0x0f, 0x22, 0xe0], Some((0, false)));
    check(64, &[0x41, 0x0f, 0x22, 0xe7], Some((15, false)));
    check(64, &[0x44, 0x0f, 0x22, 0xc3], Some((3, false)));
    check(16, &[0x66, 0x0f, 0x22, 0xc1], Some((1, false)));
    check(16, &[0x0f, 0x01, 0xf2], Some((2, true)));
    // 32-bit: 41 is an opcode. A MOV from CR4; LMSW of memory; SMSW.
    check(32, &[0x41, 0x0f, 0x22, 0xe7], None);
    check(32, &[0x0f, 0x20, 0xe0], None);
    check(32, &[0x0f, 0x01, 0x30], None);
    check(32, &[0x0f, 0x01, 0xe0], None);
    let cut = Instruction { len: 2, ..instruction(64, &[0x0f, 0x22, 0xe0]) };
    assert_eq!(cut.control_register_write(), None);
}

#[test]
fn the_operand_of_a_read_of_a_control_register_is_found() {
    let check = |bits, bytes: &[u8], expected: Option<(usize, u8)>| {
        let found = instruction(bits, bytes).control_register_read();
        assert_eq!(found.map(|read| (read.general, read.bytes)), expected, "{bytes:x?}");
    };
    check(64, &[0x0f, 0x20, 0xc0], Some((0, 8)));
    check(64, &[0x41, 0x0f, 0x20, 0xe7], Some((15, 8)));
    check(16, &[0x0f, 0x20, 0xc1], Some((1, 4)));
    // SMSW of a register, of each size.
    check(16, &[0x0f, 0x01, 0xe2], Some((2, 2)));
    check(16, &[0x66, 0x0f, 0x01, 0xe2], Some((2, 4)));
    check(32, &[0x66, 0x0f, 0x01, 0xe2], Some((2, 2)));
    check(64, &[0x48, 0x0f, 0x01, 0xe2], Some((2, 8)));
    check(64, &[0x0f, 0x01, 0xe2], Some((2, 4)));
    // SMSW of memory; LMSW; a MOV to CR0.
    check(16, &[0x0f, 0x01, 0x26], None);
    check(16, &[0x0f, 0x01, 0xf2], None);
    check(16, &[0x0f, 0x22, 0xc0], None);
}

#[test]
fn nested_page_fault_is_an_access_to_no_ram() {
    let memory = |access| Event::Memory { address: 0xfee0_00b0, access };
    // As hardware reports it (GPA, user) and as QEMU does.
    assert_eq!(exit(0x400, 0x1_0000_0006, 0xfee0_00b0), memory(MemoryAccess::Write));
    assert_eq!(exit(0x400, 0x1_0000_0004, 0xfee0_00b0), memory(MemoryAccess::Read));
    assert_eq!(exit(0x400, 0x1_0000_0014, 0xfee0_00b0), memory(MemoryAccess::Fetch));
    assert_eq!(exit(0x400, 0x2_0000_0006, 0xfee0_00b0), memory(MemoryAccess::PageTable));
}

#[test]
fn nested_page_fault_of_a_delivery_stops_the_vm_in_words() {
    let stopped = Event::Fault(Fault::DeliveryOutsideRam { address: 0xfee0_0000 });
    let exit =
        Exit { code: 0x400, info1: 0x1_0000_0006, info2: 0xfee0_0000, interrupt_info: 0x8000_0030 };
    assert_eq!(decode(&exit), stopped);
}

#[test]
fn the_other_exits() {
    assert_eq!(exit(0x7c, 0, 0), Event::ReadMsr);
    assert_eq!(exit(0x7c, 1, 0), Event::WriteMsr);
    assert_eq!(exit(0x60, 0, 0), Event::HostInterrupt);
    assert_eq!(exit(0x64, 0, 0), Event::Window);
    assert_eq!(exit(0x7f, 0, 0), Event::Shutdown);
    assert_eq!(exit(0x81, 0, 0), Event::Hypercall);
    assert_eq!(exit(0x7d, 0, 0), Event::Fault(Fault::Unexpected { exit: 0x7d }));
    let refused = Fault::EntryFailed { reason: u64::MAX };
    assert_eq!(exit(u64::MAX, 0, 0), Event::Fault(refused));
    // As QEMU reports it.
    let refused = Fault::EntryFailed { reason: 0xffff_ffff };
    assert_eq!(exit(0xffff_ffff, 0, 0), Event::Fault(refused));
    assert_eq!((name(u64::MAX), name(0x400), name(0x1f)), ("INVALID", "NPF", "not intercepted"));
}
