//! The processor that the test runs on, as a witness: it executes one instruction of user mode with
//! given registers, on a stretch of memory below 4 GiB.

use std::arch::global_asm;

/// Memory that instructions work on, bytes.
pub const DATA_BYTES: usize = 4096;
const PAGE_BYTES: usize = 4096;
const CODE_BYTES: usize = 64;

/// The registers that are loaded and stored; RSP is not.
#[repr(C, align(16))]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registers {
    pub vectors: [u128; 16],
    pub general: [u64; 16],
    pub rflags: u64,
    code: u64,
}

impl Registers {
    pub fn new(general: [u64; 16], rflags: u64, vectors: [u128; 16]) -> Self {
        Self { vectors, general, rflags, code: 0 }
    }
}

/// A page of code and one of data.
#[derive(Debug)]
pub struct Processor {
    pages: *mut u8,
}

unsafe extern "C" {
    fn execute_with(registers: *mut Registers);
    fn execute_done();
}

// The one in RDI is loaded last and stored first. Neither MOV nor PUSH changes flags.
global_asm!(
    "
    .globl execute_with
execute_with:
    push rbx
    push rbp
    push r12
    push r13
    push r14
    push r15
    push rdi
    .irp n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
    movdqa xmm\\n, [rdi + 16 * \\n]
    .endr
    push qword ptr [rdi + 392]      // where the instruction is
    push qword ptr [rdi + 384]
    popfq
    mov rax, [rdi + 256]
    mov rcx, [rdi + 264]
    mov rdx, [rdi + 272]
    mov rbx, [rdi + 280]
    mov rbp, [rdi + 296]
    mov rsi, [rdi + 304]
    mov r8, [rdi + 320]
    mov r9, [rdi + 328]
    mov r10, [rdi + 336]
    mov r11, [rdi + 344]
    mov r12, [rdi + 352]
    mov r13, [rdi + 360]
    mov r14, [rdi + 368]
    mov r15, [rdi + 376]
    mov rdi, [rdi + 312]
    ret                             // to the instruction, behind which is a jump to
    .globl execute_done
execute_done:
    push rdi
    pushfq
    cld
    mov rdi, [rsp + 16]
    mov [rdi + 256], rax
    mov [rdi + 264], rcx
    mov [rdi + 272], rdx
    mov [rdi + 280], rbx
    mov [rdi + 296], rbp
    mov [rdi + 304], rsi
    mov [rdi + 320], r8
    mov [rdi + 328], r9
    mov [rdi + 336], r10
    mov [rdi + 344], r11
    mov [rdi + 352], r12
    mov [rdi + 360], r13
    mov [rdi + 368], r14
    mov [rdi + 376], r15
    pop qword ptr [rdi + 384]
    pop qword ptr [rdi + 312]
    .irp n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
    movdqa [rdi + 16 * \\n], xmm\\n
    .endr
    pop rdi
    pop r15
    pop r14
    pop r13
    pop r12
    pop rbp
    pop rbx
    ret
    "
);

impl Processor {
    pub fn new() -> Self {
        let protection = libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_32BIT;
        let bytes = PAGE_BYTES + DATA_BYTES;
        // SAFETY: a mapping of its own, where the kernel likes.
        let pages = unsafe { libc::mmap(std::ptr::null_mut(), bytes, protection, flags, -1, 0) };
        assert_ne!(pages, libc::MAP_FAILED, "two pages below 2 GiB");
        Self { pages: pages.cast() }
    }

    /// Where the data begin.
    pub fn data_address(&self) -> u64 {
        self.pages as u64 + PAGE_BYTES as u64
    }

    /// Executes `instruction`, which must end behind itself and access nothing but the data, with
    /// these registers; they and `data` are what it leaves.
    pub fn execute(&self, instruction: &[u8], registers: &mut Registers, data: &mut [u8]) {
        assert_eq!(data.len(), DATA_BYTES);
        let mut code = [0; CODE_BYTES];
        // jmp [rip]
        let back = (execute_done as *const () as u64).to_le_bytes();
        let all = [instruction, &[0xff, 0x25, 0, 0, 0, 0], &back].concat();
        code[..all.len()].copy_from_slice(&all);
        registers.code = self.pages as u64;
        let data_pages = self.data_address() as *mut u8;
        // SAFETY: the code's page is ours, and longer.
        unsafe { std::ptr::copy_nonoverlapping(code.as_ptr(), self.pages, CODE_BYTES) };
        // SAFETY: the data's page is ours, and as long.
        unsafe { std::ptr::copy_nonoverlapping(data.as_ptr(), data_pages, DATA_BYTES) };
        // SAFETY: it keeps what the ABI wants kept; the caller's promise for the instruction.
        unsafe { execute_with(registers) };
        // SAFETY: as above.
        unsafe { std::ptr::copy_nonoverlapping(data_pages, data.as_mut_ptr(), DATA_BYTES) };
    }
}

impl Drop for Processor {
    fn drop(&mut self) {
        // SAFETY: the mapping that `new` made, which nothing refers to any more.
        unsafe { libc::munmap(self.pages.cast(), PAGE_BYTES + DATA_BYTES) };
    }
}
