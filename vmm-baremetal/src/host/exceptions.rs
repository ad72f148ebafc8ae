//! The report of an exception in the hypervisor, which is a bug of the hypervisor and ends it.

use super::console::report;
use super::power;
use super::serial::Serial;
use core::fmt::Write;
use metal::architecture::vector::MC;
use metal::cpu::control_registers;
use metal::interrupts::Exception;
use metal::machine_check::{self, Bank};

const NAMES: [&str; 22] = [
    "#DE divide error",
    "#DB debug",
    "NMI",
    "#BP breakpoint",
    "#OF overflow",
    "#BR bound range",
    "#UD invalid opcode",
    "#NM no device",
    "#DF double fault",
    "coprocessor segment",
    "#TS invalid TSS",
    "#NP segment not present",
    "#SS stack fault",
    "#GP general protection",
    "#PF page fault",
    "reserved",
    "#MF x87",
    "#AC alignment",
    "#MC machine check",
    "#XM SIMD",
    "#VE virtualization",
    "#CP control protection",
];

/// Prints the registers, and ends.
pub fn end(exception: &Exception) -> ! {
    const ORDER: [&str; 15] = [
        "r15", "r14", "r13", "r12", "r11", "r10", "r9 ", "r8 ", "rdi", "rsi", "rbp", "rbx", "rdx",
        "rcx", "rax",
    ];
    let mut serial = Serial::again();
    let name = NAMES.get(exception.vector as usize).unwrap_or(&"reserved");
    if exception.vector == u64::from(MC) {
        machine_check();
    }
    let Exception { error, rip, cs, rflags, rsp, ss, .. } = exception;
    // An absent port accepts everything; there is no other output.
    let _ =
        write!(serial, "\ntandem: exception in the hypervisor: {name}, error code {error:#x}\n");
    let _ = writeln!(serial, "  rip {rip:016x}  cs {cs:04x}  rflags {rflags:08x}");
    let _ = writeln!(serial, "  rsp {rsp:016x}  ss {ss:04x}");
    for (index, (name, value)) in ORDER.iter().zip(&exception.general).enumerate() {
        let _ = write!(serial, "  {name} {value:016x}{}", if index % 3 == 2 { "\n" } else { "" });
    }
    let [cr0, cr2, cr3, cr4] = control_registers();
    let _ = writeln!(serial, "  cr0 {cr0:08x}  cr2 {cr2:016x}  cr3 {cr3:016x}  cr4 {cr4:08x}");
    power::off(power::MACHINE_REFUSED)
}

/// Reports what the machine-check banks have logged.
fn machine_check() {
    report(format_args!("the hardware reports a machine check: it is at fault, no guest is"));
    if let Some(status) = machine_check::global_status() {
        report(format_args!("IA32_MCG_STATUS {status:#x}"));
    }
    for Bank { number, status, address } in machine_check::banks() {
        let address = address.unwrap_or(0);
        report(format_args!("bank {number}: status {status:#018x}, address {address:#x}"));
    }
}
