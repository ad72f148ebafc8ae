//! How interrupts reach the processor: levels and messages in, vectors out.
//!
//! ```text
//! PIT 0 ---------------- IRQ0 --+--> 8259 pair --INTR--> LINT0 of the local APIC, or the processor
//! COM2, COM4 ----------- IRQ3 --+
//! COM1, COM3 ----------- IRQ4 --+
//! RTC ------------------ IRQ8 --+
//!      IRQn also to pin n of the I/O APIC (IRQ0 to pin 2) --messages--> local APIC
//! HPET timers: in place of IRQ0 and IRQ8, or to the I/O APIC pins that the guest chose
//! any device: messages of its own (MSI) ----------------------------> local APIC
//! local APIC of a processor --interprocessor interrupts-----> those of all processors
//! ```
//!
//! One processor of a VM has the core at a time, the *current* one: its registers are those that
//! an access reaches.
//!
//! Any change to what the current processor may take next raises *attention*. Without it, the next
//! entry differs from the last only in its reply, and the loop skips the controllers.

use crate::plan::DeviceSet;
use alloc::vec::Vec;
use devices::ioapic::IoApic;
use devices::lapic::{LocalApic, Processors, StartEvent, TscClock, bus};
use devices::message::Message;
use devices::pic::PicPair;

/// What a source drives: a pin of the I/O APIC, and with it a line of the 8259 pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Line {
    /// Pin of the I/O APIC.
    pub pin: u8,
    /// Line of the 8259 pair; None: it has none.
    pub irq: Option<u8>,
}

impl Line {
    /// IRQ0 is wired to pin 2 of the I/O APIC, as on every PC.
    pub const TIMER: Self = Self { pin: 2, irq: Some(0) };
    pub const KEYBOARD: Self = Self::isa(1);
    pub const COM2_AND_4: Self = Self::isa(3);
    pub const COM1_AND_3: Self = Self::isa(4);
    pub const RTC: Self = Self::isa(8);

    const fn isa(irq: u8) -> Self {
        Self { pin: irq, irq: Some(irq) }
    }
}

/// A machine's interrupt controllers.
#[derive(Debug)]
pub(super) struct Interrupts {
    pic: PicPair,
    io_apic: Option<IoApic>,
    /// One for each processor; none if the one processor has none.
    local_apics: Vec<LocalApic>,
    current: usize,
    /// Processors that others have sent something since [`Self::take_called`].
    called: Processors,
    /// CR8 where there is no local APIC.
    idle_cr8: u8,
    has_attention: bool,
}

impl Interrupts {
    pub fn new(devices: DeviceSet, processors: u8, tsc: TscClock) -> Self {
        let local_apics = if devices.has_local_apic { processors } else { 0 };
        Self {
            pic: PicPair::new(),
            io_apic: devices.has_io_apic.then(|| IoApic::new(0)),
            local_apics: (0..local_apics).map(|id| LocalApic::new(id, tsc)).collect(),
            current: 0,
            called: Processors::NONE,
            idle_cr8: 0,
            has_attention: true,
        }
    }

    /// `processor` gets the core.
    #[inline]
    pub const fn select(&mut self, processor: usize) {
        if self.current != processor {
            self.current = processor;
            self.has_attention = true;
        }
    }

    /// Whether something may have changed for the processor since [`Self::take_attention`].
    #[inline]
    pub const fn has_attention(&self) -> bool {
        self.has_attention
    }

    /// The next entry differs in something outside the interrupt controllers.
    pub const fn draw_attention(&mut self) {
        self.has_attention = true;
    }

    /// The loop consults the controllers now.
    pub const fn take_attention(&mut self) {
        self.has_attention = false;
    }
}

/// Levels and messages.
impl Interrupts {
    /// Sets a source's level. The controllers find the edges.
    pub fn set_line(&mut self, line: Line, level: bool) {
        self.has_attention = true;
        if let Some(irq) = line.irq {
            self.pic.set_line(irq, level);
        }
        if let Some(io_apic) = &mut self.io_apic {
            io_apic.set_line(line.pin, level);
        }
    }

    /// A device's own message. If no local APIC accepts it, it is lost.
    #[cfg_attr(not(test), expect(dead_code, reason = "no device here signals by messages yet"))]
    pub fn send(&mut self, message: &Message) {
        self.has_attention = true;
        bus::deliver(&mut self.local_apics, message);
    }

    /// Messages from the I/O APIC and the current processor to the local APICs, ends of interrupts
    /// to the I/O APIC.
    pub fn carry_messages(&mut self) {
        self.has_attention = true;
        let Self { local_apics, current, called, .. } = self;
        *called = called.union(bus::carry_commands(local_apics, *current));
        let Some(local_apic) = local_apics.get_mut(*current) else { return };
        let Some(io_apic) = &mut self.io_apic else {
            while local_apic.take_eoi().is_some() {}
            return;
        };
        while let Some(vector) = local_apic.take_eoi() {
            io_apic.end_of_interrupt(vector);
        }
        // A level that no local APIC accepts is sent again at the next access, which may be the
        // one that changes the destination, LDR, DFR, SVR or the APIC's base.
        let mut first = 0;
        while let Some((pin, message)) = io_apic.next_message(first) {
            if bus::deliver(local_apics, &message).is_accepted {
                io_apic.accepted(pin, &message);
            }
            first = pin + 1;
        }
    }

    /// Whether a controller lets this line through.
    pub fn is_unmasked(&self, line: Line) -> bool {
        line.irq.is_some_and(|irq| self.pic.is_unmasked(irq))
            || self.io_apic.as_ref().is_some_and(|apic| apic.unmasked_vector(line.pin).is_some())
    }

    /// Whether a pulse on this line would be a separate interrupt. Of the two controllers, the
    /// one that the guest left masked does not count: its request may stay pending for ever. Where
    /// both are masked the 8259 latches one edge (IRR; 8259A datasheet, "Interrupt Request
    /// Register") and the I/O APIC none.
    pub fn is_line_free(&self, line: Line) -> bool {
        let is_heard = (0..self.local_apics.len().max(1)).any(|index| self.hears_pic(index));
        let at_pic = line.irq.filter(|_| is_heard);
        let is_latched = at_pic.is_some_and(|irq| self.pic.is_latched(irq));
        let at_pic_unmasked = at_pic.is_some_and(|irq| self.pic.is_unmasked(irq));
        let at_io_apic = self.io_apic.as_ref().and_then(|apic| apic.unmasked_vector(line.pin));
        match (at_pic_unmasked, at_io_apic) {
            (true, None) => !is_latched,
            (is_unmasked, Some(vector)) => {
                let is_requested = self.local_apics.iter().any(|apic| apic.is_requested(vector));
                !(is_requested || is_unmasked && is_latched)
            }
            (false, None) => at_pic.is_some() && !is_latched,
        }
    }
}

/// The processor's side.
impl Interrupts {
    /// Whether the processor should be interrupted.
    pub fn has_interrupt(&self) -> bool {
        self.has_external_interrupt()
            || self.local_apic_state().is_some_and(LocalApic::has_interrupt)
    }

    /// The interrupt the processor takes now; None if it was withdrawn.
    pub fn acknowledge(&mut self) -> Option<u8> {
        self.has_attention = true;
        match self.has_external_interrupt() {
            true => Some(self.pic.acknowledge()),
            false => self.current_mut().and_then(LocalApic::acknowledge),
        }
    }

    pub fn take_nmi(&mut self) -> bool {
        self.current_mut().is_some_and(LocalApic::take_nmi)
    }

    /// See [`super::Machine::can_raise_nmi`].
    pub fn can_raise_nmi(&self) -> bool {
        !self.local_apics.is_empty() && self.io_apic.as_ref().is_some_and(IoApic::can_raise_nmi)
    }

    pub fn cr8(&self) -> u8 {
        self.local_apic_state().map_or(self.idle_cr8, LocalApic::cr8)
    }

    #[inline]
    pub fn set_cr8(&mut self, cr8: u8) {
        if self.cr8() == cr8 {
            return;
        }
        self.has_attention = true;
        match self.current_mut() {
            Some(local_apic) => local_apic.set_cr8(cr8),
            None => self.idle_cr8 = cr8,
        }
    }

    pub fn tpr_threshold(&self) -> u8 {
        self.local_apic_state().map_or(0, LocalApic::held_back_class)
    }

    pub fn is_apic_enabled(&self) -> bool {
        self.local_apic_state().is_some_and(LocalApic::is_hardware_enabled)
    }

    fn has_external_interrupt(&self) -> bool {
        self.hears_pic(self.current) && self.pic.has_interrupt()
    }

    /// Whether `processor` gets the 8259 pair's interrupts.
    pub fn hears_pic(&self, processor: usize) -> bool {
        self.local_apics.get(processor).is_none_or(LocalApic::accepts_external)
    }
}

/// The registers, for the three maps; carry messages after each write.
impl Interrupts {
    pub fn pic(&mut self) -> &mut PicPair {
        self.has_attention = true;
        &mut self.pic
    }

    pub fn io_apic(&mut self) -> Option<&mut IoApic> {
        self.has_attention = true;
        self.io_apic.as_mut()
    }

    /// The same two, read-only.
    pub const fn pic_state(&self) -> &PicPair {
        &self.pic
    }

    pub const fn io_apic_state(&self) -> Option<&IoApic> {
        self.io_apic.as_ref()
    }

    /// The current processor's.
    pub fn local_apic(&mut self) -> Option<&mut LocalApic> {
        self.has_attention = true;
        self.current_mut()
    }

    /// The same, read-only.
    pub fn local_apic_state(&self) -> Option<&LocalApic> {
        self.local_apics.get(self.current)
    }

    /// Those of all processors.
    pub fn local_apics(&mut self) -> &mut [LocalApic] {
        self.has_attention = true;
        &mut self.local_apics
    }

    /// The same, read-only.
    pub fn all_states(&self) -> &[LocalApic] {
        &self.local_apics
    }

    fn current_mut(&mut self) -> Option<&mut LocalApic> {
        self.local_apics.get_mut(self.current)
    }
}

/// Processors that are not the current one.
impl Interrupts {
    /// Which processors have been sent something since the last call.
    pub const fn take_called(&mut self) -> Processors {
        core::mem::replace(&mut self.called, Processors::NONE)
    }

    /// What the controllers have for `processor`.
    pub fn events_for(&self, processor: usize) -> Events {
        let apic = self.local_apics.get(processor);
        let has_external = self.hears_pic(processor) && self.pic.has_interrupt();
        Events {
            has_interrupt: has_external || apic.is_some_and(LocalApic::has_interrupt),
            is_unmaskable: apic.is_some_and(|apic| apic.has_nmi() || apic.has_start_event()),
        }
    }

    /// Whether `processor` waits for its start-up IPI.
    pub fn is_waiting_for_startup(&self, processor: usize) -> bool {
        self.local_apics.get(processor).is_some_and(LocalApic::is_waiting_for_startup)
    }

    /// What has come for the current processor besides interrupts.
    pub fn take_start_event(&mut self) -> Option<StartEvent> {
        self.current_mut().and_then(LocalApic::take_start_event)
    }
}

/// What the interrupt controllers have for a processor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Events {
    /// An interrupt that its priority lets through.
    pub has_interrupt: bool,
    /// A non-maskable interrupt, INIT or a start-up IPI.
    pub is_unmaskable: bool,
}
