//! Checks what a processor does at its edges, where hypervisors carry out or inject something
//! themselves. Words on the command line choose the groups, all without one; a line for each group.
#![no_std]
#![no_main]

#[path = "../common/mod.rs"]
mod common;
#[path = "shared/trap.rs"]
mod trap;

use common::global::Global;
use common::{boot, console, cpu, interrupts, power};
use core::arch::asm;

const STATUS_WRONG: u32 = 1;
const GENERAL_PROTECTION: u64 = 13;
const RESUME_FLAG: u64 = 1 << 16;
const RET: u8 = 0xC3;
/// The local APIC's registers: end of interrupt, spurious vector, interrupt command.
const APIC_END: u64 = 0xfee0_00b0;
const APIC_SPURIOUS: u64 = 0xfee0_00f0;
const APIC_COMMAND: u64 = 0xfee0_0300;
const APIC_BASE: u32 = 0x1b;

/// A word, and what is checked.
type Group = (&'static str, fn() -> Result<(), &'static str>);

const GROUPS: [Group; 9] = [
    ("faults", faults),
    ("msrs", msrs),
    ("xsave", xsave),
    ("kvm", kvm),
    ("step", step),
    ("halt", halt),
    ("cr8", cr8),
    ("nmi", nmi),
    ("apic_base", apic_base),
];

#[unsafe(no_mangle)]
extern "C" fn guest_main() -> ! {
    console::initialise(console::COM1);
    interrupts::initialise();
    trap::catch();
    let has_words = GROUPS.iter().any(|(word, _)| boot::has_word(word));
    let mut is_right = true;
    for (word, check) in GROUPS.iter().filter(|(word, _)| !has_words || boot::has_word(word)) {
        let result = check();
        is_right &= result.is_ok();
        let mut line = console::Line::new();
        let result = result.err().unwrap_or("right");
        line.text("processor: ").text(word).text(": ").text(result).print();
    }
    power::off(if is_right { 0 } else { STATUS_WRONG })
}

fn expect(is_right: bool, what: &'static str) -> Result<(), &'static str> {
    if is_right { Ok(()) } else { Err(what) }
}

/// Bits of CR4 whose features are hidden raise #GP (SDM vol. 3, 2.5), whose frame has RFLAGS.RF set
/// (18.3.1.1).
fn faults() -> Result<(), &'static str> {
    let (one, seven) = (cpu::cpuid(1), cpu::cpuid(7));
    let hidden = [
        (11, seven.ecx >> 2),
        (13, one.ecx >> 5),
        (14, one.ecx >> 6),
        (16, seven.ebx),
        (20, seven.ebx >> 7),
        (21, seven.ebx >> 20),
        (22, seven.ecx >> 3),
        (23, seven.ecx >> 7 | seven.edx >> 20),
        (31, 0),
    ];
    for (bit, _) in hidden.into_iter().filter(|(_, shown)| shown & 1 == 0) {
        let why = "CR4 takes a bit that CPUID hides, or #GP lacks RF";
        expect(write_cr4(read_cr4() | 1 << bit), why)?;
    }
    expect(write_cr4(read_cr4() & !(1 << 5)), "CR4.PAE can be cleared in long mode")?;
    expect(read_msr(0x4000_5000).is_none(), "a register that is not there can be read")
}

fn read_cr4() -> u64 {
    let value;
    // SAFETY: only reads it.
    unsafe { asm!("mov {}, cr4", out(reg) value, options(nomem, nostack)) }
    value
}

/// Whether the write is refused by #GP with RF set; if it is not, CR4 is put back.
fn write_cr4(value: u64) -> bool {
    let (before, expected): (u64, u64);
    // SAFETY: what the kernel needs of CR4 stays.
    unsafe {
        asm!("mov {before}, cr4", "lea {at}, [rip + 2f]", "lea {skip}, [rip + 3f]",
            "mov [trap_resume], {skip}", "2: mov cr4, {value}", "mov cr4, {before}", "3:",
            before = out(reg) before, at = out(reg) expected, skip = out(reg) _,
            value = in(reg) value);
    }
    let trap = trap::take();
    before == read_cr4()
        && trap.is_some_and(|trap| {
            (trap.vector, trap.error, trap.rip) == (GENERAL_PROTECTION, 0, expected)
                && trap.rflags & RESUME_FLAG != 0
        })
}

/// Registers that all processors of a vendor have without a CPUID bit: AMD's first counters, HWCR,
/// NB_CFG; Intel's MCG_CAP and MISC_ENABLE.
fn msrs() -> Result<(), &'static str> {
    if is_amd() {
        for register in 0xc001_0000..=0xc001_0007 {
            expect(write_msr(register, 0), "a counter refuses 0")?;
            expect(read_msr(register) == Some(0), "a counter does not keep 0")?;
        }
        for register in [0xc001_0015, 0xc001_001f] {
            let value = read_msr(register).ok_or("HWCR or NB_CFG cannot be read")?;
            expect(write_msr(register, value), "HWCR or NB_CFG refuses its own value")?;
        }
    } else {
        read_msr(0x179).ok_or("MCG_CAP cannot be read")?;
        let value = read_msr(0x1a0).ok_or("MISC_ENABLE cannot be read")?;
        expect(write_msr(0x1a0, value | 1 << 16), "MISC_ENABLE cannot be written")?;
        expect(read_msr(0x1a0) == Some(value | 1 << 16), "MISC_ENABLE does not keep bit 16")?;
    }
    Ok(())
}

fn is_amd() -> bool {
    cpu::cpuid(0).ecx == u32::from_le_bytes(*b"cAMD")
}

/// None if that raises #GP.
fn read_msr(register: u32) -> Option<u64> {
    let (low, high): (u32, u32);
    // SAFETY: changes no memory; a refused read is skipped.
    unsafe {
        asm!("lea {skip}, [rip + 2f]", "mov [trap_resume], {skip}", "rdmsr", "2:",
            skip = out(reg) _, in("ecx") register, out("eax") low, out("edx") high);
    }
    trap::take().is_none().then_some(u64::from(high) << 32 | u64::from(low))
}

/// False if that raises #GP.
fn write_msr(register: u32, value: u64) -> bool {
    let (low, high) = (value as u32, (value >> 32) as u32);
    // SAFETY: none of the registers here changes where memory is; a refused write is skipped.
    unsafe {
        asm!("lea {skip}, [rip + 2f]", "mov [trap_resume], {skip}", "wrmsr", "2:",
            skip = out(reg) _, in("ecx") register, in("eax") low, in("edx") high);
    }
    trap::take().is_none()
}

/// CPUID leaf 0xd follows XCR0 (SDM vol. 2, CPUID): EBX is the size of the components that XCR0
/// enables.
fn xsave() -> Result<(), &'static str> {
    const OSXSAVE: u64 = 1 << 18;
    const HAS_XSAVE: u32 = 1 << 26;
    const COMPACTED: u32 = 0b1010;
    if cpu::cpuid(1).ecx & HAS_XSAVE == 0 {
        return expect(cpu::cpuid(0xd).eax == 0, "XSAVE is hidden, its components are shown");
    }
    // SAFETY: allows XSETBV and nothing else.
    unsafe { asm!("mov cr4, {}", in(reg) read_cr4() | OSXSAVE, options(nostack)) }
    let shown = subleaf(0).0;
    let enabled = [0b1, 0b11, 0b111, 0b1110_0111].into_iter().filter(|xcr0| xcr0 & !shown == 0);
    for xcr0 in enabled {
        set_xcr0(xcr0);
        let components = || (2..32).filter(|component| xcr0 >> component & 1 != 0);
        let standard = components().map(|n| subleaf(n).0 + subleaf(n).1).max().unwrap_or(576);
        let compact = components().fold(576, |end, n| {
            let (size, _, flags) = subleaf(n);
            size + if flags & 2 == 0 { end } else { (end + 63) & !63 }
        });
        expect(subleaf(0).1 == standard, "leaf 0xd, EBX does not follow XCR0")?;
        let (eax, ebx, _) = subleaf(1);
        let expected = if eax & COMPACTED == 0 { 0 } else { compact };
        expect(ebx == expected, "leaf 0xd, subleaf 1, EBX does not follow XCR0")?;
    }
    set_xcr0(1);
    Ok(())
}

/// EAX, EBX, ECX of leaf 0xd.
fn subleaf(number: u32) -> (u32, u32, u32) {
    let result = core::arch::x86_64::__cpuid_count(0xd, number);
    (result.eax, result.ebx, result.ecx)
}

/// XOR ECX, ECX; XOR EDX, EDX; MOV EAX, XCR0; XSETBV
fn set_xcr0(value: u32) {
    let [a, b, c, d] = value.to_le_bytes();
    execute(&[0x31, 0xC9, 0x31, 0xD2, 0xB8, a, b, c, d, 0x0F, 0x01, 0xD1], 0);
}

/// KVM's signature is where every guest looks, and a hypercall that it does not know returns
/// -KVM_ENOSYS (Linux Documentation/virt/kvm/x86/hypercalls.rst).
fn kvm() -> Result<(), &'static str> {
    const ENOSYS: i64 = 1000;
    let leaf = cpu::cpuid(0x4000_0000);
    let signature = [leaf.ebx, leaf.ecx, leaf.edx].map(u32::to_le_bytes);
    expect(signature.as_flattened() == b"KVMKVMKVM\0\0\0", "KVM's signature is missing")?;
    let call: &[u8] = if is_amd() { &[0x0F, 0x01, 0xD9] } else { &[0x0F, 0x01, 0xC1] };
    let result = execute(call, 0x7fff);
    expect(trap::take().is_none(), "a hypercall faults")?;
    expect(result == (-ENOSYS).cast_unsigned(), "an unknown hypercall does not return -ENOSYS")
}

/// Where an instruction that the build refuses lies, and behind it a RET.
static CODE: Global<[u8; 16]> = Global::new([RET; 16]);

/// Executes the bytes with `rax`; what RAX is then.
fn execute(bytes: &[u8], rax: u64) -> u64 {
    // SAFETY: the only reference; the processor is not in there.
    let code = unsafe { &mut *CODE.pointer() };
    code.fill(RET);
    for (to, from) in code.iter_mut().zip(bytes) {
        *to = *from;
    }
    let result;
    // SAFETY: the code changes RAX, RCX and RDX alone. CPUID makes sure that the new code is
    // fetched.
    unsafe {
        asm!("mov r8, rbx", "xor eax, eax", "cpuid", "mov rbx, r8",
            "mov rax, {rax}", "call {code}", rax = in(reg) rax, code = in(reg) CODE.pointer(),
            out("rax") result, out("rcx") _, out("rdx") _, out("r8") _);
    }
    result
}

/// A guest that single-steps gets its #DB right behind an instruction that a hypervisor carries out
/// (SDM vol. 3, 18.3.1.4).
fn step() -> Result<(), &'static str> {
    macro_rules! step_over {
        ($instruction:literal, $what:literal) => {{
            let expected: u64;
            // SAFETY: reads; the handler keeps all registers and clears TF in the flags that it
            // returns to.
            unsafe {
                asm!("mov r9, rbx", "lea {at}, [rip + 2f]", "pushfq", "or dword ptr [rsp], 0x100",
                    "popfq", $instruction, "2: nop", "nop", "mov rbx, r9",
                    at = out(reg) expected, out("r9") _, inout("eax") 0 => _,
                    inout("ecx") 0x1b => _, inout("edx") 0x3fd => _);
            }
            let trap = trap::take();
            let is_right = trap.is_some_and(|trap| (trap.vector, trap.rip) == (1, expected));
            expect(is_right, concat!("no #DB, or more than one, or elsewhere, behind ", $what))?;
        }};
    }
    step_over!("nop", "NOP");
    step_over!("cpuid", "CPUID");
    step_over!("in al, dx", "IN");
    step_over!("rdmsr", "RDMSR");
    step_over!("mov rax, cr8", "MOV from CR8");
    Ok(())
}

/// A guest that single-steps gets its #DB behind HLT, which ends it, interrupts on or off.
fn halt() -> Result<(), &'static str> {
    let expected: u64;
    // SAFETY: the handler keeps all registers and clears TF in the flags that it returns to.
    unsafe {
        asm!("lea {at}, [rip + 2f]", "pushfq", "or dword ptr [rsp], 0x100", "popfq", "hlt", "2:",
            at = out(reg) expected);
    }
    let trap = trap::take().ok_or("no #DB behind HLT, or more than one")?;
    expect((trap.vector, trap.rip) == (1, expected), "the #DB is not right behind HLT")
}

/// An interrupt that CR8 holds back comes right behind the MOV that lowers it enough (SDM vol. 3,
/// 11.8.3.1).
fn cr8() -> Result<(), &'static str> {
    const TO_SELF_49: u64 = 1 << 18 | 49;
    enable_apic();
    let expected: u64;
    // SAFETY: the handler keeps all registers; CR8 and IF are as before in the end.
    unsafe {
        asm!("mov eax, 15", "mov cr8, rax", "sti",
            "mov dword ptr [{command}], {to_self}", "nop", "nop",
            "mov eax, 3", "mov cr8, rax", "nop",
            "xor eax, eax", "lea {at}, [rip + 2f]", "mov cr8, rax", "2:", "nop", "nop", "cli",
            command = in(reg) APIC_COMMAND, to_self = const TO_SELF_49, at = out(reg) expected,
            out("rax") _);
    }
    let trap = trap::take().ok_or("the interrupt did not come, or more than one did")?;
    // SAFETY: ends the interrupt that was just taken.
    unsafe { cpu::write_device32(APIC_END, 0) };
    expect(trap.vector == 49, "another interrupt came")?;
    expect(trap.rip == expected, "the interrupt did not come right behind MOV to CR8")
}

fn enable_apic() {
    // SAFETY: the boot tables map the page; no vector is pending.
    unsafe { cpu::write_device32(APIC_SPURIOUS, 0x13f) };
}

/// An NMI sent while the handler of another runs comes right behind its IRET: not one instruction
/// of the main line lies between (SDM vol. 3, 6.7.1).
fn nmi() -> Result<(), &'static str> {
    const NMI_TO_SELF: u32 = 0x4_4400;
    const PATIENCE: u32 = 1_000_000;
    enable_apic();
    let expected: u64;
    // SAFETY: the handler keeps all registers.
    unsafe {
        asm!("lea {at}, [rip + 3f]", "mov [trap_resume], {at}", "mov byte ptr [trap_sends_nmi], 1",
            "mov dword ptr [{command}], {nmi}",
            "mov eax, {patience}", "2: dec eax", "jnz 2b", "3: nop",
            at = out(reg) expected, command = in(reg) APIC_COMMAND, nmi = const NMI_TO_SELF,
            patience = const PATIENCE, out("eax") _);
    }
    let last = trap::take_last(2).ok_or("there were not two of them")?;
    expect(last.vector == 2, "another exception came")?;
    expect(last.rip == expected, "the second one did not come right behind the first one's IRET")
}

/// IA32_APIC_BASE refuses reserved bits, and CPUID follows its enable bit (SDM vol. 3, 11.4.3). The
/// last group: the APIC is off then.
fn apic_base() -> Result<(), &'static str> {
    const ENABLED: u64 = 1 << 11;
    const X2APIC: u64 = 1 << 10;
    let shows_apic = || cpu::cpuid(1).edx >> 9 & 1 == 1;
    let bits = cpu::cpuid(0x8000_0008).eax & 0xff;
    let base = read_msr(APIC_BASE).ok_or("it cannot be read")? & !X2APIC;
    expect(write_msr(APIC_BASE, base & !ENABLED), "the APIC cannot be disabled")?;
    expect(!shows_apic(), "CPUID shows a disabled APIC")?;
    expect(write_msr(APIC_BASE, base | ENABLED), "the APIC cannot be enabled")?;
    expect(shows_apic(), "CPUID hides an enabled APIC")?;
    let refused = [base | 1 << 9, base | 1 << 7, base | 1 << 63, base & !ENABLED | X2APIC];
    let above = [base | 1_u64.checked_shl(bits).unwrap_or(1 << 63)];
    for value in refused.into_iter().chain(above) {
        expect(!write_msr(APIC_BASE, value), "a reserved bit is taken")?;
    }
    expect(write_msr(APIC_BASE, base & !ENABLED), "the APIC cannot be disabled again")
}
