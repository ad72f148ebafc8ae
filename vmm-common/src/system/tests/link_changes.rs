//! Links of interfaces go up and down with the drivers at the other ends of their network.

use super::held_frames::{RECEIVE, TRANSMIT, World, mac};
use crate::Instant;
use crate::index::{VcpuIndex, VmIndex};
use crate::machine::VIRTIO_BASE;
use devices::virtio::net::DropReason;

extern crate std;
use std::vec;

/// VIRTIO_NET_F_STATUS.
const STATUS: u64 = 1 << 16;

impl World {
    fn load(&mut self, vm: usize, offset: u64) -> u64 {
        let machine = &mut self.system.vms[VmIndex(vm)].machine;
        machine.mmio_read(VIRTIO_BASE + offset, 4, Instant::ZERO)
    }

    /// The link's status, the interrupt's (which the driver acknowledges), and how often the
    /// configuration has changed since.
    fn link(&mut self, vm: usize) -> (bool, u64) {
        let interrupt = self.load(vm, 0x060);
        self.store(vm, 0x064, interrupt);
        (self.load(vm, 0x104) >> 16 & 1 == 1, interrupt & 2)
    }

    fn generation(&mut self, vm: usize) -> u64 {
        self.load(vm, 0x0fc)
    }
}

#[test]
fn a_link_is_up_while_another_driver_can_receive() {
    let mut world = World::stopped(3, true);
    world.start(0, STATUS);
    assert_eq!(world.link(0), (false, 0), "the only one");
    world.set_up(1, STATUS);
    world.store(1, 0x070, 15);
    assert_eq!(world.link(0), (false, 0), "the other one has given no buffers");
    assert_eq!(world.link(1), (true, 0), "the first has, before this one started");
    world.offer(1, RECEIVE, 0);
    assert_eq!(world.link(0), (true, 2));
    world.start(2, STATUS);
    assert_eq!([0, 1].map(|vm| world.link(vm)), [(true, 0); 2], "it was up before");
    world.store(1, 0x070, 0);
    assert_eq!([0, 2].map(|vm| world.link(vm)), [(true, 0); 2], "they have each other");
    world.end(2);
    assert_eq!(world.link(0), (false, 2), "the last one has ended");
    world.start(1, STATUS);
    assert_eq!(world.link(0), (true, 2));
    world.store(1, 0x070, 0);
    assert_eq!(world.link(0), (false, 2), "the last one was reset");
    assert_eq!(world.dropped(0), vec![]);
}

#[test]
fn a_change_of_the_link_wakes_the_vm() {
    let mut world = World::stopped(2, true);
    world.start(0, STATUS);
    let machine = &mut world.system.vms[VmIndex(0)].machine;
    super::route_virtio_interrupt(machine);
    let vcpu = VcpuIndex::only_of(VmIndex(0));
    world.system.sleeps(vcpu, Instant::FAR_FUTURE, Instant::ZERO);
    world.start(1, STATUS);
    assert!(world.system.scheduler.is_runnable(vcpu));
}

#[test]
fn buffers_given_before_the_driver_has_started_count() {
    let mut world = World::stopped(2, true);
    world.start(0, STATUS);
    world.set_up(1, STATUS);
    // It does not notify (3.1.1).
    world.offer(1, RECEIVE, 3);
    assert_eq!(world.link(0), (false, 0));
    world.store(1, 0x070, 15);
    assert_eq!(world.link(0), (true, 2));
    world.send(0, mac(1), 2);
    assert_eq!((world.returned(0, TRANSMIT), world.returned(1, RECEIVE)), (2, 2));
}

#[test]
fn a_driver_that_does_not_look_at_the_status_is_not_interrupted_and_may_send() {
    let mut world = World::stopped(2, true);
    world.start(0, 0);
    world.send(0, mac(1), 2);
    assert_eq!(
        (world.returned(0, TRANSMIT), world.dropped(0)),
        (2, vec![(DropReason::NotReady, 2)])
    );
    world.store(0, 0x064, 1);
    world.start(1, 0);
    assert_eq!(world.link(0), (true, 0));
    world.offer(1, RECEIVE, 1);
    world.send(0, mac(1), 1);
    assert_eq!(world.returned(1, RECEIVE), 1);
}

#[test]
fn a_driver_that_only_sends_is_received_while_links_are_down() {
    let mut world = World::stopped(2, true);
    world.set_up(0, 0);
    world.store(0, 0x070, 15);
    world.start(1, STATUS);
    assert_eq!(world.link(1), (false, 0), "nothing there can receive");
    world.offer(1, RECEIVE, 1);
    world.send(0, mac(1), 1);
    assert_eq!((world.returned(1, RECEIVE), world.dropped(0)), (1, vec![]));
}

#[test]
fn a_cable_that_the_config_pulls_out_passes_nothing_either_way() {
    let mut world = World::stopped(2, false);
    (0..2).for_each(|vm| world.start(vm, STATUS));
    assert_eq!([0, 1].map(|vm| world.link(vm)), [(false, 0); 2]);
    world.offer(0, RECEIVE, 1);
    world.offer(1, RECEIVE, 2);
    world.send(0, mac(1), 1);
    world.send(0, [0xff; 6], 1);
    world.send(1, mac(0), 1);
    assert_eq!((world.returned(0, TRANSMIT), world.returned(1, TRANSMIT)), (2, 1));
    assert_eq!((world.returned(0, RECEIVE), world.returned(1, RECEIVE)), (0, 0));
    assert_eq!(world.dropped(0), [(DropReason::NoReceiver, 2)]);
    assert_eq!(world.dropped(1), [(DropReason::NotReady, 1)]);
}

#[test]
fn a_driver_that_resets_in_a_loop_interrupts_the_others_once() {
    let mut world = World::stopped(2, true);
    world.start(0, STATUS);
    world.start(1, STATUS);
    assert_eq!(world.link(0), (true, 2));
    let before = world.generation(0);
    let other = VcpuIndex::only_of(VmIndex(0));
    world.system.sleeps(other, Instant::FAR_FUTURE, Instant::ZERO);
    for _ in 0..1000 {
        world.store(1, 0x070, 0);
        world.start(1, STATUS);
    }
    assert_eq!(world.link(0), (true, 2));
    assert_eq!(world.link(0), (true, 0), "one acknowledgement ends it");
    assert_eq!(world.generation(0), before + 2000);
}

#[test]
fn a_queue_that_is_withdrawn_takes_its_frame_with_it_and_begins_anew() {
    let mut world = World::stopped(2, true);
    (0..2).for_each(|vm| world.start(vm, STATUS));
    world.send(0, mac(1), 3);
    assert_eq!(world.returned(0, TRANSMIT), 0, "it waits for buffers");
    world.withdraw(0, TRANSMIT);
    world.offer(1, RECEIVE, 4);
    assert_eq!((world.returned(0, TRANSMIT), world.returned(1, RECEIVE)), (0, 0));
    world.put_to_use(0, TRANSMIT);
    world.send(0, mac(1), 2);
    assert_eq!((world.returned(0, TRANSMIT), world.returned(1, RECEIVE)), (2, 2));
    // The receiver's: the link goes down, and what is sent all the same does not wait.
    assert_eq!(world.link(0), (true, 2));
    world.withdraw(1, RECEIVE);
    assert_eq!(world.link(0), (false, 2));
    world.send(0, mac(1), 1);
    assert_eq!(
        (world.returned(0, TRANSMIT), world.dropped(0)),
        (3, vec![(DropReason::NotReady, 1)])
    );
    world.put_to_use(1, RECEIVE);
    world.offer(1, RECEIVE, 1);
    assert_eq!(world.link(0), (true, 2));
    world.send(0, mac(1), 1);
    assert_eq!((world.returned(0, TRANSMIT), world.returned(1, RECEIVE)), (4, 1));
}

impl World {
    fn withdraw(&mut self, vm: usize, queue: u64) {
        self.store(vm, 0x030, queue);
        self.store(vm, 0x044, 0);
    }

    /// The driver has zeroed the rings of a queue that it had withdrawn (4.2.3.2).
    fn put_to_use(&mut self, vm: usize, queue: u64) {
        self.clear_rings(vm, queue);
        self.store(vm, 0x030, queue);
        self.store(vm, 0x044, 1);
    }
}
