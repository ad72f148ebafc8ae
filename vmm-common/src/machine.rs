//! A machine: a VM's hardware less its processor, in parts that own their state: [`Interrupts`],
//! [`Timers`], [`Serial`], [`Clock`], and the small devices. Over them lie three maps: ports, MMIO,
//! MSRs. What is not in a map is not there: ports read all ones, memory too, MSRs raise #GP.
//!
//! The loop hands in the host's time. [`Machine::catch_up`] converts it to the machine's and
//! advances the devices to it. Lines are levels, sampled after every access;
//! there are no callbacks.

use crate::Instant;
use crate::plan::{VmPlan, ram_ranges};
use crate::seam::TscReading;
use alloc::vec;
use alloc::vec::Vec;
use clock::Clock;
use com_ports::Serial;
use devices::i8042::I8042;
use devices::lapic::TscClock;
use devices::power::Power;
use devices::rtc::MemorySizes;
use devices::time::MachineTime;
use devices::vga::Vga;
use interrupts::{Interrupts, Line};
use msrs::FixedMsrs;
use timers::Timers;
use virtio_windows::Virtio;

mod clock;
mod com_ports;
mod facts;
mod interrupts;
mod mmio;
mod msrs;
mod paravirtual;
mod ports;
mod processors;
mod text_console;
mod timers;
mod virtio_windows;
mod wake;

pub use devices::lapic::{Processors, StartEvent};
pub use interrupts::Events;
pub use mmio::{HPET_BASE, IO_APIC_BASE, LOCAL_APIC_BASE};
pub use msrs::{GeneralProtection, PASSED_MSRS};
pub use paravirtual::MemoryWrite;
pub use ports::{PortWrite, SerialAccess, TRANSMITTERS};
pub use virtio_windows::{DeviceEvent, VIRTIO_BASE, place as virtio_place};

/// Facts of the host that a machine needs.
#[derive(Clone, Debug)]
pub struct Surroundings {
    /// The moment it is switched on.
    pub now: Instant,
    /// Unix time at that moment, seconds.
    pub epoch_seconds: u64,
    /// How the guest's time-stamp counter follows from the time.
    pub tsc: TscClock,
    /// MAXPHYADDR, the bits of a physical address, as the guest's CPUID shows it.
    pub physical_address_bits: u8,
}

/// A VM's hardware less its processor.
#[derive(Debug)]
pub struct Machine {
    interrupts: Interrupts,
    timers: Timers,
    serial: Serial,
    virtio: Virtio,
    keyboard: I8042,
    vga: Vga,
    /// The console shows the text screen.
    has_screen: bool,
    power: Power,
    clock: Clock,
    /// Of each processor.
    fixed_msrs: Vec<FixedMsrs>,
    /// The processor that has the core.
    current: usize,
    physical_address_bits: u8,
    /// When a timer next does something, as of the last access.
    deadline: Instant,
}

impl Machine {
    /// The machine that `plan` describes, switched on.
    #[must_use]
    pub fn new(plan: &VmPlan, surroundings: Surroundings) -> Self {
        let Surroundings { now, epoch_seconds, tsc, physical_address_bits } = surroundings;
        // No time has been held back yet.
        let on = MachineTime::from_ns(now.as_ns());
        let memory = memory_sizes(plan.memory_bytes);
        let processors = plan.processors();
        let mut machine = Self {
            interrupts: Interrupts::new(plan.devices, processors, tsc),
            timers: Timers::new((epoch_seconds, memory), plan.devices.has_hpet, processors, on),
            serial: Serial::new(plan.serial),
            virtio: Virtio::new(&plan.virtio),
            keyboard: I8042::new(plan.screen.has_keyboard),
            vga: Vga::new(),
            has_screen: plan.screen.is_shown,
            power: Power::new(),
            clock: Clock::new(plan.clock, processors, (epoch_seconds, tsc), on),
            fixed_msrs: vec![FixedMsrs::new(); processors.into()],
            current: 0,
            physical_address_bits,
            deadline: Instant::ZERO,
        };
        machine.advance(now);
        machine
    }

    /// Where conventional memory ends, KiB, as [`crate::boot::Boot`] says.
    pub fn set_base_memory_kib(&mut self, kib: u16) {
        self.timers.rtc().set_base_memory_kib(kib);
    }
}

/// Time.
impl Machine {
    /// Brings every device to `now`.
    #[inline]
    pub fn advance(&mut self, now: Instant) {
        if now >= self.deadline {
            self.catch_up(now);
        }
    }

    /// The same, and `now` by the machine's clock. Also before a guest's access: what has come due
    /// is delivered before the guest can reprogram the timer.
    fn catch_up(&mut self, now: Instant) -> MachineTime {
        let own = self.clock.machine_time(now);
        if now >= self.deadline {
            self.timers.advance(own, &mut self.interrupts);
            self.after_access(own);
        }
        own
    }

    /// The next deadline of a device; [`Instant::FAR_FUTURE`] if there is none.
    #[must_use]
    #[inline]
    pub const fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Records that the VM has waited for the core `ns` in total, that the host took it for
    /// `taken_ns` while the VM had it, and that of both the processor has missed `stolen_ns`. That
    /// is published as its steal time under `Wall`; under `Own` the machine's clock and all
    /// processors' time-stamp counters are held back by the VM's wait.
    pub fn record_wait(&mut self, ns: u64, taken_ns: u64, stolen_ns: u64) {
        if self.clock.record_wait(ns, taken_ns, stolen_ns) {
            self.interrupts.draw_attention();
            self.find_deadline();
        }
    }

    /// By how much the guest's time-stamp counter is held back in total:
    /// [`crate::seam::Entry::tsc_held_ns`].
    #[must_use]
    #[inline]
    pub const fn tsc_held_ns(&self) -> u64 {
        self.clock.stood_ns()
    }

    /// The guest's time-stamp counter may have moved: the host's clock may be slewed against it.
    pub fn tsc_moved(&mut self) {
        self.clock.tsc_moved();
    }

    /// Whether there is something for the guest's RAM: [`Machine::wants_tsc`], then
    /// [`Machine::next_memory_write`].
    #[must_use]
    #[inline]
    pub fn has_news(&self) -> bool {
        self.clock.has_news()
    }

    /// Whether a new reading of the time-stamp counter is needed ([`Machine::set_tsc`]) before the
    /// next [`Machine::next_memory_write`].
    #[must_use]
    pub fn wants_tsc(&self) -> bool {
        self.clock.wants_tsc()
    }

    /// Takes a reading of the guest's time-stamp counter: the local APIC's deadline and the guest's
    /// clock page follow it from now on.
    pub fn set_tsc(&mut self, reading: TscReading) {
        let tsc = self.clock.set_tsc(reading);
        if let Some(local_apic) = self.interrupts.local_apic() {
            local_apic.set_tsc_clock(tsc);
            self.find_deadline();
        }
    }

    /// The next write to the guest's RAM before an entry.
    pub fn next_memory_write(&mut self) -> Option<MemoryWrite> {
        self.clock.next_memory_write()
    }

    /// Ticks of periodic timers that were dropped, as the guest was too far behind.
    #[must_use]
    pub fn dropped_ticks(&self) -> u64 {
        self.timers.dropped_ticks()
    }

    /// Follows up an access to any device but a serial port.
    fn after_access(&mut self, now: MachineTime) {
        let Self { interrupts, timers, serial, .. } = self;
        self.keyboard.advance(now);
        interrupts.set_line(Line::KEYBOARD, self.keyboard.pin());
        serial.sample_moved(interrupts);
        timers.sample(now, self.clock.run_time(now), interrupts);
        interrupts.carry_messages();
        self.find_deadline();
    }

    fn find_deadline(&mut self) {
        let timers = self.timers.deadline(&self.interrupts);
        self.deadline = self.clock.host_time(timers.min(self.keyboard_deadline()));
    }
}

fn memory_sizes(bytes: u64) -> MemorySizes {
    let [low, high] = ram_ranges(bytes);
    MemorySizes { below_4_gib: low.end, above_4_gib: high.end - high.start }
}

#[cfg(test)]
mod tests;
