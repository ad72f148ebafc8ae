//! Networks with an uplink: frames to it and from it, at once, held back, dropped by reason; and
//! what is recorded of them.

use super::held_frames::{FRAME, RECEIVE, TRANSMIT, World, mac};
use super::*;
use crate::backing::{Frame, FromUplink, Offloads, ToUplink};
use crate::diagnosis::Dump;
use crate::plan::NetworkPlan;
use crate::system::networks::HELD_NS;
use alloc::collections::VecDeque;
use alloc::string::String;
use devices::virtio::net::DropReason;

/// An interface beyond the uplink.
const OUTSIDE: [u8; 6] = [0x52, 0x54, 0, 0xff, 0, 1];
const EVERYONE: [u8; 6] = [0xff; 6];
/// Feature bits, by their numbers in 5.1.3.
const GUEST_CSUM: u64 = 1 << 1;
const GUEST_TSO4: u64 = 1 << 7;
const GUEST_TSO6: u64 = 1 << 8;

/// A host with an uplink.
struct Outside {
    now_ns: u64,
    /// What has come.
    queue: VecDeque<Vec<u8>>,
    /// What was sent: headers and frames.
    sent: Vec<([u8; 12], Vec<u8>)>,
    /// What becomes of frames that are sent.
    answer: ToUplink,
    is_gone: bool,
    offloads: Vec<Offloads>,
    /// Ports, frames' first bytes, and when.
    captured: Vec<(usize, [u8; 12], u64)>,
}

impl Backing<Ram> for Outside {
    fn receive_from_uplink(&mut self, network: usize) -> FromUplink<'_> {
        assert_eq!(network, 0);
        match self.queue.front() {
            _ if self.is_gone => FromUplink::Gone,
            Some(frame) => FromUplink::Frame(frame),
            None => FromUplink::Nothing,
        }
    }

    fn finish_uplink_frame(&mut self, _network: usize) {
        self.queue.pop_front().expect("there is one");
    }

    fn send_to_uplink(&mut self, _network: usize, frame: &Frame<'_, Ram>) -> ToUplink {
        if self.answer == ToUplink::Done {
            let mut bytes = vec![0; frame.bytes as usize];
            assert!(frame.content.read_at(0, &mut bytes));
            self.sent.push((frame.header_bytes(), bytes));
        }
        self.answer
    }

    fn set_uplink_offloads(&mut self, _network: usize, offloads: Offloads) {
        self.offloads.push(offloads);
    }

    fn capture(
        &mut self,
        _network: usize,
        port: usize,
        frame: Option<&Frame<'_, Ram>>,
        now: Instant,
    ) {
        let mut addresses = [0; 12];
        match frame {
            Some(frame) => assert!(frame.content.read_at(0, &mut addresses)),
            None => addresses.copy_from_slice(&self.queue[0][12..24]),
        }
        self.captured.push((port, addresses, now.as_ns()));
    }
}

impl crate::screen::Viewer for Outside {}

impl Host<Ram> for Outside {
    fn now(&mut self) -> Instant {
        Instant::from_ns(self.now_ns)
    }

    fn console_output(&mut self, _vm: VmIndex, _bytes: &[u8]) {}

    fn console_input(&mut self, _vm: VmIndex) -> Option<u8> {
        None
    }

    fn vm_ended(&mut self, _vcpu: VcpuIndex, _ending: &Ending, _dump: Option<&Dump>) {}

    fn sibling_ended(&mut self, _vcpu: VcpuIndex, _dump: &Dump) {}

    fn vm_sleeps(&mut self, _vm: VmIndex, _why: &str) {}
}

/// A frame as it comes: 60 bytes behind a header.
fn frame(to: [u8; 6]) -> Vec<u8> {
    let mut bytes = vec![0; 12 + 60];
    bytes[12..18].copy_from_slice(&to);
    bytes[18..24].copy_from_slice(&OUTSIDE);
    bytes
}

fn world(vms: usize) -> World<Outside> {
    let network = NetworkPlan {
        name: String::from("out"),
        tap: Some(String::from("tandem0")),
        pcap: Some(String::from("seen.pcap")),
    };
    let place = Outside {
        now_ns: 0,
        queue: VecDeque::new(),
        sent: Vec::new(),
        answer: ToUplink::Done,
        is_gone: false,
        offloads: Vec::new(),
        captured: Vec::new(),
    };
    let mut world = World::at(network, vms, true, place);
    (0..vms).for_each(|vm| world.start(vm, 0));
    world
}

impl World<Outside> {
    fn look_after(&mut self, ns: u64) -> Next {
        self.place.now_ns += ns;
        self.system.next(&mut self.place)
    }

    /// Of frames from outside: how many arrived or were dropped, their bytes, and the drops.
    fn counts_of_outside(&self) -> (u64, u64, Vec<(DropReason, u64)>) {
        let uplink = self.system.networks.all[0].uplink.as_ref().expect("there is one");
        let counts = uplink.counts();
        let dropped = DropReason::ALL.map(|reason| (reason, counts.dropped(reason)));
        let dropped = dropped.into_iter().filter(|(_, count)| *count > 0).collect();
        (counts.sent, counts.sent_bytes, dropped)
    }

    fn is_link_up(&mut self) -> bool {
        self.system.vms[VmIndex(0)].machine.nic_mut(0).expect("an interface").is_link_up()
    }
}

#[test]
fn a_frame_for_outside_leaves_in_the_exit_that_sends_it() {
    let mut world = world(1);
    assert!(world.is_link_up(), "the uplink is its other end");
    assert!(world.rams[0].write(FRAME, &[0xfe, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7, 7]));
    world.send(0, OUTSIDE, 1);
    assert_eq!((world.returned(0, TRANSMIT), world.dropped(0)), (1, vec![]));
    let [(header, bytes)] = &world.place.sent[..] else { panic!("one frame") };
    assert_eq!((*header, bytes.len()), ([0; 12], 60), "flags and counts are no driver's");
    assert_eq!(bytes[..12], [OUTSIDE, mac(0)].concat());
    let uplink = world.system.networks.all[0].uplink.as_ref().expect("there is one").counts();
    assert_eq!((uplink.received, uplink.received_bytes), (1, 60));
}

#[test]
fn a_frame_from_outside_arrives_between_turns_and_its_sender_is_learnt() {
    let mut world = world(2);
    world.offer(0, RECEIVE, 1);
    world.offer(1, RECEIVE, 4);
    world.place.queue.push_back(frame(mac(1)));
    world.look_after(0);
    assert_eq!((world.returned(0, RECEIVE), world.returned(1, RECEIVE)), (0, 1));
    let ram = world.rams[1].0.borrow();
    assert_eq!(ram[FRAME as usize + 0x80c..][..12], [mac(1), OUTSIDE].concat());
    drop(ram);
    assert_eq!(world.counts_of_outside(), (1, 60, vec![]));
    world.send(0, OUTSIDE, 1);
    assert_eq!((world.place.sent.len(), world.returned(1, RECEIVE)), (1, 1), "not flooded");
}

#[test]
fn a_frame_from_outside_arrives_with_its_receivers_buffers_or_its_sent_frame() {
    let mut world = world(1);
    for (count, queue) in [(1, RECEIVE), (2, RECEIVE)] {
        world.place.queue.push_back(frame(mac(0)));
        world.offer(0, queue, 1);
        assert_eq!(world.returned(0, RECEIVE), count);
    }
    world.offer(0, RECEIVE, 1);
    world.place.queue.push_back(frame(mac(0)));
    world.send(0, OUTSIDE, 1);
    assert_eq!(world.returned(0, RECEIVE), 3, "an answer waits for no turn");
}

#[test]
fn a_vm_without_buffers_is_waited_for_once_and_the_frames_stay_with_the_host() {
    let mut world = world(2);
    world.offer(1, RECEIVE, 4);
    world.place.queue.extend([frame(mac(0)), frame(mac(0)), frame(mac(1)), frame(EVERYONE)]);
    world.look_after(0);
    world.look_after(HELD_NS - 1);
    assert_eq!((world.place.queue.len(), world.returned(1, RECEIVE)), (4, 0));
    world.look_after(1);
    assert_eq!((world.place.queue.len(), world.returned(1, RECEIVE)), (0, 2));
    assert_eq!(world.counts_of_outside(), (4, 240, vec![(DropReason::NoBuffers, 3)]));
    world.place.queue.push_back(frame(mac(0)));
    world.offer(0, RECEIVE, 1);
    assert_eq!(world.returned(0, RECEIVE), 1, "it has buffers again");
}

#[test]
fn a_core_that_idles_looks_when_a_frame_from_outside_has_waited_too_long() {
    let mut world = world(1);
    world.place.queue.push_back(frame(mac(0)));
    world.place.now_ns = 7;
    world.system.sleeps(VcpuIndex::only_of(VmIndex(0)), Instant::FAR_FUTURE, Instant::ZERO);
    assert_eq!(world.look_after(0), Next::Idle { until: Instant::from_ns(7 + HELD_NS) });
    world.offer(0, RECEIVE, 1);
    world.system.sleeps(VcpuIndex::only_of(VmIndex(0)), Instant::FAR_FUTURE, Instant::ZERO);
    assert_eq!(world.look_after(0), Next::Idle { until: Instant::FAR_FUTURE });
}

#[test]
fn an_uplink_that_is_full_holds_the_sender_for_2_s() {
    let mut world = world(1);
    world.place.answer = ToUplink::Full;
    world.send(0, OUTSIDE, 2);
    world.look_after(HELD_NS / 2);
    assert_eq!((world.returned(0, TRANSMIT), world.dropped(0)), (0, vec![]));
    world.place.answer = ToUplink::Done;
    world.look_after(0);
    assert_eq!((world.returned(0, TRANSMIT), world.place.sent.len()), (1, 1));
    world.place.answer = ToUplink::Full;
    world.system.serve_nic(VmIndex(0), 0, &mut world.place);
    world.look_after(HELD_NS);
    assert_eq!(
        (world.returned(0, TRANSMIT), world.dropped(0)),
        (2, vec![(DropReason::NoBuffers, 1)])
    );
}

#[test]
fn what_the_tap_refuses_is_counted_and_the_others_get_it() {
    let mut world = world(2);
    world.offer(1, RECEIVE, 1);
    world.place.answer = ToUplink::Refused;
    world.send(0, EVERYONE, 1);
    assert_eq!((world.returned(0, TRANSMIT), world.returned(1, RECEIVE)), (1, 1));
    assert_eq!(world.dropped(0), [(DropReason::TapRefused, 1)]);
    assert!(world.is_link_up());
}

#[test]
fn an_uplink_that_is_gone_takes_the_link_of_the_only_vm_down_and_frames_are_counted() {
    let mut world = world(1);
    world.offer(0, RECEIVE, 2);
    world.place.queue.push_back(frame(mac(0)));
    world.look_after(0);
    world.place.answer = ToUplink::Gone;
    world.send(0, OUTSIDE, 1);
    assert!(!world.is_link_up());
    world.send(0, OUTSIDE, 2);
    world.send(0, EVERYONE, 1);
    assert_eq!((world.returned(0, TRANSMIT), world.place.sent.len()), (4, 0));
    assert_eq!(world.dropped(0), [(DropReason::TapGone, 3)]);
}

#[test]
fn an_uplink_that_goes_while_nothing_is_sent_is_noticed_between_turns() {
    let mut one = world(1);
    one.place.is_gone = true;
    one.look_after(0);
    assert!(!one.is_link_up());
    let mut two = world(2);
    two.place.is_gone = true;
    two.look_after(0);
    assert!(two.is_link_up(), "the other VM is there");
}

#[test]
fn the_host_leaves_undone_what_all_drivers_that_run_take() {
    let mut world = world(2);
    assert_eq!(world.place.offloads, []);
    world.start(0, GUEST_CSUM | GUEST_TSO4 | GUEST_TSO6);
    world.store(1, 0x070, 0);
    let all = Offloads { has_checksum: true, has_tso4: true, has_tso6: true };
    assert_eq!(world.place.offloads, [all], "the other one does not run");
    world.start(1, GUEST_CSUM | GUEST_TSO4);
    assert_eq!(world.place.offloads[1..], [Offloads { has_tso6: false, ..all }]);
    world.store(1, 0x070, 0);
    world.start(1, GUEST_TSO4);
    let none = Offloads::default();
    assert_eq!(world.place.offloads[2..], [all, none], "segments need checksums");
    world.end(1);
    assert_eq!(world.place.offloads[4..], [all]);
}

#[test]
fn a_flood_from_outside_takes_16_frames_between_turns() {
    let mut world = world(1);
    world.store(0, 0x070, 0);
    world.place.queue.extend((0..40).map(|_| frame([0x52, 0x54, 0, 0, 0, 9])));
    for left in [24, 8, 0] {
        world.look_after(0);
        assert_eq!(world.place.queue.len(), left);
    }
    assert_eq!(world.counts_of_outside(), (40, 40 * 60, vec![(DropReason::NotReady, 40)]));
}

#[test]
fn a_flood_for_another_vm_takes_16_frames_of_an_exit_and_none_when_the_turn_is_over() {
    let mut world = world(2);
    world.store(1, 0x070, 0);
    world.place.queue.extend((0..40).map(|_| frame(mac(1))));
    for left in [24, 8, 0] {
        world.offer(0, RECEIVE, 1);
        assert_eq!(world.place.queue.len(), left);
    }
    world.place.queue.push_back(frame(mac(1)));
    world.system.until = Instant::ZERO;
    world.send(0, OUTSIDE, 1);
    assert_eq!((world.place.queue.len(), world.place.sent.len()), (1, 1));
}

#[test]
fn what_is_no_frame_or_asks_for_what_is_unknown_is_dropped() {
    let mut world = world(1);
    world.offer(0, RECEIVE, 4);
    let mut of_udp = frame(mac(0));
    of_udp[1] = 3;
    let mut beyond = frame(mac(0));
    (beyond[0], beyond[6]) = (1, 60);
    let bad = [vec![], vec![0; 11], vec![0; 25], of_udp, beyond];
    let count = bad.len() as u64;
    world.place.queue.extend(bad);
    for _ in 0..count {
        world.look_after(0);
    }
    assert_eq!((world.place.queue.len(), world.returned(0, RECEIVE)), (0, 0));
    assert_eq!(world.counts_of_outside(), (0, 0, vec![(DropReason::Malformed, count)]));
}

#[test]
fn each_frame_is_captured_once_as_it_enters() {
    let mut world = world(2);
    world.place.now_ns = 5;
    world.send(0, mac(1), 1);
    world.place.queue.push_back(frame(EVERYONE));
    world.look_after(1);
    world.look_after(1);
    world.offer(1, RECEIVE, 2);
    world.offer(0, RECEIVE, 1);
    assert_eq!((world.returned(0, TRANSMIT), world.place.queue.len()), (1, 0));
    let addresses = |to: [u8; 6], from: [u8; 6]| [to, from].concat().try_into().expect("12 bytes");
    let expected = [(0, addresses(mac(1), mac(0)), 5), (2, addresses(EVERYONE, OUTSIDE), 6)];
    assert_eq!(world.place.captured, expected);
}
