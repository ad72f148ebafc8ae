//! gdbstub's state machine, fed byte by byte.

use super::subject::Subject;
use crate::memory::GuestMemory;
use alloc::string::String;
use alloc::vec::Vec;
use core::convert::Infallible;
use gdbstub::conn::Connection;
use gdbstub::stub::state_machine::GdbStubStateMachine as Machine;
use gdbstub::stub::{DisconnectReason, GdbStub, MultiThreadStopReason};

/// The byte by which gdb interrupts.
pub const CTRL_C: u8 = 3;
/// The longest packet: gdb asks for less once it has been told.
const PACKET_BYTES: usize = 4096;
/// How the packet of a `monitor` command begins; its text follows in hexadecimal digits.
const MONITOR: &[u8] = b"qRcmd,";
/// The longest text of a command that is looked at.
const COMMAND_DIGITS: usize = 128;

/// Why a VM has stopped, for gdb.
pub type Reason = MultiThreadStopReason<u64>;

/// What is to be sent.
#[derive(Debug, Default)]
struct Outbox(Vec<u8>);

impl Connection for Outbox {
    type Error = Infallible;

    fn write(&mut self, byte: u8) -> Result<(), Infallible> {
        self.0.push(byte);
        Ok(())
    }

    fn write_all(&mut self, bytes: &[u8]) -> Result<(), Infallible> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }

    fn flush(&mut self) -> Result<(), Infallible> {
        Ok(())
    }
}

/// What gdb asks of its VM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asks {
    Nothing,
    /// To continue or step, as its actions say.
    GoOn,
    /// To stop, by Ctrl-C.
    Stop,
    /// Nothing any more: gdb detaches.
    Leave,
    /// To end.
    Kill,
    /// It sent no packet.
    Refused,
}

/// The stub of one connection.
pub struct Stub<M: GuestMemory> {
    /// None once the connection is over.
    machine: Option<Machine<'static, Subject<M>, Outbox>>,
    /// What it has written.
    sent: Vec<u8>,
    /// The bytes of a packet so far; None between packets.
    packet: Option<Vec<u8>>,
}

impl<M: GuestMemory> Stub<M> {
    /// For gdb, which takes the VM to be stopped.
    pub fn new(subject: &mut Subject<M>) -> Self {
        let builder = GdbStub::builder(Outbox::default()).packet_buffer_size(PACKET_BYTES);
        let stub = builder.build().ok();
        // Starting fails where a connection or a target does, which ours do not.
        let machine = stub.and_then(|stub| stub.run_state_machine(subject).ok());
        Self { machine, sent: Vec::new(), packet: None }
    }

    /// What is to be sent; the sender removes it.
    pub fn outbox(&mut self) -> &mut Vec<u8> {
        &mut self.sent
    }

    /// The command for the monitor whose packet ends with this byte, which is still to be fed.
    pub fn command_ended_by(&mut self, byte: u8) -> Option<String> {
        match (byte, &mut self.packet) {
            (b'$', _) => self.packet = Some(Vec::new()),
            (b'#', packet) => {
                let packet = packet.take()?;
                let digits = packet.strip_prefix(MONITOR)?;
                return decoded(digits);
            }
            (byte, Some(packet)) if packet.len() < MONITOR.len() + COMMAND_DIGITS => {
                packet.push(byte);
            }
            (_, Some(_) | None) => {}
        }
        None
    }

    /// gdb sent this byte.
    pub fn feed(&mut self, subject: &mut Subject<M>, byte: u8) -> Asks {
        let fed = match self.machine.take() {
            None => return Asks::Nothing,
            Some(Machine::Idle(machine)) => machine.incoming_data(subject, byte),
            Some(Machine::Running(machine)) => machine.incoming_data(subject, byte),
            Some(gone @ (Machine::CtrlCInterrupt(_) | Machine::Disconnected(_))) => Ok(gone),
        };
        let Ok(machine) = fed else { return Asks::Refused };
        let (machine, asks) = match machine {
            Machine::Disconnected(machine) => {
                let asks = match machine.get_reason() {
                    DisconnectReason::Kill => Asks::Kill,
                    _ => Asks::Leave,
                };
                (machine.into(), asks)
            }
            Machine::CtrlCInterrupt(machine) => {
                // The stop is reported once all vCPUs have come to it.
                match machine.interrupt_handled(subject, None::<Reason>) {
                    Ok(machine) => {
                        let is_running = matches!(machine, Machine::Running(_));
                        (machine, if is_running { Asks::Stop } else { Asks::Nothing })
                    }
                    Err(_) => return Asks::Refused,
                }
            }
            machine @ (Machine::Idle(_) | Machine::Running(_)) => {
                let goes_on = core::mem::take(&mut subject.goes_on);
                (machine, if goes_on { Asks::GoOn } else { Asks::Nothing })
            }
        };
        self.keep(machine);
        asks
    }

    /// Tells gdb that its VM has stopped or ended, if it waits for that.
    pub fn report(&mut self, subject: &mut Subject<M>, stop: Reason) {
        match self.machine.take() {
            Some(Machine::Running(machine)) => {
                if let Ok(machine) = machine.report_stop(subject, stop) {
                    self.keep(machine);
                }
            }
            other => self.machine = other,
        }
    }

    fn keep(&mut self, mut machine: Machine<'static, Subject<M>, Outbox>) {
        let outbox = match &mut machine {
            Machine::Idle(it) => it.borrow_conn(),
            Machine::Running(it) => it.borrow_conn(),
            Machine::CtrlCInterrupt(it) => it.borrow_conn(),
            Machine::Disconnected(it) => it.borrow_conn(),
        };
        self.sent.append(&mut outbox.0);
        self.machine = Some(machine);
    }
}

/// The text that pairs of hexadecimal digits spell.
fn decoded(digits: &[u8]) -> Option<String> {
    let pair = |pair: &[u8]| {
        let text = core::str::from_utf8(pair).ok()?;
        u8::from_str_radix(text, 16).ok().map(char::from)
    };
    digits.chunks(2).map(pair).collect()
}
