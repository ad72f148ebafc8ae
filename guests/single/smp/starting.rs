//! Finds the processors and starts them.

use super::firmware_tables::{self, List, MOST};
use super::ipi::{self, Destination};
use super::processors::{self, Processor, initial_apic_id};
use super::trampoline::{self, PAGES};
use super::{Verdict, expect, report};
use crate::common::interrupt_controller::APIC_BASE_MSR;
use crate::common::{clock, console, cpu};
use core::arch::x86_64::__cpuid_count;
use core::sync::atomic::Ordering;

/// SDM vol. 3, 9.4.4.1: what firmware waits after INIT, and after the first start-up IPI.
const AFTER_INIT_MICROSECONDS: u64 = 10_000;
const AFTER_START_UP_MICROSECONDS: u64 = 200;
const IS_BOOTSTRAP: u64 = 1 << 8;

/// Finds the processors by the MADT, and holds the other witnesses against it.
pub fn find() -> bool {
    let Some(list) = firmware_tables::madt() else {
        return report("MADT", Some(Err("there is none")));
    };
    let mut line = console::Line::new();
    line.text("smp: processors in the MADT: ").decimal(list.ids().len() as u64).print();
    let own = initial_apic_id() as u8;
    let is_listed = expect(list.ids().contains(&own), "the bootstrap processor is not listed");
    let table = firmware_tables::mp_table().map(|table| compare(&list, &table, own));
    processors::initialise(list);
    report("bootstrap processor in the MADT", Some(is_listed)) && report("MP table", table)
}

fn compare(list: &List, table: &firmware_tables::MpTable, own: u8) -> Verdict {
    let mut both = [list, &table.processors].map(|list| {
        let mut ids = [0; MOST];
        ids[..list.ids().len()].copy_from_slice(list.ids());
        ids.sort_unstable();
        (list.ids().len(), ids)
    });
    let [madt, mp] = &mut both;
    expect(madt == mp, "it lists other processors than the MADT")?;
    expect(table.bootstrap == Some(own), "it has another bootstrap processor")
}

/// Starts all processors, one after another, and prints their ids.
pub fn start() -> bool {
    trampoline::put(PAGES[0]);
    let kilohertz = clock::time_stamp_kilohertz();
    let have_started = processors::others().iter().all(|processor| start_one(processor, kilohertz));
    for processor in processors::all().iter().filter(|processor| has_started(processor)) {
        if processor.run(|me| me.result.store(initial_apic_id().into(), Ordering::SeqCst)) {
            let id = processor.result.load(Ordering::SeqCst);
            let mut line = console::Line::new();
            line.text("smp: processor ").decimal(processor.index() as u64);
            line.text(" has APIC id ").decimal(id).print();
        }
    }
    let verdict = expect(have_started, "a processor does not start").and_then(|()| check_ids());
    report("INIT and start-up IPIs", Some(verdict))
}

fn starts(processor: &Processor) -> u64 {
    processor.starts.load(Ordering::SeqCst)
}

fn has_started(processor: &Processor) -> bool {
    processor.index() == 0 || starts(processor) > 0
}

/// SDM vol. 3, 9.4.4.1. The second start-up IPI finds the processor running.
fn start_one(processor: &'static Processor, kilohertz: u64) -> bool {
    let to = Destination::Physical(processor.id());
    let start_up = ipi::START_UP | u32::from(PAGES[0]);
    ipi::send(ipi::INIT, to);
    wait(AFTER_INIT_MICROSECONDS, kilohertz);
    ipi::send(start_up, to);
    wait(AFTER_START_UP_MICROSECONDS, kilohertz);
    ipi::send(start_up, to);
    processors::wait_until(|| has_started(processor))
}

fn wait(microseconds: u64, kilohertz: u64) {
    let start = cpu::time_stamp();
    while cpu::time_stamp() - start < microseconds * kilohertz / 1000 {
        core::hint::spin_loop();
    }
}

type Look = (fn(&Processor) -> bool, &'static str);

const LOOKS: [Look; 5] = [
    (|me| initial_apic_id() == me.id(), "CPUID leaf 1 has another id"),
    (|me| own_apic_id() == me.id(), "the APIC has another id"),
    (|me| has_topology(me.id()), "CPUID leaf 0xB has another id, or too many processors"),
    (|me| is_bootstrap() == (me.index() == 0), "another one is the bootstrap processor"),
    (|me| starts(me) == u64::from(me.index() != 0), "the second start-up IPI has an effect"),
];

/// Each processor's CPUID and APIC say what the MADT does, and one of them is the bootstrap
/// processor.
fn check_ids() -> Verdict {
    for processor in processors::all() {
        expect(processor.run(look), "a processor does no job")?;
        let seen = processor.result.load(Ordering::SeqCst);
        for (number, why) in (0..).zip(LOOKS.iter().map(|(_, why)| why)) {
            expect(seen >> number & 1 == 1, why)?;
        }
    }
    Ok(())
}

/// A bit for each of [`LOOKS`] that is right.
fn look(me: &'static Processor) {
    let seen = LOOKS.iter().rev().fold(0, |seen, (look, _)| seen << 1 | u64::from(look(me)));
    me.result.store(seen, Ordering::SeqCst);
}

fn is_bootstrap() -> bool {
    cpu::read_msr(APIC_BASE_MSR) & IS_BOOTSTRAP != 0
}

/// By the local APIC's own register.
fn own_apic_id() -> u32 {
    const APIC_ID: u64 = 0xFEE0_0020;
    // SAFETY: the boot tables map the page, uncached.
    unsafe { cpu::read_device32(APIC_ID) >> 24 }
}

/// CPUID leaf 0xB has this id too, and no more logical processors than leaf 1 has room for, if
/// there is such a leaf (SDM vol. 2, CPUID).
fn has_topology(id: u32) -> bool {
    const LEAF_TOPOLOGY: u32 = 0xB;
    const HAS_SEVERAL: u32 = 1 << 28;
    if cpu::cpuid(0).eax < LEAF_TOPOLOGY || cpu::cpuid(LEAF_TOPOLOGY).ebx == 0 {
        return true;
    }
    let features = cpu::cpuid(1);
    let stated = if features.edx & HAS_SEVERAL == 0 { 1 } else { features.ebx >> 16 & 0xFF };
    (0..2).all(|level| {
        let leaf = __cpuid_count(LEAF_TOPOLOGY, level);
        leaf.edx == id && leaf.ebx & 0xFFFF <= stated.max(1)
    })
}

/// Switches all processors to x2APIC mode, where they keep their ids.
pub fn enter_x2apic() {
    processors::run_on_all(|_| ipi::enter_x2apic());
}
