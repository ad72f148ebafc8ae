//! One vCPU: `enter` by KVM_RUN.

use super::batch::Batch;
use super::failures::Failures;
use super::offered_cpuid::kvm_cpuid;
use super::overhead::Overhead;
use super::run_page;
use super::{GuestRam, emulated_svm, registers, tsc};
use crate::sys::{Clock, ThreadTimer};
use anyhow::{Context, Result};
use devices::lapic::TscClock;
use devices::time::MachineTime;
use kvm_bindings as kvm;
use kvm_ioctls::{VcpuExit, VcpuFd, VmFd};
use std::io;
use std::sync::Arc;
use vmm_common::cpuid::CpuidEntry;
use vmm_common::registers::CpuState;
use vmm_common::seam::{Entry, Exit, ExitReason, Fault, Injection, VcpuBackend};

mod debug;
mod exits;
mod start_up;

use exits::{Pending, is_unfinished};

/// A vCPU ready to run, on the thread that starts it.
#[derive(Debug)]
pub struct PreparedVcpu {
    fd: VcpuFd,
    batch: Batch,
    ram: GuestRam,
    clock: Clock,
}

/// A vCPU on the thread that runs it. Cannot be sent to another: its timer belongs to this one.
#[derive(Debug)]
pub struct KvmVcpu {
    // Dropped in this order: the timer points into the page that `fd` maps.
    timer: ThreadTimer,
    fd: VcpuFd,
    batch: Batch,
    ram: GuestRam,
    clock: Clock,
    pending: Pending,
    is_on_emulated_svm: bool,
    /// [`Entry::tsc_held_ns`] as of the last entry.
    tsc_held_ns: u64,
    /// The enable bit of KVM's IA32_APIC_BASE.
    is_apic_enabled: bool,
    overhead: Overhead,
    /// Of the last KVM_RUN.
    overhead_ns: u64,
    failures: Failures,
    /// A debugger has breakpoints in the guest's memory.
    traps_breakpoints: bool,
    /// The host refused to start the vCPU up: the next entry says so.
    refused: Option<i32>,
}

impl PreparedVcpu {
    /// vCPU `id` of `vm`, with these registers.
    pub fn new(
        vm: Arc<VmFd>,
        id: u8,
        (ram, clock): (GuestRam, Clock),
        boot: &CpuState,
        has_siblings: bool,
    ) -> Result<Self> {
        let mut fd = vm.create_vcpu(id.into()).context("KVM cannot create a vCPU")?;
        registers::load(&fd, boot)?;
        let batch = Batch::new(vm, &mut fd, !has_siblings);
        Ok(Self { fd, batch, ram, clock })
    }

    /// Makes CPUID return this table.
    pub fn set_cpuid(&self, table: &[CpuidEntry]) -> Result<()> {
        self.fd.set_cpuid2(&kvm_cpuid(table)?).context("KVM_SET_CPUID2")
    }

    /// Makes the guest's time-stamp counter that of `first`, where KVM moves counters; KVM itself
    /// starts those of a VM together.
    pub fn follow_tsc_of(&self, first: &Self) {
        tsc::follow(&self.fd, &first.fd);
    }

    /// Fails where the guest's time-stamp counter cannot be held back.
    pub fn check_can_hold_tsc(&self) -> Result<()> {
        tsc::check_can_move(&self.fd)
    }

    /// How the guest's time-stamp counter follows the clock; a rate of 0 if KVM does not say.
    pub fn tsc_clock(&self) -> Result<TscClock> {
        let reading = tsc::read(&self.fd, self.clock)?;
        // Before the guest runs, its machine's time is the host's.
        Ok(reading.course(MachineTime::from_ns(reading.at.as_ns())))
    }

    /// Makes the calling thread the one that runs this vCPU.
    pub fn start(mut self) -> io::Result<KvmVcpu> {
        let flag = run_page::immediate_exit(&mut self.fd);
        // SAFETY: the flag lies in the mapping that `fd` keeps, which moves into the same value as
        // the timer and is dropped after it; that value cannot leave this thread.
        let timer = unsafe { ThreadTimer::new(self.clock, flag) }?;
        let Self { fd, batch, ram, clock } = self;
        let is_on_emulated_svm = emulated_svm::is_host();
        Ok(KvmVcpu {
            timer,
            fd,
            batch,
            ram,
            clock,
            pending: Pending::Nothing,
            is_on_emulated_svm,
            tsc_held_ns: 0,
            is_apic_enabled: true,
            overhead: Overhead::default(),
            overhead_ns: 0,
            failures: Failures::default(),
            traps_breakpoints: false,
            refused: None,
        })
    }
}

impl KvmVcpu {
    /// Moves the guest's time-stamp counter back by what `held_ns` has grown by.
    fn hold_tsc(&mut self, held_ns: u64) {
        let before_ns = core::mem::replace(&mut self.tsc_held_ns, held_ns);
        if before_ns != held_ns {
            // `own` clocks were refused where this cannot be done.
            let _ = tsc::hold_back(&self.fd, before_ns, held_ns);
        }
    }

    /// Disarms the timer between turns.
    pub fn rest(&mut self) {
        self.timer.disarm(self.clock.now());
    }

    fn exit(&mut self, reason: ExitReason, left_guest: bool, is_last: bool) -> Exit {
        let run = self.fd.get_kvm_run();
        let reason_is_preempted = reason == ExitReason::Preempted;
        let is_ready = run.ready_for_interrupt_injection != 0 && !is_unfinished(&reason);
        Exit {
            reason,
            is_interrupt_flag_set: run.if_flag != 0,
            is_interruptible: is_last && is_ready,
            cr8: run.cr8 as u8,
            left_guest,
            overhead_ns: if reason_is_preempted { self.overhead_ns } else { 0 },
            has_more: !is_last,
            tsc: None,
        }
    }

    fn inject(&mut self, injection: Injection) -> io::Result<()> {
        match injection {
            Injection::Interrupt(vector) => {
                let reason = self.fd.get_kvm_run().exit_reason;
                if self.is_on_emulated_svm && reason != kvm::KVM_EXIT_HLT {
                    emulated_svm::pass_halt(&self.fd, &self.ram)?;
                }
                interrupt(&self.fd, vector)
            }
            Injection::Nmi => self.fd.nmi().map_err(io::Error::from),
        }
    }

    fn run(&mut self, entry: &Entry) -> io::Result<()> {
        if let Some(errno) = self.refused.take() {
            return Err(io::Error::from_raw_os_error(errno));
        }
        if entry.is_apic_enabled != self.is_apic_enabled {
            self.is_apic_enabled = entry.is_apic_enabled;
            registers::enable_apic(&self.fd, entry.is_apic_enabled)?;
        }
        let entering = self.clock.now();
        if let Some(injection) = entry.inject {
            self.inject(injection)?;
        }
        self.batch.allow(entry.batchable_ports);
        self.timer.arm(entry.deadline, self.clock);
        let run = self.fd.get_kvm_run();
        run.cr8 = entry.cr8.into();
        run.request_interrupt_window = entry.wants_window.into();
        let called = self.clock.now();
        match self.fd.run() {
            Ok(VcpuExit::IoIn(..) | VcpuExit::IoOut(..)) => {
                let returned = self.clock.now();
                self.overhead.left_for_port(returned.ns_since(called));
            }
            Ok(_) => {}
            Err(error) if matches!(error.errno(), libc::EINTR | libc::EAGAIN) => {
                let returned = self.clock.now();
                let moments = (entering, called);
                self.overhead_ns = self.overhead.stopped(moments, entry.deadline, returned);
                self.fd.get_kvm_run().exit_reason = kvm::KVM_EXIT_INTR;
                return self.failures.count(error.errno());
            }
            Err(error) => return Err(error.into()),
        }
        self.failures.end();
        Ok(())
    }
}

impl VcpuBackend for KvmVcpu {
    const CAN_BATCH: bool = true;

    fn enter(&mut self, entry: &Entry) -> Exit {
        self.hold_tsc(entry.tsc_held_ns);
        if entry.wants_tsc {
            let tsc = tsc::read(&self.fd, self.clock).ok();
            return Exit { tsc, ..self.exit(ExitReason::Preempted, false, false) };
        }
        self.answer(entry.reply);
        if let Some(part) = self.next_part() {
            return part;
        }
        self.pending = Pending::Exit;
        if let Err(error) = self.run(entry) {
            self.pending = Pending::Nothing;
            let errno = error.raw_os_error().unwrap_or(0);
            return self.exit(ExitReason::Fault(Fault::Host { errno }), true, true);
        }
        self.next_part().expect("an exit was just taken")
    }

    fn start_up(&mut self, registers: &CpuState) {
        self.begin_anew(registers);
    }

    fn power_on(&mut self, registers: &CpuState) {
        self.switch_on(registers);
    }

    fn registers(&mut self) -> CpuState {
        registers::dump(&self.fd, &self.ram)
    }
}

/// KVM_INTERRUPT, which kvm-ioctls does not wrap.
pub fn interrupt(fd: &VcpuFd, vector: u8) -> io::Result<()> {
    use vmm_sys_util::ioctl::ioctl_with_ref;
    vmm_sys_util::ioctl_iow_nr!(KVM_INTERRUPT, kvm::KVMIO, 0x86, kvm::kvm_interrupt);
    let request = kvm::kvm_interrupt { irq: vector.into() };
    // SAFETY: the descriptor is a vCPU's, and the structure the one that this request reads.
    let result = unsafe { ioctl_with_ref(fd, KVM_INTERRUPT(), &request) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
