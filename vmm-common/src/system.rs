//! The loop: several VMs, what connects them, and one core.
//!
//! A target asks [`System::next`] which vCPU runs, calls [`System::turn`] with that vCPU's
//! backend, and asks again; while no vCPU can run, it waits first. On bare metal that is a
//! loop; over KVM each vCPU's thread does it for as long as it holds the turn.
//!
//! ```text
//! next -> Run { vcpu, until } -> turn: entry -> guest -> exit -> handle -> entry ... -> next
//!      -> Idle { until }      -> wait for a timer, a key                             -> next
//!      -> Done
//! ```

use crate::Instant;
use crate::debugger::DebugEvent;
use crate::index::{VcpuIndex, VmIndex};
use crate::ledger::{Activity, Ledger};
use crate::machine::{Machine, StartEvent};
use crate::memory::GuestMemory;
use crate::plan::{Plan, Share};
use crate::polling::ExitCost;
use crate::receipt::Receipt;
use crate::scheduler::{Next, Scheduler};
use crate::seam::{Exit, ExitReason, Host, Injection, Reply, VcpuBackend};
use crate::trace::{Trace, What};
use crate::vm::{Ending, Vm};
use alloc::vec::Vec;

mod accounts;
mod debugged;
mod device_requests;
mod explain;
mod halt;
mod lifecycle;
mod networks;
mod port_writes;
mod publish;
mod restart;
mod restarter;
mod rouse;
mod screens;
mod serial;

pub(crate) use lifecycle::Life;
pub use lifecycle::{Holder, Holders};
pub use networks::{Network, NetworkPort, Networks, Uplink};
use restart::Restart;
use restarter::Restarter;
pub use serial::{Wire, WireEnds};

/// Everything that runs on one core.
#[derive(Debug)]
pub struct System<M> {
    /// The VMs, in the plan's order.
    pub vms: Vec<Vm<M>>,
    /// The links, in the plan's order.
    pub wires: Vec<Wire>,
    /// The networks, in the plan's order.
    pub networks: Networks,
    screens: screens::Screens,
    /// Each VM's first vCPU.
    firsts: Vec<VcpuIndex>,
    /// Where the time went.
    pub ledger: Ledger,
    /// What happened last.
    pub trace: Trace,
    pub(crate) scheduler: Scheduler,
    restarters: Vec<Restarter>,
    last_vm: Option<VmIndex>,
    /// [`System::next`] has been asked.
    has_begun: bool,
    /// What the switch from a sibling to the vCPU that runs took of its VM's time, ns.
    switch_ns: u64,
    /// When [`System::next`] chose the vCPU.
    chosen_at: Instant,
    /// When its turn is to end.
    until: Instant,
    exit_cost: ExitCost,
    /// [`Host::taken_ns`] as of the last look.
    taken_ns: u64,
    /// Some VM has a budget.
    has_budgets: bool,
    /// The next vCPU whose registers are to be shown, as its VM has ended.
    to_show: Option<VcpuIndex>,
    /// The vCPU of that VM whose registers were shown at its end.
    shown: Option<VcpuIndex>,
    /// What ended the last turn, if a debugger waits for it.
    debug_event: Option<DebugEvent>,
}

/// A guest that was just preempted runs at least this long before one of its timers ends the
/// entry.
const MIN_PROGRESS_NS: u64 = 50_000;

/// Why a turn continues or ends.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    /// Enter again.
    Continue,
    /// The slice is over; `in_guest`: it stopped the guest.
    SliceOver { in_guest: bool },
    /// The guest polls for what another VM must bring.
    Yield,
    /// The guest waits in a loop of PAUSE for what another vCPU of its VM must bring.
    Spin,
    /// The guest has nothing to do until this moment, unless woken.
    Halt(Instant),
    /// The VM has ended.
    End(Ending),
}

impl<M: GuestMemory> System<M> {
    /// The plan's VMs, each with one of `machines` and its RAM, and its links.
    ///
    /// `trace_events` is how many events the trace keeps.
    #[must_use]
    pub fn new(
        plan: &Plan,
        machines: Vec<(Machine, M)>,
        trace_events: usize,
        now: Instant,
    ) -> Self {
        let vm = |(plan, (machine, memory)): (&crate::plan::VmPlan, (Machine, M))| {
            let mut vm = Vm::new(plan.id, plan.name.clone(), machine, memory);
            for _ in 0..plan.processors() {
                vm.add_vcpu();
            }
            vm
        };
        let shares = plan.shares();
        let counts = shares.iter().map(|(_, vcpus)| *vcpus);
        let mut system = Self {
            vms: plan.vms.iter().zip(machines).map(vm).collect(),
            wires: Wire::all(plan),
            networks: Networks::new(plan),
            screens: screens::Screens::new(plan),
            firsts: VcpuIndex::firsts(counts).collect(),
            ledger: Ledger::new(&shares, Receipt::min_stretch_turns(plan), now),
            trace: Trace::new(trace_events),
            scheduler: Scheduler::new(&shares, plan.slice_ns),
            restarters: plan.vms.iter().map(Restarter::new).collect(),
            last_vm: None,
            has_begun: false,
            chosen_at: now,
            switch_ns: 0,
            until: now,
            exit_cost: ExitCost::new(),
            taken_ns: 0,
            has_budgets: shares.iter().any(|(share, _)| matches!(share, Share::Budget { .. })),
            to_show: None,
            shown: None,
            debug_event: None,
        };
        system.siblings_sleep(now);
        system.check_links(now);
        system
    }

    /// Which vCPU runs now. Feeds typed keys to the guests first.
    #[inline(always)]
    pub fn next<H: Host<M>>(&mut self, host: &mut H) -> Next {
        let now = host.now();
        self.begin(now);
        if matches!(self.ledger.activity(), Activity::Idle) {
            self.trace.record(now, VcpuIndex::only_of(VmIndex(0)), What::IdleEnds);
            self.ledger.core_turns_to(Activity::Switching, now);
        }
        if self.has_restarts_due() {
            self.restart_due(host);
        }
        self.feed_consoles(now, host);
        self.finish_requests(now, host);
        self.follow_screens(now, host);
        let halted = if self.scheduler.has_halted() { self.vms.len() } else { 0 };
        for vm in VmIndex::first(halted) {
            for vcpu in self.vcpus_of(vm) {
                if let Some(due) = self.scheduler.halted_until(vcpu)
                    && due <= now
                {
                    self.has_woken(vcpu, due);
                }
            }
        }
        if self.has_budgets {
            self.ledger.close_periods(now);
        }
        self.chosen_at = now;
        let mut next = self.scheduler.next(now);
        if let Next::Idle { until } = &mut next {
            *until = self.screens.bound_idle(self.networks.bound_idle(*until));
            self.trace.record(now, VcpuIndex::only_of(VmIndex(0)), What::IdleBegins);
            self.ledger.core_turns_to(Activity::Idle, now);
        }
        next
    }

    /// Runs `vcpu` until `until`, or until it halts, yields or ends.
    pub fn turn<B: VcpuBackend, H: Host<M>>(
        &mut self,
        vcpu: VcpuIndex,
        until: Instant,
        backend: &mut B,
        host: &mut H,
    ) {
        let vm = vcpu.vm();
        let begin = host.now();
        let taken_ns = self.taken_since(begin, host);
        self.switch_ns = self.ledger.begin_turn(vcpu, taken_ns, begin);
        // Charge the switch from another VM to no VM: otherwise the slice's remainder would cost a
        // whole extra turn. A VM that goes first still preempts.
        let is_charged = self.switch_ns > 0;
        let free_ns = if is_charged { 0 } else { begin.ns_since(self.chosen_at) };
        self.until = until.after_ns(free_ns).min(self.scheduler.next_preemption());
        self.trace.record(begin, vcpu, What::TurnBegins);
        self.ledger.switches += u64::from(self.last_vm.is_some_and(|last| last != vm));
        self.last_vm = Some(vm);
        let is_contended = self.ledger.is_contended();
        if self.prepare(vcpu, begin) {
            self.publish_time(vcpu, backend);
        }

        let mut now = begin;
        let mut stopped = begin;
        let has_siblings = self.vms[vm].has_siblings();
        let mut begun = self.begin_anew(vcpu, &mut now, backend, host);
        let end = loop {
            if let Some(end) = begun.take() {
                break end;
            }
            if has_siblings && let Some(end) = self.attend(vcpu, now, backend) {
                break end;
            }
            match self.step(vcpu, (&mut now, &mut stopped), backend, host) {
                Step::Continue if now < self.until => {}
                Step::Continue => {
                    if let Some(end) = self.slice_over(vcpu) {
                        break end;
                    }
                }
                end => break end,
            }
        };

        self.after_turn(vcpu, end, (begin, stopped, now), is_contended, backend, host);
        // Its last exit may have been a message to a sibling.
        if has_siblings && self.vms[vm].machine.has_attention() && self.vms[vm].ending.is_none() {
            self.rouse_siblings(vcpu, now);
        }
    }

    /// Enters the guest once and does what it asks for. `now` moves on, and `stopped` to when the
    /// guest stopped running.
    fn step<B: VcpuBackend, H: Host<M>>(
        &mut self,
        index: VcpuIndex,
        (now, stopped): (&mut Instant, &mut Instant),
        backend: &mut B,
        host: &mut H,
    ) -> Step {
        let vm = index.vm();
        let (machine, vcpu) = self.vms[vm].parts(index);
        machine.advance(*now);
        if machine.has_attention() {
            // With siblings, `attend` has taken it.
            if machine.take_start_event() == Some(StartEvent::Init) {
                return Step::End(Ending::Reset);
            }
            if machine.has_device_work() {
                return self.do_device_work(vm, now, host);
            }
        }
        if vcpu.is_halted && vcpu.stays_halted(machine) {
            return Step::Halt(machine.own_deadline());
        }
        let was_preempted = vcpu.was_preempted;
        let entry = vcpu.next_entry(machine);
        if B::CAN_BATCH {
            entry.batchable_ports = machine.batchable_ports();
        }
        let entered = host.now();
        let mut due = machine.deadline();
        if was_preempted {
            // A timer faster than an entry must not keep the guest from ever getting on.
            due = due.max(entered.after_ns(MIN_PROGRESS_NS));
        }
        entry.deadline = self.until.min(due);
        if let Some(Injection::Interrupt(vector)) = entry.inject {
            self.ledger.vms[vm].interrupts += 1;
            self.trace.record(*now, index, What::Interrupt(vector));
        }

        let exit = backend.enter(entry);
        *now = host.now();
        let guest_ns = now.ns_since(entered).saturating_sub(exit.overhead_ns);
        *stopped = entered.after_ns(guest_ns);
        let account = self.ledger.guest_ran(vm, entered, guest_ns);
        match exit.left_guest {
            true => account.exits[exit.reason.kind()] += 1,
            false => account.batched += 1,
        }
        self.trace.record(*now, index, What::Exit(exit.reason));
        vcpu.is_interruptible = exit.is_interruptible;
        vcpu.has_more = exit.has_more;
        vcpu.was_preempted = exit.reason.is_between_instructions();
        vcpu.polling.ran(guest_ns);
        if exit.cr8 != vcpu.entry.cr8 {
            machine.set_cr8(exit.cr8);
        }
        if self.exit_cost.is_open() {
            self.exit_cost.sample(&exit, guest_ns);
        }
        if exit.reason == ExitReason::Preempted || serial::sets(exit.reason, machine, vcpu) {
            return Step::Continue;
        }
        let step = self.handle(index, &exit, *now, host);
        // No other exit changes what is published in the guest's RAM.
        let is_msr_write = matches!(exit.reason, ExitReason::MsrWrite { .. });
        if is_msr_write && self.vms[vm].machine.has_news() {
            self.publish_time(index, backend);
        }
        step
    }

    /// One line for each thing a guest can ask for.
    #[inline(never)]
    fn handle<H: Host<M>>(
        &mut self,
        index: VcpuIndex,
        exit: &Exit,
        now: Instant,
        host: &mut H,
    ) -> Step {
        let (machine, vcpu) = self.vms[index.vm()].parts(index);
        let ending = match exit.reason {
            ExitReason::PortIn { port, size } => {
                let (value, serial) = machine.port_read(port, size, now);
                vcpu.reply = Reply::Value(value.into());
                return match serial {
                    Some(access) => {
                        self.after_serial_access(index, access, Some(value as u8), now, host)
                    }
                    None => Step::Continue,
                };
            }
            ExitReason::PortOut { port, size, value } => {
                let write = machine.port_write(port, size, value, now);
                return self.after_port_write(index, write, now, host);
            }
            ExitReason::MmioRead { address, size } => {
                vcpu.reply = Reply::Value(machine.mmio_read(address, size, now));
                return Step::Continue;
            }
            ExitReason::MmioWrite { address, size, value } => {
                if machine.mmio_write(address, size, value, now) {
                    return Step::Continue;
                }
                let event = machine.virtio_write(address, size, value);
                return event
                    .map_or(Step::Continue, |event| self.after_event(index, event, now, host));
            }
            ExitReason::MsrRead { index } => {
                let value = machine.msr_read(index, now);
                vcpu.reply = value.map_or(Reply::GeneralProtection, Reply::Value);
                return Step::Continue;
            }
            ExitReason::MsrWrite { index, value } => {
                let done = machine.msr_write(index, value, now);
                vcpu.reply = done.map_or(Reply::GeneralProtection, |()| Reply::None);
                return Step::Continue;
            }
            ExitReason::Halt => return self.halt(index, exit.is_interrupt_flag_set, now),
            ExitReason::InterruptWindow | ExitReason::Preempted => return Step::Continue,
            ExitReason::Pause if self.vms[index.vm()].has_siblings() => return Step::Spin,
            ExitReason::Pause => return Step::Continue,
            ExitReason::Debug(event) => return self.debugged(event),
            ExitReason::Shutdown => Ending::TripleFault,
            ExitReason::Fault(fault) => Ending::Fault(fault),
        };
        Step::End(ending)
    }
}

#[cfg(test)]
mod tests;
