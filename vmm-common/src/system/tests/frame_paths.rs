//! Frames find their receivers while drivers come and go, break rules, and send in turn.

use super::held_frames::{FRAME, RECEIVE, TRANSMIT, World, base, mac};
use crate::Instant;
use crate::index::{VcpuIndex, VmIndex};
use crate::memory::GuestMemory;
use alloc::vec;
use devices::virtio::net::DropReason;

const CONTROL: u64 = 2;
const STRANGER: [u8; 6] = [2, 0, 0, 0, 7, 7];

impl World {
    fn sleep(&mut self, vm: usize) {
        let vcpu = VcpuIndex::only_of(VmIndex(vm));
        self.system.sleeps(vcpu, Instant::FAR_FUTURE, Instant::ZERO);
    }

    fn is_awake(&self, vm: usize) -> bool {
        self.system.scheduler.is_runnable(VcpuIndex::only_of(VmIndex(vm)))
    }

    fn put(&self, vm: usize, address: u64, bytes: &[u8]) {
        assert!(self.rams[vm].write(address, bytes));
    }
}

#[test]
fn a_frame_wakes_its_receiver() {
    let mut world = World::new(2);
    super::route_virtio_interrupt(&mut world.system.vms[VmIndex(1)].machine);
    world.offer(1, RECEIVE, 1);
    world.sleep(1);
    world.send(0, mac(1), 1);
    assert!(world.is_awake(1));
}

#[test]
fn a_receiver_that_breaks_a_rule_is_interrupted_for_it() {
    let mut world = World::new(2);
    super::route_virtio_interrupt(&mut world.system.vms[VmIndex(1)].machine);
    world.sleep(1);
    // Its available ring's index jumps.
    world.put(1, base(RECEIVE) + 0x402, &99_u16.to_le_bytes());
    world.send(0, mac(1), 1);
    assert_eq!(world.returned(0, TRANSMIT), 1);
    assert_eq!(world.dropped(0), [(DropReason::NotReady, 1)]);
    assert!(world.is_awake(1));
}

#[test]
fn a_frame_that_waits_goes_with_its_drivers_reset_and_the_next_one_has_its_own_receiver() {
    let mut world = World::new(3);
    world.send(0, mac(1), 1);
    world.store(0, 0x070, 0);
    world.start(0, 0);
    world.offer(2, RECEIVE, 1);
    world.send(0, mac(2), 1);
    assert_eq!((world.returned(0, TRANSMIT), world.returned(2, RECEIVE)), (1, 1));
    world.offer(1, RECEIVE, 1);
    assert_eq!((world.returned(1, RECEIVE), world.dropped(0)), (0, vec![]));
}

#[test]
fn a_multicast_that_none_wants_is_not_lost() {
    let mut world = World::new(1);
    world.send(0, [0xff; 6], 1);
    world.send(0, STRANGER, 1);
    assert_eq!(world.returned(0, TRANSMIT), 2);
    assert_eq!(world.dropped(0), [(DropReason::NoReceiver, 1)]);
}

#[test]
fn addresses_behind_an_interface_that_is_gone_are_looked_for_everywhere() {
    let mut world = World::new(3);
    (0..3).for_each(|vm| world.offer(vm, RECEIVE, 4));
    // A frame of VM 1 from an address that is not its interface's own.
    world.put(1, FRAME + 12, &mac(0));
    world.put(1, FRAME + 18, &STRANGER);
    world.offer(1, TRANSMIT, 1);
    world.send(0, STRANGER, 1);
    assert_eq!([1, 2].map(|vm| world.returned(vm, RECEIVE)), [1, 0]);
    world.end(1);
    world.send(0, STRANGER, 1);
    assert_eq!((world.returned(2, RECEIVE), world.dropped(0)), (1, vec![]));
}

#[test]
fn a_driver_that_gives_buffers_and_does_not_say_so_is_waited_for_as_well() {
    let mut world = World::new(2);
    world.store(1, 0x070, 0);
    world.set_up(1, 0);
    world.store(1, 0x070, 15);
    world.prepare(1, RECEIVE, 1);
    world.send(0, mac(1), 2);
    assert_eq!((world.returned(0, TRANSMIT), world.returned(1, RECEIVE)), (1, 1));
    assert_eq!(world.dropped(0), vec![], "the second one waits");
}

#[test]
fn when_the_turn_is_over_no_other_sender_goes_on_in_it() {
    let mut world = World::new(3);
    (0..2).for_each(|vm| world.send(vm, mac(2), 2));
    world.system.until = Instant::ZERO;
    world.offer(2, RECEIVE, 4);
    assert_eq!([0, 1].map(|vm| world.returned(vm, TRANSMIT)), [1, 0]);
    for vm in 0..2 {
        let machine = &mut world.system.vms[VmIndex(vm)].machine;
        assert_eq!(machine.take_postponed_device(), Some(0), "{vm}");
    }
}

#[test]
fn a_drivers_commands_are_carried_out_in_the_exit() {
    let mut world = World::new(2);
    let at = base(CONTROL);
    for (offset, value) in super::queue_stores(CONTROL, 16, at) {
        world.store(1, offset, value);
    }
    // VIRTIO_NET_CTRL_RX_PROMISC: off.
    world.put(1, FRAME, &[0, 0, 0, 0xee]);
    for (n, (address, bytes, flags)) in (0..).zip([(FRAME, 3_u32, 1_u16), (FRAME + 3, 1, 2)]) {
        world.put(1, at + 16 * n, &address.to_le_bytes());
        world.put(1, at + 16 * n + 8, &bytes.to_le_bytes());
        world.put(1, at + 16 * n + 12, &flags.to_le_bytes());
        world.put(1, at + 16 * n + 14, &1_u16.to_le_bytes());
    }
    world.put(1, at + 0x402, &1_u16.to_le_bytes());
    world.store(1, 0x050, CONTROL);
    assert_eq!((world.returned(1, CONTROL), world.rams[1].0.borrow()[FRAME as usize + 3]), (1, 0));
    world.offer(1, RECEIVE, 1);
    world.send(0, STRANGER, 1);
    assert_eq!(world.dropped(0), [(DropReason::NoReceiver, 1)]);
}
