//! Machines on which the hypervisor cannot start: it says why, and ends with the exit code of a
//! machine or a plan that is refused.

use crate::targets::kernel;
use std::time::Duration;
use vmm_common::stop::{BAD_PLAN, HOST_REFUSED, SUCCESS};
use xtask::emulate::{self, Accelerator, Emulator, Machine, Report};

/// Far beyond what a start takes: only a hang gets here.
const TIMEOUT: Duration = Duration::from_secs(300);
/// QEMU's usual CPU.
const CPU: &str = "EPYC,+svm,+npt";
/// Longer than any refusal.
const FEW_BYTES: usize = 600;

fn machine(cpu: &str) -> Machine {
    Machine {
        emulator: Emulator::Qemu,
        cpu: Some(cpu.to_owned()),
        accelerator: Accelerator::default(),
        board: None,
        memory_mib: 64,
        timeout: Some(TIMEOUT),
        has_keyboard: false,
        terminal: None,
        has_counted_clock: true,
        is_untagged: false,
        debugger: None,
        words: Vec::new(),
        names: vmm_symbols::Names::default(),
    }
}

fn start(machine: &Machine, module: &[u8]) -> (Report, String) {
    let report = emulate::run(machine, kernel(), module, &mut std::io::sink());
    let report = report.unwrap_or_else(|error| panic!("{error:#}"));
    let console = String::from_utf8_lossy(&report.console).into_owned();
    (report, console)
}

fn check_refused(machine: &Machine, module: &[u8], says: &str, exit: u8) {
    let (report, console) = start(machine, module);
    assert!(console.starts_with("tandem: ") && console.contains(says), "{says}:\n{console}");
    assert!(console.len() < FEW_BYTES, "{console}");
    assert_eq!(report.exit, Some(exit), "{console}");
}

#[test]
fn a_processor_that_cannot_run_it_gets_a_message_with_what_it_lacks() {
    for (feature, says) in [
        ("lm", "a 64-bit mode (CPUID 8000_0001h, EDX bit 29)"),
        ("nx", "no-execute pages, or firmware forbids them"),
        ("apic", "a local APIC, or firmware forbids it"),
        ("fxsr", "FXSAVE and FXRSTOR (CPUID 1, EDX bit 24)"),
    ] {
        let says = format!("tandem: the processor lacks {says}");
        check_refused(&machine(&format!("{CPU},-{feature}")), b"", &says, HOST_REFUSED);
    }
    let says = "the processor has no SVM";
    check_refused(&machine("EPYC,-svm"), two_vms().as_slice(), says, HOST_REFUSED);
}

#[test]
fn a_machine_with_little_memory_gets_a_message_with_how_much_is_needed() {
    for memory_mib in [8, 10] {
        let machine = Machine { memory_mib, ..machine(CPU) };
        check_refused(&machine, &two_vms(), "MiB of memory below 4 GiB", HOST_REFUSED);
    }
}

#[test]
fn a_module_that_is_empty_or_no_plan_is_refused() {
    check_refused(&machine(CPU), b"", "the packed plan has 0 bytes", BAD_PLAN);
    check_refused(&machine(CPU), b"nonsense", "does not begin with its magic", BAD_PLAN);
}

/// By QEMU's counted clock, whose time-stamp counter has 1 GHz.
#[test]
fn the_clock_is_right_without_an_8254_and_refused_without_any() {
    for board in ["q35", "q35,pit=off", "q35,pit=off,hpet=off", "isapc"] {
        let machine = Machine { board: Some(board.to_owned()), ..machine(CPU) };
        let (report, console) = start(&machine, &two_vms());
        let rate =
            |line: &String| line.strip_prefix("tandem-clock: ")?.strip_suffix(" Hz")?.parse().ok();
        let rate: Option<u64> = report.debug.iter().find_map(rate);
        let rate = rate.unwrap_or_else(|| panic!("{board}:\n{console}"));
        assert!(rate.abs_diff(1_000_000_000) < 1_000_000, "{board}: {rate} Hz");
        assert_eq!(report.exit, Some(SUCCESS), "{board}:\n{console}");
    }
    let board = Some(String::from("isapc,pit=off"));
    let machine = Machine { board, ..machine(CPU) };
    check_refused(&machine, &two_vms(), "no clock can be trusted: none counts", HOST_REFUSED);
}

#[test]
fn a_machine_is_switched_off_by_acpi_where_firmware_says_how() {
    let bochs = Machine { emulator: Emulator::Bochs, cpu: None, ..machine(CPU) };
    let qemu = |board: &str| Machine { board: Some(board.to_owned()), ..machine(CPU) };
    for (machine, way) in [
        (bochs, "tandem-off: S5"),
        (qemu("q35"), "tandem-off: S5"),
        (qemu("pc"), "tandem-off: S5"),
        (qemu("isapc"), "tandem-off: by a port of emulators"),
    ] {
        let (report, console) = start(&machine, &two_vms());
        // A machine runs on for a moment, and another way may be tried.
        let first = report.debug.iter().find(|line| line.contains("tandem-off"));
        assert!(first.is_some_and(|line| line.contains(way)), "{machine:?}: {first:?}\n{console}");
        assert_eq!(report.exit, Some(SUCCESS), "{machine:?}\n{console}");
    }
}

/// SeaBIOS leaves a q35's disk controller able to write memory.
#[test]
fn devices_are_no_bus_masters_when_guests_run() {
    let machine = Machine { board: Some(String::from("q35")), ..machine(CPU) };
    let (report, console) = start(&machine, &two_vms());
    let stopped = report.debug.iter().find(|line| line.starts_with("tandem-pci: "));
    let stopped = stopped.map(String::as_str);
    assert_eq!(stopped, Some("tandem-pci: 1 bus masters stopped"), "{console}");
}

/// EPT with 4 KiB pages only, as processors with the erratum of page-size changes need it.
#[test]
fn vms_run_on_vmx_by_pages_of_4_kib() {
    let words = vec![String::from("small_pages")];
    let machine = Machine { emulator: Emulator::Bochs, cpu: None, words, ..machine(CPU) };
    let (report, console) = start(&machine, &two_vms());
    assert_eq!(report.exit, Some(SUCCESS), "{console}");
    // Two VMs of 16 MiB: a table for each 2 MiB.
    let frames = |report: &Report| report.memory.expect("it is reported").frames_bytes;
    let (usual, _) = start(&Machine { words: Vec::new(), ..machine }, &two_vms());
    assert_eq!(frames(&report) - frames(&usual), 2 * 8 * 4096);
}

/// The seed's pair, packed.
fn two_vms() -> Vec<u8> {
    let config = crate::targets::configs().join("two.yml");
    let loaded = xtask::load::config(&config, 1024).unwrap_or_else(|faults| panic!("{faults}"));
    xtask::load::packed(loaded).expect("no disks").pack
}
