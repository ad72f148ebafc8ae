//! Names for lines, from files that are made here.

use crate::map::{Symbol, SymbolMap};
use crate::{Annotator, Names, lines};
use std::fs;
use std::path::PathBuf;
use vmm_common::index::VmIndex;
use vmm_common::plan::Plan;
use vmm_common::seed::{SeedVm, to_plan};

const MAP: &str = "0000000000100000 T _start\n0000000000100010 t kmain\n0000000000100200 D data\n";

/// A plan of the VM `left`, whose names are in a file with these bytes.
fn plan(file: &str, bytes: &[u8]) -> (Plan, PathBuf) {
    let path = std::env::temp_dir().join(format!("tandem-{}-{file}", std::process::id()));
    fs::write(&path, bytes).expect("a file for a test");
    let vm = SeedVm { id: 0, memory: 1 << 24, vcpu_count: 1, io_apic: 1, hpet: 0, local_apic: 1 };
    let mut plan = to_plan(&[vm]);
    plan.vms[0].name = "left".into();
    plan.vms[0].boot.symbols = Some(path.display().to_string());
    (plan, path)
}

fn names(file: &str, bytes: &[u8]) -> Names {
    let (plan, path) = plan(file, bytes);
    let names = Names::open(&plan);
    // What was opened stays.
    fs::remove_file(path).expect("it was just made");
    names
}

#[test]
fn a_system_map_names_functions_and_not_data() {
    let names = names("map", MAP.as_bytes());
    let said = |line: &str| names.annotate(VmIndex(0), line);
    assert_eq!(said("#UD at 0x100015: 64-bit code 0f 0b"), "#UD at kmain+0x5: ud2\n");
    assert_eq!(said("call trace: 0x100015 <- 0x100010"), "call trace: kmain+0x5 <- _start+0x10\n");
    assert_eq!(said("stack at 0x7000: 1 100012"), "stack at 0x7000: 1 100012 (kmain+0x2)\n");
    // A jump to a function, and to nowhere that is named.
    let jump = said("ran at 0x100015: 64-bit code eb f9");
    assert_eq!(jump, "ran at kmain+0x5: jmp short kmain\n");
    let jump = said("ran at 0x200100: 64-bit code e9 00 ff ef ff");
    assert_eq!(jump, "ran at 0x200100: jmp _start+0x5\n");
    // What is no address of code stays as it is.
    for line in ["rip 0000000000100015  rflags 2", "at 0x", "page fault (write to 0x100015) at 0xg"]
    {
        assert_eq!(said(line), format!("{line}\n"));
    }
}

#[test]
fn files_that_name_nothing_change_nothing_but_the_instruction() {
    for bytes in [&b""[..], b"\x7fELF", b"\x7fELF\x02\x01\x01", b"100000 T\n", &[0xff; 100]] {
        let names = names("nothing", bytes);
        let said = names.annotate(VmIndex(0), "#UD at 0x100015: 64-bit code 0f 0b\nr8 1");
        assert_eq!(said, "#UD at 0x100015: ud2\nr8 1\n");
    }
    assert_eq!(Names::default().annotate(VmIndex(3), "int 0x80 at 0x1"), "int 0x80 at 0x1\n");
}

#[test]
fn elf_files_cut_and_changed_anywhere_are_no_panic() {
    let own = fs::read("/proc/self/exe").expect("this program");
    // Its headers, and what they say of the rest.
    for at in (0..512).step_by(7) {
        let mut bytes = own[..own.len().min(1 << 20)].to_vec();
        bytes[at] ^= 0xff;
        let named = names("cut", &bytes).annotate(VmIndex(0), "call trace: 0x100 <- 0x200");
        assert!(named.starts_with("call trace: "), "{named}");
    }
}

#[test]
fn a_symbol_with_a_size_ends() {
    let symbol = |address, size, name: &str| Symbol { address, size, name: name.into() };
    let map =
        SymbolMap::new(vec![symbol(0x20, 8, "b"), symbol(0x10, 0, "a"), symbol(0x20, 0, "l")]);
    let found = |address| map.find(address).map(|symbol| symbol.name.as_str());
    assert_eq!([found(0xf), found(0x10), found(0x1f)], [None, Some("a"), Some("a")]);
    assert_eq!([found(0x20), found(0x27), found(0x28)], [Some("b"), Some("b"), None]);
}

const CONSOLE: &str = "left | [left]   at 0x100015: 64-bit code f4\n\
    [left]   #UD at 0x100015: 64-bit code 0f 0b\r\n[left.0]   call trace: 0x100015\n\
    [right]   ran at 0x100015: 64-bit code f4\n[left stopped]\nleft | $ ";
const NAMED: &str = "left | [left]   at 0x100015: 64-bit code f4\n\
    [left]   #UD at kmain+0x5: ud2\r\n[left.0]   call trace: kmain+0x5\n\
    [right]   ran at 0x100015: 64-bit code f4\n[left stopped]\nleft | $ ";

#[test]
fn lines_about_a_vm_are_named_wherever_chunks_end() {
    for len in [1, 2, 7, 1000] {
        let mut annotator = Annotator::new(names(&format!("chunks{len}"), MAP.as_bytes()));
        let chunks = CONSOLE.as_bytes().chunks(len);
        let mut all: Vec<u8> = chunks.flat_map(|chunk| annotator.annotate(chunk)).collect();
        assert!(all.ends_with(b"$ "), "a prompt is not held back");
        all.extend(annotator.finish());
        assert_eq!(String::from_utf8_lossy(&all), NAMED, "chunks of {len}");
    }
}

#[test]
fn a_terminals_sequences_before_a_line_pass() {
    let mut annotator = Annotator::new(names("terminal", MAP.as_bytes()));
    let shown = annotator.annotate(b"\x1b[1A\r\x1b[J[left]   ran at 0x100010: 64-bit code f4\r\n");
    assert_eq!(String::from_utf8_lossy(&shown), "\x1b[1A\r\x1b[J[left]   ran at kmain: hlt\r\n");
}

#[test]
fn code_of_each_width_and_nonsense() {
    let said = lines::without_names;
    assert_eq!(said("ran at 0x1000: 16-bit code eb fe"), "ran at 0x1000: jmp short 0x1000\n");
    assert_eq!(said("ran at 0x1000: 64-bit code ff ff"), "ran at 0x1000: (bad)\n");
    for line in ["ran at 0x1: 65-bit code 90", "ran at 0x1: 64-bit code xy", "ran at 0x1: "] {
        assert_eq!(said(line), format!("{line}\n"));
    }
}
