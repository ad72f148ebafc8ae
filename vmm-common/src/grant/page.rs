//! The grant as a readable page.

use super::{Access, CR0, OWN_MSRS, READ, WRITE};
use crate::cpuid::permitted::{Announced, CR4_ALWAYS, CR4_FEATURES, EFER_FEATURES, Register};
use crate::cpuid::{CpuidFeatures, CpuidResult, Permitted, XSAVE_COMPONENTS, table};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

/// All that a guest may reach on bare metal, and why, in Markdown.
#[must_use]
pub fn page() -> String {
    let mut page = String::from(
        "# What a guest reaches on bare metal\n\n\
         Printed by `cargo xtask grant`. What is not here exits or raises an \
         exception.\n\n\
         RAM: the VM's own, readable, writable and executable; no other address is mapped. Ports: \
         none.\n\n\
         | MSR | names | VMX | SVM | why |\n|---|---|---|---|---|\n",
    );
    for row in &OWN_MSRS {
        let (vmx, svm) = (accesses(row.vmx), accesses(row.svm));
        let (range, names, why) = (range(row.first, row.last), row.names, row.why);
        page += &format!("| {range} | {names} | {vmx} | {svm} | {why} |\n");
    }
    page += "\nAll other MSRs exit.\n\n| register | bits | where |\n|---|---|---|\n";
    let cr0 = |vendor: usize| {
        let names = CR0.iter().filter(|(_, _, passed)| passed[vendor]).map(|(_, name, _)| *name);
        names.collect::<Vec<_>>().join(", ")
    };
    page += &format!("| CR0 | {} | on VMX, without leaving |\n", cr0(0));
    page += &format!("| CR0 | {} | on SVM, without leaving |\n", cr0(1));
    page += &format!(
        "| CR4 | {CR4_ALWAYS:#x}: VME to OSXMMEXCPT | always; on VMX without leaving, less MCE |\n"
    );
    let permitted = Permitted::by(&table(
        CpuidFeatures { has_local_apic: true, has_tsc_deadline: true, tsc_hz: 0, processors: 1 },
        |_, _| CpuidResult { eax: !0, ebx: !0, ecx: !0, edx: !0 },
    ));
    let mut add = |register: &str, rows: &[Announced], permitted: u64| {
        for row in rows.iter().filter(|row| permitted >> row.bit & 1 != 0) {
            page += &format!("| {register} | {} | {} |\n", row.name, feature(row));
        }
    };
    add("CR4", &CR4_FEATURES, permitted.cr4);
    add("EFER", &EFER_FEATURES, permitted.efer);
    let components = XSAVE_COMPONENTS & permitted.xcr0;
    page += &format!(
        "| XCR0 | {components:#x}: x87, SSE, AVX, AVX-512 | XSETBV exits; as CPUID \
         0xd shows |\n"
    );
    page
}

fn range(first: u32, last: u32) -> String {
    if first == last { format!("{first:#x}") } else { format!("{first:#x} to {last:#x}") }
}

const fn accesses(accesses: [Access; 2]) -> &'static str {
    match (accesses[READ], accesses[WRITE]) {
        (Access::Passed, Access::Passed) => "read, written",
        (Access::Passed, Access::CarriedOut) => "read",
        (Access::CarriedOut, Access::Passed) => "written",
        (Access::CarriedOut, Access::CarriedOut) => "carried out",
    }
}

fn feature(row: &Announced) -> String {
    let (leaf, register, bit) = row.feature;
    let register = match register {
        Register::Ebx => "EBX",
        Register::Ecx => "ECX",
        Register::Edx => "EDX",
    };
    format!("where CPUID {leaf:#x} shows {register} bit {bit}")
}
