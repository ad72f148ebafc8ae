use super::*;
use crate::cpuid::{CpuidFeatures, CpuidResult, table};

const FEATURES: CpuidFeatures = CpuidFeatures {
    has_local_apic: true,
    has_tsc_deadline: true,
    tsc_hz: 1_000_000_000,
    processors: 1,
};

fn grant(vendor: Vendor) -> Grant {
    let everything = |_, _| CpuidResult { eax: !0, ebx: !0, ecx: !0, edx: !0 };
    Grant::new(vendor, Vec::new(), &table(FEATURES, everything))
}

const SYSENTER: [u32; 3] = [0x174, 0x175, 0x176];
const SYSCALL: [u32; 4] = [0xc000_0081, 0xc000_0082, 0xc000_0083, 0xc000_0084];
const BASES_AND_AUX: [u32; 4] = [0xc000_0100, 0xc000_0101, 0xc000_0102, 0xc000_0103];

#[test]
fn a_guest_on_vmx_reaches_its_own_registers_and_no_port() {
    let grant = grant(Vendor::Vmx);
    let own = [&SYSENTER[..], &[0x277, 0xc000_0080], &SYSCALL, &BASES_AND_AUX].concat();
    assert_eq!(grant.reach().msr_writes, own);
    assert_eq!(grant.reach().msr_reads, [&[0x10][..], &own].concat());
    assert_eq!((grant.reach().cr0, grant.reach().cr4), (0x8005_001f, 0x35_0fbf));
    assert!(grant.reach().ports.is_empty());
}

#[test]
fn a_guest_on_svm_reaches_what_vmload_switches() {
    let grant = grant(Vendor::Svm);
    let own = [&SYSENTER[..], &SYSCALL, &BASES_AND_AUX].concat();
    assert_eq!((&grant.reach().msr_reads, &grant.reach().msr_writes), (&own, &own));
    assert_eq!((grant.reach().cr0, grant.reach().cr4), (0xa, 0));
    assert_eq!(grant.permitted().cr4, 0x35_0fff);
}

#[test]
fn over_kvm_the_same_registers_pass() {
    let passed: Vec<u32> = PASSED_MSRS.iter().flat_map(|(first, last)| *first..=*last).collect();
    assert_eq!(passed, grant(Vendor::Vmx).reach().msr_reads);
}

#[test]
fn the_page_names_each_register_and_each_bit() {
    let page = page();
    for words in ["0xc0000081 to 0xc0000084", "| CR4 | SMAP | where CPUID 0x7 shows EBX bit 20 |"] {
        assert!(page.contains(words), "{words}\n{page}");
    }
    assert!(!page.contains("PCIDE"), "CPUID never shows it");
}
