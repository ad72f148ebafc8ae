//! Model-specific registers that may be refused: the handler of #GP skips the instruction.

use crate::common::descriptors::{self, Caller};
use core::arch::{asm, global_asm};

const GENERAL_PROTECTION: usize = 13;

global_asm!(
    "
    .section .text.skip_instruction, \"ax\"
skip_instruction:                   // #GP: RDMSR and WRMSR are two bytes long
    mov byte ptr [refused_flag], 1
    add qword ptr [rsp + 8], 2
    add rsp, 8                      // the error code
    iretq
    .section .bss.skip_instruction, \"aw\", @nobits
refused_flag: .skip 1
    .section .text, \"ax\"
"
);

unsafe extern "C" {
    static skip_instruction: u8;
    static mut refused_flag: u8;
}

/// From now on a refused access is skipped.
pub fn skip_refused() {
    let handler = &raw const skip_instruction as u64;
    descriptors::set_gate(GENERAL_PROTECTION, handler, Caller::Hardware);
}

/// Reads a register; zero if that is refused.
pub fn read(register: u32) -> u64 {
    let (low, high): (u32, u32);
    // SAFETY: a refused read is skipped and leaves the zeros.
    unsafe {
        asm!("rdmsr", in("ecx") register, inout("eax") 0_u32 => low, inout("edx") 0_u32 => high);
    }
    u64::from(high) << 32 | u64::from(low)
}

/// Whether an access was refused since the last call.
pub fn was_refused() -> bool {
    let flag = &raw mut refused_flag;
    // SAFETY: only the handler above writes it, within an access before this.
    let is_set = unsafe { flag.read_volatile() } != 0;
    // SAFETY: as above.
    unsafe { flag.write_volatile(0) };
    is_set
}
