//! A simulated guest: runs a program one instruction at a time, as a processor would. It honours
//! the deadline with a small overrun, gathers writes where it may, and hands strings out in parts.

mod parts;
mod protocol;

use crate::cpu::{Cpu, Instruction, Outcome, Program};
use crate::place::Clock;
use crate::seed::Random;
use crate::world::{Software, Starter, TSC, tsc_at};
use parts::Parts;
pub use protocol::Waits;
use protocol::{Awaits, awaited};
use std::collections::VecDeque;
use std::rc::Rc;
use std::task::{Context, Waker};
use vmm_common::Instant;
use vmm_common::registers::CpuState;
use vmm_common::seam::{Entry, Exit, ExitReason, Injection, TscReading, VcpuBackend};

/// What entering and leaving a guest costs, ns.
const WORLD_SWITCH_NS: (u64, u64) = (150, 800);

/// A program or handler, and the instruction it is at.
struct Frame {
    program: Program,
    instruction: Option<Instruction>,
    outcome: Option<Outcome>,
    is_flag_set_after: bool,
}

/// How a guest's processor behaves.
#[derive(Clone, Copy, Debug)]
pub struct Habits {
    /// It is left so much later than the deadline at most, ns.
    pub max_overrun_ns: u64,
    /// It gathers writes where it may.
    pub is_batching: bool,
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
    /// What it runs each time it is started, if another processor does that.
    starter: Option<Starter>,
}

impl Guest {
    pub fn new(
        cpu: Cpu,
        (vm, clock, random): (usize, Rc<Clock>, Random),
        habits: Habits,
        (program, handler): Software,
        starter: Option<Starter>,
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
            starter,
        }
    }

    /// The same on this processor, which its software has.
    pub fn with_cpu(self, cpu: Cpu) -> Self {
        Self { cpu, ..self }
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

    /// The instruction at hand is done.
    fn finish(&mut self, outcome: Outcome) {
        let frame = self.frames.last_mut().expect("an instruction belongs to a program");
        frame.instruction = None;
        frame.outcome = Some(outcome);
    }

    fn exit(&self, reason: ExitReason, left_guest: bool, is_last: bool) -> Exit {
        Exit {
            reason,
            is_interrupt_flag_set: self.is_flag_set,
            is_interruptible: self.is_flag_set && !self.is_shadowed && is_last,
            cr8: self.cr8,
            left_guest,
            overhead_ns: 0,
            has_more: !is_last,
            tsc: None,
        }
    }

    fn inject(&mut self, vector: u8) {
        self.vectors.push(vector);
        let program = (self.handler)(vector);
        let is_flag_set_after = std::mem::replace(&mut self.is_flag_set, false);
        self.is_shadowed = false;
        self.frames.push(Frame { program, instruction: None, outcome: None, is_flag_set_after });
    }

    /// Runs the guest until it exits or time is up.
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
            if let Some(exit) = self.execute(instruction, stop_at, entry.batchable_ports.0) {
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
                return Some(self.exit(ExitReason::Halt, true, true));
            }
            Instruction::OutString { port, bytes } => {
                self.parts = Some(Parts::Out { port, bytes: bytes.into() });
                return Some(self.string_part(true));
            }
            Instruction::InString { port, count } => {
                self.parts = Some(Parts::In { port, left: count, got: Vec::new() });
                return Some(self.string_part(true));
            }
        }
        self.finish(Outcome::Done);
        None
    }

    fn leave_for(&mut self, reason: ExitReason, was_shadowed: bool) -> Exit {
        self.awaits = awaited(&reason);
        if self.awaits == Awaits::Nothing {
            self.finish(Outcome::Done);
        }
        // Hardware may still show the shadow of an STI before the instruction that left.
        let is_possible = !was_shadowed || self.random.flip();
        self.exit(reason, true, is_possible)
    }
}

impl VcpuBackend for Guest {
    const CAN_BATCH: bool = true;

    fn enter(&mut self, entry: &Entry) -> Exit {
        let entered = self.clock.now();
        if entry.wants_tsc {
            let reading = TscReading { hz: TSC.hz, tsc: tsc_at(entered), at: entered };
            let exit = self.exit(ExitReason::Preempted, false, false);
            return Exit { tsc: Some(reading), ..exit };
        }
        self.check_entry(entry, entered);
        if self.last.is_some_and(|(exit, _)| is_access(&exit.reason)) {
            self.cpu.was_handled(self.clock.handled_at(self.vm));
        }
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
                let exit = self.run(entry);
                self.check_exit(entry, entered);
                self.after_batch(exit)
            }
        };
        self.last = Some((exit, self.clock.now()));
        self.clock.leave_guest(self.vm, entered);
        exit
    }

    fn start_up(&mut self, registers: &CpuState) {
        assert_eq!(registers.rip, 0);
        let starter = self.starter.clone().expect("another processor starts it");
        let (program, handler) = starter(self.cpu.clone());
        let main = Frame { program, instruction: None, outcome: None, is_flag_set_after: false };
        (self.frames, self.handler) = (vec![main], handler);
        (self.is_flag_set, self.is_shadowed, self.has_nmi, self.cr8) = (false, false, false, 0);
        (self.awaits, self.parts) = (Awaits::Nothing, None);
        self.batch.clear();
        (self.behind_batch, self.last, self.due_at) = (None, None, None);
    }

    fn power_on(&mut self, registers: &CpuState) {
        self.start_up(registers);
    }

    fn registers(&mut self) -> CpuState {
        CpuState::default()
    }
}

/// The guest did something, rather than have it done to it.
fn is_access(reason: &ExitReason) -> bool {
    !matches!(reason, ExitReason::InterruptWindow | ExitReason::Preempted)
}
