//! What VMs send, put together from the exits: lines of text and bursts of link bytes, and how much
//! of each there was in each stretch of time, as of the core.

use super::access::serial;
use devices::uart::PortMode;
use serde_json::{Map, Value, json};
use vmm_common::Instant;
use vmm_common::index::VmIndex;
use vmm_common::system::System;

/// Rates and shares are of stretches this long.
const STRETCH_NS: u64 = 10_000_000;
/// A line is cut off after so many bytes.
const LINE_BYTES: usize = 200;

/// A serial port as the trace shows it.
#[derive(Debug, Default)]
struct Port {
    is_link: bool,
    /// It is an end of a link while IER bit 0 is set, else the console.
    is_switched: bool,
    /// LCR bit 7: the data register is the divisor's.
    is_divisor: bool,
    /// What has been sent since the last line or burst.
    sent: Vec<u8>,
    /// Bytes sent in this stretch.
    stretch_bytes: u64,
}

impl Port {
    const fn is_wired(&self) -> bool {
        self.is_link || self.is_switched
    }
}

/// What has been sent, and who had the core.
#[derive(Debug)]
pub(super) struct Output {
    names: Vec<String>,
    ports: Vec<[Port; 4]>,
    /// What each VM had of this stretch, ns.
    had_ns: Vec<u64>,
    /// When the turn that goes on began, and whose it is.
    turn: Option<(usize, Instant)>,
    stretch: u64,
    /// Until when the core's track is filled.
    core_until: Instant,
}

impl Output {
    pub(super) fn new<M>(system: &System<M>) -> Self {
        let port = |vm: usize, com| {
            let machine = &system.vms[VmIndex(vm)].machine;
            let mode = machine.serial(com).map(devices::uart::Port::mode);
            let is_switched = mode == Some(PortMode::Switched);
            let is_link = machine.wire_of(com).is_some() && !is_switched;
            Port { is_link, is_switched, ..Port::default() }
        };
        let vms = system.vms.len();
        Self {
            names: system.vms.iter().map(|vm| vm.name().to_owned()).collect(),
            ports: (0..vms)
                .map(|vm| vmm_common::index::Com::ALL.map(|com| port(vm, com)))
                .collect(),
            had_ns: vec![0; vms],
            turn: None,
            stretch: 0,
            core_until: Instant::ZERO,
        }
    }

    /// VM `vm` writes `value` to `port`: the line or burst that this ends, with its port.
    pub(super) fn wrote(&mut self, vm: usize, port: u16, value: u8) -> Option<Value> {
        const DATA: u16 = 0;
        const INTERRUPT_ENABLE: u16 = 1;
        const LINE_CONTROL: u16 = 3;
        let (com, register) = serial(port)?;
        let port = &mut self.ports[vm][com];
        match register {
            LINE_CONTROL => port.is_divisor = value & 0x80 != 0,
            INTERRUPT_ENABLE if port.is_switched && !port.is_divisor => {
                let is_over = !port.sent.is_empty() && port.is_link != (value & 1 != 0);
                let burst = is_over.then(|| ended(port, com));
                port.is_link = value & 1 != 0;
                return burst;
            }
            DATA if !port.is_divisor => {
                port.stretch_bytes += u64::from(port.is_link);
                port.sent.push(value);
                let is_line = !port.is_link && value == b'\n';
                if is_line || port.sent.len() >= LINE_BYTES {
                    return Some(ended(port, com));
                }
            }
            _ => {}
        }
        None
    }

    /// The core was idle up to now.
    pub(super) fn idle_ends(&mut self, at: Instant) {
        self.core_until = at;
    }

    /// The host took `ns` up to now: since when it had the core, where nothing else is.
    pub(super) fn host_took(&mut self, ns: u64, at: Instant) -> Instant {
        let begin = Instant::from_ns(at.as_ns().saturating_sub(ns)).max(self.core_until);
        self.core_until = at.max(begin);
        begin
    }

    /// VM `vm` gets the core.
    pub(super) fn turn_begins(&mut self, vm: usize, at: Instant) {
        self.turn = Some((vm, at));
    }

    /// It gives the core away: the bursts that this ends.
    pub(super) fn turn_ends(&mut self, vm: usize, at: Instant) -> Vec<Value> {
        if let Some((_, begin)) = self.turn.take() {
            self.had_ns[vm] += at.ns_since(begin);
        }
        let ports = self.ports[vm].iter_mut().enumerate();
        let open = ports.filter(|(_, port)| port.is_link && !port.sent.is_empty());
        open.map(|(com, port)| ended(port, com)).collect()
    }

    /// The counters of the stretch that `at` is behind, if it is: where it begins, and what each
    /// shows.
    pub(super) fn counters(
        &mut self,
        at: Instant,
    ) -> Option<(Instant, [(&'static str, Value); 2])> {
        let stretch = at.as_ns() / STRETCH_NS;
        if stretch == self.stretch {
            return None;
        }
        // A turn that goes on is cut where the stretch ends.
        let begin = Instant::from_ns(self.stretch * STRETCH_NS);
        let end = begin.after_ns(STRETCH_NS);
        if let Some((vm, since)) = &mut self.turn {
            self.had_ns[*vm] += end.ns_since(*since);
            *since = (*since).max(Instant::from_ns(stretch * STRETCH_NS));
        }
        let (mut shares, mut rates) = (Map::new(), Map::new());
        for (vm, name) in self.names.iter().enumerate() {
            let had_ns = core::mem::take(&mut self.had_ns[vm]);
            shares.insert(name.clone(), json!(had_ns as f64 * 100.0 / STRETCH_NS as f64));
            for (com, port) in self.ports[vm].iter_mut().enumerate().filter(|(_, it)| it.is_wired())
            {
                let bytes = core::mem::take(&mut port.stretch_bytes);
                let rate = bytes as f64 * 1e9 / STRETCH_NS as f64;
                rates.insert(format!("{name}.com{}", com + 1), json!(rate));
            }
        }
        self.stretch = stretch;
        Some((begin, [("share of the core, %", shares.into()), ("link, bytes/s", rates.into())]))
    }
}

/// The line or burst in `port`.
fn ended(port: &mut Port, com: usize) -> Value {
    let bytes = core::mem::take(&mut port.sent);
    match port.is_link {
        true => json!({"name": format!("com{}: {} bytes to the link", com + 1, bytes.len())}),
        false => {
            let text = String::from_utf8_lossy(&bytes);
            json!({"name": format!("com{}: {}", com + 1, text.trim_end())})
        }
    }
}
