//! VM exits: exit reasons and their qualifications (SDM vol. 3, appendix C
//! and 28.2), and what each means here.

use crate::guest::vendor::{Event, MemoryAccess, PortEvent, StringOperand};
use metal::vmx::field::Field;
use vmm_common::registers::segment;
use vmm_common::seam::Fault;
use vmm_common::x86::task::{Cause, TaskSwitch};

/// Basic exit reasons.
#[allow(missing_docs)]
pub mod reason {
    pub const EXCEPTION_OR_NMI: u16 = 0;
    pub const EXTERNAL_INTERRUPT: u16 = 1;
    pub const TRIPLE_FAULT: u16 = 2;
    pub const INTERRUPT_WINDOW: u16 = 7;
    pub const NMI_WINDOW: u16 = 8;
    pub const TASK_SWITCH: u16 = 9;
    pub const CPUID: u16 = 10;
    pub const GETSEC: u16 = 11;
    pub const HLT: u16 = 12;
    pub const INVD: u16 = 13;
    pub const RDPMC: u16 = 15;
    pub const RSM: u16 = 17;
    pub const VMCALL: u16 = 18;
    pub const VMCLEAR: u16 = 19;
    pub const VMXON: u16 = 27;
    pub const CONTROL_REGISTER: u16 = 28;
    pub const MOV_DR: u16 = 29;
    pub const IO: u16 = 30;
    pub const RDMSR: u16 = 31;
    pub const WRMSR: u16 = 32;
    pub const MWAIT: u16 = 36;
    pub const MONITOR: u16 = 39;
    pub const PAUSE: u16 = 40;
    pub const TPR_BELOW_THRESHOLD: u16 = 43;
    pub const EPT_VIOLATION: u16 = 48;
    pub const INVEPT: u16 = 50;
    pub const PREEMPTION_TIMER: u16 = 52;
    pub const INVVPID: u16 = 53;
    pub const WBINVD: u16 = 54;
    pub const XSETBV: u16 = 55;
    pub const VMFUNC: u16 = 59;
}

/// Names of the basic exit reasons, by number.
const NAMES: [&str; 70] = [
    "exception or NMI",
    "external interrupt",
    "triple fault",
    "INIT signal",
    "SIPI",
    "I/O SMI",
    "other SMI",
    "interrupt window",
    "NMI window",
    "task switch",
    "CPUID",
    "GETSEC",
    "HLT",
    "INVD",
    "INVLPG",
    "RDPMC",
    "RDTSC",
    "RSM",
    "VMCALL",
    "VMCLEAR",
    "VMLAUNCH",
    "VMPTRLD",
    "VMPTRST",
    "VMREAD",
    "VMRESUME",
    "VMWRITE",
    "VMXOFF",
    "VMXON",
    "control-register access",
    "MOV DR",
    "I/O instruction",
    "RDMSR",
    "WRMSR",
    "entry failure: guest state",
    "entry failure: MSR loading",
    "reserved 35",
    "MWAIT",
    "monitor trap flag",
    "reserved 38",
    "MONITOR",
    "PAUSE",
    "entry failure: machine check",
    "reserved 42",
    "TPR below threshold",
    "APIC access",
    "virtualized EOI",
    "access to GDTR or IDTR",
    "access to LDTR or TR",
    "EPT violation",
    "EPT misconfiguration",
    "INVEPT",
    "RDTSCP",
    "preemption timer",
    "INVVPID",
    "WBINVD",
    "XSETBV",
    "APIC write",
    "RDRAND",
    "INVPCID",
    "VMFUNC",
    "ENCLS",
    "RDSEED",
    "page-modification log full",
    "XSAVES",
    "XRSTORS",
    "PCONFIG",
    "sub-page permission event",
    "UMWAIT",
    "TPAUSE",
    "LOADIWKEY",
];

/// The name of a basic exit reason.
#[must_use]
pub fn name(basic: u16) -> &'static str {
    NAMES.get(usize::from(basic)).unwrap_or(&"unknown")
}

/// What an exit asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// An event common to both vendors.
    Event(Event),
    /// An interrupt for the host, already acknowledged.
    ExternalInterrupt,
    /// A non-maskable interrupt for the host, or an intercepted exception of the guest's.
    Exception,
    /// A pending non-maskable interrupt can be delivered.
    NmiWindow,
    /// The preemption timer expired.
    Timer,
    /// CR0 or CR4.
    ControlRegister(ControlAccess),
    /// The instruction raises #GP(0).
    GeneralProtection,
}

/// An access to a control register (SDM vol. 3, table 28-3).
#[allow(missing_docs)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ControlAccess {
    /// MOV to CR `control` from general register `general`.
    Load { control: u8, general: usize },
    /// MOV from CR `control` to general register `general`.
    Store { control: u8, general: usize },
    /// CLTS.
    ClearTaskSwitched,
    /// LMSW.
    LoadStatusWord { value: u16 },
}

/// What an exit with this reason asks for; `field` reads its VMCS fields. IN and OUT are for
/// [`port`].
pub fn decode(exit_reason: u64, field: impl Fn(Field) -> u64) -> Decision {
    let basic = exit_reason as u16;
    let unexpected = Event::Fault(Fault::Unexpected { exit: basic.into() });
    let event = match basic {
        reason::EXCEPTION_OR_NMI => return Decision::Exception,
        reason::EXTERNAL_INTERRUPT => return Decision::ExternalInterrupt,
        reason::NMI_WINDOW => return Decision::NmiWindow,
        reason::PREEMPTION_TIMER => return Decision::Timer,
        reason::RDPMC => return Decision::GeneralProtection,
        reason::CONTROL_REGISTER => match control_access(field(Field::Qualification)) {
            Some(access) => return Decision::ControlRegister(access),
            None => unexpected,
        },
        reason::TRIPLE_FAULT => Event::Shutdown,
        reason::INTERRUPT_WINDOW | reason::TPR_BELOW_THRESHOLD => Event::Window,
        reason::TASK_SWITCH => Event::TaskSwitch(task_switch(&field)),
        reason::MOV_DR => Event::DebugRegister,
        reason::CPUID => Event::Cpuid,
        reason::HLT => Event::Halt,
        reason::INVD | reason::WBINVD => Event::Skip,
        reason::PAUSE => Event::Pause,
        reason::VMCALL => Event::Hypercall,
        reason::GETSEC | reason::RSM | reason::VMCLEAR..=reason::VMXON => Event::Undefined,
        reason::MWAIT | reason::MONITOR | reason::INVEPT => Event::Undefined,
        reason::INVVPID | reason::VMFUNC => Event::Undefined,
        reason::RDMSR => Event::ReadMsr,
        reason::WRMSR => Event::WriteMsr,
        reason::XSETBV => Event::SetXcr,
        reason::EPT_VIOLATION => {
            let address = field(Field::GuestPhysicalAddress);
            let is_delivery = field(Field::IdtVectoring) & 1 << 31 != 0;
            match is_delivery {
                true => Event::Fault(Fault::DeliveryOutsideRam { address }),
                false => memory(field(Field::Qualification), address),
            }
        }
        _ => unexpected,
    };
    Decision::Event(event)
}

/// SDM vol. 3, table 28-5, and 28.2.5 for the instruction information, without which a string's
/// address is unknown.
#[inline]
pub fn port(field: impl Fn(Field) -> u64, has_string_information: bool) -> Event {
    let qualification = field(Field::Qualification);
    let is_in = qualification & 1 << 3 != 0;
    let is_string = qualification & 1 << 4 != 0;
    if is_string && !has_string_information {
        return Event::Fault(Fault::Unexpected { exit: reason::IO.into() });
    }
    let string = is_string.then(|| {
        let information = field(Field::InstructionInformation);
        StringOperand {
            segment: if is_in { segment::ES } else { (information >> 15 & 7) as usize },
            address_bits: 16 << (information >> 7 & 3),
            is_repeated: qualification & 1 << 5 != 0,
        }
    });
    let size = (qualification & 7) as u8 + 1;
    Event::Port(PortEvent { port: (qualification >> 16) as u16, size, is_in, string })
}

/// SDM vol. 3, table 28-2, and 28.2.4 for what went through a task gate.
fn task_switch(field: &impl Fn(Field) -> u64) -> TaskSwitch {
    const VALID: u64 = 1 << 31;
    const HAS_ERROR: u64 = 1 << 11;
    let qualification = field(Field::Qualification);
    let vectoring = field(Field::IdtVectoring);
    let cause = match qualification >> 30 & 3 {
        0 => Cause::Call,
        1 => Cause::Return,
        2 => Cause::Jump,
        _ => Cause::Gate,
    };
    let is_event = cause == Cause::Gate && vectoring & VALID != 0;
    // INT n, INT1, INT3 and INTO are instructions, after which the old task resumes.
    let is_instruction = !is_event || matches!(vectoring >> 8 & 7, 4..=6);
    let len = if is_instruction { field(Field::InstructionLength) } else { 0 };
    let has_error = is_event && vectoring & HAS_ERROR != 0;
    TaskSwitch {
        selector: qualification as u16,
        cause,
        next_rip: field(Field::GuestRip).wrapping_add(len),
        error: has_error.then(|| field(Field::IdtVectoringErrorCode) as u32),
    }
}

/// SDM vol. 3, table 28-7. Bit 7: there is a linear address. Bit 8 is clear if the access was one
/// to a page table for it; setting its Accessed flag makes that a write.
const fn memory(qualification: u64, address: u64) -> Event {
    const WRITE: u64 = 1 << 1;
    const FETCH: u64 = 1 << 2;
    const HAS_LINEAR: u64 = 1 << 7;
    const IS_FINAL: u64 = 1 << 8;
    let access = if qualification & (HAS_LINEAR | IS_FINAL) == HAS_LINEAR {
        MemoryAccess::PageTable
    } else if qualification & FETCH != 0 {
        MemoryAccess::Fetch
    } else if qualification & WRITE != 0 {
        MemoryAccess::Write
    } else {
        MemoryAccess::Read
    };
    Event::Memory { address, access }
}

const fn control_access(qualification: u64) -> Option<ControlAccess> {
    let control = (qualification & 0xf) as u8;
    let general = (qualification >> 8 & 0xf) as usize;
    match qualification >> 4 & 3 {
        0 => Some(ControlAccess::Load { control, general }),
        1 => Some(ControlAccess::Store { control, general }),
        2 => Some(ControlAccess::ClearTaskSwitched),
        _ => Some(ControlAccess::LoadStatusWord { value: (qualification >> 16) as u16 }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(fields: &[(Field, u64)], expected: Decision) {
        let field = |wanted| {
            fields.iter().find(|(field, _)| *field == wanted).map_or(0, |(_, value)| *value)
        };
        assert_eq!(decode(field(Field::ExitReason), field), expected, "{fields:?}");
    }

    fn event(reason: u64, expected: Event) {
        check(&[(Field::ExitReason, reason)], Decision::Event(expected));
    }

    #[test]
    fn names_have_their_manuals_numbers() {
        assert_eq!(name(12), "HLT");
        assert_eq!(name(reason::EPT_VIOLATION), "EPT violation");
        assert_eq!(name(reason::XSETBV), "XSETBV");
        assert_eq!(name(69), "LOADIWKEY");
        assert_eq!(name(200), "unknown");
    }

    #[test]
    fn instructions_are_told_apart() {
        event(10, Event::Cpuid);
        event(12, Event::Halt);
        event(31, Event::ReadMsr);
        event(32, Event::WriteMsr);
        event(54, Event::Skip);
        event(55, Event::SetXcr);
        event(18, Event::Hypercall);
        event(43, Event::Window);
        for undefined in [11, 17, 19, 27, 36, 39, 50, 53, 59] {
            event(undefined, Event::Undefined);
        }
        check(&[(Field::ExitReason, 15)], Decision::GeneralProtection);
    }

    #[test]
    fn an_unexpected_exit_stops_the_guest() {
        for exit in [49, 62, 500] {
            event(exit, Event::Fault(Fault::Unexpected { exit: exit as u32 }));
        }
    }

    #[test]
    fn port_accesses_are_decoded() {
        let port = |port, size, is_in, string| Event::Port(PortEvent { port, size, is_in, string });
        let io = |qualification, information, expected| {
            let fields = [
                (Field::Qualification, qualification),
                (Field::InstructionInformation, information),
            ];
            let field = |wanted| {
                fields.iter().find(|(field, _)| *field == wanted).map_or(0, |(_, value)| *value)
            };
            assert_eq!(super::port(field, true), expected, "{fields:?}");
        };
        io(0x3f8 << 16, 0, port(0x3f8, 1, false, None));
        io(0xcf8 << 16 | 0xb, 0, port(0xcf8, 4, true, None));
        let string = StringOperand { segment: 3, address_bits: 64, is_repeated: true };
        io(0x3f8 << 16 | 0x30, 3 << 15 | 2 << 7, port(0x3f8, 1, false, Some(string)));
        let string = StringOperand { segment: 0, address_bits: 16, is_repeated: false };
        io(0x1f0 << 16 | 0x19, 3 << 15, port(0x1f0, 2, true, Some(string)));
    }

    #[test]
    fn memory_accesses_are_decoded() {
        let fields = |qualification| {
            [
                (Field::ExitReason, 48),
                (Field::Qualification, qualification),
                (Field::GuestPhysicalAddress, 0xfee0_0000),
            ]
        };
        let memory = |access| Decision::Event(Event::Memory { address: 0xfee0_0000, access });
        check(&fields(0x181), memory(MemoryAccess::Read));
        check(&fields(0x182), memory(MemoryAccess::Write));
        check(&fields(0x183), memory(MemoryAccess::Write));
        check(&fields(0x184), memory(MemoryAccess::Fetch));
        for walk in [0x81, 0x82, 0x83, 0x84] {
            check(&fields(walk), memory(MemoryAccess::PageTable));
        }
    }

    #[test]
    fn an_event_that_is_delivered_from_no_ram_stops_the_guest_in_words() {
        let fields = [
            (Field::ExitReason, 48),
            (Field::Qualification, 0x181),
            (Field::GuestPhysicalAddress, 0xfee0_0000),
            (Field::IdtVectoring, 0x8000_0030),
        ];
        let fault = Fault::DeliveryOutsideRam { address: 0xfee0_0000 };
        check(&fields, Decision::Event(Event::Fault(fault)));
    }

    #[test]
    fn task_switches_are_decoded() {
        let switch = |qualification, vectoring, cause, next_rip, error| {
            let fields = [
                (Field::ExitReason, 9),
                (Field::Qualification, qualification),
                (Field::IdtVectoring, vectoring),
                (Field::IdtVectoringErrorCode, 0x18),
                (Field::GuestRip, 0x1000),
                (Field::InstructionLength, 7),
            ];
            let switch = TaskSwitch { selector: 0x28, cause, next_rip, error };
            check(&fields, Decision::Event(Event::TaskSwitch(switch)));
        };
        switch(0x28, 0, Cause::Call, 0x1007, None);
        switch(1 << 30 | 0x28, 0, Cause::Return, 0x1007, None);
        switch(2 << 30 | 0x28, 0, Cause::Jump, 0x1007, None);
        // INT 48; #TS with an error code; an interrupt.
        switch(3 << 30 | 0x28, 0x8000_0430, Cause::Gate, 0x1007, None);
        switch(3 << 30 | 0x28, 0x8000_0b0a, Cause::Gate, 0x1000, Some(0x18));
        switch(3 << 30 | 0x28, 0x8000_0030, Cause::Gate, 0x1000, None);
    }

    #[test]
    fn control_register_accesses_are_decoded() {
        let control = |qualification, access| {
            let fields = [(Field::ExitReason, 28), (Field::Qualification, qualification)];
            check(&fields, Decision::ControlRegister(access));
        };
        control(0x300, ControlAccess::Load { control: 0, general: 3 });
        control(0xf13, ControlAccess::Store { control: 3, general: 15 });
        control(0x20, ControlAccess::ClearTaskSwitched);
        control(0x1234_0030, ControlAccess::LoadStatusWord { value: 0x1234 });
    }
}
