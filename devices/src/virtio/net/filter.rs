//! Which frames an interface takes: what its driver asks for by the control queue (5.1.6.5).

use super::super::chain::Chain;
use super::{Mac, is_multicast};
use crate::memory::GuestMemory;

/// Classes and commands.
const RX: u8 = 0;
const RX_PROMISCUOUS: u8 = 0;
const RX_ALL_MULTICAST: u8 = 1;
const MAC: u8 = 1;
const MAC_TABLE_SET: u8 = 0;
const MAC_ADDRESS_SET: u8 = 1;

/// The most addresses that are kept; with more of a kind, all of that kind are taken.
const ADDRESSES: usize = 64;

const BROADCAST: Mac = [0xff; 6];

/// Which frames an interface takes.
#[derive(Clone, Debug)]
pub(super) struct Filter {
    /// The interface's address, as its driver has it.
    pub own: Mac,
    is_promiscuous: bool,
    takes_all_multicast: bool,
    table: Table,
}

/// Further addresses that are taken.
#[derive(Clone, Debug)]
struct Table {
    addresses: [Mac; ADDRESSES],
    len: usize,
    /// There were too many: unicast, multicast.
    has_overflow: [bool; 2],
}

impl Filter {
    /// Before its driver has asked for anything else, an interface takes all.
    pub const fn new(own: Mac) -> Self {
        Self { own, is_promiscuous: true, takes_all_multicast: false, table: Table::EMPTY }
    }

    pub fn takes(&self, destination: Mac) -> bool {
        let takes_all = is_multicast(destination) && self.takes_all_multicast;
        self.is_promiscuous
            || takes_all
            || destination == self.own
            || destination == BROADCAST
            || self.table.has(destination)
    }

    /// Carries out a command; whether it is one. If not, all is as before.
    pub fn command(&mut self, memory: &impl GuestMemory, chain: &mut Chain) -> bool {
        self.carry_out(memory, chain).is_some()
    }

    fn carry_out(&mut self, memory: &impl GuestMemory, chain: &mut Chain) -> Option<()> {
        match take(memory, chain)? {
            [RX, RX_PROMISCUOUS] => self.is_promiscuous = take(memory, chain)? != [0],
            [RX, RX_ALL_MULTICAST] => self.takes_all_multicast = take(memory, chain)? != [0],
            [MAC, MAC_TABLE_SET] => self.table = Table::take(memory, chain)?,
            [MAC, MAC_ADDRESS_SET] => {
                let address = take(memory, chain)?;
                self.own = (!is_multicast(address)).then_some(address)?;
            }
            _ => return None,
        }
        Some(())
    }
}

impl Table {
    const EMPTY: Self = Self { addresses: [[0; 6]; ADDRESSES], len: 0, has_overflow: [false; 2] };

    fn has(&self, address: Mac) -> bool {
        let takes_all = self.has_overflow[usize::from(is_multicast(address))];
        takes_all || self.addresses[..self.len].contains(&address)
    }

    /// Two lists: unicast, multicast.
    fn take(memory: &impl GuestMemory, chain: &mut Chain) -> Option<Self> {
        let mut table = Self::EMPTY;
        for has_overflow in &mut table.has_overflow {
            let count = u32::from_le_bytes(take(memory, chain)?);
            if count as usize > ADDRESSES - table.len {
                *has_overflow = true;
                chain.skip(u64::from(count) * 6).then_some(())?;
                continue;
            }
            for address in &mut table.addresses[table.len..table.len + count as usize] {
                *address = take(memory, chain)?;
            }
            table.len += count as usize;
        }
        Some(table)
    }
}

/// The next bytes of a command; None if it ends before.
fn take<const BYTES: usize>(memory: &impl GuestMemory, chain: &mut Chain) -> Option<[u8; BYTES]> {
    let mut bytes = [0; BYTES];
    chain.take(memory, &mut bytes).then_some(bytes)
}
