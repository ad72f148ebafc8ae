//! Kernels that go wrong in one known way each (`tests/kernels`): what is said of them names the
//! function, the line, the first exception and the reason, in the same words on every target. QEMU
//! without Tandem is the witness of the exception and of its address.

use crate::targets::{Outcome, Target};
use std::fmt::Write;
use std::fs;
use std::time::Duration;
use xtask::emulate::Typed;
use xtask::emulate::alone::{self, Kernel};
use xtask::kernels;
use xtask::scratch::Scratch;

/// QEMU runs those that hang until then.
const WITNESS: Duration = Duration::from_secs(20);
const EXIT_STOPPED: i32 = 1;

/// Kernels that hang, and what says that each is there.
const HANGS: &[(&str, &str)] = &[
    ("halt32", "[halt32 sleeps: nothing can wake it: no timer armed, IRQ4 masked at the 8259]"),
    ("locks32", "locks32: both hold one"),
    ("spin64", "spin64: waiting"),
];

/// What is said of each that crashes, up to its stack. In it `@` stands for what depends on the
/// compiler, offsets and addresses within the kernel; and for the line that its source marks.
#[rustfmt::skip]
const CRASHES: &[(&str, &[&str])] = &[
    ("bug64", &[
        "#UD at put+@ (bug64.c:@): ud2",
        "then #NP(0x33) while delivering #UD: the IDT's gate 6 is not present",
        "then #NP(0x5b) while delivering #NP: the IDT's gate 11 is not present; a double fault",
        "then #NP(0x43) while delivering #DF: the IDT's gate 8 is not present; a triple fault",
        "call trace: put+@ <- kmain+@ <- _start+@",
    ]),
    ("canonical64", &[
        "#GP (0xdead000000000108 is no canonical address) at sum+@ (canonical64.c:@): mov rax, \
            [rax+8]",
        "then #GP while delivering it: the IDT has no gate 13 (limit 0), then a triple fault",
        "call trace: sum+@ <- kmain+@ <- _start+@",
    ]),
    ("divide32", &[
        "#DE at average+@ (divide32.c:@): idiv dword ptr [ebp+@]",
        "then #GP(0x3) while delivering #DE: the IDT's entry 0 is no gate (0x0); a double fault",
        "then #GP(0x43) while delivering #DF: the IDT's entry 8 is no gate (0x0); a triple fault",
        "call trace: average+@ <- kmain+@ <- _start+@",
    ]),
    ("execute64", &[
        "page fault (fetch from @, the page is no-execute, level 1 entry @) at @: ret",
        "then #GP while delivering it: the IDT has no gate 14 (limit 0), then a triple fault",
        "call trace: @ <- run+@ (execute64.c:@) <- kmain+@ <- _start+@",
    ]),
    ("nowhere32", &[
        "no RAM, and no instruction at 0x40000000",
        "call trace: 0x40000000 <- start_all+@ (nowhere32.c:@) <- kmain+@ <- _start+@",
    ]),
    ("null32", &[
        "page fault (write to 0x4, level 1 entry not present) at set_state+@ (null32.c:@): mov \
            [eax+4], edx",
        "then #GP while delivering it: the IDT has no gate 14 (limit 0), then a triple fault",
        "call trace: set_state+@ <- kmain+@ <- _start+@",
    ]),
    ("overflow64", &[
        "page fault (write to @, level 1 entry not present) at depth+@ (overflow64.c:@): call \
            depth",
        "then page fault (write to @, level 1 entry not present) while delivering #PF: the stack \
            that its frame goes to; a double fault",
        "then page fault (write to @, level 1 entry not present) while delivering #DF: the stack \
            that its frame goes to; a triple fault",
        "call trace: depth+@ <- depth+@ (@ times) <- kmain+@ <- _start+@",
    ]),
    ("readonly64", &[
        "page fault (write to @, the page is read-only, level 1 entry @) at raise_limit+@ \
            (readonly64.c:@): mov [rax], edx",
        "then #GP while delivering it: the IDT has no gate 14 (limit 0), then a triple fault",
        "call trace: raise_limit+@ <- kmain+@ <- _start+@",
    ]),
    ("reserved64", &[
        "page fault (read of 0x200000, a reserved bit is set in the level 2 entry, 0x302083) at \
            probe+@ (reserved64.c:@): mov eax, [rax]",
        "then #GP while delivering it: the IDT has no gate 14 (limit 0), then a triple fault",
        "call trace: probe+@ <- kmain+@ <- _start+@",
    ]),
    ("return32", &[
        "no RAM, and no instruction at 0x41414141",
        "a RET took 0x41414141 from the stack",
        "call trace: 0x41414141",
    ]),
    ("segment32", &[
        "#GP(0x50) at set_data_segment+@ (segment32.c:@): mov ds, ax",
        "then #GP while delivering it: the IDT has no gate 13 (limit 0), then a triple fault",
        "call trace: set_data_segment+@ <- kmain+@ <- _start+@",
    ]),
    ("timer64", &[
        "interrupt 0x20 at idle+@ (timer64.c:@): jmp short idle+@",
        "then #GP(0x103) while delivering vector 0x20: the IDT has no gate 32 (limit 511)",
        "then #NP(0x6b) while delivering #GP: the IDT's gate 13 is not present; a double fault",
        "then #NP(0x43) while delivering #DF: the IDT's gate 8 is not present; a triple fault",
        "call trace: idle+@ <- kmain+@ <- _start+@",
    ]),
    ("user64", &[
        "page fault (write to @ by ring 3, the page is the supervisor's, level 1 entry @) at \
            user+@ (user64.c:@): mov dword ptr [@], 1",
        "then #SS(0x1) while delivering #PF: the stack that its frame goes to is at \
            0xf000ff53f000ff20, which is no canonical address; a double fault",
        "then #SS(0x1) while delivering #DF: the stack that its frame goes to is at \
            0xf000ff53f000ff20, which is no canonical address; a triple fault",
        "call trace: user+@",
    ]),
    ("write64", &[
        "page fault (write to 0x3dead000, level 2 entry not present) at write_bad+@ \
            (write64.c:@): mov dword ptr [rax], 1",
        "then #GP while delivering it: the IDT has no gate 14 (limit 0), then a triple fault",
        "call trace: write_bad+@ <- kmain+@ <- _start+@",
    ]),
];

/// The KVM of machines without hardware virtualization refuses paging in 32-bit mode.
const NEEDS_32_BIT_PAGING: &str = "null32";

/// Its stack does not say any more which function returned.
const LOSES_ITS_WAY: &str = "return32";

#[test]
fn every_kernel_has_a_line_here() {
    let mut lines: Vec<&str> = CRASHES.iter().map(|(name, _)| *name).collect();
    lines.extend(HANGS.iter().map(|(name, _)| name));
    lines.sort_unstable();
    assert_eq!(kernels::names().expect("the folder is there"), lines);
}

#[test]
fn crashes_and_hangs_are_explained_in_the_same_words_everywhere() {
    for target in [Target::Kvm, Target::VmxBochs, Target::SvmQemu] {
        let outcome = run_all(target);
        let shown = &outcome.console;
        assert_eq!(outcome.exit, EXIT_STOPPED, "{}:\n{shown}", target.name());
        for (name, expected) in CRASHES {
            if *name != NEEDS_32_BIT_PAGING || target != Target::Kvm {
                let said: Vec<String> = explanation(shown, name).map(general).collect();
                assert_eq!(said, *expected, "{name} on {}:\n{shown}", target.name());
                if *name != LOSES_ITS_WAY {
                    check_line(name, shown);
                }
            }
        }
        let first = |name| explanation(shown, name).next().expect("it is explained");
        let asleep = general(first("halt32"));
        let expected = "halted at idle+@ (halt32.c:@); nothing can wake it: no timer armed, IRQ4 \
            masked at the 8259";
        assert_eq!(asleep, expected, "{}:\n{shown}", target.name());
        let spins = general(first("spin64"));
        assert!(spins.starts_with("ran at wait_for_tick+@ (spin64.c:@): "), "{spins}\n{shown}");
        for (vcpu, of) in [("locks32.0", "flush"), ("locks32.1", "evict")] {
            let spins = general(first(vcpu));
            assert!(spins.starts_with("ran at lock+@ (locks32.c:@): "), "{spins}\n{shown}");
            let trace = format!("[{vcpu}]   call trace: lock+@ <- {of}+@ <- ");
            assert!(shown.lines().any(|line| general(line).starts_with(&trace)), "{shown}");
        }
    }
}

/// What QEMU's processor delivers first is what is said here, at the same address.
#[test]
fn plain_qemu_raises_the_same_exception_at_the_same_address() {
    let folder = kernels::build().expect("there is a C compiler");
    let outcome = run_all(Target::SvmQemu);
    for (name, _) in CRASHES {
        let file = folder.join(format!("{name}.elf"));
        let delivered = alone::deliveries(Kernel { file: &file, cmdline: "" }, WITNESS);
        let delivered = delivered.unwrap_or_else(|error| panic!("{name}: {error:#}"));
        let first = explanation(&outcome.console, name).next().expect("it is explained");
        let Some(line) = delivered.first() else {
            // QEMU gives up where it finds no RAM to execute.
            assert!(first.starts_with("no RAM, and no instruction at "), "{name}: {first}");
            continue;
        };
        let value = |key: &str| {
            let rest = line.split_once(key).unwrap_or_else(|| panic!("{name}: {line}")).1;
            let digits = rest.split([' ', ':']).next().expect("a split has a first part");
            u64::from_str_radix(digits, 16).unwrap_or_else(|_| panic!("{name}: {line}"))
        };
        let words = match value("v=") {
            0x00 => "#DE".into(),
            0x06 => "#UD".into(),
            0x0d => "#GP".into(),
            0x0e => {
                let address = value("CR2=");
                assert!(first.contains(&format!(" {address:#x}")), "{name}: {line}: {first}");
                "page fault".into()
            }
            vector => format!("interrupt {vector:#x}"),
        };
        assert!(first.starts_with(&words), "{name}: {line}: {first}");
        let rip = format!("[{name}]   rip {:016x}", value(" pc="));
        assert!(outcome.console.contains(&rip), "{name}: {line}: {rip}\n{}", outcome.console);
    }
}

/// All of them side by side, until those that crash have; then the time is up for the others.
fn run_all(target: Target) -> Outcome {
    let folder = kernels::build().expect("there is a C compiler");
    let mut text = String::from("slice: 1ms\nvms:\n");
    let names = HANGS.iter().map(|(name, _)| name).chain(CRASHES.iter().map(|(name, _)| name));
    for name in names {
        let vcpus = if *name == "locks32" { 2 } else { 1 };
        let file = folder.join(format!("{name}.elf"));
        let vm = format!("name: {name}, kernel: {}, memory: 4MiB", file.display());
        writeln!(text, "  - {{{vm}, vcpus: {vcpus}}}").expect("a string takes all");
    }
    let wait = |after: String| Typed { after, keys: Vec::new() };
    let mut typed: Vec<Typed> = HANGS.iter().map(|(_, says)| wait((*says).into())).collect();
    typed.extend(CRASHES.iter().map(|(name, _)| wait(format!("[{name} stopped"))));
    typed.last_mut().expect("there are some").keys = b"\x01t".into();
    let scratch = Scratch::new().expect("a folder for temporary files");
    let config = scratch.write("kernels.yml", text.as_bytes()).expect("a file in it");
    target.run_file(&config, &typed)
}

/// The lines that explain the stop of a VM, or of one of its vCPUs, up to the stack.
fn explanation<'a>(console: &'a str, of: &str) -> impl Iterator<Item = &'a str> {
    let lead = format!("[{of}]   ");
    let said = console.lines().filter_map(move |line| {
        line.trim_end_matches('\r').strip_prefix(&lead).map(|said| (said, ()))
    });
    said.map(|(said, ())| said).take_while(|said| !said.starts_with("stack at "))
}

/// A line without what depends on the compiler.
fn general(line: &str) -> String {
    let mut general = String::new();
    let mut rest = line;
    while let Some(at) = rest.find("0x") {
        let digits = &rest[at + 2..];
        let len = digits.find(|c: char| !c.is_ascii_hexdigit()).unwrap_or(digits.len());
        let value = u64::from_str_radix(&digits[..len], 16).unwrap_or(0);
        let is_offset = rest[..at].ends_with('+');
        // The kernel's image, with a page's no-execute bit or without.
        let is_within = (0x10_0000..0x20_0000).contains(&(value & !(1 << 63)));
        general += &rest[..at];
        general += if is_offset || is_within { "@" } else { &rest[at..at + 2 + len] };
        rest = &digits[len..];
    }
    general += rest;
    let general = numbers_between(&general, ".c:", ")");
    numbers_between(&general, " (", " times)")
}

/// The text with `@` for each decimal number that lies between these two.
fn numbers_between(text: &str, before: &str, behind: &str) -> String {
    let mut pieces = text.split(before);
    let mut result = String::from(pieces.next().unwrap_or_default());
    for piece in pieces {
        let rest = piece.trim_start_matches(|c: char| c.is_ascii_digit());
        let is_number = rest.len() < piece.len() && rest.starts_with(behind);
        result += before;
        result += &if is_number { format!("@{rest}") } else { piece.into() };
    }
    result
}

/// The first line that is named is the one that the source marks.
fn check_line(name: &str, console: &str) {
    let source = fs::read_to_string(kernels::sources().join(format!("{name}.c")));
    let source = source.expect("it was compiled");
    let marked = source.lines().position(|line| line.contains("WRONG")).expect("one is marked");
    let text: Vec<&str> = explanation(console, name).collect();
    let named = text.join("\n");
    let place = named.split_once(&format!("({name}.c:")).expect("a line is named").1;
    let line: usize = place.split(')').next().and_then(|it| it.parse().ok()).expect("a number");
    assert_eq!(line, marked + 1, "{name}:\n{console}");
}
