//! A learning switch: which port a frame goes to, by the addresses that sent from there (IEEE
//! 802.1D-2004, 7.7 to 7.9).
//!
//! Addresses of the plan belong to their ports for good, so that no guest draws another one's
//! frames to itself by sending under its address; all other addresses are learnt. The table is
//! bounded: a guest that sends under ever new addresses displaces learnt ones, whose frames are
//! flooded then. Tags of virtual LANs pass as they are; an address is one port's in all of them.

use crate::time::Instant;
use alloc::boxed::Box;
use alloc::vec;
use alloc::vec::Vec;

/// An Ethernet address.
pub type Mac = [u8; 6];

/// How long an address that has sent nothing is remembered: the default of 802.1D, table 7-5.
pub const MAX_AGE_NS: u64 = 300_000_000_000;

/// Entries of the table, in sets: an address may be in one set only.
const SETS: usize = 256;
const WAYS: usize = 4;

/// Where a frame goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// To this port.
    To(usize),
    /// To all ports but the one it came from.
    Flood,
    /// To none: its receiver is at the port that it came from.
    Nowhere,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    address: Mac,
    port: usize,
    seen: Instant,
    is_used: bool,
}

impl Entry {
    const UNUSED: Self = Self { address: [0; 6], port: 0, seen: Instant::ZERO, is_used: false };

    const fn is_young(&self, now: Instant) -> bool {
        self.is_used && now.ns_since(self.seen) < MAX_AGE_NS
    }
}

/// A switch.
#[derive(Clone, Debug)]
pub struct Switch {
    /// The address of each port's interface.
    own: Vec<Mac>,
    entries: Box<[Entry]>,
}

/// Whether an address names several receivers (IEEE 802-2014, 8.2.2).
#[must_use]
pub const fn is_multicast(address: Mac) -> bool {
    address[0] & 1 != 0
}

impl Switch {
    /// A switch with a port for each of these interfaces.
    #[must_use]
    pub fn new(own: Vec<Mac>) -> Self {
        Self { own, entries: vec![Entry::UNUSED; SETS * WAYS].into() }
    }

    /// Where a frame goes that came in at `from`, and learns where its sender is.
    pub fn route(&mut self, from: usize, source: Mac, destination: Mac, now: Instant) -> Route {
        self.learn(from, source, now);
        if is_multicast(destination) {
            return Route::Flood;
        }
        match self.port_of(destination, now) {
            Some(port) if port == from => Route::Nowhere,
            Some(port) => Route::To(port),
            None => Route::Flood,
        }
    }

    /// Forgets what was learnt at a port.
    pub fn forget(&mut self, port: usize) {
        self.entries.iter_mut().filter(|entry| entry.port == port).for_each(|entry| {
            entry.is_used = false;
        });
    }

    fn learn(&mut self, port: usize, source: Mac, now: Instant) {
        if is_multicast(source) || self.own.contains(&source) {
            return;
        }
        let set = self.set_of(source);
        let known = set.iter().position(|entry| entry.is_used && entry.address == source);
        // An unused or old entry goes first, then that which has been silent longest.
        let age = |way: &usize| (set[*way].is_young(now), set[*way].seen);
        let oldest = (0..WAYS).min_by_key(age).unwrap_or(0);
        set[known.unwrap_or(oldest)] = Entry { address: source, port, seen: now, is_used: true };
    }

    fn port_of(&mut self, address: Mac, now: Instant) -> Option<usize> {
        let own = self.own.iter().position(|own| *own == address);
        own.or_else(|| {
            let known = |entry: &&mut Entry| entry.address == address && entry.is_young(now);
            self.set_of(address).iter_mut().find(known).map(|entry| entry.port)
        })
    }

    fn set_of(&mut self, address: Mac) -> &mut [Entry] {
        let mixed = address.iter().fold(0x811c_9dc5_u32, |hash, byte| {
            (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193)
        });
        let set = (mixed ^ mixed >> 16) as usize % SETS;
        &mut self.entries[set * WAYS..(set + 1) * WAYS]
    }
}

#[cfg(test)]
mod tests;
