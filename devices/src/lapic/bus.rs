//! How messages travel: from processor to processor, and from devices to processors.
//!
//! A machine owns its local APICs in a slice; the APIC of processor `i` is element `i`. The owner
//! calls [`carry_commands`] after each access to a local APIC's registers and [`deliver`] for each
//! message of a device, and then looks at the processors that these name:
//! [`LocalApic::take_start_event`], [`LocalApic::has_interrupt`], [`LocalApic::has_nmi`] and
//! [`LocalApic::deadline`] may have changed.
//!
//! Source: SDM vol. 3, 11.6, "Issuing Interprocessor Interrupts".

use super::command::{Command, Target};
use super::processors::{MAX_PROCESSORS, Processors};
use super::{LocalApic, class};
use crate::message::{DeliveryMode, Message};

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// An APIC accepted it. The I/O APIC sends a level that none accepted again.
    pub is_accepted: bool,
    /// The processors for which something may have changed.
    pub reached: Processors,
}

/// Sends what processor `from` has written into its command register since the last call, if
/// anything. A message to itself by shorthand or SELF_IPI has arrived already and is not counted:
/// the owner looks at a processor whose registers it has accessed anyway.
#[inline]
pub fn carry_commands(apics: &mut [LocalApic], from: usize) -> Processors {
    match apics.get(from) {
        Some(apic) if apic.has_command() => send(apics, from),
        Some(_) | None => Processors::NONE,
    }
}

/// Delivers a message of the I/O APIC or a device.
///
/// It is accepted if an APIC that it names takes its vector, for which that APIC must be enabled by
/// software too, or if it names an APIC and has no vector of its own.
pub fn deliver(apics: &mut [LocalApic], message: &Message) -> Delivery {
    let is_named = |apic: &LocalApic| apic.matches(message.destination, message.is_logical);
    let named = find(apics, is_named);
    let mode = effective_mode(message.delivery_mode, message.is_logical);
    hand_out(apics, named, mode, message.vector, message.is_level)
}

#[inline(never)]
fn send(apics: &mut [LocalApic], from: usize) -> Processors {
    let command = apics.get_mut(from).and_then(LocalApic::take_command);
    let Some(Command { vector, mode, target }) = command else { return Processors::NONE };
    let (named, mode) = match target {
        Target::Destination { id, is_logical } => {
            let named = find(apics, |apic| apic.is_named(id, is_logical));
            (named, effective_mode(mode, is_logical))
        }
        Target::Myself => (Processors::only(from), mode),
        Target::All => (find(apics, LocalApic::is_hardware_enabled), mode),
        Target::AllButMe => (find(apics, LocalApic::is_hardware_enabled).without(from), mode),
    };
    hand_out(apics, named, mode, vector, false).reached
}

fn find(apics: &[LocalApic], is_named: impl Fn(&LocalApic) -> bool) -> Processors {
    let named = apics.iter().take(MAX_PROCESSORS).enumerate().filter(|(_, apic)| is_named(apic));
    named.fold(Processors::NONE, |all, (index, _)| all.with(index))
}

/// A physical destination is one processor or a broadcast; the manual forbids lowest priority for
/// the latter (SDM vol. 3, 11.6.2.1), and as on Linux's KVM every processor gets it.
fn effective_mode(mode: DeliveryMode, is_logical: bool) -> DeliveryMode {
    match mode {
        DeliveryMode::LowestPriority if !is_logical => DeliveryMode::Fixed,
        _ => mode,
    }
}

fn hand_out(
    apics: &mut [LocalApic],
    named: Processors,
    mode: DeliveryMode,
    vector: u8,
    is_level: bool,
) -> Delivery {
    let receivers = match mode {
        DeliveryMode::LowestPriority => arbitrate(apics, named, vector),
        DeliveryMode::Fixed
        | DeliveryMode::Smi
        | DeliveryMode::Nmi
        | DeliveryMode::Init
        | DeliveryMode::StartUp
        | DeliveryMode::ExtInt => named,
    };
    let mut is_accepted = false;
    for index in receivers {
        let apic = apics.get_mut(index);
        is_accepted |= apic.is_some_and(|apic| apic.take_message(mode, vector, is_level));
    }
    Delivery { is_accepted, reached: receivers }
}

/// The one processor that takes a lowest-priority message.
///
/// The manual gives it to the processor of lowest priority, by a register that is specific to the
/// model and leaves ties to the hardware (SDM vol. 3, 11.6.2.4); Linux's KVM goes by the vector
/// alone (`kvm_vector_to_index`), among the APICs that are enabled. Here the class of the processor
/// priority decides, and the vector among equals: vectors spread over the processors without a
/// state of their own.
fn arbitrate(apics: &[LocalApic], named: Processors, vector: u8) -> Processors {
    let mut lowest = u8::MAX;
    let mut candidates = Processors::NONE;
    for (index, apic) in named.filter_map(|index| Some((index, apics.get(index)?))) {
        let priority = class(apic.processor_priority());
        if !apic.is_enabled() || priority > lowest {
            continue;
        }
        if priority < lowest {
            candidates = Processors::NONE;
        }
        lowest = priority;
        candidates = candidates.with(index);
    }
    let place = usize::from(vector) % candidates.count().max(1);
    candidates.nth(place).map_or(Processors::NONE, Processors::only)
}

impl LocalApic {
    /// Takes a message that names this APIC; false if it does not accept it.
    fn take_message(&mut self, mode: DeliveryMode, vector: u8, is_level: bool) -> bool {
        match mode {
            DeliveryMode::Fixed | DeliveryMode::LowestPriority => {
                self.accept(vector, is_level);
                return self.is_enabled();
            }
            DeliveryMode::Nmi => self.accept_nmi(),
            DeliveryMode::Init => self.accept_init(),
            DeliveryMode::StartUp => self.accept_startup(vector),
            // The 8259 pair is wired to LINT0, and the machine has no SMM.
            DeliveryMode::ExtInt | DeliveryMode::Smi => {}
        }
        true
    }
}
