//! The processors and what each of them is to do.
//!
//! The bootstrap processor gives jobs: it puts a function where the other processor finds it and
//! sends [`WAKE_VECTOR`]. A processor without a job waits in HLT, or in a loop with PAUSE if
//! [`set_idle`] says so. Jobs run with interrupts disabled. All processors may run in turns on one
//! core: nothing here depends on how long another one takes.

use super::firmware_tables::{List, MOST};
use super::ipi::{self, Destination};
use crate::common::cpu;
use crate::common::descriptors::VECTORS;
use core::arch::asm;
use core::mem::transmute;
use core::ptr::null_mut;
use core::sync::atomic::{
    AtomicBool, AtomicPtr, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering,
};

/// Ends a halt; its handler does nothing else.
pub const WAKE_VECTOR: u32 = 50;
const GS_BASE: u32 = 0xC000_0101;
/// Time-stamp counts, a minute at least: only an event that never comes is waited for so long.
const PATIENCE: u64 = 1 << 38;

pub type Job = fn(&'static Processor);

/// One processor. Its GS base is the address of this.
#[repr(C)]
pub struct Processor {
    address: AtomicU64,
    pub index: AtomicUsize,
    pub apic_id: AtomicU32,
    /// How often it came out of its trampoline.
    pub starts: AtomicU64,
    job: AtomicPtr<()>,
    given: AtomicU64,
    done: AtomicU64,
    pub counts: [AtomicU64; VECTORS],
    /// What its last NMI interrupted: RIP and RFLAGS.
    pub nmi_frame: [AtomicU64; 2],
    /// Its APIC is in x2APIC mode for good: handlers need not look, which would exit.
    pub has_x2apic: AtomicBool,
    /// A result of its job.
    pub result: AtomicU64,
    pub is_right: AtomicBool,
}

static PROCESSORS: [Processor; MOST] = [const { Processor::new() }; MOST];
static COUNT: AtomicUsize = AtomicUsize::new(0);
static IDLE_HALTS: AtomicBool = AtomicBool::new(true);

/// By APIC id, for the code that a processor starts with.
#[unsafe(no_mangle)]
static PROCESSOR_INDEX: [AtomicU8; 256] = [const { AtomicU8::new(0) }; 256];

impl Processor {
    const fn new() -> Self {
        Self {
            address: AtomicU64::new(0),
            index: AtomicUsize::new(0),
            apic_id: AtomicU32::new(0),
            starts: AtomicU64::new(0),
            job: AtomicPtr::new(null_mut()),
            given: AtomicU64::new(0),
            done: AtomicU64::new(0),
            counts: [const { AtomicU64::new(0) }; VECTORS],
            nmi_frame: [const { AtomicU64::new(0) }; 2],
            has_x2apic: AtomicBool::new(false),
            result: AtomicU64::new(0),
            is_right: AtomicBool::new(false),
        }
    }

    pub fn index(&self) -> usize {
        self.index.load(Ordering::Relaxed)
    }

    pub fn id(&self) -> u32 {
        self.apic_id.load(Ordering::Relaxed)
    }

    /// How often it took an interrupt.
    pub fn count(&self, vector: u32) -> u64 {
        self.counts.get(vector as usize).map_or(0, |count| count.load(Ordering::SeqCst))
    }

    /// Gives it a job and wakes it.
    pub fn give(&self, job: Job) {
        self.given.fetch_add(1, Ordering::SeqCst);
        self.job.store(job as *mut (), Ordering::SeqCst);
        ipi::send(WAKE_VECTOR, Destination::Physical(self.id()));
    }

    pub fn is_done(&self) -> bool {
        self.done.load(Ordering::SeqCst) == self.given.load(Ordering::SeqCst)
    }

    /// Forgets the job that it had before it was started again.
    pub fn forget_job(&self) {
        self.job.store(null_mut(), Ordering::SeqCst);
        self.done.store(self.given.load(Ordering::SeqCst), Ordering::SeqCst);
    }

    /// Has it do a job, and waits until that is done. False if it never is.
    pub fn run(&'static self, job: Job) -> bool {
        if self.index() == current().index() {
            job(self);
            return true;
        }
        self.give(job);
        wait_until(|| self.is_done())
    }
}

/// The id of the processor that runs this, as it was at power-up.
pub fn initial_apic_id() -> u32 {
    cpu::cpuid(1).ebx >> 24
}

/// Notes the processors. The first one runs this, and takes interrupts from now on.
pub fn initialise(mut list: List) -> &'static Processor {
    list.begin_with(initial_apic_id() as u8);
    let ids = list.ids();
    for (index, (processor, &id)) in PROCESSORS.iter().zip(ids).enumerate() {
        processor.address.store(&raw const *processor as u64, Ordering::SeqCst);
        processor.index.store(index, Ordering::SeqCst);
        processor.apic_id.store(id.into(), Ordering::SeqCst);
        PROCESSOR_INDEX[usize::from(id)].store(index as u8, Ordering::SeqCst);
    }
    COUNT.store(ids.len().min(MOST), Ordering::SeqCst);
    ipi::enable();
    become_current(0)
}

/// All processors.
pub fn all() -> &'static [Processor] {
    PROCESSORS.get(..COUNT.load(Ordering::SeqCst)).unwrap_or(&[])
}

/// All but the bootstrap processor.
pub fn others() -> &'static [Processor] {
    all().get(1..).unwrap_or(&[])
}

/// Makes `current` the processor of this index.
pub fn become_current(index: usize) -> &'static Processor {
    let processor = &PROCESSORS[index.min(MOST - 1)];
    // SAFETY: no code but `current` uses GS.
    unsafe { cpu::write_msr(GS_BASE, &raw const *processor as u64) };
    processor
}

/// The processor that runs this.
pub fn current() -> &'static Processor {
    let address: *const Processor;
    // SAFETY: the GS base is the address of a processor, whose first field is that address.
    unsafe { asm!("mov {}, gs:[0]", out(reg) address, options(nostack, readonly)) }
    // SAFETY: it is one of `PROCESSORS`.
    unsafe { &*address }
}

/// How processors without a job wait from now on, once they have had another one.
pub fn set_idle(halts: bool) {
    IDLE_HALTS.store(halts, Ordering::SeqCst);
    run_on_all(|_| {});
}

/// Has all processors do a job at the same time, this one too. False if one is never done.
pub fn run_on_all(job: Job) -> bool {
    others().iter().for_each(|processor| processor.give(job));
    job(current());
    wait_until(|| others().iter().all(Processor::is_done))
}

/// Does jobs for ever.
pub fn serve(me: &'static Processor) -> ! {
    loop {
        let job = me.job.swap(null_mut(), Ordering::SeqCst);
        if !job.is_null() {
            // SAFETY: `give` stored a `Job`.
            let job: Job = unsafe { transmute(job) };
            job(me);
            me.done.fetch_add(1, Ordering::SeqCst);
        } else if IDLE_HALTS.load(Ordering::SeqCst) {
            halt();
        } else {
            pause();
        }
    }
}

/// Halts until an interrupt comes. One that came before, while interrupts were disabled, counts:
/// it is taken behind HLT, because STI holds interrupts back for an instruction.
pub fn halt() {
    // SAFETY: the handlers preserve all registers; images are built without a red zone.
    unsafe { asm!("sti", "hlt", "cli") }
}

/// Takes the interrupts that are pending.
pub fn pause() {
    // SAFETY: as above.
    unsafe { asm!("sti", "pause", "nop", "cli") }
}

/// Waits with PAUSE, and takes interrupts meanwhile. False if that never comes true.
pub fn wait_until(is_true: impl Fn() -> bool) -> bool {
    let start = cpu::time_stamp();
    while !is_true() {
        pause();
        if cpu::time_stamp().wrapping_sub(start) > PATIENCE {
            return false;
        }
    }
    true
}
