//! What two processors of one machine cost each other, for runs that count exits and switches: so
//! many round trips of an interprocessor interrupt, both processors halting meanwhile; or, with the
//! word `lock`, so many hand-overs of a ticket lock, both waiting with PAUSE.
#![no_std]
#![no_main]

#[path = "../common/mod.rs"]
mod common;
#[path = "multiprocessor/mod.rs"]
mod multiprocessor;

use common::{boot, console, power};
use core::hint::spin_loop;
use core::sync::atomic::{AtomicU64, Ordering};
use multiprocessor::ipi::Destination;
use multiprocessor::processors::Processor;
use multiprocessor::{firmware_tables, ipi, processors, trampoline};

const DEFAULT_ROUNDS: u64 = 100;
const STATUS_NO_SECOND: u32 = 1;
const VECTOR: u32 = 51;

static STARTED: AtomicU64 = AtomicU64::new(0);
/// The lock: whose turn it is, counted on.
static SERVED: AtomicU64 = AtomicU64::new(0);

fn rounds() -> u64 {
    boot::number(0).unwrap_or(DEFAULT_ROUNDS)
}

#[unsafe(no_mangle)]
extern "C" fn guest_main() -> ! {
    multiprocessor::begin();
    let me = firmware_tables::madt().map(processors::initialise);
    let (Some(me), [second]) = (me, processors::others()) else {
        console::Line::new().text("siblings: there are not two processors").print();
        power::off(STATUS_NO_SECOND);
    };
    trampoline::put(trampoline::PAGES[0]);
    ipi::send(ipi::INIT, Destination::Physical(second.id()));
    let start_up = ipi::START_UP | u32::from(trampoline::PAGES[0]);
    ipi::send(start_up, Destination::Physical(second.id()));
    processors::wait_until(|| STARTED.load(Ordering::SeqCst) == 1);
    take_part(me, second);
    console::Line::new().text("siblings: rounds ").decimal(rounds()).print();
    power::off(0)
}

/// What a processor does once it has started.
pub fn run_processor(me: &'static Processor) -> ! {
    ipi::enable();
    STARTED.store(1, Ordering::SeqCst);
    take_part(me, &processors::all()[0]);
    loop {
        processors::halt();
    }
}

fn take_part(me: &'static Processor, other: &'static Processor) {
    match boot::has_word("lock") {
        true => take_the_lock(me),
        false => exchange(me, other),
    }
}

/// The first processor sends, and the second one answers.
fn exchange(me: &'static Processor, other: &'static Processor) {
    if ipi::has_x2apic() {
        ipi::enter_x2apic();
        me.has_x2apic.store(true, Ordering::Relaxed);
    }
    let apic = ipi::apic();
    for round in 1..=rounds() {
        if me.index() == 0 {
            ipi::send_by(apic, VECTOR, Destination::Physical(other.id()));
        }
        while me.count(VECTOR) < round {
            processors::halt();
        }
        if me.index() != 0 {
            ipi::send_by(apic, VECTOR, Destination::Physical(other.id()));
        }
    }
}

/// Each has every second ticket.
fn take_the_lock(me: &'static Processor) {
    for round in 0..rounds() {
        let ticket = 2 * round + me.index() as u64;
        while SERVED.load(Ordering::SeqCst) != ticket {
            spin_loop();
        }
        SERVED.store(ticket + 1, Ordering::SeqCst);
    }
    // The first one ends the machine: not before the second one has had its last ticket.
    while me.index() == 0 && SERVED.load(Ordering::SeqCst) < 2 * rounds() {
        spin_loop();
    }
}
