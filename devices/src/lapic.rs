//! The local APICs of a machine's processors, in xAPIC (MMIO) and x2APIC (MSR) mode.
//!
//! This file holds the state and the CPU core's view: accept, outrank, acknowledge, end. The
//! guest's view is layered over it: `register.rs` is the register file both modes share, `xapic.rs`
//! and `x2apic.rs` are the two ways to reach it, `command.rs` is the interrupt command register,
//! `destination.rs` matches destinations, `startup.rs` is INIT, start-up and NMI, `timer.rs` is the
//! timer, `vectors.rs` the 256-bit registers. `bus.rs` carries messages between the APICs of a
//! machine.
//!
//! The owner, after each access, calls [`bus::carry_commands`]; after that, and after each
//! [`LocalApic::advance`], it looks at [`LocalApic::take_eoi`], [`LocalApic::take_nmi`] and
//! [`LocalApic::has_interrupt`].
//!
//! Source: Intel SDM volume 3, chapter "Advanced Programmable Interrupt Controller (APIC)".

pub mod bus;
mod command;
mod destination;
mod processors;
mod register;
mod startup;
mod timer;
mod vectors;
mod x2apic;
mod xapic;

#[cfg(test)]
mod tests;

pub use processors::{MAX_PROCESSORS, Processors};
pub use startup::StartEvent;
pub use timer::{TIMER_HZ, TscClock};
pub use x2apic::GeneralProtection;

use crate::backlog::Ticks;
use crate::message::Message;
use crate::time::MachineTime;
use register::{Lvt, LvtTable};
use timer::Timer;
use vectors::Vectors;

/// Physical address of the MMIO page after reset.
pub const DEFAULT_BASE: u64 = 0xFEE0_0000;
/// IA32_APIC_BASE: this CPU boots the machine.
pub const BASE_BOOTSTRAP: u64 = 1 << 8;
/// IA32_APIC_BASE: x2APIC mode.
pub const BASE_X2APIC: u64 = 1 << 10;
/// IA32_APIC_BASE: the APIC is enabled.
pub const BASE_ENABLED: u64 = 1 << 11;

/// Vectors below this are illegal: they belong to the CPU's own exceptions.
const FIRST_LEGAL_VECTOR: u8 = 16;
/// Spurious-interrupt vector register bit 8: the APIC is enabled by software.
const SPURIOUS_ENABLED: u32 = 1 << 8;
const SPURIOUS_RESET: u32 = 0xFF;
/// Destination format register of the flat model, and its bits that always read 1.
const DESTINATION_FORMAT_FLAT: u32 = 0xFFFF_FFFF;
const DESTINATION_FORMAT_ONES: u32 = 0x0FFF_FFFF;

/// Error status register bits.
const ERROR_SEND_ILLEGAL_VECTOR: u32 = 1 << 5;
const ERROR_RECEIVE_ILLEGAL_VECTOR: u32 = 1 << 6;
const ERROR_ILLEGAL_REGISTER: u32 = 1 << 7;

/// One CPU's local APIC.
#[derive(Clone, Debug)]
pub struct LocalApic {
    id: u32,
    base: u64,
    task_priority: u8,
    logical_destination: u32,
    destination_format: u32,
    spurious: u32,
    requested: Vectors,
    in_service: Vectors,
    level_triggered: Vectors,
    /// Errors since the guest last wrote the error status register, and what that write latched.
    errors: u32,
    latched_errors: u32,
    command_low: u32,
    command_high: u32,
    /// The command register has been written and not been sent.
    has_command: bool,
    lvt: LvtTable,
    timer: Timer,
    /// Level-triggered vectors whose EOI is not yet forwarded to the I/O APIC.
    ended_levels: Vectors,
    /// There may be some.
    has_ended_level: bool,
    has_nmi: bool,
    /// An NMI came while the processor waited for a start-up.
    has_held_nmi: bool,
    is_waiting: bool,
    start_event: Option<StartEvent>,
}

impl LocalApic {
    /// The APIC of processor `id` as firmware leaves it to a guest on a PC in virtual wire mode:
    /// enabled in hardware at 0xFEE00000, disabled in software (SVR = 0xFF).
    ///
    /// Processor 0 is the bootstrap processor (IA32_APIC_BASE = 0xFEE00900): LINT0 passes the
    /// 8259A's interrupts (0x700), LINT1 is NMI (0x400), all else is masked. The others
    /// (0xFEE00800) are as after reset, all masked, and wait for a start-up: SeaBIOS programs the
    /// pins of the bootstrap processor alone, and Linux's KVM leaves the others' masked
    /// (`kvm_lapic_reset`).
    #[must_use]
    pub fn new(id: u8, tsc: TscClock) -> Self {
        let is_bootstrap = id == 0;
        let role = if is_bootstrap { BASE_BOOTSTRAP } else { 0 };
        let mut apic = Self {
            id: u32::from(id),
            base: DEFAULT_BASE | BASE_ENABLED | role,
            task_priority: 0,
            logical_destination: 0,
            destination_format: DESTINATION_FORMAT_FLAT,
            spurious: SPURIOUS_RESET,
            requested: Vectors::NONE,
            in_service: Vectors::NONE,
            level_triggered: Vectors::NONE,
            errors: 0,
            latched_errors: 0,
            command_low: 0,
            command_high: 0,
            has_command: false,
            lvt: LvtTable::RESET,
            timer: Timer::new(tsc),
            ended_levels: Vectors::NONE,
            has_ended_level: false,
            has_nmi: false,
            has_held_nmi: false,
            is_waiting: !is_bootstrap,
            start_event: None,
        };
        if is_bootstrap {
            apic.lvt.set(Lvt::Lint0, register::LVT_EXTINT);
            apic.lvt.set(Lvt::Lint1, register::LVT_NMI);
        }
        apic
    }

    /// Takes an interrupt message: sets `vector` in IRR, and in TMR if it `is_level`.
    ///
    /// A disabled APIC drops it; a vector below 16 becomes an error. Returns whether IRR changed:
    /// `false` also means that the vector was pending already: the two merge.
    pub fn accept(&mut self, vector: u8, is_level: bool) -> bool {
        if !self.is_enabled() {
            return false;
        }
        if vector < FIRST_LEGAL_VECTOR {
            self.record_error(ERROR_RECEIVE_ILLEGAL_VECTOR);
            return false;
        }
        self.level_triggered.assign(vector, is_level);
        self.requested.insert(vector)
    }

    /// Whether `vector` is requested (IRR).
    #[must_use]
    pub const fn is_requested(&self, vector: u8) -> bool {
        self.requested.contains(vector)
    }

    /// The highest requested vector outranks the processor priority (PPR).
    ///
    /// Requests accepted before the guest disabled the APIC by software are still delivered (SDM,
    /// "Local APIC State After It Has Been Software Disabled").
    #[must_use]
    pub fn has_interrupt(&self) -> bool {
        self.deliverable().is_some()
    }

    /// The priority class, 1 to 15, of the highest request if the task priority alone holds it
    /// back; else 0. It is deliverable once the task priority's class is lower.
    #[must_use]
    pub fn held_back_class(&self) -> u8 {
        if class(self.task_priority) == 0 {
            return 0;
        }
        let Some(requested) = self.requested.highest().map(class) else { return 0 };
        let in_service = self.in_service.highest().map_or(0, class);
        let is_held = requested <= class(self.task_priority) && requested > in_service;
        if is_held { requested } else { 0 }
    }

    /// Delivers: moves the highest request from IRR to ISR and returns its vector.
    ///
    /// `None` exactly when [`Self::has_interrupt`] is false. The spurious vector is never needed:
    /// it covers a priority raised between request and acknowledgement, and here they are one step.
    pub fn acknowledge(&mut self) -> Option<u8> {
        let vector = self.deliverable()?;
        self.requested.remove(vector);
        self.in_service.insert(vector);
        Some(vector)
    }

    /// The next level-triggered vector whose end the owner must forward to the I/O APIC; called
    /// until `None` after each access.
    #[inline]
    pub fn take_eoi(&mut self) -> Option<u8> {
        if self.has_ended_level { self.take_ended_level() } else { None }
    }

    fn take_ended_level(&mut self) -> Option<u8> {
        let highest = self.ended_levels.highest();
        match highest {
            Some(vector) => self.ended_levels.remove(vector),
            None => self.has_ended_level = false,
        }
        highest
    }

    /// The vectors that are requested (IRR).
    pub fn requested(&self) -> impl Iterator<Item = u8> {
        (0..=u8::MAX).filter(|vector| self.requested.contains(*vector))
    }

    /// The vectors in service (ISR).
    pub fn in_service(&self) -> impl Iterator<Item = u8> {
        (0..=u8::MAX).filter(|vector| self.in_service.contains(*vector))
    }

    /// Whether the processor would be interrupted after an expiry of the timer now.
    #[must_use]
    pub fn would_tick(&self) -> bool {
        let mut then = self.clone();
        then.request_timer_tick();
        then.has_interrupt()
    }

    /// Whether the processor would be interrupted by this message, or is interrupted already.
    #[must_use]
    pub fn would_take(&self, message: &Message) -> bool {
        let mut then = [self.clone()];
        bus::deliver(&mut then, message);
        then[0].has_interrupt() || then[0].has_nmi()
    }

    /// Enabled in hardware and by the guest (SVR).
    #[must_use]
    pub fn is_switched_on(&self) -> bool {
        self.is_enabled()
    }

    /// A non-maskable interrupt is pending.
    #[must_use]
    pub const fn has_nmi(&self) -> bool {
        self.has_nmi
    }

    /// A non-maskable interrupt is pending; asking takes it.
    pub fn take_nmi(&mut self) -> bool {
        core::mem::replace(&mut self.has_nmi, false)
    }

    /// Interrupts of the 8259A pair reach the CPU: through LINT0 as ExtINT, or because the APIC is
    /// disabled in hardware and its pins are the CPU's INTR and NMI.
    #[must_use]
    pub fn accepts_external(&self) -> bool {
        !self.is_hardware_enabled() || self.lvt.is_unmasked_extint(Lvt::Lint0)
    }

    /// CR8: the task priority class, 0 to 15.
    #[must_use]
    pub const fn cr8(&self) -> u8 {
        self.task_priority >> 4
    }

    /// Writes CR8. Only bits 3-0 count; the CPU has refused the others with #GP.
    pub fn set_cr8(&mut self, class: u8) {
        self.task_priority = class << 4;
    }

    /// Brings the timer to `now`. A one-shot expiry requests its interrupt; an expiry of the
    /// periodic mode becomes a tick for the owner to take.
    ///
    /// However long the step and however short the period, this is one step.
    pub fn advance(&mut self, now: MachineTime) {
        if self.timer.advance(now) && !self.is_timer_masked() {
            self.request_timer_tick();
        }
    }

    /// The expiries of the periodic mode since the last call: the owner calls
    /// [`Self::request_timer_tick`] once for each.
    pub fn take_timer_ticks(&mut self) -> Ticks {
        self.timer.take_ticks()
    }

    /// A tick requested now would be a separate interrupt: the timer is not masked, and the
    /// request before it has been taken.
    #[must_use]
    pub fn is_timer_free(&self) -> bool {
        !self.is_timer_masked()
            && self.is_enabled()
            && !self.is_requested(self.lvt.get(Lvt::Timer) as u8)
    }

    /// Requests the timer's interrupt.
    pub fn request_timer_tick(&mut self) {
        self.accept(self.lvt.get(Lvt::Timer) as u8, false);
    }

    fn is_timer_masked(&self) -> bool {
        self.lvt.get(Lvt::Timer) & register::LVT_MASKED != 0
    }

    /// When the timer next requests an interrupt; `None` while stopped or masked. After
    /// `advance(now)` this is later than `now`.
    #[must_use]
    pub fn deadline(&self) -> Option<MachineTime> {
        self.timer.expiry().filter(|_| !self.is_timer_masked())
    }

    /// Changes the guest's TSC (the guest wrote IA32_TSC or IA32_TSC_ADJUST); an armed deadline is
    /// a TSC value and moves in time.
    pub fn set_tsc_clock(&mut self, tsc: TscClock) {
        self.timer.set_tsc_clock(tsc);
    }

    /// Enabled in hardware and software: accepts interrupts, lets local sources be unmasked.
    fn is_enabled(&self) -> bool {
        self.is_hardware_enabled() && self.spurious & SPURIOUS_ENABLED != 0
    }

    /// IA32_APIC_BASE bit 11: the APIC is enabled in hardware.
    #[must_use]
    pub const fn is_hardware_enabled(&self) -> bool {
        self.base & BASE_ENABLED != 0
    }

    fn is_x2apic(&self) -> bool {
        self.base & BASE_X2APIC != 0
    }

    fn deliverable(&self) -> Option<u8> {
        let vector = self.requested.highest()?;
        (class(vector) > class(self.processor_priority())).then_some(vector)
    }

    /// PPR (SDM, "Task and Processor Priorities"): the higher class of task and service; the low
    /// bits are the task's only if the task decides.
    fn processor_priority(&self) -> u8 {
        let service = self.in_service.highest().unwrap_or(0);
        if class(self.task_priority) >= class(service) {
            self.task_priority
        } else {
            service & 0xF0
        }
    }

    /// The EOI register: ends the highest vector in service.
    fn end_of_interrupt(&mut self) {
        if let Some(vector) = self.in_service.highest() {
            self.in_service.remove(vector);
            if self.level_triggered.contains(vector) {
                self.ended_levels.insert(vector);
                self.has_ended_level = true;
            }
        }
    }

    /// Records an error and requests the error interrupt the first time it is seen.
    fn record_error(&mut self, error: u32) {
        let is_new = self.errors & error == 0;
        self.errors |= error;
        let entry = self.lvt.get(Lvt::Error);
        if is_new && entry & register::LVT_MASKED == 0 && self.is_enabled() {
            let vector = entry as u8;
            if vector < FIRST_LEGAL_VECTOR {
                self.errors |= ERROR_RECEIVE_ILLEGAL_VECTOR;
            } else {
                self.level_triggered.assign(vector, false);
                self.requested.insert(vector);
            }
        }
    }
}

/// Priority class of a vector or priority register.
const fn class(priority: u8) -> u8 {
    priority >> 4
}
