//! Programs that go wrong on purpose; the kernel must kill them and no other.

use crate::abi;
use crate::print::println;
use crate::system;
use core::hint::black_box;
use core::ptr;

/// An address inside the kernel, which is mapped here but not for ring 3.
const KERNEL_ADDRESS: u64 = 0x10_0000;

/// Recurses until the stack's last page is passed.
pub fn stack_overflow(_arguments: &str) -> i32 {
    println!("stack_overflow: going down");
    recurse(1)
}

#[expect(unconditional_recursion, reason = "the kernel ends it")]
fn recurse(depth: i32) -> i32 {
    let room = black_box([depth; 64]);
    recurse(depth + 1) + room[0]
}

/// The kernel refuses the pointer in a call and kills the process that uses it itself.
pub fn bad_pointer(_arguments: &str) -> i32 {
    let refused = [
        system::write_from_address(KERNEL_ADDRESS, 16),
        system::write_from_address(0, 1),
        system::write_from_address(u64::MAX - 3, 16),
        system::write_from_address(abi::STACK_TOP - 8, 16),
        system::write_from_address(0x8000_0000_0000_0000, 1),
    ];
    if refused.iter().any(|&result| result != abi::ERROR_POINTER) {
        println!("bad_pointer: not all refused: {refused:?}");
        return 1;
    }
    println!("bad_pointer: refused in a call, now writing there");
    // SAFETY: it is not safe: the processor refuses it and the kernel ends this process.
    unsafe { ptr::write_volatile(black_box(KERNEL_ADDRESS) as *mut u64, 1) };
    println!("bad_pointer: still here");
    1
}
