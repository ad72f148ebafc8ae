//! A guest at the end of a link: sends its stream, receives those of all others, and powers off
//! when both are done.
//!
//! A byte's top two bits name its sender, the other six follow its random stream, so every receiver
//! can tell who sent what and in which order.

use crate::cpu::Cpu;
use crate::hardware::{
    Controller, DATA_READY, DEPTH, ON_DATA, ON_EMPTY, Serial, TRANSMITTER_EMPTY,
};
use crate::seed::Random;
use crate::world::Software;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

/// How a station goes about its port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Habit {
    /// Reads LSR in a loop.
    Polls,
    /// Halts until it is interrupted.
    IsInterrupted(Controller),
}

/// How a station ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Powers off when all is sent and received.
    WhenDone,
    /// Ends like this after so many bytes sent or received.
    After(usize, Death),
}

/// Ways to die.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Death {
    PowerOff,
    Reset,
    TripleFault,
    Fault,
    HaltForever,
}

/// What the scenario says of a station.
#[derive(Clone, Copy, Debug)]
pub struct Orders {
    pub habit: Habit,
    /// COM1 (a switched port) or COM2.
    pub com: u8,
    pub divisor: Option<u8>,
    pub has_strings: bool,
    /// Bytes it waits for.
    pub expects: usize,
    pub end: End,
}

/// A station's mail. The scenario reads it when all is over.
#[derive(Debug, Default)]
pub struct Mail {
    pub to_send: RefCell<VecDeque<u8>>,
    pub received: RefCell<Vec<u8>>,
}

/// The software of a station.
pub fn software(cpu: Cpu, orders: Orders, mail: Rc<Mail>, random: Random) -> Software {
    let serial = Serial::com(cpu, orders.com);
    let station = Rc::new(Station { serial, orders, mail, random });
    let main = station.clone();
    let handler = move |vector| -> crate::cpu::Program {
        let station = station.clone();
        Box::pin(async move { station.interrupt(vector).await })
    };
    (Box::pin(async move { main.main().await }), Box::new(handler))
}

#[derive(Debug)]
struct Station {
    serial: Serial,
    orders: Orders,
    mail: Rc<Mail>,
    random: Random,
}

impl Station {
    async fn main(&self) {
        let cpu = &self.serial.cpu;
        cpu.compute(self.random.pick(&[1, 10_000, 3_000_000])).await;
        self.serial.initialize(self.orders.divisor).await;
        match self.orders.habit {
            Habit::Polls => self.poll().await,
            Habit::IsInterrupted(controller) => self.sleep(controller).await,
        }
        cpu.power_off(0).await;
    }

    async fn poll(&self) {
        // A switched port is on its link while IER bit 0 is set. The processor takes no interrupt.
        let is_switched = self.orders.com == 1;
        self.serial.enable_interrupts(u8::from(is_switched)).await;
        while !self.is_done() {
            self.may_die().await;
            let status = self.serial.status().await;
            if status & DATA_READY != 0 {
                self.receive().await;
            }
            if status & TRANSMITTER_EMPTY != 0 {
                self.send().await;
            }
            if self.random.once_in(8) {
                self.work().await;
            }
            if is_switched && self.random.once_in(16) {
                self.print().await;
            }
        }
    }

    async fn sleep(&self, controller: Controller) {
        controller.initialize(&self.serial.cpu, &[self.serial.irq]).await;
        self.serial.enable_interrupts(self.wanted()).await;
        while !self.is_done() {
            self.may_die().await;
            self.serial.cpu.wait_for_interrupt().await;
            if self.random.once_in(8) {
                self.work().await;
            }
        }
    }

    async fn interrupt(&self, vector: u8) {
        let Habit::IsInterrupted(controller) = self.orders.habit else {
            panic!("a guest that only polls is interrupted");
        };
        assert_eq!(vector, controller.vector(self.serial.irq));
        loop {
            match self.serial.identify_interrupt().await {
                0x01 => break,
                0x02 => {
                    self.send().await;
                    self.serial.enable_interrupts(self.wanted()).await;
                }
                0x04 | 0x0c => self.receive().await,
                other => panic!("IIR is {other:#x}"),
            }
        }
        controller.end_of_interrupt(&self.serial.cpu, vector).await;
    }

    async fn send(&self) {
        let count = if self.random.flip() { DEPTH } else { 1 };
        let burst: Vec<u8> = {
            let mut to_send = self.mail.to_send.borrow_mut();
            let count = count.min(to_send.len());
            to_send.drain(..count).collect()
        };
        self.serial.write_burst(&burst, self.orders.has_strings).await;
    }

    /// At least one byte waits.
    async fn receive(&self) {
        if self.orders.has_strings && self.random.flip() {
            let bytes = self.serial.read_string(1).await;
            self.mail.received.borrow_mut().extend(bytes);
            return;
        }
        loop {
            let byte = self.serial.read().await;
            self.mail.received.borrow_mut().push(byte);
            if self.serial.status().await & DATA_READY == 0 || self.random.once_in(20) {
                break;
            }
        }
    }

    async fn work(&self) {
        let most_ns = self.random.pick(&[1_000, 20_000, 200_000]);
        self.serial.cpu.compute(self.random.below(most_ns)).await;
    }

    /// The seed's way: IER 0, a console; IER 1, the link again.
    async fn print(&self) {
        self.serial.enable_interrupts(0).await;
        self.serial.print(PRINTED, self.orders.has_strings).await;
        self.serial.enable_interrupts(1).await;
    }

    fn wanted(&self) -> u8 {
        if self.mail.to_send.borrow().is_empty() { ON_DATA } else { ON_DATA | ON_EMPTY }
    }

    fn is_done(&self) -> bool {
        let has_all = self.mail.received.borrow().len() >= self.orders.expects;
        has_all && self.mail.to_send.borrow().is_empty()
    }

    async fn may_die(&self) {
        let End::After(left, death) = self.orders.end else { return };
        if self.mail.to_send.borrow().len() > left {
            return;
        }
        let cpu = &self.serial.cpu;
        match death {
            Death::PowerOff => cpu.power_off(0).await,
            Death::Reset => cpu.outb(0xcf9, 6).await,
            Death::TripleFault => cpu.triple_fault().await,
            Death::Fault => cpu.fault().await,
            Death::HaltForever => {
                cpu.disable_interrupts().await;
                cpu.halt().await;
            }
        }
        unreachable!("it is dead");
    }
}

/// What a station with a switched port prints now and then.
pub const PRINTED: &[u8] = b"still here\n";
