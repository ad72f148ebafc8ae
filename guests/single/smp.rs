//! Starts its processors, one to eight, and holds them and their local APICs to the manuals: a line
//! for each check. It can be run on one core, where processors take turns: no check depends on how
//! fast they are, or on two of them running at a time.
#![no_std]
#![no_main]

#[path = "../common/mod.rs"]
mod common;
#[path = "smp/delivery.rs"]
mod delivery;
#[path = "smp/device_interrupts.rs"]
mod device_interrupts;
#[path = "smp/locks.rs"]
mod locks;
#[path = "multiprocessor/mod.rs"]
mod multiprocessor;
#[path = "smp/own_timers.rs"]
mod own_timers;
#[path = "smp/restart.rs"]
mod restart;
#[path = "smp/shoot_down.rs"]
mod shoot_down;
#[path = "smp/starting.rs"]
mod starting;

use common::{boot, console, power};
use multiprocessor::processors::Processor;
use multiprocessor::{firmware_tables, handlers, ipi, processors, trampoline};

const STATUS_WRONG: u32 = 1;

/// What is wrong, if something is.
pub type Verdict = Result<(), &'static str>;

/// Where a check can be done.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Needs {
    Nothing,
    /// Another processor.
    Others,
    X2Apic,
    /// A timer whose periodic ticks all come, however late: hypervisors merge them. The word
    /// `untimed` on the command line leaves the check out.
    Ticks,
}
use Needs::{Nothing, Others, Ticks, X2Apic};

/// A name, what it needs, and the check; None: what it checks is not offered here.
type Check = (&'static str, Needs, fn() -> Option<Verdict>);

#[rustfmt::skip]
const CHECKS: &[Check] = &[
    ("physical destinations", Nothing, || Some(delivery::check(&delivery::PHYSICAL))),
    ("flat destinations", Nothing, || {
        delivery::become_flat();
        Some(delivery::check(&delivery::FLAT))
    }),
    ("several flat destinations", Nothing, || Some(delivery::check(&delivery::FLAT_SEVERAL))),
    ("all flat destinations", Nothing, || Some(delivery::check(&delivery::LOGICAL_BROADCAST))),
    ("lowest priority", Nothing, || Some(delivery::lowest_priority())),
    ("cluster destinations", Nothing, || {
        delivery::become_clusters();
        Some(delivery::check(&delivery::CLUSTER))
    }),
    ("several cluster destinations", Nothing, || {
        Some(delivery::check(&delivery::CLUSTER_SEVERAL))
    }),
    ("broadcast", Nothing, || Some(delivery::check(&delivery::BROADCAST))),
    ("shorthand self", Nothing, || Some(delivery::check(&delivery::ITSELF))),
    ("shorthand all", Nothing, || Some(delivery::check(&delivery::ALL))),
    ("shorthand others", Nothing, || Some(delivery::check(&delivery::OTHERS))),
    ("request while in service", Nothing, || Some(delivery::again())),
    ("merged requests", Others, || Some(delivery::merged())),
    ("NMI", Others, || Some(delivery::nmi())),
    ("remote read refused", Nothing, || Some(delivery::remote_read())),
    ("illegal vector", Nothing, delivery::illegal_vector),
    ("chain of halted processors", Nothing, || Some(restart::chain())),
    ("device interrupt elsewhere", Others, || Some(device_interrupts::check())),
    ("TLB shoot-down", Nothing, || Some(shoot_down::check())),
    ("ticket lock", Nothing, || Some(locks::ticket_lock())),
    ("barrier", Nothing, || Some(locks::barrier())),
    ("time-stamp counters", Nothing, || Some(locks::time_stamps())),
    ("one-shot timers", Nothing, || Some(own_timers::one_shot())),
    ("periodic timers", Ticks, || Some(own_timers::periodic())),
    ("NMI watchdog", Others, || Some(restart::watchdog())),
    ("NMI ends HLT", Others, || Some(restart::halted_for_good())),
    ("start-up IPI ignored", Others, || Some(restart::start_up_while_running())),
    ("INIT de-assert ignored", Others, || Some(restart::deassert())),
    ("INIT and restart", Others, || Some(restart::init_and_restart())),
    ("INIT amid a string", Others, || Some(restart::amid_a_string())),
    ("x2APIC physical destinations", X2Apic, || {
        starting::enter_x2apic();
        Some(delivery::check(&delivery::PHYSICAL))
    }),
    ("x2APIC cluster destinations", X2Apic, || Some(delivery::check(&delivery::X2_CLUSTER))),
    ("x2APIC lowest priority", X2Apic, || Some(delivery::lowest_priority())),
    ("x2APIC broadcast", X2Apic, || Some(delivery::check(&delivery::X2_BROADCAST))),
    ("x2APIC shorthand self", X2Apic, || Some(delivery::check(&delivery::ITSELF))),
    ("x2APIC shorthand all", X2Apic, || Some(delivery::check(&delivery::ALL))),
    ("x2APIC shorthand others", X2Apic, || Some(delivery::check(&delivery::OTHERS))),
    ("x2APIC self register", X2Apic, || Some(delivery::self_register())),
    ("x2APIC one-shot timers", X2Apic, || Some(own_timers::one_shot())),
    ("x2APIC INIT and restart", Others, || {
        ipi::has_x2apic().then(restart::init_and_restart)
    }),
];

/// What is wrong if that is not right.
pub fn expect(is_right: bool, what: &'static str) -> Verdict {
    if is_right { Ok(()) } else { Err(what) }
}

#[unsafe(no_mangle)]
extern "C" fn guest_main() -> ! {
    multiprocessor::begin();
    let mut is_right = starting::find() && starting::start();
    let count = processors::all().len();
    for &(name, needs, check) in CHECKS {
        if !is_right {
            break; // what comes next relies on what came before
        }
        is_right = match needs {
            Ticks if boot::has_word("untimed") => continue,
            Others if count < 2 => continue,
            X2Apic if !ipi::has_x2apic() => report(name, None),
            Nothing | Others | Ticks | X2Apic => report(name, check()),
        };
    }
    let last = if is_right { "smp: all passed" } else { "smp: FAILED" };
    console::Line::new().text(last).print();
    power::off(if is_right { 0 } else { STATUS_WRONG })
}

/// Prints a check's line; false if it failed.
pub fn report(name: &str, verdict: Option<Verdict>) -> bool {
    let mut line = console::Line::new();
    line.text("smp: ").text(name);
    match verdict {
        None => line.text(" not offered"),
        Some(Ok(())) => line.text(" PASSED"),
        Some(Err(why)) => line.text(" FAILED: ").text(why),
    };
    line.print();
    !matches!(verdict, Some(Err(_)))
}

/// What a processor does once it has started.
pub fn run_processor(me: &'static Processor) -> ! {
    processors::serve(me)
}
