//! A machine: a VM's hardware less its processor. Three maps (ports, MMIO, MSRs), the wiring of the
//! interrupt lines, and time. What is not in a map is not there: ports read all ones, memory too,
//! MSRs raise #GP.
//!
//! Lines are levels, sampled after every access (`Machine::sample_pins`); nobody calls back.

use crate::Instant;
use crate::plan::{ClockPolicy, SERIAL_PORTS, SerialPlan, VmPlan, ram_ranges};
use devices::hpet::Hpet;
use devices::i8042::Keyboard;
use devices::ioapic::IoApic;
use devices::lapic::{LocalApic, TscClock};
use devices::pic::PicPair;
use devices::pit::Pit;
use devices::power::Power;
use devices::rtc::{MemorySizes, Rtc};
use devices::uart::{Port, PortMode};
use msrs::FixedMsrs;
use paravirtual::Paravirtual;
use ticks::LateTicks;

mod interrupts;
mod mmio;
mod msrs;
mod paravirtual;
mod ports;
mod ticks;

pub use mmio::{HPET_BASE, IO_APIC_BASE, LOCAL_APIC_BASE};
pub use msrs::{GeneralProtection, PASSED_MSRS};
pub use paravirtual::MemoryWrite;

/// What a machine is told about the place where it runs.
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
    pic: PicPair,
    pit: Pit,
    rtc: Rtc,
    keyboard: Keyboard,
    power: Power,
    serial: [Option<Port>; SERIAL_PORTS],
    /// Which of the system's wires each port is an end of.
    wires: [Option<usize>; SERIAL_PORTS],
    /// The levels of IRQ4 and IRQ3 as the interrupt controllers have them.
    serial_levels: [bool; 2],
    io_apic: Option<IoApic>,
    hpet: Option<Hpet>,
    /// The I/O APIC pin and IRQ that each HPET timer drove last.
    hpet_routes: [Option<(u8, Option<u8>)>; devices::hpet::TIMERS],
    local_apic: Option<LocalApic>,
    late_ticks: LateTicks,
    /// CR8 where there is no local APIC.
    idle_cr8: u8,
    paravirtual: Paravirtual,
    fixed_msrs: FixedMsrs,
    physical_address_bits: u8,
    /// The guest's time-stamp counter may have left the course that the machine knows.
    is_tsc_moved: bool,
    policy: ClockPolicy,
    /// How long the machine's time has stood, ns: it is that much behind the host's.
    stood_ns: u64,
    /// How long the guest did not have the core though the machine's time went on, ns.
    not_run_ns: u64,
    /// When a timer next does something, as of the last access, in the machine's time.
    deadline: Instant,
}

impl Machine {
    /// The machine that `plan` describes, switched on.
    #[must_use]
    pub fn new(plan: &VmPlan, surroundings: Surroundings) -> Self {
        let Surroundings { now, epoch_seconds, tsc, physical_address_bits } = surroundings;
        let mut machine = Self {
            pic: PicPair::new(),
            pit: Pit::new(now),
            rtc: Rtc::new(epoch_seconds, memory_sizes(plan.memory_bytes)),
            keyboard: Keyboard::new(),
            power: Power::new(),
            serial: plan.serial.map(serial_port),
            wires: plan.serial.map(SerialPlan::link),
            serial_levels: [false; 2],
            io_apic: plan.devices.has_io_apic.then(|| IoApic::new(0)),
            hpet: plan.devices.has_hpet.then(Hpet::new),
            local_apic: plan.devices.has_local_apic.then(|| LocalApic::new(0, tsc)),
            hpet_routes: [None; devices::hpet::TIMERS],
            late_ticks: LateTicks::default(),
            idle_cr8: 0,
            fixed_msrs: FixedMsrs::new(),
            physical_address_bits,
            paravirtual: Paravirtual::new(epoch_seconds, tsc, now),
            is_tsc_moved: false,
            policy: plan.clock,
            stood_ns: 0,
            not_run_ns: 0,
            deadline: Instant::ZERO,
        };
        machine.advance(now);
        machine
    }

    /// Where conventional memory ends, KiB, as [`crate::boot::Boot`] says.
    pub fn set_base_memory_kib(&mut self, kib: u16) {
        self.rtc.set_base_memory_kib(kib);
    }

    /// Records that the guest has waited for the core for `ns` in all, and that the host took it
    /// for `taken_ns` while the guest had it. Under `Wall` both are published as steal time; under
    /// `Own` the machine's clock and the guest's time-stamp counter are held back by the wait.
    pub fn record_wait(&mut self, ns: u64, taken_ns: u64) {
        match self.policy {
            ClockPolicy::Wall => {
                self.not_run_ns = ns + taken_ns;
                self.paravirtual.set_stolen(ns + taken_ns);
            }
            ClockPolicy::Own => {
                self.not_run_ns = taken_ns;
                self.stood_ns = ns;
            }
        }
    }

    /// By how much the guest's time-stamp counter is held back in all:
    /// [`crate::seam::Entry::tsc_held_ns`].
    #[must_use]
    pub const fn tsc_held_ns(&self) -> u64 {
        self.stood_ns
    }

    /// The guest's time-stamp counter may have moved: the host's clock may be slewed against it,
    /// and the guest may write it.
    pub const fn tsc_moved(&mut self) {
        self.is_tsc_moved = true;
    }

    /// Whether a new reading of the time-stamp counter is wanted ([`Machine::set_tsc`]) before the
    /// next [`Machine::next_memory_write`].
    #[must_use]
    pub const fn wants_tsc(&self) -> bool {
        self.is_tsc_moved || self.paravirtual.is_clock_stale()
    }

    /// What is to be written next into the guest's RAM before it goes on.
    pub fn next_memory_write(&mut self) -> Option<MemoryWrite> {
        self.paravirtual.next_write()
    }

    /// The machine's time, by which its devices go.
    const fn own(&self, now: Instant) -> Instant {
        Instant::from_ns(now.as_ns().saturating_sub(self.stood_ns))
    }

    /// Brings every device to `now`.
    pub fn advance(&mut self, now: Instant) {
        self.catch_up(self.own(now));
    }

    /// The same by the machine's time. Also before a guest's access: what has come due is delivered
    /// before the guest can program the timer anew.
    fn catch_up(&mut self, now: Instant) {
        if now < self.deadline {
            return;
        }
        self.pit.advance(now);
        self.rtc.advance(now);
        if let Some(hpet) = &mut self.hpet {
            hpet.advance(now);
        }
        if let Some(local_apic) = &mut self.local_apic {
            local_apic.advance(now);
        }
        self.sample_pins(now);
        self.find_deadline();
    }

    /// When a device next does something by itself; [`Instant::FAR_FUTURE`] if none will.
    #[must_use]
    pub fn deadline(&self) -> Instant {
        self.deadline.after_ns(self.stood_ns)
    }

    /// The serial port COM`n + 1`, if the machine has it.
    pub fn serial_mut(&mut self, n: usize) -> Option<&mut Port> {
        self.serial[n].as_mut()
    }

    /// The serial port COM`n + 1`, if the machine has it.
    #[must_use]
    pub fn serial(&self, n: usize) -> Option<&Port> {
        self.serial[n].as_ref()
    }

    /// Which of the system's wires COM`n + 1` is an end of.
    #[must_use]
    pub fn wire_of(&self, n: usize) -> Option<usize> {
        self.wires[n]
    }

    /// One bit for each COM port whose transmitter may be written in batches: see
    /// [`crate::seam::Entry::batchable_ports`].
    #[must_use]
    pub fn batchable_ports(&self) -> u8 {
        let is_batchable = |port: &Option<Port>| {
            port.as_ref().is_some_and(|port| {
                port.mode() != PortMode::Unconnected && !port.wants_every_write()
            })
        };
        let bit = |(n, port)| u8::from(is_batchable(port)) << n;
        self.serial.iter().enumerate().map(bit).sum()
    }

    fn find_deadline(&mut self) {
        let hpet = self.hpet.as_ref().and_then(Hpet::deadline);
        let local_apic = self.local_apic.as_ref().and_then(LocalApic::deadline);
        let deadlines = [self.pit.deadline(), self.rtc.deadline(), hpet, local_apic];
        self.deadline = deadlines.into_iter().flatten().min().unwrap_or(Instant::FAR_FUTURE);
    }
}

fn memory_sizes(bytes: u64) -> MemorySizes {
    let [low, high] = ram_ranges(bytes);
    MemorySizes { below_4_gib: low.end, above_4_gib: high.end - high.start }
}

fn serial_port(plan: SerialPlan) -> Option<Port> {
    let mode = match plan {
        SerialPlan::Absent => return None,
        SerialPlan::Unconnected => PortMode::Unconnected,
        SerialPlan::Console => PortMode::Console,
        SerialPlan::Link(_) => PortMode::Link,
        SerialPlan::Switched(_) => PortMode::Switched,
    };
    Some(Port::new(mode))
}

#[cfg(test)]
mod tests;
