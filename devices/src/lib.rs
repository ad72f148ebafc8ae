//! devices
#![no_std]
#![forbid(unsafe_code)]
pub mod backlog;
pub mod fifo;
pub mod hpet;
pub mod i8042;
pub mod ioapic;
pub mod lapic;
pub mod link;
pub mod message;
pub mod pic;
pub mod pit;
pub mod power;
pub mod rtc;
pub mod time;
pub mod uart;
