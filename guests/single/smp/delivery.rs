//! Interprocessor interrupts from each processor to each, by every destination mode and shorthand
//! (SDM vol. 3, 11.6.2): those that are named get one each, and no other gets any.

use super::firmware_tables::MOST;
use super::handlers::{AGAIN_VECTOR, ILLEGAL_VECTOR, NMI_VECTOR};
use super::ipi::{self, Destination};
use super::processors::{self, Processor};
use super::{Verdict, expect};
use crate::common::cpu;
use crate::common::interrupt_controller::{LocalApic, Register, X2APIC_MSRS};
use core::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

const VECTOR: u32 = 51;
const ALL_IN_A_BYTE: u32 = 0xFF;
const CLUSTER_MODEL: u32 = 0x0FFF_FFFF;
const FLAT_MODEL: u32 = 0xFFFF_FFFF;
/// What no processor must get.
const ABSENT_VECTOR: u32 = 56;
/// The APIC id of no processor; in x2APIC mode it is in another cluster, at processor 0's bit.
const ABSENT_ID: u32 = 0x70;

/// A way to name processors.
pub struct Way {
    /// What is sent for each processor's number; None: nothing. The number behind the last one's
    /// names no processor.
    send: fn(usize) -> Option<Destination>,
    /// Whether one of these, from this sender, is for this processor.
    reaches: fn(usize, usize) -> bool,
}

fn once(number: usize, destination: Destination) -> Option<Destination> {
    (number == 0).then_some(destination)
}

fn id_of(number: usize) -> u32 {
    processors::all().get(number).map_or(ABSENT_ID, Processor::id)
}

/// In x2APIC mode the logical id follows from the APIC id (SDM vol. 3, 11.12.10.2).
fn x2_logical(number: usize) -> u32 {
    (id_of(number) >> 4) << 16 | 1 << (id_of(number) & 15)
}

pub const PHYSICAL: Way =
    Way { send: |number| Some(Destination::Physical(id_of(number))), reaches: |_, _| true };
pub const FLAT: Way = Way {
    send: |number| (number < MOST).then(|| Destination::Logical(flat_id(number))),
    reaches: |_, _| true,
};
pub const FLAT_SEVERAL: Way = Way {
    send: |number| once(number, Destination::Logical(0b0101_0101)),
    reaches: |_, number| number % 2 == 0,
};
pub const CLUSTER: Way =
    Way { send: |number| Some(Destination::Logical(cluster_id(number))), reaches: |_, _| true };
pub const CLUSTER_SEVERAL: Way = Way {
    send: |number| once(number, Destination::Logical(0x0F)),
    reaches: |_, number| number < 4,
};
pub const ITSELF: Way = Way {
    send: |number| once(number, Destination::Itself),
    reaches: |sender, number| sender == number,
};
pub const ALL: Way = Way { send: |number| once(number, Destination::All), reaches: |_, _| true };
pub const OTHERS: Way = Way {
    send: |number| once(number, Destination::Others),
    reaches: |sender, number| sender != number,
};
pub const BROADCAST: Way =
    Way { send: |number| once(number, Destination::Physical(ALL_IN_A_BYTE)), reaches: |_, _| true };
pub const LOGICAL_BROADCAST: Way =
    Way { send: |number| once(number, Destination::Logical(ALL_IN_A_BYTE)), reaches: |_, _| true };
pub const X2_CLUSTER: Way =
    Way { send: |number| Some(Destination::Logical(x2_logical(number))), reaches: |_, _| true };
pub const X2_BROADCAST: Way =
    Way { send: |number| once(number, Destination::Physical(!0)), reaches: |_, _| true };

/// The way that `send_all` takes.
static WAY: AtomicUsize = AtomicUsize::new(0);

fn send_all(_: &'static Processor) {
    // SAFETY: `check` stored a reference to a `Way` that lives for ever.
    let way = unsafe { &*(WAY.load(Ordering::SeqCst) as *const Way) };
    let count = processors::all().len();
    for destination in (0..count).filter_map(way.send) {
        ipi::send(VECTOR, destination);
    }
    if let Some(destination) = (way.send)(count) {
        ipi::send(ABSENT_VECTOR, destination);
    }
}

/// Those that get it wait in HLT for the one sender, in a loop with PAUSE for the next.
pub fn check(way: &'static Way) -> Verdict {
    let all = processors::all();
    WAY.store(&raw const *way as usize, Ordering::SeqCst);
    for sender in 0..all.len() {
        processors::set_idle(sender % 2 == 0);
        let mut expected = counts(VECTOR);
        for (count, number) in expected.iter_mut().zip(0..all.len()) {
            *count += u64::from((way.reaches)(sender, number));
        }
        expect(all[sender].run(send_all), "a processor cannot send")?;
        let have_come = processors::wait_until(|| have_reached(&expected));
        expect(have_come, "a processor does not get it")?;
        settle();
        expect(counts(VECTOR) == expected, "another processor gets it, or one more than once")?;
        expect(counts(ABSENT_VECTOR) == [0; MOST], "a processor gets what is for none")?;
    }
    processors::set_idle(true);
    Ok(())
}

/// How many of them each processor took.
fn counts(vector: u32) -> [u64; MOST] {
    let mut counts = [0; MOST];
    for (count, processor) in counts.iter_mut().zip(processors::all()) {
        *count = processor.count(vector);
    }
    counts
}

fn have_reached(expected: &[u64; MOST]) -> bool {
    counts(VECTOR).iter().zip(expected).all(|(count, expected)| count >= expected)
}

/// All that was sent has been taken: each processor takes interrupts, and has nothing else to do.
fn settle() {
    processors::pause();
    processors::run_on_all(|_| processors::pause());
}

/// Flat: a bit for each processor.
pub fn become_flat() {
    processors::run_on_all(|me| {
        let apic = ipi::apic();
        apic.write(Register::DestinationFormat, FLAT_MODEL);
        apic.write(Register::LogicalDestination, flat_id(me.index()) << 24);
    });
}

fn flat_id(number: usize) -> u32 {
    1 << (number % MOST)
}

/// Clusters of four processors (SDM vol. 3, 11.6.2.2).
pub fn become_clusters() {
    processors::run_on_all(|me| {
        let apic = ipi::apic();
        apic.write(Register::DestinationFormat, CLUSTER_MODEL);
        apic.write(Register::LogicalDestination, cluster_id(me.index()) << 24);
    });
}

fn cluster_id(number: usize) -> u32 {
    ((number / 4) as u32) << 4 | 1 << (number % 4)
}

/// A vector that is sent again before it is taken stays one request (SDM vol. 3, 11.8.4).
pub fn merged() -> Verdict {
    static WAITS: AtomicU64 = AtomicU64::new(0);
    static IS_SENT: AtomicBool = AtomicBool::new(false);
    for processor in processors::others() {
        let mut expected = counts(VECTOR);
        expected[processor.index()] += 1;
        let waits = WAITS.load(Ordering::SeqCst);
        IS_SENT.store(false, Ordering::SeqCst);
        processor.give(|_| {
            WAITS.fetch_add(1, Ordering::SeqCst);
            while !IS_SENT.load(Ordering::SeqCst) {
                core::hint::spin_loop();
            }
        });
        let is_waiting = processors::wait_until(|| WAITS.load(Ordering::SeqCst) > waits);
        expect(is_waiting, "a processor does not do its job")?;
        (0..3).for_each(|_| ipi::send(VECTOR, Destination::Physical(processor.id())));
        IS_SENT.store(true, Ordering::SeqCst);
        let has_come = processors::wait_until(|| have_reached(&expected));
        expect(has_come, "it is lost")?;
        settle();
        expect(counts(VECTOR) == expected, "it is taken more than once")?;
    }
    Ok(())
}

/// A vector that comes while it is in service is taken behind the end of that (SDM vol. 3, 11.8.4).
pub fn again() -> Verdict {
    let expected = counts(AGAIN_VECTOR).map(|count| count + 2);
    let is_sent = processors::run_on_all(|_| ipi::send(AGAIN_VECTOR, Destination::Itself));
    let all = processors::all().len();
    let have_come = processors::wait_until(|| counts(AGAIN_VECTOR)[..all] == expected[..all]);
    expect(is_sent && have_come, "one is lost")
}

/// Exactly one of those that are named gets an interrupt of lowest priority, whichever.
pub fn lowest_priority() -> Verdict {
    let sum = || counts(VECTOR).iter().sum::<u64>();
    for sender in processors::all() {
        let before = sum();
        expect(sender.run(send_lowest_priority), "a processor cannot send")?;
        expect(processors::wait_until(|| sum() > before), "no processor gets it")?;
        settle();
        expect(sum() == before + 1, "more than one processor gets it")?;
    }
    Ok(())
}

fn send_lowest_priority(_: &'static Processor) {
    let mask = match ipi::apic() {
        LocalApic::Memory => ALL_IN_A_BYTE,
        LocalApic::X2 => (0..processors::all().len()).map(x2_logical).fold(0, |all, id| all | id),
    };
    ipi::send(ipi::LOWEST_PRIORITY | VECTOR, Destination::Logical(mask));
}

/// The register that only sends to the processor itself (SDM vol. 3, 11.12.11).
pub fn self_register() -> Verdict {
    for processor in processors::all() {
        let before = counts(VECTOR);
        let is_done = processor.run(|_| {
            let register = X2APIC_MSRS + Register::SelfIpi as u32;
            // SAFETY: interrupts this processor, whose handlers keep what they interrupt.
            unsafe { cpu::write_msr(register, VECTOR.into()) };
        });
        let mut expected = before;
        expected[processor.index()] += 1;
        let has_come = processors::wait_until(|| have_reached(&expected));
        expect(is_done && has_come, "it does not come")?;
        settle();
        expect(counts(VECTOR) == expected, "it comes twice, or elsewhere")?;
    }
    Ok(())
}

/// Each processor takes an NMI from each other one.
pub fn nmi() -> Verdict {
    for sender in processors::all() {
        let mut expected = counts(NMI_VECTOR);
        for (count, processor) in expected.iter_mut().zip(processors::all()) {
            *count += u64::from(processor.index() != sender.index());
        }
        let is_done = sender.run(|_| ipi::send(ipi::NMI, Destination::Others));
        let have_come = processors::wait_until(|| counts(NMI_VECTOR) == expected);
        expect(is_done && have_come, "an NMI does not come, or comes twice")?;
    }
    Ok(())
}

/// An interrupt vector below 16 is an error, which the sender notes (SDM vol. 3, 11.5.3). None if
/// this APIC notes no errors.
pub fn illegal_vector() -> Option<Verdict> {
    const SEND_ILLEGAL_VECTOR: u32 = 1 << 5;
    let apic = ipi::apic();
    let before = counts(ILLEGAL_VECTOR);
    apic.write(Register::ErrorStatus, 0);
    ipi::send(ILLEGAL_VECTOR, Destination::Physical(id_of(processors::all().len() - 1)));
    apic.write(Register::ErrorStatus, 0);
    let status = apic.read(Register::ErrorStatus);
    settle();
    if status == 0 {
        return None;
    }
    Some(expect(
        status & SEND_ILLEGAL_VECTOR != 0 && counts(ILLEGAL_VECTOR) == before,
        "another error is noted, or the vector is raised",
    ))
}

/// Remote read, which only the first APICs had: QEMU and KVM send nothing, and the bits that would
/// say that a register was read (17:16) stay clear.
pub fn remote_read() -> Verdict {
    const REMOTE_READ_STATUS: u32 = 3 << 16;
    let before = counts(VECTOR);
    let apic = ipi::apic();
    ipi::send(ipi::REMOTE_READ | VECTOR, Destination::Physical(id_of(processors::all().len() - 1)));
    let command = apic.read(Register::InterruptCommand);
    settle();
    expect(command & REMOTE_READ_STATUS == 0, "it is answered")?;
    expect(counts(VECTOR) == before, "it raises an interrupt")
}
