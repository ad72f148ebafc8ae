//! The instructions of a simulated guest. A guest's program is an `async` function: each `await` is
//! an instruction, and between two of them it can be interrupted, preempted or left for good.

use crate::place::Clock;
use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;
use vmm_common::Instant;
use vmm_common::seam::{ExitReason, Fault};

/// A running program, or interrupt handler.
pub type Program = Pin<Box<dyn Future<Output = ()>>>;

/// One instruction.
#[derive(Clone, Debug)]
pub enum Instruction {
    /// Works for so many nanoseconds without leaving the guest.
    Compute(u64),
    /// Leaves the guest for this reason.
    Exit(ExitReason),
    /// `rep outsb`.
    OutString { port: u16, bytes: Vec<u8> },
    /// `rep insb`.
    InString { port: u16, count: usize },
    /// HLT.
    Halt,
    /// STI, which lets no interrupt in before the next instruction is done.
    EnableInterrupts,
    /// CLI.
    DisableInterrupts,
    /// MOV to CR8.
    SetTaskPriority(u8),
}

/// What an instruction left in the registers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    Done,
    Value(u64),
    Bytes(Vec<u8>),
    GeneralProtection,
}

/// An interrupt that the guest has set a timer for, and when it becomes pending.
#[derive(Clone, Copy, Debug)]
pub struct Expected {
    pub earliest: Instant,
    pub latest: Instant,
    pub vector: u8,
}

/// A guest's hold on its processor.
#[derive(Clone, Debug)]
pub struct Cpu(Rc<Registers>);

#[derive(Debug)]
struct Registers {
    clock: Rc<Clock>,
    instruction: RefCell<Option<Instruction>>,
    outcome: RefCell<Option<Outcome>>,
    handled_at: Cell<Instant>,
    expected: Cell<Option<Expected>>,
}

impl Cpu {
    pub fn new(clock: Rc<Clock>) -> Self {
        Self(Rc::new(Registers {
            clock,
            instruction: RefCell::new(None),
            outcome: RefCell::new(None),
            handled_at: Cell::new(Instant::ZERO),
            expected: Cell::new(None),
        }))
    }

    /// The time, as the guest's time-stamp counter has it.
    pub fn now(&self) -> Instant {
        self.0.clock.now()
    }

    /// When the access before this took effect.
    pub fn handled_at(&self) -> Instant {
        self.0.handled_at.get()
    }

    pub fn was_handled(&self, at: Instant) {
        self.0.handled_at.set(at);
    }

    /// The simulation watches that this interrupt comes, not early and not late.
    pub fn expect(&self, expected: Expected) {
        self.0.expected.set(Some(expected));
    }

    pub fn expected_interrupt(&self) -> Option<Expected> {
        self.0.expected.get()
    }

    pub fn has_come(&self) {
        self.0.expected.set(None);
    }

    /// The instruction that a program which was just polled waits for.
    pub fn take_instruction(&self) -> Option<Instruction> {
        self.0.instruction.take()
    }

    /// What the program about to be polled finds.
    pub fn put_outcome(&self, outcome: Outcome) {
        *self.0.outcome.borrow_mut() = Some(outcome);
    }

    pub async fn execute(&self, instruction: Instruction) -> Outcome {
        let mut next = Some(instruction);
        poll_fn(|_| match next.take() {
            Some(instruction) => {
                *self.0.instruction.borrow_mut() = Some(instruction);
                Poll::Pending
            }
            None => Poll::Ready(self.0.outcome.take().expect("polled when it is done")),
        })
        .await
    }

    pub async fn compute(&self, ns: u64) {
        self.execute(Instruction::Compute(ns)).await;
    }

    pub async fn inb(&self, port: u16) -> u8 {
        self.value(ExitReason::PortIn { port, size: 1 }).await as u8
    }

    pub async fn outb(&self, port: u16, value: u8) {
        let reason = ExitReason::PortOut { port, size: 1, value: value.into() };
        self.execute(Instruction::Exit(reason)).await;
    }

    pub async fn out_string(&self, port: u16, bytes: &[u8]) {
        self.execute(Instruction::OutString { port, bytes: bytes.to_vec() }).await;
    }

    pub async fn in_string(&self, port: u16, count: usize) -> Vec<u8> {
        match self.execute(Instruction::InString { port, count }).await {
            Outcome::Bytes(bytes) => bytes,
            other => panic!("a string became {other:?}"),
        }
    }

    pub async fn store(&self, address: u64, value: u32) {
        let reason = ExitReason::MmioWrite { address, size: 4, value: value.into() };
        self.execute(Instruction::Exit(reason)).await;
    }

    pub async fn read_msr(&self, index: u32) -> u64 {
        self.value(ExitReason::MsrRead { index }).await
    }

    pub async fn write_msr(&self, index: u32, value: u64) {
        let outcome = self.exit(ExitReason::MsrWrite { index, value }).await;
        assert_eq!(outcome, Outcome::Done, "WRMSR {index:#x}");
    }

    pub async fn exit(&self, reason: ExitReason) -> Outcome {
        self.execute(Instruction::Exit(reason)).await
    }

    pub async fn enable_interrupts(&self) {
        self.execute(Instruction::EnableInterrupts).await;
    }

    pub async fn disable_interrupts(&self) {
        self.execute(Instruction::DisableInterrupts).await;
    }

    pub async fn halt(&self) {
        self.execute(Instruction::Halt).await;
    }

    /// STI; HLT; CLI: waits for an interrupt without missing one.
    pub async fn wait_for_interrupt(&self) {
        self.enable_interrupts().await;
        self.halt().await;
        self.disable_interrupts().await;
    }

    /// The same, unless what it waits for is so already.
    pub async fn wait_for_interrupt_unless(&self, is_so: impl Fn() -> bool) {
        self.disable_interrupts().await;
        if !is_so() {
            self.wait_for_interrupt().await;
        }
    }

    pub async fn power_off(&self, status: u8) {
        self.outb(0xf4, status).await;
        unreachable!("a guest that powered off goes on");
    }

    pub async fn triple_fault(&self) {
        self.exit(ExitReason::Shutdown).await;
        unreachable!("a guest goes on after a triple fault");
    }

    pub async fn fault(&self) {
        self.exit(ExitReason::Fault(Fault::CannotEmulate { code: 1 })).await;
        unreachable!("a guest goes on after its fault");
    }

    async fn value(&self, reason: ExitReason) -> u64 {
        match self.exit(reason).await {
            Outcome::Value(value) => value,
            other => panic!("{reason:?} became {other:?}"),
        }
    }
}
