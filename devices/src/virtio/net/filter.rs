//! Which frames an interface takes: what its driver asks for by the control queue (5.1.6.5).

use super::super::chain::Chain;
use super::Mac;
use crate::memory::GuestMemory;

/// Classes and commands.
const RX: u8 = 0;
const RX_PROMISCUOUS: u8 = 0;
const RX_ALL_MULTICAST: u8 = 1;
const MAC: u8 = 1;
const MAC_TABLE_SET: u8 = 0;

/// The most addresses that are kept; with more of a kind, all of that kind are taken.
const ADDRESSES: usize = 64;

const BROADCAST: Mac = [0xff; 6];

/// Which frames an interface takes.
#[derive(Clone, Debug)]
pub(super) struct Filter {
    own: Mac,
    is_promiscuous: bool,
    takes_all_multicast: bool,
    /// A table had too many addresses.
    has_overflow: [bool; 2],
    addresses: [Mac; ADDRESSES],
    len: usize,
}

impl Filter {
    /// Before its driver has asked for anything else, an interface takes all.
    pub const fn new(own: Mac) -> Self {
        Self {
            own,
            is_promiscuous: true,
            takes_all_multicast: false,
            has_overflow: [false; 2],
            addresses: [[0; 6]; ADDRESSES],
            len: 0,
        }
    }

    pub fn takes(&self, destination: Mac) -> bool {
        let takes_all = match super::is_multicast(destination) {
            true => self.takes_all_multicast || self.has_overflow[1],
            false => self.has_overflow[0],
        };
        self.is_promiscuous
            || takes_all
            || destination == self.own
            || destination == BROADCAST
            || self.addresses[..self.len].contains(&destination)
    }

    /// Carries out a command; whether it is one.
    pub fn command(&mut self, memory: &impl GuestMemory, chain: &mut Chain) -> bool {
        let mut command = [0; 2];
        if !chain.take(memory, &mut command) {
            return false;
        }
        match command {
            [RX, RX_PROMISCUOUS] => set(&mut self.is_promiscuous, memory, chain),
            [RX, RX_ALL_MULTICAST] => set(&mut self.takes_all_multicast, memory, chain),
            [MAC, MAC_TABLE_SET] => self.set_table(memory, chain),
            _ => false,
        }
    }

    /// Two lists: unicast, multicast.
    fn set_table(&mut self, memory: &impl GuestMemory, chain: &mut Chain) -> bool {
        (self.len, self.has_overflow) = (0, [false; 2]);
        for kind in 0..2 {
            let mut count = [0; 4];
            if !chain.take(memory, &mut count) {
                return false;
            }
            let count = u32::from_le_bytes(count);
            if count as usize > ADDRESSES - self.len {
                self.has_overflow[kind] = true;
                if !chain.skip(u64::from(count) * 6) {
                    return false;
                }
                continue;
            }
            for address in &mut self.addresses[self.len..self.len + count as usize] {
                if !chain.take(memory, address) {
                    return false;
                }
            }
            self.len += count as usize;
        }
        true
    }
}

fn set(mode: &mut bool, memory: &impl GuestMemory, chain: &mut Chain) -> bool {
    let mut value = [0];
    let is_there = chain.take(memory, &mut value);
    if is_there {
        *mode = value[0] != 0;
    }
    is_there
}
