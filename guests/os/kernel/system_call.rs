//! The system calls (numbers and meanings: abi.rs).
//!
//! A call that cannot be done yet puts its process to wait and is executed again afterwards, with
//! the same registers, so it needs no memory of what it was about.

use crate::abi;
use crate::common::{console, cpu, power};
use crate::kernel::Kernel;
use crate::memory;
use crate::process::State;

/// Lines longer than this are written in several calls.
const LONGEST_WRITE: u64 = 256;

/// What becomes of the calling process.
enum Outcome {
    /// It goes on with this result.
    Done(i64),
    /// It goes on with this result when its state is runnable again.
    Later(State, i64),
    /// It calls again when its state is runnable again.
    Again(State),
    /// It is not there any more, or its registers are set already.
    Gone,
}

/// Does the call of the current process.
pub fn handle(kernel: &mut Kernel) {
    let outcome = dispatch(kernel);
    let process = kernel.current();
    match outcome {
        Outcome::Done(result) => process.frame.set_result(result),
        Outcome::Later(state, result) => {
            process.frame.set_result(result);
            process.state = state;
        }
        Outcome::Again(state) => {
            process.frame.repeat_call();
            process.state = state;
        }
        Outcome::Gone => {}
    }
}

fn dispatch(kernel: &mut Kernel) -> Outcome {
    let (number, first, second) = kernel.current().frame.call();
    match number {
        abi::READ => read(kernel, first, second),
        abi::WRITE => write(kernel, first, second),
        abi::YIELD => give_way(kernel),
        abi::SLEEP => sleep(kernel, first),
        abi::EXIT => exit(kernel, first as u32),
        abi::FORK => new_process(kernel, Kernel::fork),
        abi::SPAWN => with_command(kernel, first, second, spawn),
        abi::EXECUTE => with_command(kernel, first, second, execute),
        abi::WAIT => wait(kernel, first, second),
        abi::PROCESS_NUMBER => Outcome::Done(i64::from(kernel.current().number)),
        abi::TIME => Outcome::Done(kernel.timer.nanoseconds() as i64),
        abi::SHUT_DOWN => power::off(first as u32),
        abi::SET_UART_INTERRUPT_ENABLE => set_interrupt_enable(first as u8),
        _ => Outcome::Done(abi::ERROR_ARGUMENT),
    }
}

fn line_status() -> u8 {
    cpu::in8(console::COM1 + console::LINE_STATUS)
}

fn read(kernel: &mut Kernel, start: u64, length: u64) -> Outcome {
    let (table, frames) = kernel.memory();
    let Some(buffer) = memory::writable(table, frames, start, length) else {
        return Outcome::Done(abi::ERROR_POINTER);
    };
    let mut count = 0;
    for place in buffer {
        if line_status() & console::DATA_READY == 0 {
            break;
        }
        *place = cpu::in8(console::COM1);
        count += 1;
    }
    if count == 0 && length != 0 {
        return Outcome::Again(State::OnConsole(console::DATA_READY));
    }
    Outcome::Done(count)
}

fn write(kernel: &mut Kernel, start: u64, length: u64) -> Outcome {
    let (table, frames) = kernel.memory();
    let Some(text) = memory::readable(table, frames, start, length.min(LONGEST_WRITE)) else {
        return Outcome::Done(abi::ERROR_POINTER);
    };
    let mut count = 0;
    for burst in text.chunks(console::FIFO_BYTES) {
        if line_status() & console::TRANSMIT_EMPTY == 0 {
            break;
        }
        cpu::out_string(console::COM1, burst);
        count += burst.len() as i64;
    }
    if count == 0 && length != 0 {
        return Outcome::Again(State::OnConsole(console::TRANSMIT_EMPTY));
    }
    Outcome::Done(count)
}

fn set_interrupt_enable(value: u8) -> Outcome {
    // Bytes of the console must not leave through the link, nor the other way round.
    if line_status() & console::TRANSMIT_EMPTY == 0 {
        return Outcome::Again(State::OnConsole(console::TRANSMIT_EMPTY));
    }
    cpu::out8(console::COM1 + console::INTERRUPT_ENABLE, value);
    Outcome::Done(0)
}

fn give_way(kernel: &mut Kernel) -> Outcome {
    kernel.end_turn();
    Outcome::Done(0)
}

fn sleep(kernel: &mut Kernel, nanoseconds: u64) -> Outcome {
    let until = cpu::time_stamp().saturating_add(kernel.timer.cycles(nanoseconds));
    Outcome::Later(State::Sleeping(until), 0)
}

fn exit(kernel: &mut Kernel, status: u32) -> Outcome {
    kernel.end_current(status);
    Outcome::Gone
}

fn with_command(
    kernel: &mut Kernel,
    start: u64,
    length: u64,
    action: fn(&mut Kernel, &[u8]) -> Outcome,
) -> Outcome {
    if length == 0 || length > abi::LONGEST_COMMAND as u64 {
        return Outcome::Done(abi::ERROR_ARGUMENT);
    }
    let (table, frames) = kernel.memory();
    match memory::readable(table, frames, start, length) {
        Some(command) => action(kernel, command),
        None => Outcome::Done(abi::ERROR_POINTER),
    }
}

fn spawn(kernel: &mut Kernel, command: &[u8]) -> Outcome {
    let parent = kernel.current().number;
    new_process(kernel, |kernel| kernel.spawn(command, parent))
}

fn new_process(kernel: &mut Kernel, make: impl FnOnce(&mut Kernel) -> Option<u32>) -> Outcome {
    let Some(number) = make(kernel) else { return Outcome::Done(abi::ERROR_FULL) };
    kernel.arm(cpu::time_stamp()); // the caller is not alone any more
    Outcome::Done(i64::from(number))
}

fn execute(kernel: &mut Kernel, command: &[u8]) -> Outcome {
    // The command lies in the memory that goes away.
    let mut copy = [0; abi::LONGEST_COMMAND];
    for (to, from) in copy.iter_mut().zip(command) {
        *to = *from;
    }
    let command = copy.get(..command.len()).unwrap_or(&[]);
    if kernel.execute(command).is_none() {
        kernel.end_current(abi::STATUS_NOT_FOUND);
    }
    Outcome::Gone
}

fn wait(kernel: &mut Kernel, wanted: u64, flags: u64) -> Outcome {
    match kernel.fetch_child(wanted as u32) {
        Err(()) => Outcome::Done(abi::ERROR_NO_CHILD),
        Ok(Some((number, status))) => {
            Outcome::Done((u64::from(number) << 32 | u64::from(status)) as i64)
        }
        Ok(None) if flags & abi::WAIT_POLL != 0 => Outcome::Done(0),
        Ok(None) => Outcome::Again(State::OnChild),
    }
}
