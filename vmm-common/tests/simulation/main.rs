//! Seeded simulation of the whole loop: the `System` of every target, driven on a virtual clock,
//! with guests that are small programs instead of machine code.
//!
//! A failing seed prints the command that replays it alone; `TANDEM_SEEDS=100000` runs more of
//! them.
//!
//! | file | what |
//! |---|---|
//! | `world.rs` | the target's loop, and what must hold in every run |
//! | `place.rs` | clock and host; accounts kept apart from the ledger's |
//! | `guest.rs` | the backend: runs programs, holds the loop to the seam's protocol |
//! | `cpu.rs`, `hardware.rs` | a guest's instructions and its drivers |
//! | `station.rs`, `links.rs` | bytes over links, peers that end |
//! | `consoles.rs` | what is printed and typed |
//! | `timers.rs` | interrupts come in time; HLT ends by them alone |
//! | `shares.rs` | weights, budgets, the longest wait |
//! | `round_trips.rs` | VMs that wake beside VMs that spin: soon answered, shares as ever |
//! | `vcpus.rs` | scheduler and ledger alone: VMs of several vCPUs, waits and accounts |
//! | `interprocessor.rs` | processors of a VM start, interrupt and restart each other |
//! | `last_runner.rs` | what the last processor to run leaves to those that have halted |
//! | `lifecycle.rs` | a VM that is paused, restarted and stopped, and neighbours that do not notice |
//! | `chaos.rs` | guests that do anything at all, and neighbours that do not notice; determinism |

mod chaos;
mod consoles;
mod cpu;
mod guest;
mod hardware;
mod interprocessor;
mod last_runner;
mod lifecycle;
mod links;
mod place;
mod round_trips;
mod seed;
mod shares;
mod station;
mod timers;
mod vcpus;
mod world;
