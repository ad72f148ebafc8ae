//! Random tests of the interrupt controllers and timers, thousands of cases each.
//!
//! Controllers are compared with small models written another way. Timers are compared with
//! themselves: the same span of time in other steps must give the same expiries. All must survive
//! any access. A failing case prints `TANDEM_SEED=...`; with that variable set, it alone is run.

mod hpet;
mod interprocessor;
mod ioapic;
mod lapic;
mod pic;
mod pit;
mod rtc;
mod seed;
