//! A real gdb on one of two VMs, from its first instruction to its end, on every target.

use crate::targets::{Target, configs};
use crate::transcript;
use serde_json::Value;
use std::path::PathBuf;

/// What the session does to the guest OS. Each command prints what is compared.
const SESSION: [&str; 34] = [
    // It stands at its first instruction, in 32-bit code.
    "printf \"first %d\\n\", $pc == (unsigned long)&entry32",
    "printf \"long %d\\n\", ($efer >> 10) & 1",
    "stepi",
    "printf \"stepped %d\\n\", $pc - (unsigned long)&entry32",
    // Software breakpoints, which memory does not show.
    "set breakpoint always-inserted on",
    "break *(unsigned long)&guest_main",
    "continue",
    "printf \"main %d\\n\", $pc == (unsigned long)&guest_main",
    "printf \"byte %#x\\n\", *(unsigned char *)&guest_main",
    "printf \"long %d paged %d\\n\", ($efer >> 10) & 1, ($cr0 >> 31) & 1",
    "printf \"segments %#x %#x\\n\", $cs, $ss",
    // Registers, of integers and vectors, stay as they are set.
    "set $saved = $r14",
    "set $r14 = 0x123456789abcdef0",
    "set $xmm3.v2_int64[1] = 0x55aa",
    "stepi",
    "printf \"r14 %#lx xmm3 %#lx\\n\", $r14, $xmm3.v2_int64[1]",
    "set $r14 = $saved",
    // Memory: the guest prints what is put there.
    "find /b 0x100000, 0x113000, 'T', 'a', 'n', 'd', 'e', 'm', ' ', 'g'",
    "set {char}$_ = 'R'",
    "printf \"text %s\\n\", (char *)$_",
    // No such memory.
    "x/b 0x7000000000",
    // A store that is watched: what the next instruction pushes.
    "stepi",
    "watch *(long *)($sp - 8)",
    "continue",
    "delete",
    "printf \"threads %d\\n\", $_thread",
    // A hardware breakpoint, on the way of every interrupt.
    "hbreak *(unsigned long)&trap_common",
    "continue",
    "printf \"trap %d\\n\", $pc == (unsigned long)&trap_common",
    "delete",
    "monitor vms",
    "monitor exits",
    "monitor nonsense",
    "continue",
];

/// The built-in guest with its symbols.
fn symbols() -> PathBuf {
    PathBuf::from(guests::BUILT).join("os.elf")
}

fn says(said: &str, text: &str) {
    assert!(said.contains(text), "{text:?} is missing:\n{said}");
}

fn check(target: Target, before: &[&str]) {
    let commands: Vec<&str> = before.iter().copied().chain(SESSION).collect();
    let (outcome, said) = target.run_debugged("two", ("left", &symbols()), &commands);
    for text in [
        "first 1",
        "long 0",
        "stepped 1",
        "main 1",
        // PUSH RBP or a REX prefix, not INT3.
        "byte 0x55",
        "long 1 paged 1",
        "segments 0x8 0x10",
        "r14 0x123456789abcdef0 xmm3 0x55aa",
        "text Randem guest OS",
        "Cannot access memory at address 0x7000000000",
        "atchpoint 2: *(long *)($sp - 8)",
        "New value = ",
        "threads 1",
        "trap 1",
        "* left: held, 1 vCPU",
        "right: ",
        " debug\n",
        "no command \"nonsense\"; commands: vms, devices, exits, link, receipt",
        "exited normally",
    ] {
        says(&said, text);
    }
    // The guest did all that it does, with the text that it was given.
    let lines = transcript::of(&outcome.console, "left");
    assert!(lines.iter().any(|line| line.starts_with("Randem guest OS")), "{lines:?}");
    assert!(lines.iter().any(|line| line == "usertests: all passed"), "{lines:?}");
    // Its neighbour noticed nothing: not even of a breakpoint in code that both have.
    let plain = target.run_file(&configs().join("two.yml"), &[]);
    let [alone, beside] = [&plain, &outcome].map(|it| transcript::of(&it.console, "right"));
    assert_eq!(alone, beside);
    let of = |vm: &str| {
        let vms = outcome.receipt["vms"].as_array().expect("a receipt has VMs");
        vms.iter().find(|it| it["name"] == vm).expect("it has this one").clone()
    };
    let number = |vm: &Value, key: &str| vm[key].as_u64().expect("a number");
    assert!(number(&of("left"), "held_ns") > 0, "{:#}", of("left"));
    assert_eq!(number(&of("right"), "held_ns"), 0, "{:#}", of("right"));
    assert_eq!(of("right")["is_success"], true);
    assert_eq!(outcome.exit, 0, "{}", outcome.console);
}

/// A KVM that interprets ring 0 does not report stores that debug registers watch: gdb steps.
#[test]
fn gdb_debugs_one_of_two_vms_over_kvm() {
    check(Target::Kvm, &["set can-use-hw-watchpoints 0"]);
}

#[test]
fn gdb_debugs_one_of_two_vms_on_vmx() {
    check(Target::VmxBochs, &[]);
}

#[test]
fn gdb_debugs_one_of_two_vms_on_svm_in_qemu() {
    check(Target::SvmQemu, &[]);
}

#[test]
fn gdb_debugs_one_of_two_vms_on_svm_in_bochs() {
    check(Target::SvmBochs, &[]);
}
