//! A hostile guest with several processors: all but the bootstrap processor stop each other by INIT
//! and start each other again at full rate, send every kind of interrupt to all, NMIs included, and
//! one of them spins with interrupts disabled. It never ends by itself. With the word `bootstrap`
//! the bootstrap processor gets INIT, too, and begins at the reset vector, where no firmware is.
#![no_std]
#![no_main]

#[path = "../common/mod.rs"]
mod common;
#[path = "multiprocessor/mod.rs"]
mod multiprocessor;

use common::interrupt_controller::LocalApic;
use common::{boot, console, power};
use core::arch::asm;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use multiprocessor::ipi::Destination;
use multiprocessor::processors::Processor;
use multiprocessor::trampoline::PAGES;
use multiprocessor::{firmware_tables, ipi, processors, trampoline};

const STATUS_NO_TABLES: u32 = 1;
const VECTOR: u32 = 51;
/// So many starts are seen before the guest says that it storms.
const STARTS: u64 = 8;
/// The processor that spins.
const SPINS: usize = 2;

static STARTED: AtomicU64 = AtomicU64::new(0);
static STOPS_BOOTSTRAP: AtomicBool = AtomicBool::new(false);

#[unsafe(no_mangle)]
extern "C" fn guest_main() -> ! {
    multiprocessor::begin();
    let Some(list) = firmware_tables::madt() else {
        console::Line::new().text("smp_storm: no MADT").print();
        power::off(STATUS_NO_TABLES);
    };
    let me = processors::initialise(list);
    PAGES.into_iter().for_each(trampoline::put);
    catch_nmis();
    let count = processors::all().len() as u64;
    console::Line::new().text("smp_storm: processors: ").decimal(count).print();
    for other in processors::others() {
        ipi::send(ipi::INIT, Destination::Physical(other.id()));
    }
    let wanted = if count > 1 { STARTS } else { 0 };
    while STARTED.load(Ordering::SeqCst) < wanted {
        storm_once(me, ipi::apic());
    }
    console::Line::new().text("smp_storm: storming").print();
    STOPS_BOOTSTRAP.store(boot::has_word("bootstrap"), Ordering::SeqCst);
    loop {
        storm_once(me, ipi::apic());
    }
}

unsafe extern "C" {
    static started32: u8;
    static started64: u8;
}

/// An NMI may come anywhere between a start-up IPI and Rust, where the IDT is at address 0 as INIT
/// left it. Vector 2 is at 8 in real mode, at 16 in protected mode, at 32 in long mode: each mode
/// has an entry of its own there, which repeats its part of the way.
fn catch_nmis() {
    const TO_CODE_32: u64 = 0x18 << 16 | 0x8E00 << 32;
    const TO_CODE_64: u64 = 0x08 << 16 | 0x8E00 << 32;
    let offset = |entry: u64| entry & 0xFFFF | (entry >> 16 & 0xFFFF) << 48;
    let words = [
        (8, u64::from(PAGES[0]) << 24),
        (16, TO_CODE_32 | offset(&raw const started32 as u64)),
        (32, TO_CODE_64 | offset(&raw const started64 as u64)),
        (40, 0),
    ];
    for (address, word) in words {
        // SAFETY: the BIOS's interrupt vectors, which nothing uses any more.
        unsafe { (address as *mut u64).write_volatile(word) };
    }
}

/// What a processor does once it has started.
pub fn run_processor(me: &'static Processor) -> ! {
    STARTED.fetch_add(1, Ordering::SeqCst);
    // An NMI on the way left further ones blocked until IRET.
    // SAFETY: goes on at the next instruction, with the same stack and flags.
    unsafe {
        asm!("mov rax, rsp", "push 0x10", "push rax", "pushfq", "push 0x08",
            "lea rax, [rip + 2f]", "push rax", "iretq", "2:", out("rax") _);
    }
    if me.index() == SPINS {
        // SAFETY: touches nothing.
        unsafe { asm!("cli", "2: jmp 2b", options(noreturn, nomem, nostack)) }
    }
    if me.index() % 2 == 1 && ipi::has_x2apic() {
        ipi::enter_x2apic();
    }
    let apic = ipi::apic();
    loop {
        storm_once(me, apic);
    }
}

/// All that can be sent, to all that can be named. The bootstrap processor stops no other, but
/// starts them, so that they cannot all be stopped for good.
fn storm_once(me: &'static Processor, apic: LocalApic) {
    const RESERVED: u32 = 7 << 8;
    const ILLEGAL_VECTOR: u32 = 5;
    let everyone = [
        Destination::All,
        Destination::Others,
        Destination::Itself,
        Destination::Physical(match apic {
            LocalApic::Memory => 0xFF,
            LocalApic::X2 => !0,
        }),
        Destination::Logical(0xFF),
    ];
    let fixed = [VECTOR, ipi::LOWEST_PRIORITY | VECTOR, ipi::REMOTE_READ | VECTOR];
    for what in fixed.into_iter().chain([ILLEGAL_VECTOR, RESERVED, ipi::NMI]) {
        everyone.into_iter().for_each(|to| ipi::send_by(apic, what, to));
        processors::pause();
    }
    // Below, each stops itself, too.
    if me.index() != 0 && STOPS_BOOTSTRAP.load(Ordering::SeqCst) {
        let bootstrap = processors::all().first().map_or(0, Processor::id);
        ipi::send_by(apic, ipi::INIT, Destination::Physical(bootstrap));
    }
    for other in processors::others() {
        let to = Destination::Physical(other.id());
        if me.index() != 0 {
            ipi::send_by(apic, ipi::INIT, to);
        }
        for page in PAGES {
            ipi::send_by(apic, ipi::START_UP | u32::from(page), to);
        }
    }
}
