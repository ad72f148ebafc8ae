//! Random bytes of the host: in the exit, with an interrupt, as far as the turn lasts.

use super::scripted::{MS, SLICE_NS, World};
use super::slow_disk::{AVAILABLE, DATA, TABLE, VECTOR, driver, returned};
use crate::index::VmIndex;
use crate::memory::GuestMemory;
use crate::plan::{ImageSource, VmPlan};
use crate::seam::{ExitReason, Injection};
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

#[test]
fn buffers_are_filled_and_a_flood_of_them_ends_with_the_turn() {
    const BUFFERS: u16 = 20;
    let kernel = || ImageSource::Builtin(String::from("os"));
    let mut vms = vec![VmPlan::plain(0, kernel()), VmPlan::plain(1, kernel())];
    vms[0].virtio.has_entropy = true;
    let script = [driver(), vec![ExitReason::Halt]].concat();
    let mut world = World::new(vms, vec![script, Vec::new()], (0, MS));
    let put = |address: u64, bytes: &[u8]| assert!(world.rams[0].write(address, bytes));
    for n in 0..BUFFERS {
        let at = TABLE + 16 * u64::from(n);
        put(at, &(DATA + 64 * u64::from(n)).to_le_bytes());
        put(at + 8, &32_u32.to_le_bytes());
        put(at + 12, &2_u16.to_le_bytes());
        put(AVAILABLE + 4 + 2 * u64::from(n), &n.to_le_bytes());
    }
    put(AVAILABLE + 2, &BUFFERS.to_le_bytes());
    world.run_until(60 * MS);
    assert_eq!(returned(&world), BUFFERS);
    let last = DATA + 64 * u64::from(BUFFERS - 1);
    assert_eq!([0, 24, 32].map(|at| world.rams[0].word_at(last + at) as u8), [0x5d, 0x5d, 0]);
    let entries = &world.guests[0].entries;
    let injected = entries.iter().find_map(|(_, entry)| entry.inject);
    assert_eq!(injected, Some(Injection::Interrupt(VECTOR)));
    let longest = world.system.ledger.vms[VmIndex(1)].longest_blackout_ns;
    assert!(longest <= SLICE_NS + MS, "a slice and one request at most: {longest}");
}
