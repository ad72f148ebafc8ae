//! The devices that may show why a guest does not go on, in lines for a dump.

use super::Machine;
use crate::Instant;
use crate::index::Com;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use devices::uart::PortMode;

/// Vectors of a local APIC that are named.
const SHOWN: usize = 8;

impl Machine {
    /// Interrupt controllers, timers and serial ports, a line each.
    #[must_use]
    pub fn facts(&self, now: Instant) -> Vec<String> {
        let mut lines = Vec::new();
        let apics = self.interrupts.all_states();
        for (id, apic) in apics.iter().enumerate() {
            if apic.is_waiting_for_startup() {
                continue;
            }
            let of = if apics.len() > 1 { format!(" {id}") } else { String::new() };
            let state = if apic.is_switched_on() { "" } else { " off," };
            let requested = vectors(apic.requested());
            let in_service = vectors(apic.in_service());
            lines.push(format!(
                "local APIC{of}:{state} requested {requested}, in service {in_service}, CR8 {}",
                apic.cr8()
            ));
        }
        let [first, second] = self.interrupts.pic_state().registers().map(|chip| {
            let (requested, in_service, masked) = (chip.requested, chip.in_service, chip.masked);
            format!("IRR {requested:02x} ISR {in_service:02x} IMR {masked:02x}")
        });
        lines.push(format!("8259: {first}; second: {second}"));
        if let Some(io_apic) = self.interrupts.io_apic_state() {
            let (asserted, unmasked) = (pins(io_apic.asserted()), pins(io_apic.unmasked()));
            lines.push(format!("I/O APIC: asserted {asserted}, unmasked {unmasked}"));
        }
        lines.push(format!("timers: {}", self.timers_in_words(now)));
        lines.extend(self.serial_lines());
        lines
    }

    fn timers_in_words(&self, now: Instant) -> String {
        let mut apics = self.interrupts.all_states().iter();
        let apics = apics.any(|apic| apic.deadline().is_some()).then_some("the local APIC's");
        let others = self.timers.armed().map(|(name, _)| name);
        let mut names: Vec<&str> = apics.into_iter().chain(others).collect();
        names.dedup();
        if names.is_empty() {
            return "none armed".into();
        }
        let due = match self.deadline == Instant::FAR_FUTURE {
            true => String::new(),
            false => format!(", next in {} us", self.deadline.ns_since(now) / 1000),
        };
        format!("armed {}{due}", names.join(", "))
    }

    fn serial_lines(&self) -> impl Iterator<Item = String> {
        Com::ALL.into_iter().filter_map(|com| {
            let port = self.serial(com).filter(|port| port.mode() != PortMode::Unconnected)?;
            let uart = port.uart().registers();
            let pin = if port.pin() { "asserted" } else { "low" };
            Some(format!(
                "COM{}: IER {:02x} LCR {:02x} MCR {:02x} LSR {:02x}, interrupt {pin}",
                com as usize + 1,
                uart.interrupt_enable,
                uart.line_control,
                uart.modem_control,
                uart.line_status,
            ))
        })
    }
}

fn vectors(mut all: impl Iterator<Item = u8>) -> String {
    let shown: Vec<String> =
        all.by_ref().take(SHOWN).map(|vector| format!("{vector:#04x}")).collect();
    match (shown.is_empty(), all.next()) {
        (true, _) => "none".into(),
        (false, None) => shown.join(" "),
        (false, Some(_)) => shown.join(" ") + " ...",
    }
}

fn pins(bits: u32) -> String {
    let named: Vec<String> =
        (0..32).filter(|pin| bits & 1 << pin != 0).map(|pin: u32| pin.to_string()).collect();
    if named.is_empty() { "none".into() } else { named.join(" ") }
}
