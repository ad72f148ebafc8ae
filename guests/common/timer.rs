//! One-shot alarms at a time-stamp count, by the best timer there is. There is no periodic tick: an
//! idle or single-process machine takes no interrupts.
//!
//! An alarm may come early (the PIT counts no further than 54 ms, counts are rounded down):
//! the caller reads the clock and asks again.

use super::clock::Moment;
use super::cpu;
use super::interrupt_controller::{
    IRQ_BASE, LVT_ONE_SHOT, LVT_TSC_DEADLINE, LocalApic, Register, TIMER_VECTOR,
    end_of_interrupt_8259, initialise_8259, mask_8259,
};

const TSC_DEADLINE_MSR: u32 = 0x6E0;
const NO_ALARM: u64 = 0;
const DIVIDE_BY_1: u32 = 0xB;
const CALIBRATION_MICROSECONDS: u64 = 1000;

const PIT_CHANNEL_0: u16 = 0x40;
const PIT_COMMAND: u16 = 0x43;
const PIT_KILOHERTZ: u64 = 1193;

enum Device {
    None,
    Deadline(LocalApic),
    /// The local APIC's counter, with its rate in kHz.
    OneShot(LocalApic, u64),
    Pit,
}

/// The clock and the alarm.
pub struct Timer {
    device: Device,
    kilohertz: u64,
    started: u64,
    alarm: u64,
}

impl Timer {
    /// A timer that is not initialised.
    pub const NONE: Self = Self { device: Device::None, kilohertz: 0, started: 0, alarm: NO_ALARM };

    /// Chooses the device. `kilohertz` is the rate of the time-stamp counter.
    pub fn initialise(&mut self, kilohertz: u64) {
        const HAS_TSC_DEADLINE: u32 = 1 << 24;
        self.kilohertz = kilohertz.max(1);
        self.started = cpu::time_stamp();
        self.device = match LocalApic::enable() {
            None => {
                initialise_8259(!1);
                Device::Pit
            }
            Some(apic) => {
                mask_8259();
                if cpu::cpuid(1).ecx & HAS_TSC_DEADLINE != 0 {
                    apic.write(Register::TimerVector, LVT_TSC_DEADLINE | TIMER_VECTOR as u32);
                    // Read back: memory writes may pass the MSR writes that follow (SDM 11.5.4.1).
                    apic.read(Register::TimerVector);
                    Device::Deadline(apic)
                } else {
                    Device::OneShot(apic, self.measure(apic))
                }
            }
        };
    }

    fn measure(&self, apic: LocalApic) -> u64 {
        apic.write(Register::DivideConfiguration, DIVIDE_BY_1);
        apic.write(Register::TimerVector, LVT_ONE_SHOT | TIMER_VECTOR as u32);
        let start = Moment::of(|| {
            apic.write(Register::InitialCount, u32::MAX);
            0
        });
        let cycles = self.kilohertz * CALIBRATION_MICROSECONDS / 1000;
        let end = loop {
            let now = Moment::of(|| u64::from(u32::MAX - apic.read(Register::CurrentCount)));
            let is_long_enough = now.cycles_since(&start) >= cycles && now.is_exact_since(&start);
            // A counter that has run out will not get better.
            if is_long_enough || now.value == u64::from(u32::MAX) {
                break now;
            }
        };
        apic.write(Register::InitialCount, 0);
        (end.value * self.kilohertz / end.cycles_since(&start).max(1)).max(1)
    }

    /// What the alarms come from.
    pub fn name(&self) -> &'static str {
        match self.device {
            Device::None => "no timer",
            Device::Deadline(LocalApic::X2) => "x2APIC TSC deadline",
            Device::Deadline(LocalApic::Memory) => "xAPIC TSC deadline",
            Device::OneShot(LocalApic::X2, _) => "x2APIC one-shot",
            Device::OneShot(LocalApic::Memory, _) => "xAPIC one-shot",
            Device::Pit => "PIT",
        }
    }

    /// The time-stamp counts in a number of nanoseconds, saturating.
    pub fn cycles(&self, nanoseconds: u64) -> u64 {
        match nanoseconds.checked_mul(self.kilohertz) {
            Some(product) => product / 1_000_000,
            None => (nanoseconds / 1_000_000).saturating_mul(self.kilohertz),
        }
    }

    /// Nanoseconds since the timer was initialised.
    pub fn nanoseconds(&self) -> u64 {
        let cycles = cpu::time_stamp().saturating_sub(self.started);
        let (milliseconds, rest) = (cycles / self.kilohertz, cycles % self.kilohertz);
        milliseconds * 1_000_000 + rest * 1_000_000 / self.kilohertz
    }

    /// Asks for an interrupt at time stamp `alarm`. One that was asked for earlier than that is
    /// left alone, since each change is an exit: it finds nothing to do and asks again.
    pub fn set_alarm(&mut self, alarm: u64, now: u64) {
        if self.alarm <= alarm && self.alarm > now {
            return;
        }
        self.alarm = alarm;
        let ticks = |kilohertz: u64, most: u64| {
            let ahead = alarm.saturating_sub(now).min(self.kilohertz * 1000);
            (ahead * kilohertz / self.kilohertz).clamp(1, most)
        };
        match self.device {
            Device::None => {}
            // SAFETY: the register only raises the timer's interrupt.
            Device::Deadline(_) => unsafe { cpu::write_msr(TSC_DEADLINE_MSR, alarm) },
            Device::OneShot(apic, kilohertz) => {
                apic.write(Register::InitialCount, ticks(kilohertz, u64::from(u32::MAX)) as u32);
            }
            Device::Pit => {
                let count = ticks(PIT_KILOHERTZ, 0xFFFF);
                cpu::out8(PIT_COMMAND, 0x30); // channel 0, both bytes, mode 0: once
                cpu::out8(PIT_CHANNEL_0, count as u8);
                cpu::out8(PIT_CHANNEL_0, (count >> 8) as u8);
            }
        }
    }

    /// Ends the service of an interrupt; `false` if it was not the timer's.
    pub fn acknowledge(&mut self, vector: u64) -> bool {
        match (&self.device, vector) {
            (Device::Deadline(apic) | Device::OneShot(apic, _), TIMER_VECTOR) => {
                apic.write(Register::EndOfInterrupt, 0);
            }
            (Device::Pit, IRQ_BASE) => end_of_interrupt_8259(),
            _ => return false, // spurious: no service to end
        }
        self.alarm = NO_ALARM;
        true
    }
}
