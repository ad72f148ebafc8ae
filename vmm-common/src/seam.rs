//! The seam between the loop and a backend, which runs guest instructions: values in, values out.
//!
//! A backend is one method, [`VcpuBackend::enter`]: run the guest until it needs the loop or the
//! deadline passes. [`VcpuBackend::start_up`] is what a start-up IPI does, and
//! [`VcpuBackend::registers`] is for dumps. [`Entry`] carries what the guest gets,
//! [`Exit`] what it wants. The answer to an IN, a load from a device or an RDMSR travels in the
//! *next* entry, so there are no callbacks. The guest's RAM does not cross: the VM has it
//! ([`crate::memory`]).
//!
//! CPUID does not cross either: a backend answers it from the guest's table ([`crate::cpuid`]).
//!
//! One guest instruction may make many accesses (`rep outsb`), and KVM may batch writes.
//! A backend hands them out one `enter` at a time without re-entering the
//! guest in between, and reports that with [`Exit::left_guest`].

use crate::Instant;
use crate::backing::Backing;
use crate::control::Change;
use crate::debugger::DebugEvent;
use crate::diagnosis::Dump;
use crate::index::{VcpuIndex, VmIndex};
use crate::registers::CpuState;
use crate::screen::Viewer;
use crate::switch_on::Beginning;

mod batchable_ports;
mod kinds;
mod tsc_reading;

pub use crate::fault::{Fault, SHOWN_BYTES};
pub use batchable_ports::BatchablePorts;
pub use tsc_reading::TscReading;

/// What goes into the guest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    /// The answer to the exit before this entry.
    pub reply: Reply,
    /// An event to inject: an interrupt only when the exit before was [`Exit::is_interruptible`],
    /// a non-maskable one only when it did not say [`Exit::has_more`].
    pub inject: Option<Injection>,
    /// Exit with [`ExitReason::InterruptWindow`] as soon as the guest can take an interrupt.
    pub wants_window: bool,
    /// Task priority, CR8\[3:0\], as the local APIC has it.
    pub cr8: u8,
    /// Exit with [`ExitReason::InterruptWindow`] when the guest lowers CR8 below this, at most
    /// [`Entry::cr8`]: that lets a pending interrupt through. 0 if CR8 holds none back.
    pub tpr_threshold: u8,
    /// There is a local APIC, and IA32_APIC_BASE enables it, which CPUID.1:EDX\[9\] follows (SDM
    /// vol. 3, 11.4.3).
    pub is_apic_enabled: bool,
    /// All but the reply and the deadline is as in the entry before, which brought no event.
    pub is_again: bool,
    /// Ports that may be written in batches. None unless [`VcpuBackend::CAN_BATCH`].
    pub batchable_ports: BatchablePorts,
    /// By how much the guest's time-stamp counter is held back since the start, ns: it never falls.
    /// The backend moves the counter by what has been added since the entry before.
    pub tsc_held_ns: u64,
    /// Do not enter the guest. Hold the counter as [`Entry::tsc_held_ns`] says, read it, and return
    /// [`ExitReason::Preempted`] with [`Exit::tsc`]; the rest of this entry comes again with the
    /// next.
    pub wants_tsc: bool,
    /// `enter` returns by this moment, whatever the guest does.
    pub deadline: Instant,
}

/// The answer to what a guest waits for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reply {
    /// The guest waits for nothing.
    #[default]
    None,
    /// What an IN, a load or an RDMSR returns; truncated to the size of the access.
    Value(u64),
    /// The RDMSR or WRMSR raises #GP(0).
    GeneralProtection,
}

/// An event delivered through the guest's IDT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Injection {
    /// A maskable interrupt with this vector.
    Interrupt(u8),
    /// A non-maskable interrupt.
    Nmi,
}

/// What came out of the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exit {
    /// What the guest wants.
    pub reason: ExitReason,
    /// RFLAGS.IF.
    pub is_interrupt_flag_set: bool,
    /// The guest can take a maskable interrupt at the next entry. False while the exiting
    /// instruction is incomplete: completing it may raise an exception.
    pub is_interruptible: bool,
    /// CR8\[3:0\] as the guest has it now.
    pub cr8: u8,
    /// Of the time in [`VcpuBackend::enter`], the cost of entering and leaving a guest that the
    /// deadline stopped, which is not charged to the guest. Else 0.
    pub overhead_ns: u64,
    /// False for the further parts of an exit already taken (string I/O, batched writes).
    pub left_guest: bool,
    /// The next `enter` hands out another part, without going back to the guest.
    pub has_more: bool,
    /// The guest's time-stamp counter, read with the host's clock, if [`Entry::wants_tsc`] asked
    /// for it and the host could. The guest reads no less at the entry that follows.
    pub tsc: Option<TscReading>,
}

/// Bytes in one access: 1, 2, 4 or 8.
pub type Size = u8;

/// The reason of an exit. Sizes are in bytes, `port` and `address` are the guest's.
#[allow(missing_docs)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitReason {
    /// IN, one element of it.
    PortIn { port: u16, size: Size },
    /// OUT, one element of it.
    PortOut { port: u16, size: Size, value: u32 },
    /// A load from an address that is not RAM.
    MmioRead { address: u64, size: Size },
    /// A store to an address that is not RAM.
    MmioWrite { address: u64, size: Size, value: u64 },
    /// RDMSR of a register that the processor does not keep for the guest.
    MsrRead { index: u32 },
    /// WRMSR to such a register, or to IA32_TIME_STAMP_COUNTER: that one the backend has carried
    /// out.
    MsrWrite { index: u32, value: u64 },
    /// HLT.
    Halt,
    /// A loop of PAUSE has gone on for long: the guest may wait for a sibling.
    Pause,
    /// Triple fault.
    Shutdown,
    /// The guest can take an interrupt now, as asked for, or has lowered CR8 below the threshold.
    InterruptWindow,
    /// The deadline passed, or the host wants the core.
    Preempted,
    /// What a debugger waits for.
    Debug(DebugEvent),
    /// The guest did something that stops its own VM.
    Fault(Fault),
}

/// One virtual CPU as a target runs it.
pub trait VcpuBackend {
    /// It can batch port writes, and uses [`Entry::batchable_ports`].
    const CAN_BATCH: bool = false;

    /// Runs the guest until it needs the loop or the entry's deadline passes.
    fn enter(&mut self, entry: &Entry) -> Exit;

    /// A start-up IPI: the guest begins with these registers. What INIT keeps (SDM vol. 3, table
    /// 10-1) stays: the floating-point and vector registers, MSRs, CR0.CD and NW, the counter. What
    /// is not answered or handed out of the last exit is dropped.
    fn start_up(&mut self, registers: &CpuState);

    /// The processor is switched on, with these registers; nothing of the guest before is left in
    /// it. Its time-stamp counter goes on; [`Entry::tsc_held_ns`] counts from 0 again.
    fn power_on(&mut self, registers: &CpuState);

    /// The registers for a dump; those that cannot be read are zero.
    fn registers(&mut self) -> CpuState;
}

/// What the loop needs of its host, whose VMs' RAM is an `M`.
pub trait Host<M>: Backing<M> + Viewer {
    /// The time now. Never earlier than the time before.
    fn now(&mut self) -> Instant;

    /// Time up to `now` in which the host ran something else though the loop was runnable, ns
    /// since the start: another process, a stop, a quota, steal time of a hypervisor beneath it.
    /// Waiting for work does not count. 0 on bare metal.
    fn taken_ns(&mut self, now: Instant) -> u64 {
        let _ = now;
        0
    }

    /// Takes console output of a VM (an index into the system's VMs). Never waits.
    fn console_output(&mut self, vm: VmIndex, bytes: &[u8]);

    /// Whether keys wait for some VM: only then is each one's [`Host::console_input`] asked for.
    fn has_console_input(&mut self) -> bool {
        true
    }

    /// The next key typed for a VM, if there is one.
    fn console_input(&mut self, vm: VmIndex) -> Option<u8>;

    /// The VM of `vcpu` has ended; `dump` holds this vCPU's registers if they may show why.
    fn vm_ended(&mut self, vcpu: VcpuIndex, ending: &crate::vm::Ending, dump: Option<&Dump>);

    /// What a VM begins with; None: it cannot be restarted.
    fn beginning(&self, _vm: VmIndex) -> Option<&Beginning<'_>> {
        None
    }

    /// What has become of a VM at the operator's request.
    fn vm_changed(&mut self, _vm: VmIndex, _change: Change) {}

    /// Another vCPU of a VM that has ended with a dump, or one whose VM is to show it.
    fn sibling_ended(&mut self, vcpu: VcpuIndex, dump: &Dump);

    /// All vCPUs of `vm` halt, and nothing can wake them.
    fn vm_sleeps(&mut self, vm: VmIndex, why: &str);
}
