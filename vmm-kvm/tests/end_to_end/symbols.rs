//! Names in dumps: from a kernel, from a file beside it, and from one of another build.

use crate::harness::{Finished, Tandem};
use std::path::Path;
use std::process::Command;
use xtask::kernels;

const TRACE: &str = "[left]   call trace: write_bad+0x";

/// `write64` in the run's folder, and what binutils make of it.
fn run(vm: &str, tools: &[&[&str]]) -> Finished {
    let run = Tandem::run_text(&format!("vms: [{{name: left, {vm}, memory: 8MiB}}]"));
    let kernel = kernels::build().expect("there is a C compiler").join("write64.elf");
    let kernel = std::fs::read(kernel).expect("it was built");
    run.scratch().file("write64.elf", kernel);
    let folder = run.scratch().path("");
    tools.iter().for_each(|words| tool(&folder, words));
    run.finish().ended_with(1).adds_up().shows("[left stopped: triple fault]")
}

fn tool(folder: &Path, words: &[&str]) {
    let mut command = Command::new(words[0]);
    let output = command.current_dir(folder).args(&words[1..]).output().expect("binutils");
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    if words[0] == "nm" {
        std::fs::write(folder.join("System.map"), output.stdout).expect("the run's folder");
    }
}

#[test]
fn a_kernel_names_its_own_functions_and_lines() {
    run("kernel: ./write64.elf", &[]).shows(TRACE).shows(" (write64.c:");
}

#[test]
fn a_stripped_kernel_has_the_names_of_the_file_beside_it() {
    const STRIP: &[&str] = &["objcopy", "--strip-all", "write64.elf", "stripped.elf"];
    let stripped = run("kernel: ./stripped.elf", &[STRIP]);
    let stripped = stripped.shows("[left]   call trace: 0x");
    assert!(!stripped.output.contains("write_bad"), "{}", stripped.shown());
    let named = run("kernel: ./stripped.elf, symbols: ./write64.elf", &[STRIP]);
    let named = named.shows(TRACE).shows(" (write64.c:");
    assert!(!named.output.contains("another build"), "{}", named.shown());
    let mapped =
        run("kernel: ./stripped.elf, symbols: ./System.map", &[STRIP, &["nm", "write64.elf"]]);
    let mapped = mapped.shows(TRACE);
    assert!(!mapped.output.contains("write64.c:"), "{}", mapped.shown());
}

#[test]
fn names_of_another_build_are_told() {
    const OTHER: &[&str] =
        &["objcopy", "--update-section", ".note.gnu.build-id=id", "write64.elf", "other.elf"];
    // A note of the same form (ELF, "Note Section"): name GNU, type 3, 20 bytes.
    const NOTE: &[&str] = &[
        "sh",
        "-c",
        "printf '\\004\\000\\000\\000\\024\\000\\000\\000\\003\\000\\000\\000GNU\\000' >id; \
         printf '%020d' 7 >>id",
    ];
    let run = run("kernel: ./write64.elf, symbols: ./other.elf", &[NOTE, OTHER]);
    run.shows("[left]   the names are of another build: 3030").shows(TRACE);
}

#[test]
fn a_file_that_names_nothing_is_no_reason_not_to_run() {
    const EMPTY: &[&str] = &["sh", "-c", "head -c 300 /dev/zero >nothing"];
    let run = run("kernel: ./write64.elf, symbols: ./nothing", &[EMPTY]);
    run.shows("[left]   call trace: 0x").shows(": mov dword ptr [rax], 1");
}
