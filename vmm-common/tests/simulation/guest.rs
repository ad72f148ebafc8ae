//! A simulated guest: runs a program one instruction at a time, and holds the loop to the protocol
//! of the seam at every entry.
//!
//! | held at every entry | by |
//! |---|---|
//! | no entry after the VM ended; HLT ends by an event only | [`Guest::check_entry`] |
//! | the deadline is later than the time the loop decided by | [`Guest::check_entry`] |
//! | injection only when possible, and then at once | [`Guest::check_entry`] |
//! | each access gets exactly one reply, of its kind | [`Guest::take_reply`] |
//! | a due interrupt comes within [`MAX_ENTRIES_TO_INJECT`] | [`Guest::check_promptness`] |

use crate::cpu::{Cpu, Instruction, Outcome, Program};
use crate::place::Clock;
use crate::seed::Random;
use std::collections::VecDeque;
use std::rc::Rc;
use std::task::{Context, Waker};
use vmm_common::Instant;
use vmm_common::registers::CpuState;
use vmm_common::seam::{Entry, Exit, ExitReason, Injection, Reply, VcpuBackend};

/// Entries into a guest with interrupts enabled before an interrupt that is due comes: one that
/// opens the window, if the guest could not take it at its last exit, and the one that brings it.
pub const MAX_ENTRIES_TO_INJECT: u32 = 2;
/// What entering and leaving a guest costs, ns.
const WORLD_SWITCH_NS: (u64, u64) = (150, 800);
/// Writes that are gathered at most.
const MAX_BATCH: usize = 16;

/// What an access waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Awaits {
    Nothing,
    Value,
    MsrValue,
    MsrDone,
    Cpuid,
}

/// A program or handler, and the instruction it is at.
struct Frame {
    program: Program,
    instruction: Option<Instruction>,
    outcome: Option<Outcome>,
    is_flag_set_after: bool,
}

/// The parts of a string instruction that have not been handed out.
#[derive(Debug)]
enum Parts {
    Out { port: u16, bytes: VecDeque<u8> },
    In { port: u16, left: usize, got: Vec<u8> },
}

/// How a guest's processor behaves.
#[derive(Clone, Copy, Debug)]
pub struct Habits {
    /// It is left so much later than the deadline at most, ns.
    pub max_overrun_ns: u64,
    /// It gathers writes where it may.
    pub is_batching: bool,
}

/// How long a guest that could run has waited for an entry, ns.
#[derive(Clone, Copy, Debug, Default)]
pub struct Waits {
    /// After it was preempted, or an interrupt that ends its HLT became due.
    pub longest_ns: u64,
    /// After an IN, which may have been a fruitless poll.
    pub longest_after_in_ns: u64,
}

/// One vCPU with its program.
pub struct Guest {
    vm: usize,
    clock: Rc<Clock>,
    random: Random,
    habits: Habits,
    cpu: Cpu,
    frames: Vec<Frame>,
    handler: Box<dyn Fn(u8) -> Program>,
    is_flag_set: bool,
    is_shadowed: bool,
    cr8: u8,
    has_nmi: bool,
    awaits: Awaits,
    parts: Option<Parts>,
    /// Writes gathered, and the exit behind them.
    batch: VecDeque<ExitReason>,
    behind_batch: Option<Exit>,
    last: Option<(Exit, Instant)>,
    overdue_entries: u32,
    due_at: Option<Instant>,
    /// Entries that went into the guest, rather than to a further part of an exit.
    pub entries: u64,
    /// Vectors injected, in order; NMIs as 2.
    pub vectors: Vec<u8>,
    pub waits: Waits,
}

impl Guest {
    pub fn new(
        cpu: Cpu,
        (vm, clock, random): (usize, Rc<Clock>, Random),
        habits: Habits,
        program: Program,
        handler: Box<dyn Fn(u8) -> Program>,
    ) -> Self {
        let main = Frame { program, instruction: None, outcome: None, is_flag_set_after: false };
        Self {
            vm,
            clock,
            random,
            habits,
            cpu,
            frames: vec![main],
            handler,
            is_flag_set: false,
            is_shadowed: false,
            cr8: 0,
            has_nmi: false,
            awaits: Awaits::Nothing,
            parts: None,
            batch: VecDeque::new(),
            behind_batch: None,
            last: None,
            overdue_entries: 0,
            due_at: None,
            entries: 0,
            vectors: Vec::new(),
            waits: Waits::default(),
        }
    }

    /// Whether the guest would take a maskable interrupt if one were pending.
    pub fn has_interrupts_enabled(&self) -> bool {
        self.is_flag_set
    }

    /// The simulation sees that an interrupt waits for this guest since `at` at the latest.
    pub fn note_pending(&mut self, at: Instant) {
        self.due_at.get_or_insert(at);
    }

    fn is_halted(&self) -> bool {
        self.last.is_some_and(|(exit, _)| exit.reason == ExitReason::Halt)
    }

    fn check_entry(&self, entry: &Entry, entered: Instant) {
        let vm = self.vm;
        assert!(!self.clock.has_ended(vm), "VM {vm} has ended and is entered");
        let basis = self.clock.basis();
        assert!(entry.deadline > basis, "VM {vm}: {:?} is past, at {basis:?}", entry.deadline);
        let could_take = self.last.is_some_and(|(exit, _)| exit.is_interruptible);
        if let Some(Injection::Interrupt(vector)) = entry.inject {
            assert!(could_take, "VM {vm} gets {vector:#x}, which it cannot take, at {entered:?}");
        }
        let is_late = entry.wants_window && could_take && entry.inject.is_none();
        assert!(!is_late, "VM {vm} can take an interrupt, and it is held back");
        let is_fallen_through = self.is_halted() && entry.inject.is_none();
        assert!(!is_fallen_through, "VM {vm} goes on after HLT without an event, at {entered:?}");
    }

    /// An expected interrupt that is due is counted against the entries until it comes.
    fn check_promptness(&mut self, entry: &Entry) {
        let Some((at, vector)) = self.cpu.expected_interrupt() else { return };
        if entry.inject == Some(Injection::Interrupt(vector)) {
            assert!(self.clock.basis() >= at || self.clock.now() >= at, "{vector:#x} comes early");
            self.cpu.has_come();
            self.overdue_entries = 0;
        } else if self.clock.basis() >= at && self.is_flag_set {
            self.overdue_entries += 1;
            let overdue = self.overdue_entries;
            assert!(overdue < MAX_ENTRIES_TO_INJECT, "VM {}: {vector:#x} is overdue", self.vm);
        }
    }

    fn note_wait(&mut self, entered: Instant) {
        let due = self.due_at.take();
        let Some((exit, left_at)) = self.last else { return };
        let is_after_in = matches!(exit.reason, ExitReason::PortIn { .. });
        let since = if self.is_halted() {
            let expected = self.cpu.expected_interrupt().map(|(at, _)| at);
            match expected.into_iter().chain(due).min() {
                Some(at) => at.max(left_at),
                None => return,
            }
        } else {
            left_at
        };
        let waits = &mut self.waits;
        let longest =
            if is_after_in { &mut waits.longest_after_in_ns } else { &mut waits.longest_ns };
        *longest = (*longest).max(entered.ns_since(since));
    }

    fn take_reply(&mut self, reply: Reply) {
        let awaits = std::mem::replace(&mut self.awaits, Awaits::Nothing);
        let outcome = match (awaits, reply) {
            (Awaits::Nothing, Reply::None) => return,
            (Awaits::Value | Awaits::MsrValue, Reply::Value(value)) => Outcome::Value(value),
            (Awaits::MsrValue | Awaits::MsrDone, Reply::GeneralProtection) => {
                Outcome::GeneralProtection
            }
            (Awaits::MsrDone, Reply::None) => Outcome::Done,
            (Awaits::Cpuid, Reply::Cpuid(result)) => Outcome::Cpuid(result),
            (awaits, reply) => panic!("VM {} waits for {awaits:?} and gets {reply:?}", self.vm),
        };
        match (&mut self.parts, outcome) {
            (Some(Parts::In { left, got, .. }), Outcome::Value(value)) => {
                got.push(value as u8);
                *left -= 1;
                if *left == 0 {
                    let got = std::mem::take(got);
                    self.parts = None;
                    self.finish(Outcome::Bytes(got));
                }
            }
            (_, outcome) => self.finish(outcome),
        }
    }

    /// The instruction at hand is done.
    fn finish(&mut self, outcome: Outcome) {
        let frame = self.frames.last_mut().expect("an instruction belongs to a program");
        frame.instruction = None;
        frame.outcome = Some(outcome);
    }

    /// The next part of an exit that was taken already.
    fn next_part(&mut self) -> Option<Exit> {
        if let Some(write) = self.batch.pop_front() {
            return Some(self.exit(write, false, false));
        }
        if let Some(exit) = self.behind_batch.take() {
            self.awaits = awaited(&exit.reason);
            return Some(exit);
        }
        self.parts.is_some().then(|| self.string_part(false))
    }

    fn string_part(&mut self, left_guest: bool) -> Exit {
        let (reason, is_last) = match self.parts.as_mut().expect("a string is at hand") {
            Parts::Out { port, bytes } => {
                let value = bytes.pop_front().expect("strings are not empty").into();
                (ExitReason::PortOut { port: *port, size: 1, value }, bytes.is_empty())
            }
            Parts::In { port, left, .. } => {
                (ExitReason::PortIn { port: *port, size: 1 }, *left == 1)
            }
        };
        self.awaits = awaited(&reason);
        if is_last && self.awaits == Awaits::Nothing {
            self.parts = None;
            self.finish(Outcome::Done);
        }
        self.exit(reason, left_guest, is_last)
    }

    fn exit(&self, reason: ExitReason, left_guest: bool, is_last: bool) -> Exit {
        Exit {
            reason,
            is_interrupt_flag_set: self.is_flag_set,
            is_interruptible: self.is_flag_set && !self.is_shadowed && is_last,
            cr8: self.cr8,
            left_guest,
        }
    }

    fn inject(&mut self, vector: u8) {
        self.vectors.push(vector);
        let program = (self.handler)(vector);
        let is_flag_set_after = std::mem::replace(&mut self.is_flag_set, false);
        self.is_shadowed = false;
        self.frames.push(Frame { program, instruction: None, outcome: None, is_flag_set_after });
    }

    /// Runs the guest until it needs somebody or time is up.
    fn run(&mut self, entry: &Entry) -> Exit {
        let (low, high) = WORLD_SWITCH_NS;
        self.clock.pass(self.random.within(low, high));
        let overrun_ns = self.random.below(self.habits.max_overrun_ns + 1);
        let stop_at = entry.deadline.after_ns(overrun_ns);
        loop {
            if entry.wants_window && self.is_flag_set && !self.is_shadowed {
                return self.exit(ExitReason::InterruptWindow, true, true);
            }
            if self.clock.now() >= stop_at {
                return self.exit(ExitReason::Preempted, true, true);
            }
            let instruction = self.fetch();
            if let Some(exit) = self.execute(instruction, stop_at, entry.batchable_ports) {
                return exit;
            }
        }
    }

    /// The next instruction of whatever program or handler runs.
    fn fetch(&mut self) -> Instruction {
        loop {
            let frame = self.frames.last_mut().expect("a program does not return");
            if let Some(instruction) = frame.instruction.take() {
                return instruction;
            }
            if let Some(outcome) = frame.outcome.take() {
                self.cpu.put_outcome(outcome);
            }
            let mut context = Context::from_waker(Waker::noop());
            if frame.program.as_mut().poll(&mut context).is_ready() {
                self.is_flag_set = frame.is_flag_set_after;
                self.frames.pop();
            } else {
                frame.instruction = self.cpu.take_instruction();
            }
        }
    }

    /// Carries out one instruction, or as much of it as there is time for.
    fn execute(&mut self, instruction: Instruction, stop: Instant, batchable: u8) -> Option<Exit> {
        self.clock.pass(self.random.within(1, 20));
        let was_shadowed = std::mem::replace(&mut self.is_shadowed, false);
        match instruction {
            Instruction::Compute(ns) => {
                let slept_ns = ns.min(stop.ns_since(self.clock.now()));
                self.clock.pass(slept_ns);
                if slept_ns < ns {
                    let frame = self.frames.last_mut().expect("it computes");
                    frame.instruction = Some(Instruction::Compute(ns - slept_ns));
                    return None;
                }
            }
            Instruction::EnableInterrupts => {
                self.is_shadowed = !self.is_flag_set;
                self.is_flag_set = true;
            }
            Instruction::DisableInterrupts => self.is_flag_set = false,
            Instruction::SetTaskPriority(class) => self.cr8 = class,
            Instruction::Exit(reason) if self.may_gather(&reason, batchable) => {
                self.batch.push_back(reason);
            }
            Instruction::Exit(reason) => return Some(self.leave_for(reason, was_shadowed)),
            Instruction::Halt => {
                self.finish(Outcome::Done);
                let exit = self.exit(ExitReason::Halt, true, true);
                return Some(self.after_batch(exit));
            }
            Instruction::OutString { port, bytes } => {
                self.parts = Some(Parts::Out { port, bytes: bytes.into() });
                return Some(self.begin_string());
            }
            Instruction::InString { port, count } => {
                self.parts = Some(Parts::In { port, left: count, got: Vec::new() });
                return Some(self.begin_string());
            }
        }
        self.finish(Outcome::Done);
        None
    }

    /// Strings are not gathered behind a batch here: the batch goes first, as exits of their own.
    fn begin_string(&mut self) -> Exit {
        match self.batch.pop_front() {
            Some(write) => self.exit(write, true, false),
            None => self.string_part(true),
        }
    }

    fn leave_for(&mut self, reason: ExitReason, was_shadowed: bool) -> Exit {
        self.awaits = awaited(&reason);
        if self.awaits == Awaits::Nothing {
            self.finish(Outcome::Done);
        }
        // Hardware may still show the shadow of an STI before the instruction that left.
        let is_possible = !was_shadowed || self.random.flip();
        let exit = self.exit(reason, true, is_possible);
        self.after_batch(exit)
    }

    /// `exit`, or the first of the writes gathered before it.
    fn after_batch(&mut self, exit: Exit) -> Exit {
        let Some(write) = self.batch.pop_front() else { return exit };
        self.awaits = Awaits::Nothing;
        self.behind_batch = Some(exit);
        self.exit(write, false, false)
    }

    fn may_gather(&self, reason: &ExitReason, batchable: u8) -> bool {
        const TRANSMITTERS: [u16; 4] = [0x3f8, 0x2f8, 0x3e8, 0x2e8];
        let ExitReason::PortOut { port, size: 1, .. } = reason else { return false };
        let com = TRANSMITTERS.iter().position(|transmitter| transmitter == port);
        self.habits.is_batching
            && self.batch.len() < MAX_BATCH
            && com.is_some_and(|com| batchable >> com & 1 != 0)
    }
}

/// What the next entry must bring after this exit.
fn awaited(reason: &ExitReason) -> Awaits {
    match reason {
        ExitReason::PortIn { .. } | ExitReason::MmioRead { .. } => Awaits::Value,
        ExitReason::MsrRead { .. } => Awaits::MsrValue,
        ExitReason::MsrWrite { .. } => Awaits::MsrDone,
        ExitReason::Cpuid { .. } => Awaits::Cpuid,
        ExitReason::PortOut { .. } | ExitReason::MmioWrite { .. } => Awaits::Nothing,
        ExitReason::Halt | ExitReason::Shutdown | ExitReason::Fault(_) => Awaits::Nothing,
        ExitReason::InterruptWindow | ExitReason::Preempted => Awaits::Nothing,
    }
}

impl VcpuBackend for Guest {
    fn enter(&mut self, entry: &Entry) -> Exit {
        let entered = self.clock.now();
        self.check_entry(entry, entered);
        self.take_reply(entry.reply);
        self.has_nmi |= entry.inject == Some(Injection::Nmi);
        let exit = match self.next_part() {
            Some(part) => {
                assert!(!matches!(entry.inject, Some(Injection::Interrupt(_))), "between parts");
                part
            }
            None => {
                self.note_wait(entered);
                self.entries += 1;
                self.check_promptness(entry);
                self.cr8 = entry.cr8;
                match entry.inject {
                    _ if std::mem::take(&mut self.has_nmi) => self.inject(2),
                    Some(Injection::Interrupt(vector)) => self.inject(vector),
                    Some(Injection::Nmi) | None => {}
                }
                self.run(entry)
            }
        };
        self.last = Some((exit, self.clock.now()));
        self.clock.leave_guest(self.vm, entered);
        exit
    }

    fn registers(&mut self) -> CpuState {
        CpuState::default()
    }
}
