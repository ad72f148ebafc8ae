//! Frames between the interfaces of VMs: at once, held back, dropped by reason.

use super::{Place, Ram};
use crate::Instant;
use crate::index::{VcpuIndex, VmIndex};
use crate::machine::{Machine, VIRTIO_BASE};
use crate::memory::GuestMemory;
use crate::plan::{ImageSource, NetworkPlan, NicPlan, OnSwitch, Plan, VmPlan};
use crate::scheduler::Next;
use crate::seam::Host;
use crate::system::System;
use crate::system::networks::HELD_NS;
use crate::vm::Ending;
use alloc::rc::Rc;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use core::cell::RefCell;
use devices::virtio::net::{Counts, DropReason};

pub const RECEIVE: u64 = 0;
pub const TRANSMIT: u64 = 1;
pub const FRAME: u64 = 0x8000;
const SECOND_NS: u64 = 1_000_000_000;

pub const fn mac(vm: usize) -> [u8; 6] {
    [0x52, 0x54, 0, 0, 0, vm as u8]
}

/// Where a queue's table is; its rings follow.
pub const fn base(queue: u64) -> u64 {
    0x1000 + 0x1000 * queue
}

/// VMs at one network, whose drivers are at work.
pub struct World<H = Place> {
    pub system: System<Ram>,
    pub place: H,
    pub rams: Vec<Ram>,
}

impl World {
    pub fn new(vms: usize) -> Self {
        let mut world = Self::stopped(vms, true);
        (0..vms).for_each(|vm| world.start(vm, 0));
        world
    }

    /// No driver has begun; all cables are plugged in, that of the first VM as is said.
    pub fn stopped(vms: usize, is_first_plugged: bool) -> Self {
        let network = NetworkPlan { name: String::from("lan"), tap: None, pcap: None };
        Self::at(network, vms, is_first_plugged, Place { now_ns: Rc::default() })
    }

    /// The loop looks again, so much later.
    fn next_after(&mut self, ns: u64) -> Next {
        *self.place.now_ns.borrow_mut() += ns;
        self.system.next(&mut self.place)
    }
}

impl<H: Host<Ram>> World<H> {
    /// VMs of a host, at this network.
    pub fn at(network: NetworkPlan, vms: usize, is_first_plugged: bool, place: H) -> Self {
        let kernel = || ImageSource::Builtin(String::from("os"));
        let vm = |index| {
            let mut vm = VmPlan::plain(index, kernel());
            let is_up = index > 0 || is_first_plugged;
            vm.virtio.nics = vec![NicPlan { network: 0, mac: mac(index), is_up }];
            vm
        };
        let plan = Plan {
            slice_ns: 5_000_000,
            on_switch: OnSwitch::Barriers,
            core: None,
            vms: (0..vms).map(vm).collect(),
            links: Vec::new(),
            networks: vec![network],
        };
        let ram = |_| Ram(Rc::new(RefCell::new(vec![0; 0x1_0000])));
        let rams: Vec<_> = (0..vms).map(ram).collect();
        let machine =
            |(vm, ram): (&_, &Ram)| (Machine::new(vm, super::surroundings()), ram.clone());
        let machines = plan.vms.iter().zip(&rams).map(machine).collect();
        let mut system = System::new(&plan, machines, 0, Instant::ZERO);
        system.until = Instant::FAR_FUTURE;
        Self { system, place, rams }
    }

    pub fn store(&mut self, vm: usize, offset: u64, value: u64) {
        let machine = &mut self.system.vms[VmIndex(vm)].machine;
        if let Some(event) = machine.virtio_write(VIRTIO_BASE + offset, 4, value) {
            let vcpu = VcpuIndex::only_of(VmIndex(vm));
            let now = self.place.now();
            self.system.after_event(vcpu, event, now, &mut self.place);
        }
    }

    /// A driver that accepts these features besides version 1 starts, and gives buffers at times.
    pub fn start(&mut self, vm: usize, features: u64) {
        self.set_up(vm, features);
        self.store(vm, 0x070, 15);
        self.offer(vm, RECEIVE, 0);
    }

    /// It is about to start.
    pub fn set_up(&mut self, vm: usize, features: u64) {
        [RECEIVE, TRANSMIT].into_iter().for_each(|queue| self.clear_rings(vm, queue));
        for (offset, value) in
            [(0x070, 3), (0x024, 0), (0x020, features), (0x024, 1), (0x020, 1), (0x070, 11)]
        {
            self.store(vm, offset, value);
        }
        for queue in [RECEIVE, TRANSMIT] {
            for (offset, value) in super::queue_stores(queue, 16, base(queue)) {
                self.store(vm, offset, value);
            }
        }
    }

    pub fn clear_rings(&self, vm: usize, queue: u64) {
        assert!(self.rams[vm].write(base(queue), &[0; 0x1000]));
    }

    /// Makes `count` more buffers available, each with the frame or room for it, and notifies.
    pub fn offer(&mut self, vm: usize, queue: u64, count: u16) {
        self.prepare(vm, queue, count);
        self.store(vm, 0x050, queue);
    }

    /// The same without notifying.
    pub fn prepare(&self, vm: usize, queue: u64, count: u16) {
        let put = |address: u64, bytes: &[u8]| assert!(self.rams[vm].write(address, bytes));
        let before = (self.rams[vm].word_at(base(queue) + 0x400) >> 16) as u16;
        for n in before..before + count {
            let slot = u64::from(n % 16);
            let descriptor = base(queue) + 16 * slot;
            put(descriptor, &(FRAME + 0x800 * u64::from(queue == RECEIVE)).to_le_bytes());
            put(descriptor + 8, &(12 + 60_u32).to_le_bytes());
            put(descriptor + 12, &(if queue == RECEIVE { 2_u16 } else { 0 }).to_le_bytes());
            put(base(queue) + 0x404 + 2 * slot, &(n % 16).to_le_bytes());
        }
        put(base(queue) + 0x402, &(before + count).to_le_bytes());
    }

    /// Sends `count` frames from one VM to another.
    pub fn send(&mut self, from: usize, to: [u8; 6], count: u16) {
        assert!(self.rams[from].write(FRAME + 12, &to));
        assert!(self.rams[from].write(FRAME + 18, &mac(from)));
        self.offer(from, TRANSMIT, count);
    }

    pub fn returned(&self, vm: usize, queue: u64) -> u16 {
        (self.rams[vm].word_at(base(queue) + 0x800) >> 16) as u16
    }

    pub fn counts(&mut self, vm: usize) -> Counts {
        self.system.vms[VmIndex(vm)].machine.nic_mut(0).expect("an interface").counts()
    }

    pub fn dropped(&mut self, vm: usize) -> Vec<(DropReason, u64)> {
        let counts = self.counts(vm);
        let dropped = DropReason::ALL.map(|reason| (reason, counts.dropped(reason)));
        dropped.into_iter().filter(|(_, count)| *count > 0).collect()
    }

    pub fn end(&mut self, vm: usize) {
        let vcpu = VcpuIndex::only_of(VmIndex(vm));
        let why = Ending::PowerOff { status: 0 };
        self.system.end_vm(vcpu, why, None, Instant::from_ns(1), &mut self.place);
    }
}

#[test]
fn a_frame_arrives_in_the_exit_that_sends_it() {
    let mut world = World::new(3);
    world.offer(1, RECEIVE, 2);
    world.send(0, mac(1), 2);
    assert_eq!((world.returned(0, TRANSMIT), world.returned(1, RECEIVE)), (2, 2));
    let ram = world.rams[1].0.borrow();
    assert_eq!(ram[FRAME as usize + 0x80c..][..12], [mac(1), mac(0)].concat());
    drop(ram);
    assert!(world.system.vms[VmIndex(1)].machine.virtio().all(|(_, device)| device.pin()));
    assert_eq!((world.dropped(0), world.counts(2).received), (vec![], 0));
}

#[test]
fn a_broadcast_waits_for_the_one_without_buffers_alone() {
    let mut world = World::new(3);
    world.offer(1, RECEIVE, 4);
    world.send(0, [0xff; 6], 3);
    assert_eq!((world.returned(0, TRANSMIT), world.returned(1, RECEIVE)), (0, 1));
    world.offer(2, RECEIVE, 2);
    assert_eq!((world.returned(1, RECEIVE), world.returned(2, RECEIVE)), (3, 2));
    assert_eq!(world.returned(0, TRANSMIT), 2, "the third waits");
    world.offer(2, RECEIVE, 1);
    assert_eq!((world.returned(0, TRANSMIT), world.returned(2, RECEIVE)), (3, 3));
    assert_eq!((world.returned(1, RECEIVE), world.dropped(0)), (3, vec![]));
}

#[test]
fn a_receiver_that_gives_no_buffers_for_2_s_is_waited_for_once() {
    let mut world = World::new(2);
    world.send(0, mac(1), 3);
    world.next_after(HELD_NS - 1);
    assert_eq!((world.returned(0, TRANSMIT), world.dropped(0)), (0, vec![]));
    world.next_after(1);
    assert_eq!(
        (world.returned(0, TRANSMIT), world.dropped(0)),
        (1, vec![(DropReason::NoBuffers, 1)])
    );
    assert_eq!(world.system.vms[VmIndex(0)].machine.take_postponed_device(), Some(0));
    world.system.serve_nic(VmIndex(0), 0, &mut world.place);
    assert_eq!(
        (world.returned(0, TRANSMIT), world.dropped(0)),
        (3, vec![(DropReason::NoBuffers, 3)])
    );
    world.offer(1, RECEIVE, 1);
    world.send(0, mac(1), 2);
    assert_eq!((world.returned(0, TRANSMIT), world.returned(1, RECEIVE)), (4, 1), "it waits again");
}

#[test]
fn time_that_the_host_takes_is_no_receivers() {
    let mut world = World::new(2);
    world.system.taken_ns = 7 * SECOND_NS;
    world.send(0, mac(1), 1);
    // Of three seconds the host had two.
    world.system.taken_ns += 2 * SECOND_NS;
    let _ = world.next_after(3 * SECOND_NS);
    assert_eq!((world.returned(0, TRANSMIT), world.dropped(0)), (0, vec![]));
    let _ = world.next_after(SECOND_NS - 1);
    assert_eq!(world.dropped(0), []);
    let _ = world.next_after(1);
    assert_eq!(world.dropped(0), [(DropReason::NoBuffers, 1)]);
}

#[test]
fn an_idle_core_looks_when_a_frame_has_waited_too_long() {
    let mut world = World::new(2);
    *world.place.now_ns.borrow_mut() = SECOND_NS;
    world.send(0, mac(1), 1);
    for vm in 0..2 {
        let vcpu = VcpuIndex::only_of(VmIndex(vm));
        world.system.sleeps(vcpu, Instant::FAR_FUTURE, Instant::from_ns(SECOND_NS));
    }
    let until = Instant::from_ns(SECOND_NS + HELD_NS);
    assert_eq!(world.next_after(0), Next::Idle { until });
    assert!(matches!(world.next_after(HELD_NS), Next::Run { .. }), "the sender has room again");
    assert_eq!(world.returned(0, TRANSMIT), 1);
}

#[test]
fn frames_for_one_that_has_ended_are_dropped() {
    let mut world = World::new(3);
    world.send(0, mac(1), 2);
    world.end(1);
    world.system.serve_nic(VmIndex(0), 0, &mut world.place);
    assert_eq!((world.returned(0, TRANSMIT), world.dropped(0)), (2, vec![(DropReason::Ended, 2)]));
    world.send(0, [0xff; 6], 1);
    assert_eq!(world.returned(0, TRANSMIT), 2, "the third VM has no buffers yet");
    world.end(2);
    assert_eq!(world.dropped(0), [(DropReason::Ended, 3)]);
}

#[test]
fn what_cannot_arrive_is_counted_by_reason() {
    let mut world = World::new(2);
    world.store(1, 0x070, 0);
    world.send(0, mac(1), 1);
    world.send(0, mac(0), 1);
    world.offer(1, RECEIVE, 1);
    let expected = vec![(DropReason::NoReceiver, 1), (DropReason::NotReady, 1)];
    assert_eq!((world.returned(0, TRANSMIT), world.dropped(0)), (2, expected));
}

#[test]
fn an_interface_that_is_not_up_holds_no_sender_back() {
    let mut world = World::new(2);
    for (offset, value) in
        [(0x070, 0), (0x070, 3), (0x024, 1), (0x020, 1), (0x070, 11), (0x070, 15)]
    {
        world.store(1, offset, value);
    }
    world.send(0, mac(1), 2);
    let dropped = vec![(DropReason::NotReady, 2)];
    assert_eq!((world.returned(0, TRANSMIT), world.dropped(0)), (2, dropped));
}

#[test]
fn a_reset_of_the_receiver_lets_the_sender_go_on() {
    let mut world = World::new(2);
    world.send(0, mac(1), 1);
    world.store(1, 0x070, 0);
    assert_eq!(world.returned(0, TRANSMIT), 1);
    assert_eq!(world.dropped(0), [(DropReason::NotReady, 1)]);
}

#[test]
fn a_turn_that_is_over_leaves_the_rest_for_the_next_one() {
    let mut world = World::new(2);
    world.system.until = Instant::ZERO;
    world.offer(1, RECEIVE, 8);
    assert_eq!(world.system.vms[VmIndex(1)].machine.take_postponed_device(), None);
    for sent in 1..=4 {
        match sent {
            1 => world.send(0, mac(1), 4),
            _ => world.system.serve_nic(VmIndex(0), 0, &mut world.place),
        }
        assert_eq!((world.returned(0, TRANSMIT), world.returned(1, RECEIVE)), (sent, sent));
        let machine = &mut world.system.vms[VmIndex(0)].machine;
        assert_eq!(machine.take_postponed_device(), Some(0));
    }
    world.system.serve_nic(VmIndex(0), 0, &mut world.place);
    assert!(!world.system.vms[VmIndex(0)].machine.has_device_work());
}

#[test]
fn buffers_of_a_receiver_whose_turn_is_over_wake_the_sender() {
    let mut world = World::new(2);
    world.send(0, mac(1), 4);
    let sender = VcpuIndex::only_of(VmIndex(0));
    world.system.sleeps(sender, Instant::FAR_FUTURE, Instant::ZERO);
    world.system.until = Instant::ZERO;
    world.offer(1, RECEIVE, 4);
    assert_eq!(world.returned(0, TRANSMIT), 1);
    assert_eq!(world.system.vms[VmIndex(0)].machine.take_postponed_device(), Some(0));
    assert!(world.system.scheduler.is_runnable(sender), "what is behind its frame goes there");
}
