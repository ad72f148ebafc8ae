//! NMI, INIT and start-up IPIs to processors that run (SDM vol. 3, 9.4 and 10.1): what they stop,
//! what they leave alone, and what a processor finds in its registers when it starts again.

use super::handlers::{ENDLESS_VECTOR, NMI_VECTOR};
use super::ipi::{self, Destination};
use super::processors::{self, Processor};
use super::trampoline::{self, APIC_FOUND, Found, PAGES};
use super::{Verdict, expect};
use crate::common::cpu;
use crate::common::interrupt_controller::{APIC_BASE_MSR, LocalApic, Register};
use core::arch::asm;
use core::sync::atomic::{AtomicU64, Ordering};

const INTERRUPT_FLAG: u64 = 1 << 9;
const SYSENTER_EIP: u32 = 0x176;
const SYSCALL_TARGET: u32 = 0xC000_0082;
/// A canonical address, in registers that INIT leaves as they are.
const KEPT: u64 = 0x7EAD_BEE8;
/// A request that INIT drops.
const VECTOR: u32 = 53;
/// A task priority that holds back none of the vectors here.
const LOW_PRIORITY: u32 = 1 << 4;
/// Turns of a loop between two looks at a counter.
const LOOKS: u32 = 10_000;

static LOOPS: AtomicU64 = AtomicU64::new(0);
static IS_RELEASED: AtomicU64 = AtomicU64::new(0);

/// Counts with interrupts disabled, until it is released. What it returns is the address of its
/// loop and the one behind it.
fn spin() -> (u64, u64) {
    let (begin, end): (u64, u64);
    // SAFETY: counts, and reads whether it is released.
    unsafe {
        asm!("lea {begin}, [rip + 2f]", "lea {end}, [rip + 3f]",
            "2: inc qword ptr [{loops}]", "cmp qword ptr [{released}], 0", "je 2b", "3:",
            begin = out(reg) begin, end = out(reg) end,
            loops = in(reg) LOOPS.as_ptr(), released = in(reg) IS_RELEASED.as_ptr(),
            options(nostack));
    }
    (begin, end)
}

fn starts_spinning(processor: &'static Processor, job: processors::Job) -> bool {
    IS_RELEASED.store(0, Ordering::SeqCst);
    let before = LOOPS.load(Ordering::SeqCst);
    processor.give(job);
    processors::wait_until(|| LOOPS.load(Ordering::SeqCst) != before)
}

/// A watchdog: an NMI reaches a processor that spins with interrupts disabled, and shows where.
pub fn watchdog() -> Verdict {
    for processor in processors::others() {
        let before = processor.count(NMI_VECTOR);
        let is_spinning = starts_spinning(processor, |me| {
            let (begin, end) = spin();
            let [rip, rflags] = [0, 1].map(|at: usize| me.nmi_frame[at].load(Ordering::SeqCst));
            let is_right = (begin..end).contains(&rip) && rflags & INTERRUPT_FLAG == 0;
            me.is_right.store(is_right, Ordering::SeqCst);
        });
        expect(is_spinning, "a processor does not do its job")?;
        ipi::send(ipi::NMI, Destination::Physical(processor.id()));
        let has_come = processors::wait_until(|| processor.count(NMI_VECTOR) == before + 1);
        IS_RELEASED.store(1, Ordering::SeqCst);
        expect(has_come, "the NMI does not come")?;
        let is_done = processors::wait_until(|| processor.is_done());
        expect(is_done, "the processor does not go on behind it")?;
        let is_right = processor.is_right.load(Ordering::SeqCst);
        expect(is_right, "it did not interrupt the loop, or interrupts were enabled there")?;
    }
    Ok(())
}

/// HLT with interrupts disabled ends with an NMI, while this processor is the only one that runs.
pub fn halted_for_good() -> Verdict {
    for processor in processors::others() {
        processor.give(|me| {
            let before = me.count(NMI_VECTOR);
            while me.count(NMI_VECTOR) == before {
                // SAFETY: the handler of NMIs preserves all registers.
                unsafe { asm!("hlt") }
            }
        });
    }
    for processor in processors::others() {
        // The first one may come before HLT; then the processor halts, and the next one wakes it.
        let is_awake = processors::wait_until(|| {
            ipi::send(ipi::NMI, Destination::Physical(processor.id()));
            processor.is_done()
        });
        expect(is_awake, "an NMI does not wake it")?;
    }
    Ok(())
}

/// A token goes round: all processors halt, and each wakes the next one.
pub fn chain() -> Verdict {
    const ROUNDS: u64 = 20;
    fn pass_on(me: &'static Processor) {
        let all = processors::all();
        let next = &all[(me.index() + 1) % all.len()];
        let before = me.result.load(Ordering::SeqCst);
        for round in 1..=ROUNDS {
            // The first one has it at first, and keeps it at last.
            if me.index() == 0 {
                ipi::send(VECTOR, Destination::Physical(next.id()));
            }
            while me.count(VECTOR) < before + round {
                processors::halt();
            }
            if me.index() != 0 {
                ipi::send(VECTOR, Destination::Physical(next.id()));
            }
        }
    }
    let all = processors::all();
    for processor in all {
        processor.result.store(processor.count(VECTOR), Ordering::SeqCst);
    }
    expect(processors::run_on_all(pass_on), "the token is lost")?;
    let is_right = |processor: &Processor| {
        processor.count(VECTOR) == processor.result.load(Ordering::SeqCst) + ROUNDS
    };
    expect(all.iter().all(is_right), "a processor was interrupted more often")
}

/// A start-up IPI does nothing to a processor that does not wait for one, halted or not.
pub fn start_up_while_running() -> Verdict {
    for halts in [true, false] {
        processors::set_idle(halts);
        for (processor, page) in processors::others().iter().zip(PAGES.into_iter().cycle()) {
            let starts = processor.starts.load(Ordering::SeqCst);
            trampoline::put(page);
            ipi::send(ipi::START_UP | u32::from(page), Destination::Physical(processor.id()));
            expect(processor.run(|_| {}), "the processor does nothing any more")?;
            let is_right = !trampoline::found(page).has_run()
                && processor.starts.load(Ordering::SeqCst) == starts;
            expect(is_right, "the processor starts again")?;
        }
    }
    processors::set_idle(true);
    Ok(())
}

/// INIT with its level off does nothing, in both of the processor's ways to wait.
pub fn deassert() -> Verdict {
    for halts in [true, false] {
        processors::set_idle(halts);
        for processor in processors::others() {
            let starts = processor.starts.load(Ordering::SeqCst);
            ipi::send(ipi::INIT_DEASSERT, Destination::Physical(processor.id()));
            expect(processor.run(|_| {}), "the processor does nothing any more")?;
            let is_right = processor.starts.load(Ordering::SeqCst) == starts;
            expect(is_right, "the processor starts again")?;
        }
    }
    processors::set_idle(true);
    Ok(())
}

/// INIT stops a processor that spins with interrupts disabled, one that halts, and one that serves
/// an interrupt; one start-up IPI starts it again, at another page. Its old state is gone, but for
/// what INIT keeps.
pub fn init_and_restart() -> Verdict {
    for (processor, page) in processors::others().iter().zip(PAGES.into_iter().cycle().skip(1)) {
        expect(processor.run(mark), "the processor does nothing")?;
        expect(processor.run(mark_breakpoints), "the processor does one job")?;
        let is_spinning = starts_spinning(processor, |_| {
            spin();
        });
        expect(is_spinning, "the processor does not spin")?;
        let taken = processor.count(VECTOR);
        ipi::send(VECTOR, Destination::Physical(processor.id()));
        restart(processor, page, ipi::INIT)?;
        expect(processor.count(VECTOR) == taken, "INIT keeps what was requested before")?;
        restart(processor, page, ipi::LEVEL_INIT)?; // from its halt
        let taken = processor.count(ENDLESS_VECTOR);
        ipi::send(ENDLESS_VECTOR, Destination::Physical(processor.id()));
        let is_serving = processors::wait_until(|| processor.count(ENDLESS_VECTOR) > taken);
        expect(is_serving, "the processor takes no interrupt any more")?;
        restart(processor, page, ipi::INIT)?;
    }
    Ok(())
}

/// The same of a processor whose string instruction waits for a device, over and over.
pub fn amid_a_string() -> Verdict {
    for (processor, page) in processors::others().iter().zip(PAGES.into_iter().cycle()) {
        expect(processor.run(mark), "the processor does nothing")?;
        let is_reading = starts_spinning(processor, |_| read_for_ever());
        expect(is_reading, "the processor does not read")?;
        restart(processor, page, ipi::INIT)?;
    }
    Ok(())
}

/// Counts, and reads bytes where nothing is. (Writing them somewhere would be a second access.)
fn read_for_ever() {
    const NOTHING: u64 = 0xFEC8_0000;
    const BYTES: u64 = 0x8_0000;
    // SAFETY: reads between the I/O APIC and the HPET, which is mapped.
    unsafe {
        asm!("2: inc qword ptr [{loops}]", "mov rsi, {nothing}", "mov rcx, {bytes}", "rep lodsb",
            "jmp 2b", loops = in(reg) LOOPS.as_ptr(), nothing = in(reg) NOTHING,
            bytes = in(reg) BYTES, options(noreturn));
    }
}

fn restart(processor: &'static Processor, page: u8, init: u32) -> Verdict {
    let starts = processor.starts.load(Ordering::SeqCst);
    trampoline::put(page);
    let to = Destination::Physical(processor.id());
    ipi::send(init, to);
    expect(processors::wait_until(has_stopped), "INIT does not stop it")?;
    let is_waiting = !trampoline::found(page).has_run();
    expect(is_waiting, "it starts before a start-up IPI comes")?;
    ipi::send(ipi::START_UP | u32::from(page), to);
    let has_started = || processor.starts.load(Ordering::SeqCst) == starts + 1;
    expect(processors::wait_until(has_started), "it does not start again")?;
    let loops = LOOPS.load(Ordering::SeqCst);
    check_found(&trampoline::found(page), page)?;
    let apic = APIC_FOUND[processor.index()].each_ref().map(|word| word.load(Ordering::SeqCst));
    let has_destination = ipi::apic() == LocalApic::Memory && apic[2] != 0;
    let is_reset = apic[0] & 0x1FF == 0xFF && apic[1] == 1 << 16 && apic[3] == 0;
    expect(is_reset && !has_destination, "INIT does not reset its local APIC")?;
    expect(processor.run(are_kept), "it does no jobs any more")?;
    expect(processor.is_right.load(Ordering::SeqCst), "INIT clears registers that it keeps")?;
    expect(processor.run(mark_breakpoints), "it does no jobs behind that")?;
    expect(processor.is_right.load(Ordering::SeqCst), "INIT leaves breakpoints")?;
    expect(LOOPS.load(Ordering::SeqCst) == loops, "it goes on with what it did before INIT, too")
}

/// Nothing counts while this processor looks.
fn has_stopped() -> bool {
    let before = LOOPS.load(Ordering::SeqCst);
    (0..LOOKS).for_each(|_| core::hint::spin_loop());
    LOOPS.load(Ordering::SeqCst) == before
}

/// What INIT keeps, and a register that it clears.
fn mark(me: &'static Processor) {
    me.result.store(cpu::read_msr(APIC_BASE_MSR), Ordering::SeqCst);
    ipi::apic().write(Register::TaskPriority, LOW_PRIORITY);
    for register in [SYSENTER_EIP, SYSCALL_TARGET] {
        // SAFETY: neither instruction is used here.
        unsafe { cpu::write_msr(register, KEPT) };
    }
}

/// Breakpoints that were met and that no instruction meets again, once it has noted that there are
/// none.
fn mark_breakpoints(me: &'static Processor) {
    const MET: u64 = 0xFFFF_0FFF;
    const FIRST_ON: u64 = 0x401;
    let found: u64;
    // SAFETY: reads registers.
    unsafe {
        asm!("mov {found}, dr0", "mov {other}, dr1", "or {found}, {other}", "mov {other}, dr2",
            "or {found}, {other}", "mov {other}, dr3", "or {found}, {other}",
            found = out(reg) found, other = out(reg) _, options(nomem, nostack));
    }
    me.is_right.store(found == 0, Ordering::SeqCst);
    // SAFETY: no instruction and no data lies at that address.
    unsafe {
        asm!("mov dr0, {at}", "mov dr1, {at}", "mov dr2, {at}", "mov dr3, {at}",
            "mov dr6, {met}", "mov dr7, {on}", at = in(reg) KEPT, met = in(reg) MET,
            on = in(reg) FIRST_ON, options(nomem, nostack));
    }
}

fn are_kept(me: &'static Processor) {
    let are_kept =
        [SYSENTER_EIP, SYSCALL_TARGET].into_iter().all(|register| cpu::read_msr(register) == KEPT);
    // The APIC's mode is in it (SDM vol. 3, 11.12.5.1).
    let base = cpu::read_msr(APIC_BASE_MSR);
    me.is_right.store(are_kept && base == me.result.load(Ordering::SeqCst), Ordering::SeqCst);
}

/// SDM vol. 3, table 10-1, column INIT; CS and IP by 9.4.4.1; EFER by APM vol. 2, table 14-1.
fn check_found(found: &Found, page: u8) -> Verdict {
    /// INIT leaves CD and NW as they are.
    const CACHE_BITS: u32 = 3 << 29;
    const EXTENSION_TYPE: u32 = 1 << 4;
    const WHOLE: (u32, u32) = (0xFFFF, 0);
    expect(found.has_run(), "it does not start at the first byte of the page")?;
    expect(found.code_segment() == u32::from(page) << 8, "CS is not the page's")?;
    expect(found.data_segments() == [0; 5], "a segment register is not 0")?;
    expect(found.general() == [0; 7], "a general register is not 0")?;
    expect(found.cr0() & !CACHE_BITS == EXTENSION_TYPE, "CR0 is not as INIT leaves it")?;
    expect(found.cleared() == [0; 5], "CR2, CR3, CR4 or EFER is not 0")?;
    expect(found.eflags() == 2, "EFLAGS is not 2")?;
    expect(found.debug() == [0xFFFF_0FF0, 0x400], "DR6 or DR7 is not as INIT leaves it")?;
    expect(found.tables() == [WHOLE; 2], "GDTR or IDTR is not as INIT leaves it")
}
