//! What a trap does: ticks, system calls, page faults of ring 3; anything else ends the run.
//!
//! Two programs can take turns: the one that was started, which may never exit, and one that
//! sleeps. A tick at which the sleeper is due brings it in at once, and its next call to sleep
//! brings back the other.

use crate::common::console::{COM1, DATA_READY, INTERRUPT_ENABLE, LINE_STATUS};
use crate::common::cpu;
use crate::common::global::Global;
use crate::common::interrupt_controller::{LocalApic, Register};
use crate::paging::{self, USER_HEAP};
use crate::programs::{ECHO, GET, NOTHING, PUT, SET_UART_INTERRUPTS, SLEEP};
use crate::traps::{Frame, MASKED_FLAGS, SYSTEM_CALL};
use crate::{registers, report};

/// The vector of the local APIC's timer.
pub const TIMER_VECTOR: u64 = 0xF0;
/// Where the local APIC sends what is gone before it is taken.
pub const SPURIOUS_VECTOR: u64 = 0xF1;
/// The vector of the local APIC's errors.
pub const ERROR_VECTOR: u64 = 0xF2;
/// The vector of page faults.
pub const PAGE_FAULT: u64 = 14;

/// Of a page fault: by a write, and by ring 3.
const WRITE: u64 = 1 << 1;
const USER: u64 = 1 << 2;
const RING: u64 = 3;

/// What traps change and steps look at.
pub struct Kernel {
    /// How the local APIC is reached.
    pub apic: LocalApic,
    /// The initial count that each tick asks for the next one with; 0: it asks for none.
    pub count_per_tick: u32,
    /// Interrupts of the timer so far.
    pub ticks: u64,
    /// Pages mapped for reads and for writes of ring 3.
    pub mapped_pages: [u64; 2],
    /// System calls at whose entry a flag was set that should have been cleared.
    pub unmasked_calls: u64,
    /// The registers that the last run ended with.
    pub ended: Frame,
    /// CR2 then.
    pub fault_address: u64,
    /// Who waits while the other runs.
    pub waiting: Frame,
    /// When the sleeper is due, if it sleeps.
    pub wake_at: Option<u64>,
    /// Sleeps that are left until the run ends.
    pub sleeps_left: u64,
}

static KERNEL: Global<Option<Kernel>> = Global::new(None);

/// The state. No caller keeps the reference across anything that lets traps in.
pub fn kernel() -> &'static mut Kernel {
    // SAFETY: one processor; traps come only where no caller has a reference.
    let kernel = unsafe { &mut *KERNEL.pointer() };
    kernel.get_or_insert_with(|| Kernel {
        apic: LocalApic::Memory,
        count_per_tick: 0,
        ticks: 0,
        mapped_pages: [0; 2],
        unmasked_calls: 0,
        ended: Frame::default(),
        fault_address: 0,
        waiting: Frame::default(),
        wake_at: None,
        sleeps_left: 0,
    })
}

/// Called with what was left; false ends the run.
pub extern "C" fn trap(frame: &mut Frame) -> bool {
    let kernel = kernel();
    let goes_on = match frame.vector {
        TIMER_VECTOR => {
            kernel.tick(frame);
            true
        }
        SPURIOUS_VECTOR => true,
        ERROR_VECTOR => {
            kernel.apic.write(Register::EndOfInterrupt, 0);
            true
        }
        SYSTEM_CALL => kernel.system_call(frame),
        PAGE_FAULT => kernel.page_fault(frame),
        _ => false,
    };
    if !goes_on {
        kernel.fault_address = registers::cr2();
        kernel.ended = *frame;
        if frame.cs & RING == 0 {
            report::end_by_exception(frame, kernel.fault_address);
        }
    }
    goes_on
}

impl Kernel {
    fn tick(&mut self, frame: &mut Frame) {
        self.ticks += 1;
        if self.count_per_tick != 0 {
            self.apic.write(Register::InitialCount, self.count_per_tick);
        }
        self.apic.write(Register::EndOfInterrupt, 0);
        if frame.cs & RING != 0 && self.wake_at.is_some_and(|due| self.ticks >= due) {
            self.wake_at = None;
            core::mem::swap(frame, &mut self.waiting);
        }
    }

    fn system_call(&mut self, frame: &mut Frame) -> bool {
        self.unmasked_calls += u64::from(frame.error & MASKED_FLAGS != 0);
        let argument = frame.rdi;
        frame.rax = match frame.rax {
            ECHO => argument,
            SLEEP => return self.sleep(frame),
            SET_UART_INTERRUPTS => {
                cpu::out8(COM1 + INTERRUPT_ENABLE, argument as u8);
                0
            }
            PUT => {
                report::put(argument as u8);
                0
            }
            GET if cpu::in8(COM1 + LINE_STATUS) & DATA_READY == 0 => NOTHING,
            GET => u64::from(cpu::in8(COM1)),
            _ => return false, // to exit, which ends the run, or no call at all
        };
        true
    }

    fn sleep(&mut self, frame: &mut Frame) -> bool {
        if self.sleeps_left == 0 {
            return false;
        }
        self.sleeps_left -= 1;
        self.wake_at = Some(self.ticks + frame.rdi);
        core::mem::swap(frame, &mut self.waiting);
        true
    }

    /// Maps what ring 3 touches of its heap.
    fn page_fault(&mut self, frame: &Frame) -> bool {
        let address = registers::cr2();
        let [reads, writes] = &mut self.mapped_pages;
        match frame.error {
            USER if USER_HEAP.contains(&address) => *reads += 1,
            error if error == USER | WRITE && USER_HEAP.contains(&address) => *writes += 1,
            _ => return false,
        }
        paging::map_user_page(address);
        true
    }
}
