//! What could still wake a machine's processors that all halt, and why nothing can.
//!
//! The way of each source that is armed is tried on copies of the controllers. Registers that only
//! the guest changes stay as they are while it halts, so what is closed now stays closed.

use super::Machine;
use super::interrupts::{Interrupts, Line};
use crate::index::Com;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use devices::hpet::{Hpet, TIMERS};
use devices::lapic::LocalApic;
use devices::uart::{Port, PortMode};

/// What may interrupt by itself, or when a byte comes from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    Timer(&'static str),
    Serial(Com),
    Virtio,
}

impl Machine {
    /// Whether a timer, a byte or a device may still interrupt one of the processors. An interrupt
    /// that is pending counts, too.
    #[must_use]
    pub fn can_wake(&self) -> bool {
        let is_pending = |id| {
            let events = self.interrupts.events_for(id);
            events.has_interrupt || events.is_unmaskable
        };
        (0..self.fixed_msrs.len()).any(is_pending)
            || self.interrupts.all_states().iter().any(wakes_itself)
            || self.armed().any(|(_, line)| self.interrupts.is_open(line))
            || self.interrupts.can_raise_nmi()
    }

    /// Why not: `no timer armed, IRQ4 masked at the 8259`.
    #[must_use]
    pub fn why_asleep(&self) -> String {
        let mut reasons: Vec<String> = Vec::new();
        let apics = self.interrupts.all_states();
        if apics.iter().any(|apic| apic.deadline().is_some()) {
            reasons.push("the local APIC's timer cannot interrupt".into());
        }
        let of_timer = |(source, line)| match source {
            Source::Timer(name) => Some(format!("{name} runs, but {}", self.interrupts.why(line))),
            Source::Serial(_) | Source::Virtio => None,
        };
        reasons.extend(self.armed().filter_map(of_timer));
        if reasons.is_empty() {
            reasons.push("no timer armed".into());
        }
        for com in Com::ALL {
            let Some(port) = self.serial(com).filter(|port| has_far_side(port)) else { continue };
            reasons.push(match port.uart().interrupt_enable() {
                0 => format!("COM{} enables no interrupt (IER 0)", com as usize + 1),
                _ => self.interrupts.why(line_of(com)),
            });
        }
        let is_virtio =
            |(source, line)| (source == Source::Virtio).then(|| self.interrupts.why(line));
        reasons.extend(self.armed().filter_map(is_virtio));
        reasons.dedup();
        reasons.join(", ")
    }

    /// What may be waited for, by name.
    #[must_use]
    pub fn awaited(&self) -> String {
        let mut names: Vec<String> = Vec::new();
        if self.interrupts.all_states().iter().any(wakes_itself) {
            names.push("the local APIC's timer".into());
        }
        let open = self.armed().filter(|(_, line)| self.interrupts.is_open(*line));
        names.extend(open.map(|(source, _)| match source {
            Source::Timer(name) => name.into(),
            Source::Serial(com) => format!("COM{}", com as usize + 1),
            Source::Virtio => "a virtio device".into(),
        }));
        names.dedup();
        names.join(", ")
    }

    /// What is armed, but for local APICs' timers, and the line of each.
    fn armed(&self) -> impl Iterator<Item = (Source, Line)> {
        let serial = Com::ALL.into_iter().filter(|com| {
            self.serial(*com)
                .is_some_and(|port| has_far_side(port) && port.uart().interrupt_enable() != 0)
        });
        let serial = serial.map(|com| (Source::Serial(com), line_of(com)));
        let virtio = self.virtio.running_lines().map(|line| (Source::Virtio, line));
        let timers = self.timers.armed().map(|(name, line)| (Source::Timer(name), line));
        timers.chain(serial).chain(virtio)
    }
}

impl super::timers::Timers {
    /// The timers that run, but for local APICs', and the line of each.
    pub fn armed(&self) -> impl Iterator<Item = (&'static str, Line)> {
        let hpet = self.hpet_state().filter(|hpet| hpet.deadline().is_some());
        let is_replaced = self.hpet_state().is_some_and(Hpet::is_legacy_replacement);
        let [pit, rtc] = self.has_deadlines();
        let pit = (pit && !is_replaced).then_some(("the PIT", Line::TIMER));
        let rtc = (rtc && !is_replaced).then_some(("the RTC", Line::RTC));
        let lines = (0..TIMERS).filter_map(move |timer| {
            let hpet = hpet?;
            let pin = hpet.line(timer).0?;
            Some(("the HPET", Line { pin, irq: hpet.legacy_irq(timer) }))
        });
        pit.into_iter().chain(rtc).chain(lines)
    }
}

impl Interrupts {
    /// Whether a pulse on this line would interrupt a processor.
    fn is_open(&self, line: Line) -> bool {
        let is_heard = (0..self.all_states().len().max(1)).any(|index| self.hears_pic(index));
        let by_pic = line.irq.is_some_and(|irq| is_heard && self.pic_state().would_interrupt(irq));
        let message = self.io_apic_state().and_then(|apic| apic.would_send(line.pin));
        let by_io_apic = message
            .is_some_and(|message| self.all_states().iter().any(|apic| apic.would_take(&message)));
        by_pic || by_io_apic
    }

    /// Why a pulse on this line does not.
    fn why(&self, line: Line) -> String {
        let is_heard = (0..self.all_states().len().max(1)).any(|index| self.hears_pic(index));
        let unmasked = self.io_apic_state().map_or(0, devices::ioapic::IoApic::unmasked);
        let pin = line.pin;
        if unmasked & 1 << pin != 0 {
            return format!(
                "pin {pin} of the I/O APIC waits for an EOI, or no local APIC takes it"
            );
        }
        match line.irq {
            Some(irq) if is_heard && self.pic_state().is_unmasked(irq) => {
                format!("IRQ{irq} waits at the 8259 for the EOI of what is in service")
            }
            Some(irq) if is_heard && unmasked == 0 => format!("IRQ{irq} masked at the 8259"),
            Some(irq) if is_heard => {
                format!("IRQ{irq} masked at the 8259, pin {pin} at the I/O APIC")
            }
            Some(_) | None => format!("pin {pin} masked at the I/O APIC"),
        }
    }
}

/// Whether the timer of a local APIC will interrupt its processor.
fn wakes_itself(apic: &LocalApic) -> bool {
    apic.deadline().is_some() && apic.would_tick()
}

/// Whether bytes may come from somewhere.
fn has_far_side(port: &Port) -> bool {
    port.mode() != PortMode::Unconnected
}

const fn line_of(com: Com) -> Line {
    match com as usize % 2 {
        0 => Line::COM1_AND_3,
        _ => Line::COM2_AND_4,
    }
}
