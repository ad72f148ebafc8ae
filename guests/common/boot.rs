//! From the loader to 64-bit Rust: the multiboot 1 header, page tables, long mode.
//!
//! The header carries the address fields (flag 16), so any multiboot loader can load the flat file
//! and QEMU does not mind that the code is 64-bit. The loader clears the bss. The tables use 2 MiB
//! pages only and are written entry by entry, because most of them stays empty and each store
//! costs. After this code:
//!
//! | virtual                  | physical       |                                                 |
//! |--------------------------|----------------|-------------------------------------------------|
//! | 0 to 128 MiB             | same           | RAM, ring 0                                     |
//! | 1 GiB to 2 GiB           | nothing yet    | `user_directory`: ring 3, filled by the image   |
//! | 0xFEC0_0000, 0xFEE0_0000 | same, uncached | IOAPIC and HPET in the first, local APIC second |
//!
//! The image provides `extern "C" fn guest_main() -> !`.

use core::arch::global_asm;
use core::slice;

/// Selector of ring 0's code segment.
pub const KERNEL_CODE: u16 = 0x08;
/// Selector of ring 3's data segment, with the requested privilege level.
pub const USER_DATA: u16 = 0x1B;
/// Selector of ring 3's 64-bit code segment, with the requested privilege level.
pub const USER_CODE: u16 = 0x23;
/// Selector of the task state segment, whose descriptor the image writes into `boot_gdt`.
pub const TASK_STATE: u16 = 0x28;

global_asm!(
    "
    .section .multiboot, \"a\"
    .balign 4
multiboot_header:
    .long 0x1BADB002, 0x00010003    // page-aligned modules, memory sizes, address fields
    .long -(0x1BADB002 + 0x00010003)
    .long multiboot_header, image_start, image_load_end, image_bss_end, entry32

    .section .text32, \"ax\"
    .code32
    .global entry32
entry32:
    cli
    cld
    mov esp, offset boot_stack_top
    mov [multiboot_magic], eax
    mov [multiboot_information], ebx
    mov dword ptr [boot_pml4], offset boot_pdpt + 7             // present, writable, user
    mov dword ptr [boot_pdpt], offset boot_directory + 3        // first GiB: ring 0
    mov dword ptr [boot_pdpt + 8], offset user_directory + 7    // second GiB: ring 3
    mov dword ptr [boot_pdpt + 24], offset device_directory + 3 // last GiB below 4 GiB
    mov dword ptr [device_directory + 502 * 8], 0xFEC0009B      // 2 MiB, uncached
    mov dword ptr [device_directory + 503 * 8], 0xFEE0009B
    mov edi, offset boot_directory
    mov eax, 0x83                                               // 2 MiB, present, writable
2:  mov [edi], eax
    add edi, 8
    add eax, 0x200000
    cmp eax, 0x8000083
    jb 2b
    mov eax, 0x620                  // PAE, and OSFXSR, OSXMMEXCPT for SSE in ring 3
    mov cr4, eax
    mov eax, offset boot_pml4
    mov cr3, eax
    mov ecx, 0xC0000080             // EFER.LME
    rdmsr
    or eax, 0x100
    wrmsr
    mov eax, 0x80010033             // PG, WP, NE, ET, MP, PE
    mov cr0, eax
    lgdt [boot_gdt_pointer]
    .byte 0xEA                      // jmp far 0x08:entry64, in no assembler's dialect
    .long entry64
    .short 0x08

    .section .text.entry64, \"ax\"
    .code64
entry64:
    mov eax, 0x10
    mov ds, eax
    mov es, eax
    mov ss, eax
    xor eax, eax
    mov fs, eax
    mov gs, eax
    mov esp, offset boot_stack_top
    xor ebp, ebp
    call guest_main
    ud2

    .section .data.boot_gdt, \"aw\"
    .balign 16
    .global boot_gdt
boot_gdt:
    .quad 0
    .quad 0x00AF9B000000FFFF        // 08 ring 0 code, 64-bit
    .quad 0x00CF93000000FFFF        // 10 ring 0 data
    .quad 0x00CFF3000000FFFF        // 18 ring 3 data
    .quad 0x00AFFB000000FFFF        // 20 ring 3 code, 64-bit
    .quad 0, 0                      // 28 task state segment
boot_gdt_pointer:
    .short . - boot_gdt - 1
    .quad boot_gdt

    .section .bss.boot_tables, \"aw\", @nobits
    .balign 4096
    .global boot_pml4, boot_pdpt, boot_directory, user_directory
boot_pml4: .skip 4096
boot_pdpt: .skip 4096
boot_directory: .skip 4096
user_directory: .skip 4096
device_directory: .skip 4096
    .skip 16384
    .global boot_stack_top
boot_stack_top:
    .global multiboot_magic, multiboot_information
multiboot_magic: .skip 4
multiboot_information: .skip 4
    .section .text, \"ax\"
"
);

unsafe extern "C" {
    static multiboot_magic: u32;
    static multiboot_information: u32;
}

/// EAX at the entry from a multiboot 1 loader.
const MULTIBOOT_MAGIC: u32 = 0x2BAD_B002;
const HAS_MEMORY_SIZES: u32 = 1 << 0;
const HAS_COMMAND_LINE: u32 = 1 << 2;
/// The boot information and the command line must lie in the RAM mapped above.
const MAPPED_BYTES: u64 = 128 << 20;
const LONGEST_COMMAND_LINE: u64 = 1024;

/// The first fields of the multiboot 1 information structure.
#[repr(C)]
struct Information {
    flags: u32,
    lower_kibibytes: u32,
    upper_kibibytes: u32,
    boot_device: u32,
    command_line: u32,
}

fn information() -> Option<&'static Information> {
    // SAFETY: entry32 wrote it before any Rust ran, and nothing writes it since.
    let magic = unsafe { multiboot_magic };
    // SAFETY: as above.
    let address = u64::from(unsafe { multiboot_information });
    if magic != MULTIBOOT_MAGIC || address + size_of::<Information>() as u64 > MAPPED_BYTES {
        return None;
    }
    // SAFETY: a multiboot loader passes the address of the structure, which is mapped memory, and
    // images read it before they use memory outside their own.
    Some(unsafe { &*(address as *const Information) })
}

/// The end of the RAM that starts at 1 MiB, if the loader said.
pub fn memory_end() -> Option<u64> {
    let information = information()?;
    if information.flags & HAS_MEMORY_SIZES == 0 {
        return None;
    }
    Some((1 << 20) + u64::from(information.upper_kibibytes) * 1024)
}

/// The command line without the file name that some loaders (QEMU) put before it: a first word
/// with a slash. Empty if there is none. The bytes are the loader's: copy what must last.
pub fn command_line() -> &'static [u8] {
    let Some(information) = information() else { return &[] };
    let address = u64::from(information.command_line);
    if information.flags & HAS_COMMAND_LINE == 0 || address + LONGEST_COMMAND_LINE > MAPPED_BYTES {
        return &[];
    }
    // SAFETY: mapped memory that nobody writes while the line is in use.
    let bytes =
        unsafe { slice::from_raw_parts(address as *const u8, LONGEST_COMMAND_LINE as usize) };
    let length = bytes.iter().position(|&byte| byte == 0).unwrap_or(0);
    let line = bytes.get(..length).unwrap_or(&[]);
    let (first, rest) = split_word(line);
    if first.contains(&b'/') { split_word_start(rest) } else { line }
}

/// The first word of a line and what follows it.
pub fn split_word(line: &[u8]) -> (&[u8], &[u8]) {
    let line = split_word_start(line);
    let end = line.iter().position(|&byte| byte == b' ').unwrap_or(line.len());
    line.split_at_checked(end).unwrap_or((line, &[]))
}

fn split_word_start(line: &[u8]) -> &[u8] {
    let start = line.iter().position(|&byte| byte != b' ').unwrap_or(line.len());
    line.get(start..).unwrap_or(&[])
}

/// Whether the command line has `word` among its words.
pub fn has_word(word: &str) -> bool {
    let mut rest = command_line();
    while !rest.is_empty() {
        let (first, after) = split_word(rest);
        if first == word.as_bytes() {
            return true;
        }
        rest = after;
    }
    false
}

/// The command line's `place`th number (words that are no numbers don't count).
pub fn number(place: usize) -> Option<u64> {
    let (mut rest, mut skip) = (command_line(), place);
    while !rest.is_empty() {
        let (first, after) = split_word(rest);
        rest = after;
        if first.is_empty() || !first.iter().all(u8::is_ascii_digit) {
            continue;
        }
        if skip == 0 {
            let digit = |sum: u64, &byte: &u8| sum.saturating_mul(10) + u64::from(byte - b'0');
            return Some(first.iter().fold(0, digit));
        }
        skip -= 1;
    }
    None
}
