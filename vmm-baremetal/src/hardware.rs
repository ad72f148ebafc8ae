//! The seam between the two vendors and what they share: what a VMCS or a VMCB tells and takes.
//!
//! [`crate::vcpu::Vcpu`] turns an [`Event`] into an exit of `vmm_common::seam` and a reply into
//! register values; [`crate::vmx`] and [`crate::svm`] know only their processor.

use crate::cpu;
use crate::ram::GuestRam;
use crate::state::FxArea;
use vmm_common::registers::{INSTRUCTION_BYTES, Segment, TableRegister, segment};
use vmm_common::seam::Fault;
use vmm_common::x86::Exception;
use vmm_common::x86::paging::{Access, AccessKind, Paging};
use vmm_common::x86::task::TaskSwitch;

/// RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI, R8 to R15: the order of their encoding. The slot of RSP
/// is not used (and on SVM that of RAX neither): the control block has them; [`Hardware::run`]
/// keeps slot 0 true all the same.
pub type General = [u64; 16];

/// [`Segment::access`] of a code segment: L, 64-bit code if long mode is active.
pub const ACCESS_LONG: u32 = 1 << 13;

/// A register that the control block holds.
#[allow(missing_docs)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Register {
    Rip,
    Rsp,
    Rflags,
    Cr0,
    Cr2,
    Cr3,
    Cr4,
    Efer,
}

/// What goes through the guest's IDT at the next entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inject {
    /// A maskable interrupt.
    Interrupt(u8),
    /// A non-maskable interrupt.
    Nmi,
    /// A hardware exception, with its error code if it has one.
    Exception {
        /// Vector, below 32.
        vector: u8,
        /// The error code, for those that push one.
        error: Option<u32>,
    },
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
    /// RDMSR that the bitmap does not allow.
    ReadMsr,
    /// WRMSR that the bitmap does not allow.
    WriteMsr,
    /// HLT.
    Halt,
    /// XSETBV.
    SetXcr,
    /// An instruction without effect here (WBINVD, INVD, PAUSE): skip it.
    Skip,
    /// The vendor has dealt with it (MOV to CR, and so on): enter again.
    Handled,
    /// VMCALL or VMMCALL.
    Hypercall,
    /// An instruction that no guest has (VMX's, SVM's, MONITOR): #UD.
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
    /// The host was interrupted: its handler has run by the time this is returned.
    HostInterrupt,
    /// Triple fault.
    Shutdown,
    /// This VM cannot go on.
    Fault(Fault),
}

/// One vCPU's control block.
pub trait Hardware {
    /// Makes this vCPU's control block the processor's current one (VMX: VMPTRLD), and loads the
    /// registers that entries do not (SYSCALL's MSRs, KERNEL_GS_BASE) if the vendor's entry leaves
    /// them to software.
    fn load(&mut self);

    /// The counterpart of [`Hardware::load`]: another vCPU is about to be loaded.
    fn unload(&mut self);

    /// Runs the guest until something happens, at the latest at the host TSC value `deadline`.
    fn run(&mut self, general: &mut General, deadline: u64) -> Event;

    /// A register of the guest.
    fn get(&self, register: Register) -> u64;

    /// Sets a register of the guest.
    fn set(&mut self, register: Register, value: u64);

    /// A segment register, by [`vmm_common::registers::segment`].
    fn segment(&self, index: usize) -> Segment;

    /// Sets one.
    fn set_segment(&mut self, index: usize, segment: Segment);

    /// As MOV to CR3 does: translations are dropped, and the entries are PAE paging's, where it
    /// keeps them in the processor.
    fn load_cr3(&mut self, cr3: u64, pdptes: Option<[u64; 4]>);

    /// A new task begins: CR0.TS is set, DR7's local enable bits are cleared.
    fn begin_task(&mut self);

    /// GDTR and IDTR.
    fn tables(&self) -> (TableRegister, TableRegister);

    /// Delivers this at the next entry; a non-maskable interrupt once nothing blocks it. A fault
    /// sets RFLAGS.RF, as its handler finds it (SDM vol. 3, 18.3.1.1).
    fn inject(&mut self, inject: Inject);

    /// Leave with [`Event::Window`] once the guest can take an interrupt.
    fn want_window(&mut self, is_wanted: bool);

    /// The next entry delivers an exception.
    fn has_pending_exception(&self) -> bool;

    /// RFLAGS.IF is set, and neither STI nor MOV SS shadows it.
    fn is_interruptible(&self) -> bool;

    /// Where the instruction ends that the guest was left at.
    fn next_rip(&self) -> u64;

    /// Goes on at `rip`, cut to 32 bits outside 64-bit code, as behind an instruction: an STI or
    /// MOV SS shadow and RFLAGS.RF end, and a guest that single-steps gets its #DB.
    fn advance_to(&mut self, rip: u64);

    /// Goes on behind the instruction that the guest was left at.
    fn skip_instruction(&mut self) {
        self.advance_to(self.next_rip());
    }

    /// Access rights of the code segment, as in [`Segment::access`].
    fn code_access(&self) -> u32 {
        self.segment(segment::CS).access
    }

    /// 16, 32 or 64: the code segment's default.
    fn code_bits(&self) -> u8 {
        const DEFAULT_32: u32 = 1 << 14;
        let access = self.code_access();
        let is_long_mode = self.get(Register::Efer) & cpu::efer::LMA != 0;
        match (is_long_mode && access & ACCESS_LONG != 0, access & DEFAULT_32 != 0) {
            (true, _) => 64,
            (false, true) => 32,
            (false, false) => 16,
        }
    }

    /// The privilege level, which the stack segment's descriptor has.
    fn cpl(&self) -> u8 {
        (self.segment(segment::SS).access >> 5 & 3) as u8
    }

    /// The entries that PAE paging keeps in the processor, where it keeps them.
    fn pdptes(&self) -> Option<[u64; 4]> {
        None
    }

    /// How the guest's linear addresses are translated, on a processor that has everything.
    fn paging(&self) -> Paging {
        let (cr4, efer) = (self.get(Register::Cr4), self.get(Register::Efer));
        let is_pae = cr4 & cpu::cr4::PAE != 0 && efer & cpu::efer::LMA == 0;
        Paging {
            cr0: self.get(Register::Cr0),
            cr3: self.get(Register::Cr3),
            cr4,
            efer,
            pdptes: if is_pae { self.pdptes() } else { None },
            physical_bits: 52,
            has_1g: true,
        }
    }

    /// The bytes at CS:RIP, as far as they can be read, each page fetched from as the processor
    /// does.
    fn fetch(&self, ram: &GuestRam, bytes: &mut [u8; INSTRUCTION_BYTES]) -> Fetched {
        const PAGE_BYTES: u64 = 4096;
        let base = if self.code_bits() == 64 { 0 } else { self.segment(segment::CS).base };
        let linear = base.wrapping_add(self.get(Register::Rip));
        let paging = self.paging();
        let is_user = self.cpl() == 3;
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

    /// The guest's x87 and SSE registers, which each exit saves.
    fn fx_area(&self) -> &FxArea;

    /// The same, to change: the next entry loads them.
    fn fx_area_mut(&mut self) -> &mut FxArea;

    /// Task priority, CR8\[3:0\].
    fn cr8(&self) -> u8;

    /// Sets the task priority.
    fn set_cr8(&mut self, cr8: u8);

    /// Leave with [`Event::Window`] when the guest lowers CR8 below `class`, which is at most CR8;
    /// never if it is 0.
    fn set_tpr_threshold(&mut self, class: u8);

    /// What is added to the host's TSC to give the guest's.
    fn set_tsc_offset(&mut self, offset: u64);

    /// The fields worth seeing when this vCPU has stopped: exit reason, qualification and so on, by
    /// name; lines ended by newlines.
    fn write_dump(&self, to: &mut dyn core::fmt::Write) -> core::fmt::Result;
}
