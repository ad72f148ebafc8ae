//! Events injected at an entry, as EVENTINJ encodes them.

use crate::guest::vendor::Inject;
use metal::architecture::vector::DB;
use metal::svm::vmcb::event;

/// Breakpoint and overflow: the exceptions that INT3 and INTO raise.
const BP: u64 = 3;
const OF: u64 = 4;

/// EVENTINJ for a non-maskable interrupt.
pub const NMI: u64 = event::VALID | event::NMI | 2;

/// EVENTINJ for an event (APM vol. 2, 15.20).
#[must_use]
pub const fn injection(inject: Inject) -> u64 {
    match inject {
        Inject::Interrupt(vector) => event::VALID | event::INTERRUPT | vector as u64,
        Inject::Breakpoint => event::VALID | event::EXCEPTION | BP,
        Inject::Exception { vector, error: None } => {
            event::VALID | event::EXCEPTION | vector as u64
        }
        Inject::Exception { vector, error: Some(error) } => {
            let error = (error as u64) << 32;
            event::VALID | event::EXCEPTION | event::HAS_ERROR | error | vector as u64
        }
    }
}

/// EVENTINJ for INT n.
#[must_use]
pub const fn software(vector: u8) -> u64 {
    event::VALID | event::SOFTWARE | vector as u64
}

/// Whether the event is a fault, whose handler finds RFLAGS.RF set (APM vol. 2, 3.1.6).
#[must_use]
pub const fn is_fault(inject: Inject) -> bool {
    match inject {
        Inject::Interrupt(_) | Inject::Breakpoint => false,
        Inject::Exception { vector, .. } => vector != DB,
    }
}

/// EVENTINJ for an event whose delivery an exit interrupted. INT n, INT3 and INTO are re-executed
/// instead, as RIP still points to them (APM vol. 2, 15.7.2).
#[must_use]
pub const fn interrupted(exit_interrupt_info: u64) -> u64 {
    if exit_interrupt_info & event::VALID == 0 {
        return 0;
    }
    let vector = exit_interrupt_info & 0xff;
    let is_exception = exit_interrupt_info & event::TYPE == event::EXCEPTION;
    let is_instruction = exit_interrupt_info & event::TYPE == event::SOFTWARE
        || (is_exception && (vector == BP || vector == OF));
    if is_instruction { 0 } else { exit_interrupt_info }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_encoded_as_the_manual_says() {
        assert_eq!(injection(Inject::Interrupt(0x30)), 0x8000_0030);
        assert_eq!(NMI, 0x8000_0202);
        assert_eq!(injection(Inject::Exception { vector: 6, error: None }), 0x8000_0306);
        let page_fault = Inject::Exception { vector: 14, error: Some(2) };
        assert_eq!(injection(page_fault), 0x0000_0002_8000_0b0e);
    }

    #[test]
    fn interrupted_delivery_is_repeated() {
        assert_eq!(interrupted(0x8000_0030), 0x8000_0030);
        assert_eq!(interrupted(0x0000_0002_8000_0b0e), 0x0000_0002_8000_0b0e);
        assert_eq!(interrupted(0x0000_0030), 0);
    }

    #[test]
    fn software_interrupts_are_left_to_their_instruction() {
        assert_eq!(interrupted(0x8000_0480), 0);
        assert_eq!(interrupted(0x8000_0303), 0);
        assert_eq!(interrupted(0x8000_0304), 0);
    }
}
