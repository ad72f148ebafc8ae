//! Exits in words: `out 0x3f9 <- 0x00 (COM1 IER)`, `wrmsr IA32_APIC_BASE <- 0xfee00900`.

use vmm_common::machine::{HPET_BASE, IO_APIC_BASE, LOCAL_APIC_BASE, VIRTIO_BASE};
use vmm_common::seam::ExitReason;

/// An exit as a reader of manuals says it.
pub(super) fn in_words(reason: &ExitReason) -> String {
    match *reason {
        ExitReason::PortIn { port, size } => format!("in {port:#x}{}{}", bits(size), at_port(port)),
        ExitReason::PortOut { port, size, value } => {
            let digits = 2 + 2 * usize::from(size);
            format!("out {port:#x}{} <- {value:#0digits$x}{}", bits(size), at_port(port))
        }
        ExitReason::MmioRead { address, size } => {
            format!("load {address:#x}{}{}", bits(size), at_address(address))
        }
        ExitReason::MmioWrite { address, size, value } => {
            format!("store {address:#x}{} <- {value:#x}{}", bits(size), at_address(address))
        }
        ExitReason::MsrRead { index } => format!("rdmsr {}", msr(index)),
        ExitReason::MsrWrite { index, value } => format!("wrmsr {} <- {value:#x}", msr(index)),
        ExitReason::Halt => "hlt".into(),
        ExitReason::Fault(fault) => format!("fault: {fault}"),
        ExitReason::Pause
        | ExitReason::Debug(_)
        | ExitReason::Shutdown
        | ExitReason::InterruptWindow
        | ExitReason::Preempted => ExitReason::KINDS[reason.kind()].into(),
    }
}

/// How wide an access is, if it is not a byte.
const fn bits(size: u8) -> &'static str {
    match size {
        2 => " (16 bits)",
        4 => " (32 bits)",
        8 => " (64 bits)",
        _ => "",
    }
}

/// The registers of a 16550A.
const UART: [&str; 8] = ["data", "IER", "IIR/FCR", "LCR", "MCR", "LSR", "MSR", "SCR"];
/// The first port of COM1 to COM4.
pub(super) const COM_PORTS: [u16; 4] = [0x3f8, 0x2f8, 0x3e8, 0x2e8];

/// The serial port and its register at `port`.
pub(super) fn serial(port: u16) -> Option<(usize, u16)> {
    let com = COM_PORTS.iter().position(|first| port & !7 == *first)?;
    Some((com, port & 7))
}

fn at_port(port: u16) -> String {
    if let Some((com, register)) = serial(port) {
        return format!(" (COM{} {})", com + 1, UART[usize::from(register)]);
    }
    let device = match port {
        0x20 | 0x21 => "8259 master",
        0xa0 | 0xa1 => "8259 slave",
        0x4d0 | 0x4d1 => "8259 ELCR",
        0x40..=0x42 => "8254 counter",
        0x43 => "8254 control",
        0x61 => "system control B",
        0x60 => "8042 data",
        0x64 => "8042 command",
        0x92 => "system control A",
        0x70 => "CMOS index",
        0x71 => "CMOS data",
        0x80 => "POST code",
        0xe9 => "debug console",
        0xf4 => "exit port",
        0x3c0..=0x3cf | 0x3da => "VGA",
        0x3d4 => "CRTC index",
        0x3d5 => "CRTC data",
        0x505 => "panic port",
        0x600..=0x603 => "PM1a event",
        0x604..=0x607 | 0xb004 | 0xb005 => "PM1a control",
        0x608..=0x60b => "PM timer",
        0xcf8 => "PCI address",
        0xcf9 => "reset control",
        0xcfc..=0xcff => "PCI data",
        _ => return String::new(),
    };
    format!(" ({device})")
}

fn at_address(address: u64) -> String {
    const PAGE: u64 = 0x1000;
    const WINDOWS: u64 = 32 * PAGE;
    let within = |base: u64, bytes: u64| (base..base + bytes).contains(&address);
    let (device, base) = match address {
        _ if within(LOCAL_APIC_BASE, PAGE) => ("local APIC", LOCAL_APIC_BASE),
        _ if within(IO_APIC_BASE, PAGE) => ("I/O APIC", IO_APIC_BASE),
        _ if within(HPET_BASE, PAGE) => ("HPET", HPET_BASE),
        _ if within(VIRTIO_BASE, WINDOWS) => {
            let device = (address - VIRTIO_BASE) / PAGE;
            return format!(" (virtio device {device} + {:#x})", address % PAGE);
        }
        _ => return String::new(),
    };
    let register = match (device, address - base) {
        ("local APIC", 0x80) => " TPR",
        ("local APIC", 0xb0) => " EOI",
        ("local APIC", 0xf0) => " SVR",
        ("local APIC", 0x300 | 0x310) => " ICR",
        ("local APIC", 0x320) => " LVT timer",
        ("local APIC", 0x380) => " initial count",
        ("local APIC", 0x390) => " current count",
        ("I/O APIC", 0) => " index",
        ("I/O APIC", 0x10) => " data",
        ("HPET", 0xf0) => " counter",
        _ => return format!(" ({device} + {:#x})", address - base),
    };
    format!(" ({device}{register})")
}

/// The MSR's name (SDM vol. 4; APM vol. 2, appendix A; Linux's
/// Documentation/virt/kvm/x86/msr.rst).
fn msr(index: u32) -> String {
    let name = match index {
        0x10 => "IA32_TIME_STAMP_COUNTER",
        0x1b => "IA32_APIC_BASE",
        0x8b => "IA32_BIOS_SIGN_ID",
        0xfe => "IA32_MTRRCAP",
        0x1a0 => "IA32_MISC_ENABLE",
        0x277 => "IA32_PAT",
        0x2ff => "IA32_MTRR_DEF_TYPE",
        0x6e0 => "IA32_TSC_DEADLINE",
        0x802 => "x2APIC ID",
        0x808 => "x2APIC TPR",
        0x80b => "x2APIC EOI",
        0x80f => "x2APIC SVR",
        0x830 => "x2APIC ICR",
        0x832 => "x2APIC LVT timer",
        0x838 => "x2APIC initial count",
        0x839 => "x2APIC current count",
        0x4b56_4d00 => "MSR_KVM_WALL_CLOCK_NEW",
        0x4b56_4d01 => "MSR_KVM_SYSTEM_TIME_NEW",
        0x4b56_4d03 => "MSR_KVM_STEAL_TIME",
        0xc000_0080 => "IA32_EFER",
        _ => return format!("{index:#x}"),
    };
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exits_are_said_in_the_manuals_words() {
        for (reason, words) in [
            (
                ExitReason::PortOut { port: 0x3f9, size: 1, value: 0 },
                "out 0x3f9 <- 0x00 (COM1 IER)",
            ),
            (ExitReason::PortIn { port: 0x2fd, size: 1 }, "in 0x2fd (COM2 LSR)"),
            (
                ExitReason::PortOut { port: 0x604, size: 2, value: 0x2000 },
                "out 0x604 (16 bits) <- 0x2000 (PM1a control)",
            ),
            (ExitReason::PortIn { port: 0x1234, size: 4 }, "in 0x1234 (32 bits)"),
            (
                ExitReason::MmioWrite { address: 0xfee0_00b0, size: 4, value: 0 },
                "store 0xfee000b0 (32 bits) <- 0x0 (local APIC EOI)",
            ),
            (
                ExitReason::MmioRead { address: 0xfeb0_1070, size: 4 },
                "load 0xfeb01070 (32 bits) (virtio device 1 + 0x70)",
            ),
            (
                ExitReason::MsrWrite { index: 0x1b, value: 0xfee0_0900 },
                "wrmsr IA32_APIC_BASE <- 0xfee00900",
            ),
            (ExitReason::MsrRead { index: 0x3a }, "rdmsr 0x3a"),
            (ExitReason::Halt, "hlt"),
        ] {
            assert_eq!(in_words(&reason), words);
        }
    }
}
