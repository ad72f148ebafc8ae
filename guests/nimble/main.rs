//! What kernels of the seed's class do to a machine, step by step and in their order, each step
//! checked: pages of 1 GiB, SYSCALL, a one-shot local APIC timer measured against the HPET, polled
//! COM1.
//!
//! `entry.rs` is the way in, by multiboot or as a raw image. `paging.rs`, `traps.rs`, `hpet.rs` and
//! `local_apic.rs` set up one part each; `users.rs` has the steps in ring 3, `programs.rs` what
//! runs there, `kernel.rs` what becomes of its traps.
//!
//! One line for each step. The words `send` and `receive` on the command line move a line of text
//! over COM1 as the link. There is no HLT, no string I/O and no PIT, PCI, RTC or keyboard in it.
#![no_std]
#![no_main]

mod common;
mod entry;
mod hpet;
mod kernel;
mod local_apic;
mod paging;
mod programs;
mod registers;
mod report;
mod traps;
mod users;

use common::console::{self, COM1, LINE_STATUS};
use common::interrupt_controller::{LocalApic, mask_8259};
use common::{command_line, cpu};
use report::{Report, Verdict, expect, expect_least};

/// What the loader said, kept before its memory goes out of sight.
struct Orders {
    is_to_send: bool,
    is_to_receive: bool,
}

#[unsafe(no_mangle)]
extern "C" fn guest_main() -> ! {
    console::initialise(COM1);
    let is_multiboot = command_line::is_from_multiboot();
    report::say(if is_multiboot { "entered by multiboot" } else { "entered as a raw image" });
    let orders = Orders {
        is_to_send: command_line::has_word("send"),
        is_to_receive: command_line::has_word("receive"),
    };
    traps::initialise();
    mask_8259();
    let mut report = Report::new();
    report.add("serial port", serial_port());
    report.add("paging", paging::step());
    report.add("CPUID", processor());
    report.add("MSRs", traps::step());
    report.add("HPET", hpet::step());
    report.add("TSC rate", time_stamp_rate());
    timer_steps(&mut report, LocalApic::Memory);
    if local_apic::has_x2apic() {
        timer_steps(&mut report, LocalApic::X2);
    } else {
        report::say("x2APIC not offered");
    }
    report.add("interrupt flag", local_apic::interrupt_flag());
    report.add("system calls", users::system_calls());
    report.add("page faults", users::page_faults());
    report.add("exceptions", users::exceptions());
    if orders.is_to_send {
        report.add("sending", users::send());
    }
    if orders.is_to_receive {
        report.add("receiving", users::receive());
    }
    report.add("idling", idle());
    report.end()
}

fn timer_steps(report: &mut Report, apic: LocalApic) {
    let [registers, first_tick, slow, fast] = match apic {
        LocalApic::Memory => {
            ["xAPIC", "xAPIC first tick", "xAPIC sleeps of 10 ms", "xAPIC sleeps of 1 ms"]
        }
        LocalApic::X2 => {
            ["x2APIC", "x2APIC first tick", "x2APIC sleeps of 10 ms", "x2APIC sleeps of 1 ms"]
        }
    };
    report.add(registers, local_apic::step(apic));
    report.add(first_tick, local_apic::first_tick());
    if !report.is_all_well() {
        report.end(); // without ticks, what follows would never end
    }
    report.add(slow, users::sleeps(10, 10));
    report.add(fast, users::sleeps(1, 100));
}

/// What `initialise` wrote is there.
fn serial_port() -> Verdict {
    let register = |offset: u16| u64::from(cpu::in8(COM1 + offset));
    expect("IER", 0, register(1))?;
    expect("IIR: FIFOs on, nothing pending", 0xC1, register(2))?;
    expect("LCR: 8N1", 0x03, register(3))?;
    expect("MCR: OUT2, RTS, DTR", 0x0B, register(4))
}

/// Long mode and what of it is used.
fn processor() -> Verdict {
    const APIC: u32 = 1 << 9;
    const SYSCALL_NX_PAGES_LONG: u32 = 1 << 11 | 1 << 20 | 1 << 26 | 1 << 29;
    expect_least("the last leaf", 1, u64::from(cpu::cpuid(0).eax))?;
    expect("APIC", u64::from(APIC), u64::from(cpu::cpuid(1).edx & APIC))?;
    expect_least("the last extended leaf", 0x8000_0001, u64::from(cpu::cpuid(0x8000_0000).eax))?;
    let extended = cpu::cpuid(0x8000_0001).edx & SYSCALL_NX_PAGES_LONG;
    expect("SYSCALL, NX, 1 GiB, LM", u64::from(SYSCALL_NX_PAGES_LONG), u64::from(extended))
}

/// What CPUID leaf 0x16 claims, which such kernels believe, is true within 2 %, or 0.
fn time_stamp_rate() -> Verdict {
    const LEAF: u32 = 0x16;
    let measured_kilohertz = hpet::measure_kilohertz(cpu::time_stamp);
    expect_least("a rate", 1, measured_kilohertz)?;
    let claimed_megahertz = match cpu::cpuid(0).eax {
        LEAF.. => cpu::cpuid(LEAF).eax & 0xFFFF,
        _ => 0,
    };
    let claimed_kilohertz = u64::from(claimed_megahertz) * 1000;
    let is_true = claimed_kilohertz.abs_diff(measured_kilohertz) <= measured_kilohertz / 50;
    if claimed_kilohertz == 0 || is_true {
        return Ok(());
    }
    expect("kHz", measured_kilohertz, claimed_kilohertz)
}

/// Polls the line status as an idle shell does, without HLT.
fn idle() -> Verdict {
    const POLLS: u64 = 4000;
    const THERE: u8 = 0xFF;
    for _ in 0..POLLS {
        if cpu::in8(COM1 + LINE_STATUS) == THERE {
            return expect("a line status", 0x60, u64::from(THERE));
        }
    }
    Ok(())
}
