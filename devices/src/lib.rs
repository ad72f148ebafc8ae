//! The devices of a PC, as values: registers and time in, levels and bytes out.
//!
//! The contract of a device, which its machine relies on:
//!
//! - **Registers.** `read` and `write` take an offset or a port, and never fail: what does not
//!   exist reads as the datasheet says, and any sequence of accesses leaves a device that works.
//!   A guest cannot make one panic, loop for long, or allocate.
//! - **Levels.** An interrupt pin is a level, a pure function of the registers (`pin`, `line`). The
//!   machine samples it after every access and whenever the far side has moved; the interrupt
//!   controllers find the edges.
//! - **Pulses are counted.** A source whose interrupts are pulses gives [`backlog::Ticks`] instead,
//!   so that sampling late misses none. The machine keeps those still pending
//!   ([`backlog::Backlog`]).
//! - **Messages.** A device that signals by messages gives them out as [`message::Message`]s; it
//!   does not know a local APIC.
//! - **Time is handed in.** `advance(now)` brings a device to a moment in one step, however far it
//!   is; a register access that depends on time takes `now`. No device reads a clock, and what it
//!   is handed is [`time::MachineTime`]: the host's time does not fit in.
//! - **`deadline`** is the device's next own event if the guest changes nothing;
//!   after `advance(now)` it is later than `now`. None: never. The guest exits by then.
//! - **No calls out.** A device knows no other device, no port map, no vCPU and no host. The
//!   machine drains its output (`transmit`, `take_eoi`, `next_message`).
//! - **State.** All of it is in the value: a clone is a snapshot.
//!
//! [`link`] carries bytes between the serial ports of several machines, and [`switch`] says where
//! frames go. They alone use the host's time, as they belong to no machine.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod backlog;
pub mod fifo;
pub mod hpet;
pub mod i8042;
pub mod ioapic;
pub mod lapic;
pub mod link;
pub mod memory;
pub mod message;
pub mod pic;
pub mod pit;
pub mod power;
pub mod rtc;
pub mod switch;
pub mod time;
pub mod uart;
pub mod vga;
pub mod virtio;
