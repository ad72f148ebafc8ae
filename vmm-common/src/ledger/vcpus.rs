//! What each vCPU had and waited for, in a VM that has several. With one, the VM's account says it.

use super::{Ledger, Standing};
use crate::Instant;
use crate::index::{VcpuIndex, VmIndex};

/// One vCPU's accounts.
#[derive(Clone, Debug)]
pub struct VcpuAccount {
    /// Its guest instructions ran, ns.
    pub guest_ns: u64,
    /// It had the core, with its exits and what the host took meanwhile, ns.
    pub running_ns: u64,
    /// It could have run, but a sibling or another VM had the core, ns.
    pub waiting_ns: u64,
    /// It had nothing to do, or had not been started, ns.
    pub halted_ns: u64,
    /// The longest time it could have run but had to wait, ns.
    pub longest_blackout_ns: u64,
    /// The longest such time less the host's part of it, ns.
    pub longest_own_blackout_ns: u64,
    /// Turns it had.
    pub turns: u64,
    /// Switches to it from its siblings, which are in its waits and in its VM's running, ns.
    pub switches_ns: u64,
    standing: Standing,
    since: Instant,
    /// What the host had taken when it began to wait, ns.
    taken_before_ns: u64,
    /// Its VM's guest time when it got the core, ns.
    guest_before_ns: u64,
}

impl VcpuAccount {
    /// The account of a vCPU that waits at `now`.
    pub(super) const fn new(now: Instant) -> Self {
        Self {
            guest_ns: 0,
            running_ns: 0,
            waiting_ns: 0,
            halted_ns: 0,
            longest_blackout_ns: 0,
            longest_own_blackout_ns: 0,
            turns: 0,
            switches_ns: 0,
            standing: Standing::Waiting,
            since: now,
            taken_before_ns: 0,
            guest_before_ns: 0,
        }
    }

    /// The run begins at `now`.
    pub(super) const fn restart(&mut self, now: Instant) {
        self.since = now;
    }

    /// From `now` on it is in `standing`; its VM's guest has run for `guest_ns`, and the host has
    /// taken `taken_ns`.
    fn turns_to(&mut self, standing: Standing, guest_ns: u64, taken_ns: u64, now: Instant) {
        let now = now.max(self.since);
        let spent_ns = now.ns_since(core::mem::replace(&mut self.since, now));
        match core::mem::replace(&mut self.standing, standing) {
            Standing::Running => {
                self.running_ns += spent_ns;
                self.guest_ns += guest_ns.saturating_sub(self.guest_before_ns);
            }
            Standing::Waiting => {
                self.waiting_ns += spent_ns;
                let taken_ns = taken_ns.saturating_sub(self.taken_before_ns).min(spent_ns);
                self.longest_blackout_ns = self.longest_blackout_ns.max(spent_ns);
                self.longest_own_blackout_ns =
                    self.longest_own_blackout_ns.max(spent_ns - taken_ns);
            }
            Standing::Halted => self.halted_ns += spent_ns,
            Standing::Held | Standing::Ended => {}
        }
        self.taken_before_ns = taken_ns;
        self.guest_before_ns = guest_ns;
    }

    /// What the vCPU does now.
    #[must_use]
    pub const fn standing(&self) -> Standing {
        self.standing
    }

    /// All its time.
    #[must_use]
    pub const fn sum_ns(&self) -> u64 {
        self.running_ns + self.waiting_ns + self.halted_ns
    }
}

impl Ledger {
    /// From `now` on this vCPU is in `standing`. Its VM runs if one of its vCPUs does, else waits
    /// if one could run, else has halted.
    pub fn vcpu_turns_to(&mut self, vcpu: VcpuIndex, standing: Standing, now: Instant) {
        let vm = vcpu.vm();
        if self.vms[vm].vcpus.is_empty() {
            return self.vm_turns_to(vm, standing, now);
        }
        if matches!(self.vms[vm].standing, Standing::Held | Standing::Ended) {
            return;
        }
        let id = vcpu.id() as usize;
        if self.vms[vm].vcpus[id].standing != standing {
            let taken_ns = self.taken_by(now.max(self.vms[vm].vcpus[id].since));
            self.note_sibling_switch(vcpu, standing);
            let account = &mut self.vms[vm];
            account.vcpus[id].turns_to(standing, account.guest_ns, taken_ns, now);
        }
        let vcpus = &self.vms[vm].vcpus;
        let any = |standing| vcpus.iter().any(|vcpu| vcpu.standing == standing);
        let of_vm = [Standing::Running, Standing::Waiting, Standing::Halted];
        let of_vm = of_vm.into_iter().find(|standing| any(*standing));
        self.vm_turns_to(vm, of_vm.unwrap_or(Standing::Ended), now);
    }

    /// Whether the last turn was of this vCPU's VM.
    fn is_within_vm(&self, vcpu: VcpuIndex) -> bool {
        self.last_vcpu
            .is_some_and(|(last, switches)| last.vm() == vcpu.vm() && switches == self.switches)
    }

    /// Choosing `vcpu` took `choosing_ns` until `now`. If its VM had the core before, that and
    /// leaving the guest are the VM's: what they took is returned, ns.
    pub(super) fn charge_switch(&mut self, vcpu: VcpuIndex, choosing_ns: u64, now: Instant) -> u64 {
        let is_within_vm = self.is_within_vm(vcpu);
        let account = &mut self.vms[vcpu.vm()];
        let seen_ns = core::mem::replace(&mut account.leaving_seen_ns, account.leaving_ns);
        if !is_within_vm || account.standing != Standing::Waiting {
            return 0;
        }
        let switch_ns = (choosing_ns + account.leaving_ns - seen_ns)
            .min(now.ns_since(account.since))
            .min(self.switching_ns);
        self.switching_ns -= switch_ns;
        self.switching_seen_ns = self.switching_seen_ns.min(self.switching_ns);
        account.vmm_ns += switch_ns;
        account.since = account.since.after_ns(switch_ns);
        let vcpu = &mut account.vcpus[vcpu.id() as usize];
        vcpu.switches_ns += switch_ns;
        switch_ns
    }

    /// A turn that begins directly after one of a sibling is a switch within the VM.
    fn note_sibling_switch(&mut self, vcpu: VcpuIndex, standing: Standing) {
        match (standing, self.last_vcpu) {
            (Standing::Running, Some((last, _))) => {
                let is_switch = self.is_within_vm(vcpu) && last != vcpu;
                self.sibling_switches += u64::from(is_switch);
            }
            (Standing::Running, None) => {}
            (Standing::Waiting | Standing::Halted | Standing::Held | Standing::Ended, _) => {
                let was_running =
                    self.vms[vcpu.vm()].vcpus[vcpu.id() as usize].standing == Standing::Running;
                if was_running {
                    self.last_vcpu = Some((vcpu, self.switches));
                }
            }
        }
    }

    /// `vm` is in `standing`, and its vCPUs with it.
    pub(super) fn vcpus_turn_to(&mut self, vm: VmIndex, standing: Standing, now: Instant) {
        let taken_ns = self.taken_by(now);
        let account = &mut self.vms[vm];
        for vcpu in &mut account.vcpus {
            vcpu.turns_to(standing, account.guest_ns, taken_ns, now);
        }
    }

    /// What `vcpu` does now.
    #[must_use]
    pub fn standing(&self, vcpu: VcpuIndex) -> Standing {
        let account = &self.vms[vcpu.vm()];
        account.vcpus.get(vcpu.id() as usize).map_or(account.standing, VcpuAccount::standing)
    }

    /// What `vcpu` has waited in total until its last turn began, ns: its steal time.
    #[must_use]
    pub fn waited_ns(&self, vcpu: VcpuIndex) -> u64 {
        let account = &self.vms[vcpu.vm()];
        let own = account.vcpus.get(vcpu.id() as usize);
        own.map_or(account.waiting_ns, |vcpu| vcpu.waiting_ns)
    }

    /// Whether the accounts of the vCPUs add up to their VM's, to `allowed_ns`.
    ///
    /// # Errors
    /// The sum that does not, ns.
    pub(super) fn check_vcpus(&self, allowed_ns: u64) -> Result<(), u64> {
        for vm in self.vms.iter().filter(|vm| !vm.vcpus.is_empty()) {
            let excess = |vcpu: &VcpuAccount| vcpu.sum_ns() > vm.lifetime_ns + allowed_ns;
            if let Some(vcpu) = vm.vcpus.iter().find(|vcpu| excess(vcpu)) {
                return Err(vcpu.sum_ns());
            }
            let guest_ns: u64 = vm.vcpus.iter().map(|vcpu| vcpu.guest_ns).sum();
            let running = |vcpu: &VcpuAccount| vcpu.running_ns + vcpu.switches_ns;
            let running_ns: u64 = vm.vcpus.iter().map(running).sum();
            if guest_ns.abs_diff(vm.guest_ns) > allowed_ns {
                return Err(guest_ns);
            }
            if running_ns.abs_diff(vm.core_ns() + vm.taken_ns) > allowed_ns {
                return Err(running_ns);
            }
        }
        Ok(())
    }
}
