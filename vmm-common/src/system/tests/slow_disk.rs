//! A disk that takes its time: its VM waits, and the VM beside it does not notice.

use super::scripted::{MS, SLICE_NS, World, store};
use crate::Instant;
use crate::index::VmIndex;
use crate::machine::VIRTIO_BASE;
use crate::memory::GuestMemory;
use crate::plan::{DiskPlan, ImageSource, VmPlan, Writes};
use crate::seam::{ExitReason, Injection};
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

/// Where the queue's parts, the requests and the data are.
pub const TABLE: u64 = 0x1000;
pub const AVAILABLE: u64 = 0x2000;
pub const USED: u64 = 0x3000;
const REQUESTS: u64 = 0x4000;
pub const DATA: u64 = 0x8000;
pub const VECTOR: u8 = 0x31;

/// A driver with a disk (the first VM), and a neighbour that always has work.
fn world(disk_ns: u64, work_ns: u64, script: Vec<ExitReason>) -> World {
    with_disks(1, (disk_ns, work_ns), script)
}

fn with_disks(count: usize, times_ns: (u64, u64), script: Vec<ExitReason>) -> World {
    let kernel = || ImageSource::Builtin(String::from("os"));
    let mut vms = vec![VmPlan::plain(0, kernel()), VmPlan::plain(1, kernel())];
    let disk = DiskPlan { file: String::from("image"), bytes: 64 << 20, writes: Writes::Discard };
    vms[0].virtio.disks = vec![disk; count];
    World::new(vms, vec![script, Vec::new()], times_ns)
}

/// Puts `count` reads of a sector into the ring.
pub fn offer(world: &World, count: u16) {
    let put = |address: u64, bytes: &[u8]| assert!(world.rams[0].write(address, bytes));
    for n in 0..count {
        let header = REQUESTS + 32 * u64::from(n);
        put(header + 8, &u64::from(n).to_le_bytes());
        for (index, address, bytes, flags) in [
            (2 * n, header, 16_u32, 1_u16),
            // The status follows the data.
            (2 * n + 1, DATA + 0x400 * u64::from(n), 513, 2),
        ] {
            let at = TABLE + 16 * u64::from(index);
            put(at, &address.to_le_bytes());
            put(at + 8, &bytes.to_le_bytes());
            put(at + 12, &flags.to_le_bytes());
            put(at + 14, &(index + 1).to_le_bytes());
        }
        put(AVAILABLE + 4 + 2 * u64::from(n), &(2 * n).to_le_bytes());
    }
    put(AVAILABLE + 2, &count.to_le_bytes());
}

/// Puts a read of 20 MiB into the ring, into the same RAM again and again, and one of a sector.
fn offer_long(world: &World) {
    offer(world, 40);
    let put = |address: u64, bytes: &[u8]| assert!(world.rams[0].write(address, bytes));
    for index in 1..=40_u16 {
        let at = TABLE + 16 * u64::from(index);
        put(at, &DATA.to_le_bytes());
        put(at + 8, &(512_u32 << 10).to_le_bytes());
        put(at + 12, &[3, 0]);
    }
    let last = TABLE + 16 * 41;
    put(last, &(REQUESTS - 1).to_le_bytes());
    put(last + 8, &1_u32.to_le_bytes());
    put(last + 12, &[2, 0]);
    for (index, address, bytes, flags) in [(50, REQUESTS + 32, 16_u32, 1_u16), (51, DATA, 513, 2)] {
        let at = TABLE + 16 * index;
        put(at, &address.to_le_bytes());
        put(at + 8, &bytes.to_le_bytes());
        put(at + 12, &flags.to_le_bytes());
        put(at + 14, &51_u16.to_le_bytes());
    }
    put(AVAILABLE + 6, &50_u16.to_le_bytes());
    put(AVAILABLE + 2, &2_u16.to_le_bytes());
}

pub fn returned(world: &World) -> u16 {
    (world.rams[0].word_at(USED) >> 16) as u16
}

/// Sets the first device's queue up, routes its interrupt, and notifies.
pub fn driver() -> Vec<ExitReason> {
    driver_of(0)
}

/// The same with any of the first eight devices.
fn driver_of(device: u64) -> Vec<ExitReason> {
    let register = |offset, value| store(VIRTIO_BASE + 0x1000 * device + offset, value);
    vec![
        // The local APIC on; the I/O APIC's pin 16 + n: level-triggered.
        store(0xfee0_00f0, 0x1ff),
        store(0xfec0_0000, 0x10 + 2 * (16 + device)),
        store(0xfec0_0010, 1 << 15 | u64::from(VECTOR)),
        register(0x070, 3),
        register(0x024, 1),
        register(0x020, 1),
        register(0x070, 11),
        register(0x038, 64),
        register(0x080, TABLE),
        register(0x090, AVAILABLE),
        register(0x0a0, USED),
        register(0x044, 1),
        register(0x070, 15),
        register(0x050, 0),
    ]
}

#[test]
fn a_slow_disk_keeps_its_own_vm_waiting_alone() {
    const DISK_NS: u64 = 50 * MS;
    let script = [driver(), vec![ExitReason::Halt]].concat();
    let mut world = world(DISK_NS, 0, script);
    offer(&world, 1);
    world.run_until(100 * MS);
    assert_eq!(returned(&world), 1);
    let woken = world.guests[0].entries.iter().find(|(_, entry)| entry.inject.is_some());
    let (at, entry) = woken.expect("its interrupt came");
    assert_eq!(entry.inject, Some(Injection::Interrupt(VECTOR)));
    assert!((DISK_NS..DISK_NS + 2 * SLICE_NS).contains(at), "{at}");
    let neighbour = &world.system.ledger.vms[VmIndex(1)];
    assert!(neighbour.longest_blackout_ns <= SLICE_NS, "{}", neighbour.longest_blackout_ns);
    let own = &world.system.ledger.vms[VmIndex(0)];
    assert!(own.halted_ns >= DISK_NS - SLICE_NS, "it halts meanwhile: {}", own.halted_ns);
}

/// The neighbour's longest blackout beside a disk that takes so long for each of 20 reads, of which
/// each takes the host a millisecond's work.
fn neighbours_blackout_ns(disk_ns: u64) -> u64 {
    let script = [driver(), vec![ExitReason::Halt; 20]].concat();
    let mut world = world(disk_ns, MS, script);
    offer(&world, 20);
    world.run_until(2_000 * MS);
    assert_eq!(returned(&world), 20);
    world.system.ledger.vms[VmIndex(1)].longest_blackout_ns
}

#[test]
fn a_slow_disk_changes_its_neighbours_longest_blackout_by_nothing() {
    let (slow, fast) = (neighbours_blackout_ns(50 * MS), neighbours_blackout_ns(0));
    // A slice, and the request that is being carried out at its end.
    assert_eq!((slow, fast), (SLICE_NS + MS, SLICE_NS + MS));
}

/// The store of 0 to this register takes the queue, and so the buffers, away from the disk.
fn check_waits(register: u64) {
    // They begin at 0 and at 3 ms, and the neighbour's turns end between their ends.
    const DISK_NS: u64 = 55 * MS;
    const WORK_NS: u64 = 3 * MS;
    let script = [driver(), vec![store(VIRTIO_BASE + register, 0)]].concat();
    let mut world = world(DISK_NS - WORK_NS, WORK_NS, script);
    offer(&world, 2);
    world.run_until(100 * MS);
    let entered: Vec<u64> = world.guests[0].entries.iter().map(|(at, _)| *at).collect();
    let last_before = entered.iter().rposition(|at| *at < DISK_NS).expect("it ran");
    assert_eq!(last_before + 1, driver().len() + 1, "not entered behind the store");
    let next = entered.get(last_before + 1).expect("it goes on");
    let both_ns = DISK_NS + WORK_NS;
    assert!((both_ns..both_ns + 2 * SLICE_NS).contains(next), "{next}");
    assert_eq!(returned(&world), 0, "a queue that was taken away gets nothing back");
}

#[test]
fn a_reset_and_a_queue_that_is_withdrawn_wait_for_what_is_under_way() {
    check_waits(0x070);
    check_waits(0x044);
}

#[test]
fn a_flood_of_requests_ends_with_the_turn_and_goes_on_in_the_next() {
    // All of it follows the last store: that of DRIVER_OK.
    let mut script = driver();
    script.pop();
    script.push(ExitReason::Halt);
    let mut world = world(0, MS, script);
    offer(&world, 20);
    world.run_until(60 * MS);
    assert_eq!(returned(&world), 20);
    let is_woken = world.guests[0].entries.iter().any(|(_, entry)| entry.inject.is_some());
    assert!(is_woken, "its interrupt came");
    let neighbour = &world.system.ledger.vms[VmIndex(1)];
    let longest = neighbour.longest_blackout_ns;
    assert!(longest <= SLICE_NS + MS, "a slice and one request at most: {longest}");
}

#[test]
fn a_long_request_holds_up_its_neighbour_by_a_part_at_most() {
    // At once, and under way: in parts of a mebibyte.
    for (disk_ns, work_ns, all_ns) in [(0, MS, 60 * MS), (2 * MS, 0, 250 * MS)] {
        let script = [driver(), vec![ExitReason::Halt]].concat();
        let mut world = world(disk_ns, work_ns, script);
        offer_long(&world);
        world.run_until(all_ns);
        assert_eq!(returned(&world), 2, "{disk_ns}");
        let written = world.rams[0].word_at(USED + 8) as u32;
        assert_eq!(written, (20 << 20) + 1, "{disk_ns}");
        let neighbour = &world.system.ledger.vms[VmIndex(1)];
        let longest = neighbour.longest_blackout_ns;
        assert!(longest <= SLICE_NS + MS, "{disk_ns}: {longest}");
    }
}

#[test]
fn each_disk_has_a_window_and_a_pin() {
    for device in 0..3 {
        let script = [driver_of(device), vec![ExitReason::Halt]].concat();
        let mut world = with_disks(3, (20 * MS, 0), script);
        offer(&world, 1);
        world.run_until(60 * MS);
        assert_eq!(returned(&world), 1, "{device}");
        let entries = &world.guests[0].entries;
        let injected = entries.iter().find_map(|(_, entry)| entry.inject);
        assert_eq!(injected, Some(Injection::Interrupt(VECTOR)), "{device}");
    }
}

#[test]
fn a_guest_that_wants_no_interrupt_halts_on() {
    let script = [driver(), vec![ExitReason::Halt]].concat();
    let mut world = world(20 * MS, 0, script);
    offer(&world, 1);
    assert!(world.rams[0].write(AVAILABLE, &1_u16.to_le_bytes()));
    world.run_until(60 * MS);
    assert_eq!(returned(&world), 1);
    let entries = &world.guests[0].entries;
    assert!(entries.iter().all(|(at, _)| *at < 20 * MS), "not entered for it");
}

#[test]
fn a_disk_whose_writes_the_config_refuses_says_that_it_is_read_only() {
    const READ_ONLY: u64 = 1 << 5;
    for writes in [Writes::Keep, Writes::Discard, Writes::To(String::from("to")), Writes::Refuse] {
        let mut vm = VmPlan::plain(0, ImageSource::Builtin(String::from("os")));
        let is_refused = writes == Writes::Refuse;
        vm.virtio.disks = vec![DiskPlan { file: String::from("image"), bytes: 1 << 20, writes }];
        let mut world = World::new(vec![vm], vec![Vec::new()], (0, 0));
        let machine = &mut world.system.vms[VmIndex(0)].machine;
        let features = machine.mmio_read(VIRTIO_BASE + 0x010, 4, Instant::ZERO);
        assert_eq!(features & READ_ONLY != 0, is_refused);
        let sectors = machine.mmio_read(VIRTIO_BASE + 0x100, 4, Instant::ZERO);
        assert_eq!(sectors, 2048);
    }
}
