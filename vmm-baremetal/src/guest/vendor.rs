//! The seam between the two vendors and what they share, made of values: [`Resume`] goes in,
//! [`Left`] comes out.
//!
//! [`super::vcpu::Vcpu`] turns an [`Event`] into an exit of `vmm_common::seam` and a reply into
//! register values; [`crate::vmx`] and [`crate::svm`] handle only their processor.

use alloc::string::String;
use metal::General;
use metal::architecture::{cr4, efer};
use metal::extended_state::ExtendedState;
use metal::frames::Frames;
use metal::guest_ram::GuestRam;
use metal::siblings::Siblings;
use vmm_common::cpuid::CpuidResult;
use vmm_common::debugger::DebugEvent;
use vmm_common::grant::{Grant, Reach, Vendor};
use vmm_common::memory::GuestMemory;
use vmm_common::registers::{CpuState, INSTRUCTION_BYTES, Segment, segment};
use vmm_common::seam::Fault;
use vmm_common::x86::Exception;
use vmm_common::x86::paging::{Access, AccessKind, Paging};
use vmm_common::x86::task::TaskSwitch;

/// A register that the control block holds, or a part of one.
#[allow(missing_docs)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Register {
    Rip,
    Rsp,
    Rflags,
    Cr0,
    Cr2,
    /// Setting it drops translations.
    Cr3,
    Cr4,
    Efer,
    /// The causes of debug exceptions (SDM vol. 3, 17.2.3). Setting it adds them.
    Dr6,
    Dr7,
    KernelGsBase,
    GdtrBase,
    GdtrLimit,
    IdtrBase,
    IdtrLimit,
    /// The rights of CS, as in [`Segment::access`]. Only read.
    CodeAccess,
    /// The privilege level, which the stack segment's descriptor has. Only read.
    Cpl,
    /// The end of the instruction that caused the exit. Only read.
    NextRip,
    /// An entry that PAE paging keeps in the processor: of VMX's alone.
    Pdpte(u8),
}

/// An event injected at the next entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inject {
    /// A maskable interrupt.
    Interrupt(u8),
    /// A hardware exception, with its error code if it has one.
    Exception {
        /// Vector, below 32.
        vector: u8,
        /// The error code, for those that push one.
        error: Option<u32>,
    },
    /// The exception of the INT3 at RIP.
    Breakpoint,
}

/// What makes a guest leave besides, for its debugger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Traps {
    /// The end of an instruction, and every #DB.
    pub steps: bool,
    /// INT3.
    pub breakpoints: bool,
    /// Every #DB, and MOV to and from debug registers, which are the debugger's.
    pub debug_registers: bool,
}

impl Traps {
    /// None.
    pub const NONE: Self = Self { steps: false, breakpoints: false, debug_registers: false };
}

/// IN or OUT, one element of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortEvent {
    /// The port.
    pub port: u16,
    /// Bytes: 1, 2 or 4.
    pub size: u8,
    /// IN or INS.
    pub is_in: bool,
    /// INS or OUTS: where its memory operand lies and whether it is repeated.
    pub string: Option<StringOperand>,
}

/// The memory operand of INS (ES:RDI) or OUTS (segment:RSI).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StringOperand {
    /// Index of the segment register, in the order of [`vmm_common::registers::segment`].
    pub segment: usize,
    /// Width of the address, bits: 16, 32 or 64.
    pub address_bits: u8,
    /// REP: RCX counts.
    pub is_repeated: bool,
}

/// An access to a guest-physical address that is not RAM, by an instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemoryAccess {
    /// Its bytes lie there.
    Fetch,
    /// It reads.
    Read,
    /// It writes.
    Write,
    /// A page table lies there that one of its addresses is translated by.
    PageTable,
}

/// Bytes of an instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fetched {
    /// How many could be read.
    pub len: usize,
    /// Why not all; None: there is no RAM, or all were.
    pub fault: Option<Exception>,
}

/// Why the processor left the guest, the same for both vendors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// IN or OUT.
    Port(PortEvent),
    /// CPUID.
    Cpuid,
    /// RDMSR that the vendor's part does not handle.
    ReadMsr,
    /// WRMSR that the vendor's part does not handle.
    WriteMsr,
    /// HLT without a pending debug exception, which would end it.
    Halt,
    /// XSETBV.
    SetXcr,
    /// An instruction without effect here (WBINVD, INVD): skip it.
    Skip,
    /// PAUSE, in a loop that has gone on for long.
    Pause,
    /// The vendor's part has handled it (MOV to CR, and so on): enter again.
    Handled,
    /// VMCALL or VMMCALL.
    Hypercall,
    /// An instruction hidden from guests (VMX's, SVM's, MONITOR): #UD.
    Undefined,
    /// An access to a guest-physical address that is not RAM.
    Memory {
        /// Guest-physical address.
        address: u64,
        /// What for.
        access: MemoryAccess,
    },
    /// A hardware task switch, where the processor leaves it to software.
    TaskSwitch(TaskSwitch),
    /// The guest can take an interrupt now, as asked for, or has lowered CR8 below the threshold.
    Window,
    /// The deadline has passed.
    Deadline,
    /// A host interrupt: its handler has run already.
    HostInterrupt,
    /// What the debugger waits for.
    Debug(DebugEvent),
    /// MOV to or from a debug register.
    DebugRegister,
    /// Triple fault.
    Shutdown,
    /// This VM cannot continue.
    Fault(Fault),
}

/// What goes into a guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resume {
    /// The guest resumes here, cut to 32 bits outside 64-bit code, as after an instruction: an STI
    /// or MOV SS shadow ends, and a guest that single-steps gets its #DB.
    pub advance: Option<u64>,
    /// Goes through the guest's IDT: an interrupt that the guest can take, or the exception that
    /// its instruction raised.
    pub inject: Option<Inject>,
    /// A non-maskable interrupt is pending, and is delivered once nothing blocks it.
    pub has_nmi: bool,
    /// The fields below, except the deadline, are unchanged since the last entry.
    pub is_again: bool,
    /// Leave with [`Event::Window`] once the guest can take an interrupt.
    pub wants_window: bool,
    /// Task priority, CR8\[3:0\].
    pub cr8: u8,
    /// Leave with [`Event::Window`] when the guest lowers CR8 below this, which is at most CR8;
    /// never if it is 0.
    pub tpr_threshold: u8,
    /// What is added to the host's TSC to give the guest's.
    pub tsc_offset: u64,
    /// The host's TSC at which the guest exits, whatever it does.
    pub deadline: u64,
}

/// A guest's exit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Left {
    /// Why.
    pub event: Event,
    /// What it can take.
    pub flags: Flags,
}

/// What a guest can take after an exit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flags {
    /// RFLAGS.
    pub rflags: u64,
    /// The exiting instruction is in the shadow of STI or MOV SS.
    pub is_shadowed: bool,
    /// The next entry delivers an event already: one whose delivery the exit interrupted, or one
    /// that the vendor's code has raised.
    pub has_event: bool,
    /// Task priority, CR8\[3:0\].
    pub cr8: u8,
}

/// A vCPU whose state the processor has.
pub trait LoadedVcpu {
    /// The processor keeps the entries of PAE paging: [`Register::Pdpte`] exists.
    const KEEPS_PDPTES: bool;

    /// Runs the guest until something happens.
    fn resume(&mut self, general: &mut General, resume: &Resume) -> Left;

    /// A register of the guest.
    fn get(&self, register: Register) -> u64;

    /// Sets a register of the guest.
    fn set(&mut self, register: Register, value: u64);

    /// Drops every event that is pending, in delivery or blocked, and what the control block notes
    /// of debug exceptions, as INIT does.
    fn drop_events(&mut self);

    /// Leaves for these from now on.
    fn trap(&mut self, traps: Traps);

    /// The model-specific registers that the guest has of its own are as after reset, but for those
    /// that are segments' bases, EFER and the time-stamp counter.
    fn reset_msrs(&mut self);

    /// A segment register, by [`vmm_common::registers::segment`].
    fn segment(&self, index: usize) -> Segment;

    /// Sets one.
    fn set_segment(&mut self, index: usize, segment: Segment);

    /// The vCPU's state outside the control block.
    fn extended(&self) -> &ExtendedState;

    /// The same, to change.
    fn extended_mut(&mut self) -> &mut ExtendedState;

    /// The fields worth seeing when this vCPU has stopped: exit reason, qualification and so on, by
    /// name; lines ended by newlines.
    fn write_dump(&self, to: &mut dyn core::fmt::Write) -> core::fmt::Result;
}

/// A processor in VMX operation or with SVM enabled.
pub trait Processor {
    /// Its part of a vCPU.
    type Vcpu;
    /// That of the vCPU whose state the processor has.
    type Loaded<'a>: LoadedVcpu
    where
        Self: 'a;
    /// Which one it is.
    const VENDOR: Vendor;

    /// The processor's CPUID, less what a guest of it cannot have.
    fn cpuid(&self, leaf: u32, subleaf: u32) -> CpuidResult;

    /// Its part of another vCPU, with these registers, whose guest has this RAM and this grant,
    /// and so many siblings.
    ///
    /// # Errors
    /// The reason, as a message.
    fn make(
        &mut self,
        frames: &mut Frames,
        ram: GuestRam,
        boot: &CpuState,
        grant: &Grant,
        siblings: Siblings<'_, Self::Vcpu>,
    ) -> Result<Self::Vcpu, String>;

    /// What a vCPU's guest reaches, read from its control block and all that it points to.
    ///
    /// # Errors
    /// What in the control block does not confine it.
    fn reach(&mut self, vcpu: &Self::Vcpu) -> Result<Reach, &'static str>;

    /// Makes vCPUs without a VPID or ASID of their own from now on.
    fn untag(&mut self);

    /// Gives the processor to a vCPU, after `before`, which has it, if one has.
    fn switch(&mut self, vcpu: &mut Self::Vcpu, before: Option<&mut Self::Vcpu>);

    /// The vCPU that has the processor.
    fn loaded<'a>(&'a mut self, vcpu: &'a mut Self::Vcpu) -> Self::Loaded<'a>;

    /// Leaves VMX operation, or disables SVM.
    fn off(self);
}

/// 16, 32 or 64: the code segment's default.
pub fn code_bits(guest: &impl LoadedVcpu) -> u8 {
    const DEFAULT_32: u64 = 1 << 14;
    const LONG: u64 = metal::architecture::ACCESS_LONG as u64;
    let access = guest.get(Register::CodeAccess);
    let is_64 = access & LONG != 0 && guest.get(Register::Efer) & efer::LMA != 0;
    match (is_64, access & DEFAULT_32 != 0) {
        (true, _) => 64,
        (false, true) => 32,
        (false, false) => 16,
    }
}

/// How the guest's linear addresses are translated, on a processor with all features.
pub fn paging<G: LoadedVcpu>(guest: &G) -> Paging {
    let (cr4, efer) = (guest.get(Register::Cr4), guest.get(Register::Efer));
    let is_pae = cr4 & cr4::PAE != 0 && efer & efer::LMA == 0;
    let pdptes = (G::KEEPS_PDPTES && is_pae)
        .then(|| [0, 1, 2, 3].map(|index| guest.get(Register::Pdpte(index))));
    Paging {
        cr0: guest.get(Register::Cr0),
        cr3: guest.get(Register::Cr3),
        cr4,
        efer,
        pdptes,
        physical_bits: 52,
        has_1g: true,
    }
}

/// The bytes at CS:`rip`, as far as they can be read, each page fetched from as the processor does.
pub fn fetch(
    guest: &impl LoadedVcpu,
    rip: u64,
    ram: &GuestRam,
    bytes: &mut [u8; INSTRUCTION_BYTES],
) -> Fetched {
    const PAGE_BYTES: u64 = 4096;
    let base = if code_bits(guest) == 64 { 0 } else { guest.segment(segment::CS).base };
    let linear = base.wrapping_add(rip);
    let paging = paging(guest);
    let is_user = guest.get(Register::Cpl) == 3;
    let access = Access { kind: AccessKind::Execute, is_user, may_reach_user: false };
    let mut len = 0;
    while len < bytes.len() {
        let at = linear.wrapping_add(len as u64);
        let here = (bytes.len() - len).min((PAGE_BYTES - at % PAGE_BYTES) as usize);
        match paging.translate(ram, at, access) {
            Ok(physical) if ram.read(physical, &mut bytes[len..len + here]) => len += here,
            Ok(_) => return Fetched { len, fault: None },
            Err(fault) => {
                let fault = Some(Exception::page_fault(fault.error, at));
                return Fetched { len, fault };
            }
        }
    }
    Fetched { len, fault: None }
}
