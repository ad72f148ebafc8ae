//! Processors that wait for each other in loops with PAUSE: a ticket lock under contention, a
//! barrier, and a reading of the time-stamp counter that goes round.

use super::processors::{self, Processor};
use super::{Verdict, expect};
use crate::common::cpu;
use core::hint::spin_loop;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

const INCREMENTS: u64 = 100;
const BARRIER_ROUNDS: u64 = 100;
const READINGS: u64 = 50;

static NEXT_TICKET: AtomicU64 = AtomicU64::new(0);
static SERVED: AtomicU64 = AtomicU64::new(0);
/// What the lock guards: read and written by accesses of their own.
static GUARDED: AtomicU64 = AtomicU64::new(0);

/// Takes the lock so many times; right if each ticket found the count that came before it.
fn increment(me: &'static Processor) {
    let mut is_right = true;
    for _ in 0..INCREMENTS {
        let ticket = NEXT_TICKET.fetch_add(1, Ordering::SeqCst);
        while SERVED.load(Ordering::SeqCst) != ticket {
            spin_loop();
        }
        let count = GUARDED.load(Ordering::Relaxed);
        is_right &= count == ticket;
        spin_loop();
        GUARDED.store(count + 1, Ordering::Relaxed);
        SERVED.store(ticket + 1, Ordering::SeqCst);
    }
    me.is_right.store(is_right, Ordering::SeqCst);
}

pub fn ticket_lock() -> Verdict {
    expect(processors::run_on_all(increment), "a processor never gets the lock")?;
    let all = processors::all();
    let expected = INCREMENTS * all.len() as u64;
    expect(GUARDED.load(Ordering::SeqCst) == expected, "the count is wrong")?;
    let is_right = all.iter().all(|processor| processor.is_right.load(Ordering::SeqCst));
    expect(is_right, "two processors had the lock at a time")
}

static ARRIVED: AtomicU64 = AtomicU64::new(0);
static SENSE: AtomicBool = AtomicBool::new(false);

/// A sense-reversing barrier, many times; right if none was passed before all had arrived.
fn meet(me: &'static Processor) {
    let all = processors::all();
    let mut is_right = true;
    for round in 1..=BARRIER_ROUNDS {
        me.result.store(round, Ordering::SeqCst);
        let sense = SENSE.load(Ordering::SeqCst);
        if ARRIVED.fetch_add(1, Ordering::SeqCst) + 1 == all.len() as u64 {
            ARRIVED.store(0, Ordering::SeqCst);
            SENSE.store(!sense, Ordering::SeqCst);
        } else {
            while SENSE.load(Ordering::SeqCst) == sense {
                spin_loop();
            }
        }
        // Those that are ahead have arrived at the next one at most.
        let arrived = |other: &Processor| other.result.load(Ordering::SeqCst);
        is_right &= all.iter().all(|other| (round..=round + 1).contains(&arrived(other)));
    }
    me.is_right.store(is_right, Ordering::SeqCst);
}

pub fn barrier() -> Verdict {
    for processor in processors::all() {
        processor.result.store(0, Ordering::SeqCst);
    }
    expect(processors::run_on_all(meet), "a processor never passes the barrier")?;
    let is_right = |processor: &Processor| processor.is_right.load(Ordering::SeqCst);
    expect(processors::all().iter().all(is_right), "a processor passed before all had arrived")
}

/// Whose turn it is, and the reading that was handed over.
static TURN: AtomicU64 = AtomicU64::new(0);
static READING: AtomicU64 = AtomicU64::new(0);

/// CPUID completes all that comes before it, so that the counter is not read early (SDM vol. 3,
/// 9.3).
fn serialized_time_stamp() -> u64 {
    cpu::cpuid(0);
    cpu::time_stamp()
}

fn compare_time_stamps(me: &'static Processor) {
    let (own, count) = (me.index() as u64, processors::all().len() as u64);
    let mut is_right = true;
    for round in 0..READINGS {
        while TURN.load(Ordering::SeqCst) != round * count + own {
            spin_loop();
        }
        let now = serialized_time_stamp();
        is_right &= now >= READING.load(Ordering::SeqCst);
        READING.store(now, Ordering::SeqCst);
        TURN.fetch_add(1, Ordering::SeqCst);
    }
    me.is_right.store(is_right, Ordering::SeqCst);
}

/// Each processor gets the reading of the one before it, and reads no less.
pub fn time_stamps() -> Verdict {
    expect(processors::run_on_all(compare_time_stamps), "a reading never arrives")?;
    let is_right = |processor: &Processor| processor.is_right.load(Ordering::SeqCst);
    expect(processors::all().iter().all(is_right), "a counter is behind another processor's")
}
