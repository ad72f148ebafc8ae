//! A virtual machine: its identity, its vCPUs, its hardware and, once it is over, how it ended.

use crate::Instant;
use crate::index::VcpuIndex;
use crate::machine::Machine;
use crate::polling::Polling;
use crate::seam::{Entry, Injection, Reply};
use crate::system::Life;
use alloc::string::String;
use alloc::vec::Vec;

pub use crate::ending::Ending;

/// A virtual machine.
#[derive(Debug)]
pub struct Vm<M> {
    id: u64,
    name: String,
    vcpus: Vec<Vcpu>,
    /// Its hardware less the processor.
    pub machine: Machine,
    /// Its RAM.
    pub memory: M,
    /// Who holds it, and how far it has come on its way to a new beginning.
    pub(crate) life: Life,
    /// How it ended; None while it runs.
    pub ending: Option<Ending>,
}

/// What the loop keeps of a virtual CPU between entries; the registers are the backend's.
#[derive(Debug)]
pub struct Vcpu {
    id: u32,
    vm_id: u64,
    /// The pending answer to the last exit.
    pub reply: Reply,
    /// After the last exit the guest could take a maskable interrupt.
    pub is_interruptible: bool,
    /// After the last exit more parts of it were to come.
    pub has_more: bool,
    /// A non-maskable interrupt is pending.
    pub has_nmi: bool,
    /// It has executed HLT, and no event has ended that yet.
    pub is_halted: bool,
    /// Interrupts were disabled at that HLT: a non-maskable one alone ends it.
    pub is_deaf: bool,
    /// It takes no interrupt: a debugger lets it execute one instruction.
    pub is_stepped: bool,
    /// What it does with serial ports.
    pub polling: Polling,
    /// The last entry, from which the next one follows.
    pub(crate) entry: Entry,
    /// An event is pending that the guest could not take, or `entry` injected one.
    has_event: bool,
    /// The last exit was a preemption: the next entry must make progress.
    pub was_preempted: bool,
    /// When its time-stamp counter is compared with the clock next.
    pub next_tsc_check: Instant,
}

impl<M> Vm<M> {
    /// A VM without vCPUs.
    #[must_use]
    pub fn new(id: u64, name: String, machine: Machine, memory: M) -> Self {
        let (vcpus, life) = (Vec::new(), Life::default());
        Self { id, name, vcpus, machine, memory, life, ending: None }
    }

    /// The number the config gave it.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.id
    }

    /// The name the config gave it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Adds a vCPU; returns its id.
    pub fn add_vcpu(&mut self) -> u32 {
        let id = self.vcpus.len() as u32;
        self.vcpus.push(Vcpu::new(id, self.id));
        id
    }

    /// The vCPU with this id, if it exists.
    #[must_use]
    pub fn vcpu(&self, id: u32) -> Option<&Vcpu> {
        self.vcpus.get(id as usize)
    }

    /// The vCPU with this id, if it exists, to change.
    pub fn vcpu_mut(&mut self, id: u32) -> Option<&mut Vcpu> {
        self.vcpus.get_mut(id as usize)
    }

    /// The machine and one of its vCPUs, both to change.
    ///
    /// # Panics
    /// `vcpu` is none of this VM's.
    #[inline]
    pub fn parts(&mut self, vcpu: VcpuIndex) -> (&mut Machine, &mut Vcpu) {
        (&mut self.machine, &mut self.vcpus[vcpu.id() as usize])
    }

    /// Whether all its vCPUs have halted for good: they wait for start-up IPIs, which none is left
    /// to send, or halt with interrupts disabled, and no non-maskable one is pending or may come.
    #[must_use]
    pub fn is_dead(&self) -> bool {
        let is_waiting = |vcpu: &Vcpu| self.machine.is_waiting_for_startup(vcpu.id);
        let is_deaf = |it: &Vcpu| it.is_halted && it.is_deaf && !it.is_roused(&self.machine);
        self.vcpus.iter().all(|vcpu| is_waiting(vcpu) || is_deaf(vcpu))
            && (self.vcpus.iter().all(is_waiting) || !self.machine.can_raise_nmi())
    }

    /// Whether it has more than one vCPU.
    #[must_use]
    pub fn has_siblings(&self) -> bool {
        self.vcpus.len() > 1
    }

    /// Its vCPUs.
    #[must_use]
    pub fn vcpus(&self) -> &[Vcpu] {
        &self.vcpus
    }

    /// Its vCPUs, to change.
    pub fn vcpus_mut(&mut self) -> &mut [Vcpu] {
        &mut self.vcpus
    }
}

impl Vcpu {
    fn new(id: u32, vm_id: u64) -> Self {
        Self {
            id,
            vm_id,
            reply: Reply::None,
            is_interruptible: false,
            has_more: false,
            has_nmi: false,
            is_halted: false,
            is_deaf: false,
            is_stepped: false,
            polling: Polling::default(),
            entry: Entry::default(),
            has_event: false,
            was_preempted: false,
            next_tsc_check: Instant::ZERO,
        }
    }

    /// Its number within its VM.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.id
    }

    /// The number of its VM.
    #[must_use]
    pub fn vm_id(&self) -> u64 {
        self.vm_id
    }

    /// Whether HLT continues: only an event that the guest takes ends it (SDM vol. 2, HLT), not a
    /// masked timer's tick.
    pub fn stays_halted(&mut self, machine: &mut Machine) -> bool {
        self.has_nmi |= machine.take_nmi();
        self.is_halted && !self.has_nmi && (self.is_deaf || !machine.has_interrupt())
    }

    /// Whether an event would end its HLT, if it has executed one. Of any vCPU, while another one
    /// of its VM may have the core.
    #[must_use]
    pub fn is_roused(&self, machine: &Machine) -> bool {
        let events = machine.events_for(self.id);
        let is_deaf = self.is_halted && self.is_deaf;
        self.has_nmi || events.is_unmaskable || events.has_interrupt && !is_deaf
    }

    /// INIT: what was pending is dropped, and HLT is over. Its registers are the backend's.
    pub fn reset(&mut self) {
        let next_tsc_check = self.next_tsc_check;
        *self = Self { next_tsc_check, ..Self::new(self.id, self.vm_id) };
    }

    /// Whether the next entry differs from the last in more than its reply.
    #[inline]
    pub fn is_changed(&self, machine: &Machine) -> bool {
        self.has_event || machine.has_attention()
    }

    /// The next entry, less its deadline and batchable ports: the pending reply, and the most
    /// urgent event the guest can take now.
    #[inline]
    pub fn next_entry(&mut self, machine: &mut Machine) -> &mut Entry {
        let is_changed = self.is_changed(machine);
        if is_changed {
            self.gather(machine);
        }
        self.entry.is_again = !is_changed;
        self.is_halted = false;
        self.entry.reply = core::mem::take(&mut self.reply);
        &mut self.entry
    }

    /// What the interrupt controllers have for the processor, and its clock.
    #[inline(never)]
    fn gather(&mut self, machine: &mut Machine) {
        machine.take_attention();
        self.has_nmi |= machine.take_nmi();
        let has_interrupt = machine.has_interrupt() && !self.is_stepped;
        let inject = if self.has_nmi && !self.has_more && !self.is_stepped {
            self.has_nmi = false;
            Some(Injection::Nmi)
        } else if has_interrupt && self.is_interruptible {
            machine.acknowledge().map(Injection::Interrupt)
        } else {
            None
        };
        // Another may be pending behind the one just taken.
        let wants_window = match inject {
            None => has_interrupt,
            Some(_) => machine.has_interrupt(),
        };
        self.has_event = inject.is_some() || wants_window || self.has_nmi || self.is_stepped;
        self.entry.inject = inject;
        self.entry.wants_window = wants_window;
        self.entry.cr8 = machine.cr8();
        self.entry.tsc_held_ns = machine.tsc_held_ns();
        self.entry.tpr_threshold = machine.tpr_threshold();
        self.entry.is_apic_enabled = machine.is_apic_enabled();
    }
}
