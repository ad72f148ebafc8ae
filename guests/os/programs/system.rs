//! The system calls as functions (abi.rs).

use crate::abi;
use core::arch::asm;

fn call(number: u64, first: u64, second: u64) -> i64 {
    let result;
    // SAFETY: the kernel checks what it is given, changes memory only where a buffer was passed
    // (the callers below pass exclusive ones) and preserves all registers but RAX.
    unsafe {
        asm!("int 4", inlateout("rax") number as i64 => result, in("rdi") first,
            in("rsi") second, options(nostack));
    }
    result
}

/// Standard input, output and errors are all the console.
pub const INPUT: usize = 0;
/// See [`INPUT`].
pub const OUTPUT: usize = 1;

/// Waits for at least one byte; the number of bytes read, or an error below zero.
pub fn read(_file: usize, buffer: &mut [u8]) -> i64 {
    call(abi::READ, buffer.as_mut_ptr() as u64, buffer.len() as u64)
}

/// Writes all bytes.
pub fn write(_file: usize, mut bytes: &[u8]) -> i64 {
    let total = bytes.len() as i64;
    while !bytes.is_empty() {
        let written = call(abi::WRITE, bytes.as_ptr() as u64, bytes.len() as u64);
        if written < 0 {
            return written;
        }
        bytes = bytes.get(written as usize..).unwrap_or(&[]);
    }
    total
}

/// Asks for bytes at any address to be written, to see what the kernel says.
pub fn write_from_address(address: u64, length: u64) -> i64 {
    call(abi::WRITE, address, length)
}

/// Lets the others run.
pub fn give_way() {
    call(abi::YIELD, 0, 0);
}

/// Sleeps for at least that long.
pub fn sleep_ns(nanoseconds: u64) {
    call(abi::SLEEP, nanoseconds, 0);
}

/// Sleeps for at least that long.
pub fn sleep_ms(milliseconds: u64) {
    sleep_ns(milliseconds * 1_000_000);
}

/// Ends this process.
pub fn exit(status: i32) -> ! {
    loop {
        call(abi::EXIT, u64::from(status as u32), 0);
    }
}

/// Gives the child's number to the parent and 0 to the child.
pub fn fork() -> i64 {
    call(abi::FORK, 0, 0)
}

/// Starts a command in a new process and gives its number.
pub fn spawn(command: &str) -> i64 {
    call(abi::SPAWN, command.as_ptr() as u64, command.len() as u64)
}

/// Replaces this program; returns only if that cannot be.
pub fn execute(command: &str) -> i64 {
    call(abi::EXECUTE, command.as_ptr() as u64, command.len() as u64)
}

/// A child that ended.
pub struct Ended {
    pub number: i64,
    pub status: i32,
}

/// Waits for a child (0: any) to end. `None` if there is no such child.
pub fn wait(process: i64) -> Option<Ended> {
    ended(call(abi::WAIT, process as u64, 0))
}

/// A child that has ended already, if any.
pub fn poll_children() -> Option<Ended> {
    ended(call(abi::WAIT, 0, abi::WAIT_POLL))
}

fn ended(result: i64) -> Option<Ended> {
    (result > 0).then_some(Ended { number: result >> 32, status: result as i32 })
}

/// This process's number.
pub fn process_number() -> i64 {
    call(abi::PROCESS_NUMBER, 0, 0)
}

/// Nanoseconds since the kernel started.
pub fn time_ns() -> u64 {
    call(abi::TIME, 0, 0) as u64
}

/// Ends the machine: 0 is an ordinary power-off.
pub fn shut_down(status: u32) {
    call(abi::SHUT_DOWN, u64::from(status), 0);
}

/// 1 turns COM1 into the link to another machine, 0 back into the console.
pub fn set_uart_int_en(value: u8) {
    call(abi::SET_UART_INTERRUPT_ENABLE, u64::from(value), 0);
}
