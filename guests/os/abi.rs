//! What the kernel and the programs agree on: the system calls and the layout of a process.
//!
//! A call puts its number in RAX and its arguments in RDI and RSI, executes `int 4`, and finds the
//! result in RAX; every other register keeps its value. Results below zero are the errors.
//!
//! Why `int 4`: SYSCALL, SYSENTER and `int 0x80` are not delivered by every KVM that runs ring 3
//! natively and interprets ring 0, while the overflow vector's gate is, and on every processor:
//! 64-bit code has no INTO, so nothing else can raise it.
#![allow(dead_code, reason = "kernel and programs use different parts")]

/// `(buffer, length)`: waits for at least one byte from COM1, gives the number of bytes.
pub const READ: u64 = 0;
/// `(text, length)`: writes to COM1, gives the number of bytes taken, at least one.
pub const WRITE: u64 = 1;
/// Lets the other processes run.
pub const YIELD: u64 = 2;
/// `(nanoseconds)`.
pub const SLEEP: u64 = 3;
/// `(status)`: ends the process.
pub const EXIT: u64 = 4;
/// Gives the child's process number, and 0 in the child.
pub const FORK: u64 = 5;
/// `(command, length)`: starts a program in a new process, gives its number.
pub const SPAWN: u64 = 6;
/// `(command, length)`: replaces this process's program.
pub const EXECUTE: u64 = 7;
/// `(process or 0 for any, flags)`: waits for a child's end, gives `process << 32 | status`.
pub const WAIT: u64 = 8;
/// Gives this process's number.
pub const PROCESS_NUMBER: u64 = 9;
/// Gives the nanoseconds since the kernel started.
pub const TIME: u64 = 10;
/// `(status)`: ends the machine.
pub const SHUT_DOWN: u64 = 11;
/// `(value)`: writes COM1's interrupt enable register. Bit 0 makes COM1 the link between machines.
pub const SET_UART_INTERRUPT_ENABLE: u64 = 12;

/// Flag of [`WAIT`]: give 0 instead of waiting.
pub const WAIT_POLL: u64 = 1;

/// An argument is no call, no process, or too long.
pub const ERROR_ARGUMENT: i64 = -1;
/// A pointer leads outside the process's memory.
pub const ERROR_POINTER: i64 = -2;
/// No room: memory or the process table is full.
pub const ERROR_FULL: i64 = -3;
/// There is no such child.
pub const ERROR_NO_CHILD: i64 = -4;

/// A process killed by a fault has this plus the exception's number as its status.
pub const STATUS_KILLED: u32 = 128;
/// The status of a command whose name is no program.
pub const STATUS_NOT_FOUND: u32 = 127;

/// Start of the programs' code and constants, mapped read-only in every process.
pub const PROGRAMS_BASE: u64 = 0x4000_0000;
/// Start of the 2 MiB that each process has for itself; only the stack's pages are in use.
pub const PRIVATE_BASE: u64 = 0x4020_0000;
/// The end of the private memory, and of the stack, which grows down.
pub const STACK_TOP: u64 = 0x4040_0000;
/// The stack's pages; the page below them is never present.
pub const STACK_PAGES: usize = 16;
/// The longest command line of a program, in bytes.
pub const LONGEST_COMMAND: usize = 512;
