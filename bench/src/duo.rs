//! The floor for two VMs: both vCPUs in this thread, two rings in memory, a switch when a guest
//! finds the line empty or halts.

use crate::bare::{Access, Bare, LINE_STATUS_IDLE};
use anyhow::{Result, bail};
use std::collections::VecDeque;
use vmm_common::plan::BootKind;

const COM2: u16 = 0x2f8;
const INTERRUPT_ENABLE: u16 = COM2 + 1;
const LINE_STATUS: u16 = COM2 + 5;
const DATA_READY: u8 = 1;
/// The vector of IRQ 3, as the guests' 8259 pair is programmed.
const VECTOR: u32 = 0x23;

/// Two VMs and what lies between them.
#[derive(Debug)]
pub struct Duo {
    vms: [Bare; 2],
    /// What each has received.
    received: [VecDeque<u8>; 2],
    is_interrupt_enabled: [bool; 2],
    is_done: [bool; 2],
}

impl Duo {
    /// Two built-in guests with their command lines.
    pub fn new(guests: [(&str, &str); 2]) -> Result<Self> {
        let vm = |(name, cmdline): (&str, &str)| {
            let image = guests::find(name).expect("a built-in guest").bytes;
            Bare::new(image, BootKind::Auto, cmdline)
        };
        let [first, second] = guests;
        Ok(Self {
            vms: [vm(first)?, vm(second)?],
            received: Default::default(),
            is_interrupt_enabled: [false; 2],
            is_done: [false; 2],
        })
    }

    /// Runs both to power-off.
    pub fn run(&mut self) -> Result<()> {
        let mut me = 0;
        while !(self.is_done[0] && self.is_done[1]) {
            if !self.is_done[me] {
                self.turn(me)?;
            }
            me = 1 - me;
        }
        Ok(())
    }

    fn turn(&mut self, me: usize) -> Result<()> {
        loop {
            self.interrupt(me)?;
            let mut found_nothing = false;
            let [first, second] = &mut self.received;
            let (own, peer) = if me == 0 { (first, second) } else { (second, first) };
            let latch = self.is_interrupt_enabled[me];
            let access = self.vms[me].run(|port| match port {
                LINE_STATUS if own.is_empty() => {
                    found_nothing = true;
                    LINE_STATUS_IDLE
                }
                LINE_STATUS => LINE_STATUS_IDLE | DATA_READY,
                COM2 => own.pop_front().unwrap_or(0),
                INTERRUPT_ENABLE => u8::from(latch),
                port => crate::bare::line_status_idle(port),
            })?;
            match access {
                Access::Out(COM2, byte) => peer.push_back(byte),
                Access::Out(INTERRUPT_ENABLE, value) => {
                    self.is_interrupt_enabled[me] = value & 1 != 0;
                }
                Access::Off => {
                    self.is_done[me] = true;
                    return Ok(());
                }
                Access::Halt if own.is_empty() => return Ok(()),
                Access::Signal => bail!("an unexpected signal"),
                Access::In(LINE_STATUS) if found_nothing => return Ok(()),
                Access::Out(..) | Access::In(_) | Access::Store(_) => {}
                Access::Halt | Access::Other => {}
            }
        }
    }

    /// IRQ 3 while a byte waits and the guest wants to know.
    fn interrupt(&mut self, me: usize) -> Result<()> {
        let is_wanted = self.is_interrupt_enabled[me] && !self.received[me].is_empty();
        let run = self.vms[me].vcpu.get_kvm_run();
        if is_wanted && run.ready_for_interrupt_injection != 0 && run.if_flag != 0 {
            vmm_kvm::kvm::interrupt(&self.vms[me].vcpu, VECTOR as u8)?;
        }
        Ok(())
    }
}
