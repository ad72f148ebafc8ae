//! The instructions that reach a VMCS (SDM vol. 3, ch. 31).

use super::failure::{Failure, error_name};
use super::field::Field;
use core::arch::{asm, naked_asm};

/// Reads a field of the current VMCS. Without one, that is our bug.
pub(super) fn read(field: Field) -> u64 {
    read_at(field as u32)
}

/// Reads the field `index` steps of 2 after `first`, as the segment registers' fields lie.
pub(super) fn read_nth(first: Field, index: usize) -> u64 {
    read_at(first as u32 + 2 * index as u32)
}

#[inline]
fn read_at(encoding: u32) -> u64 {
    let value: u64;
    // SAFETY: reading a VMCS changes nothing but flags; outside VMX operation #UD ends the program
    // with a report, and a failure ends it here.
    unsafe {
        asm!(
            "vmread {value}, {field}",
            "jbe {failed}",
            value = out(reg) value,
            field = in(reg) u64::from(encoding),
            failed = sym access_failed,
        );
    }
    value
}

/// Where a failed VMREAD or VMWRITE jumps; it has to align the stack.
#[unsafe(naked)]
extern "sysv64" fn access_failed() -> ! {
    extern "sysv64" fn report() -> ! {
        panic!("VMREAD or VMWRITE: {}", error_name(read(Field::InstructionError) as u32));
    }
    naked_asm!("and rsp, -16", "call {report}", "ud2", report = sym report)
}

/// Writes a field of the current VMCS. Without one, that is our bug.
///
/// # Safety
/// The value must not let the guest reach what is not its own, and a field of the host must hold
/// what this program can resume with after an exit.
pub(super) unsafe fn write(field: Field, value: u64) {
    // SAFETY: the caller's promise.
    unsafe { write_at(field as u32, value) }
}

/// [`write`] to the field `index` steps of 2 after `first`.
///
/// # Safety
/// As for [`write`].
pub(super) unsafe fn write_nth(first: Field, index: usize, value: u64) {
    // SAFETY: the caller's promise.
    unsafe { write_at(first as u32 + 2 * index as u32, value) }
}

#[inline]
unsafe fn write_at(encoding: u32, value: u64) {
    // SAFETY: the caller's promise; a failure ends the program.
    unsafe {
        asm!(
            "vmwrite {field}, {value}",
            "jbe {failed}",
            value = in(reg) value,
            field = in(reg) u64::from(encoding),
            failed = sym access_failed,
        );
    }
}

/// The instructions that take an address in memory that holds a physical address.
macro_rules! with_pointer {
    ($($name:ident $instruction:literal $what:literal;)*) => {$(
        #[doc = $what]
        ///
        /// # Errors
        /// [`Failure`], as the instruction's page of the manual lists them.
        ///
        /// # Safety
        /// The region at `address` must be the processor's own until it is cleared or VMX ends.
        pub(super) unsafe fn $name(address: u64) -> Result<(), Failure> {
            let (is_invalid, is_numbered): (u8, u8);
            // SAFETY: the caller's promise.
            unsafe {
                asm!(
                    concat!($instruction, " [{address}]"),
                    "setc {is_invalid}",
                    "setz {is_numbered}",
                    address = in(reg) &raw const address,
                    is_invalid = out(reg_byte) is_invalid,
                    is_numbered = out(reg_byte) is_numbered,
                    options(nostack),
                );
            }
            outcome(is_invalid, is_numbered)
        }
    )*};
}

with_pointer! {
    vmxon "vmxon" "Enters VMX operation.";
    vmclear "vmclear" "Makes a VMCS clear: not current, not launched, all in memory.";
    vmptrld "vmptrld" "Makes a VMCS the current one.";
}

/// VMXOFF.
///
/// # Safety
/// The processor must be in VMX root operation, and no VMCS used after this.
pub(super) unsafe fn vmxoff() {
    // SAFETY: the caller's promise.
    unsafe { asm!("vmxoff", options(nostack)) };
}

/// INVEPT or INVVPID of a single context.
macro_rules! invalidate {
    ($($name:ident $instruction:literal $context:literal;)*) => {$(
        #[doc = concat!("Drops the cached translations of one ", $context, ".")]
        ///
        /// # Errors
        /// [`Failure`] if the processor rejects the operand.
        pub(super) fn $name(context: u64) -> Result<(), Failure> {
            const SINGLE_CONTEXT: u64 = 1;
            let descriptor = [context, 0];
            let (is_invalid, is_numbered): (u8, u8);
            // SAFETY: dropped translations are reloaded from the tables.
            unsafe {
                asm!(
                    concat!($instruction, " {kind}, [{descriptor}]"),
                    "setc {is_invalid}",
                    "setz {is_numbered}",
                    kind = in(reg) SINGLE_CONTEXT,
                    descriptor = in(reg) &raw const descriptor,
                    is_invalid = out(reg_byte) is_invalid,
                    is_numbered = out(reg_byte) is_numbered,
                    options(nostack),
                );
            }
            outcome(is_invalid, is_numbered)
        }
    )*};
}

invalidate! {
    invept "invept" "EPT pointer";
    invvpid "invvpid" "VPID";
}

fn outcome(is_invalid: u8, is_numbered: u8) -> Result<(), Failure> {
    match (is_invalid, is_numbered) {
        (0, 0) => Ok(()),
        (0, _) => Err(Failure::Numbered(read(Field::InstructionError) as u32)),
        (_, _) => Err(Failure::Invalid),
    }
}
