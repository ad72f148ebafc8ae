//! The null modem, seen from the guests at its ends and from the receipts.

use super::{EndSet, Link, LinkSettings, LossReason, Port, PortMode, TapRecord};
use crate::link::LinkEnd;
use crate::time::Instant;

mod modes;
mod rates;
mod restarts;

const DATA: u8 = 0;
const IER: u8 = 1;
const IIR: u8 = 2;
const FCR: u8 = 2;
const LCR: u8 = 3;
const MCR: u8 = 4;
const LSR: u8 = 5;
const MSR: u8 = 6;

const THRE: u8 = 0x20;
const DEPTH: usize = 16;
const LOSSLESS: LinkSettings = LinkSettings { baud: None, is_lossy: false };
const LOSSY: LinkSettings = LinkSettings { baud: None, is_lossy: true };

/// A link with its ports, pumped after every guest access as a machine would.
struct Bench<const N: usize> {
    link: Link,
    ports: [Port; N],
    touched: EndSet,
}

impl<const N: usize> Bench<N> {
    /// Ports in link mode whose guests have not touched them.
    fn asleep(settings: LinkSettings) -> Self {
        let ports = [const { Port::new(PortMode::Link) }; N];
        Self { link: Link::new(settings, N), ports, touched: EndSet::EMPTY }
    }

    /// Ports in link mode with FIFOs on and DTR and RTS up.
    fn awake(settings: LinkSettings) -> Self {
        let mut bench = Self::asleep(settings);
        for end in 0..N {
            bench.wake(end);
        }
        bench
    }

    fn wake(&mut self, end: usize) {
        self.write(end, FCR, 0x07);
        self.write(end, MCR, 0x0b);
    }

    fn write(&mut self, end: usize, offset: u8, value: u8) {
        self.ports[end].write(offset, value);
        self.pump();
    }

    fn send(&mut self, end: usize, bytes: &[u8]) {
        for &byte in bytes {
            self.write(end, DATA, byte);
        }
    }

    fn read(&mut self, end: usize, offset: u8) -> u8 {
        let value = self.ports[end].read(offset);
        self.pump();
        value
    }

    fn program(&mut self, end: usize, divisor: u8) {
        for (offset, value) in [(LCR, 0x80), (DATA, divisor), (IER, 0), (LCR, 0x03)] {
            self.write(end, offset, value);
        }
    }

    fn pump(&mut self) {
        self.touched = self.link.pump(self.ports.as_mut_slice(), Instant::from_ns(5));
    }

    fn stop(&mut self, end: usize) {
        self.link.stop(LinkEnd(end));
        self.pump();
    }

    /// Reads what `end` has received and checks that it is `expected` and no more.
    #[track_caller]
    fn expect(&mut self, end: usize, expected: &[u8]) {
        for (index, &byte) in expected.iter().enumerate() {
            assert_eq!(self.read(end, LSR) & 1, 1, "byte {index} of {} is missing", expected.len());
            assert_eq!(self.read(end, DATA), byte, "byte {index}");
        }
        assert_eq!(self.read(end, LSR) & 1, 0, "more came than was expected");
    }

    #[track_caller]
    fn expect_counts(&self, end: usize, sent: u64, delivered: u64, lost: &[(LossReason, u64)]) {
        let statistics = self.link.statistics(LinkEnd(end));
        assert_eq!((statistics.sent, statistics.delivered), (sent, delivered));
        for reason in LossReason::ALL {
            let count = lost.iter().find(|entry| entry.0 == reason).map_or(0, |entry| entry.1);
            assert_eq!(statistics.lost(reason), count, "{}", reason.as_str());
        }
    }
}

fn ends(of: &[usize]) -> EndSet {
    let mut set = EndSet::EMPTY;
    of.iter().for_each(|&end| set.insert(LinkEnd(end)));
    set
}

#[test]
fn byte_sent_at_one_end_interrupts_the_peer() {
    let mut bench = Bench::<2>::awake(LOSSLESS);
    bench.write(1, IER, 0x01);
    bench.send(0, b"!");
    assert_eq!(bench.touched, ends(&[0, 1]));
    assert!(bench.ports[1].pin() && !bench.ports[0].pin());
    bench.expect(1, b"!");
    bench.expect(0, b"");
    bench.expect_counts(0, 1, 1, &[]);
}

#[test]
fn byte_goes_to_every_other_end_once() {
    let mut bench = Bench::<4>::awake(LOSSLESS);
    bench.send(2, b"all");
    for end in [0, 1, 3] {
        bench.expect(end, b"all");
        assert_eq!(bench.link.statistics(LinkEnd(end)).received, 3);
    }
    bench.expect(2, b"");
    bench.expect_counts(2, 3, 3, &[]);
}

#[test]
fn full_peer_lowers_thre_and_a_draining_peer_raises_it_with_its_interrupt() {
    let mut bench = Bench::<2>::awake(LOSSLESS);
    bench.write(0, IER, 0x02);
    bench.send(0, &[9; DEPTH]);
    assert_eq!(bench.read(0, LSR) & THRE, THRE);
    bench.send(0, &[9]);
    assert_eq!((bench.read(0, LSR) & THRE, bench.ports[0].pin()), (0, false));
    bench.read(1, DATA);
    assert_eq!(bench.touched, ends(&[0, 1]));
    assert_eq!((bench.ports[0].pin(), bench.read(0, IIR)), (true, 0xc2));
    assert_eq!(bench.read(0, LSR) & THRE, THRE);
}

#[test]
fn nothing_new_touches_nobody() {
    let mut bench = Bench::<3>::awake(LOSSLESS);
    bench.pump();
    assert_eq!(bench.touched, EndSet::EMPTY);
    bench.send(0, &[1; DEPTH + 1]);
    bench.pump();
    assert_eq!(bench.touched, EndSet::EMPTY);
}

#[test]
fn two_full_senders_to_one_receiver_take_turns() {
    let mut bench = Bench::<3>::awake(LOSSLESS);
    bench.send(0, &[0; DEPTH]);
    for _ in 0..DEPTH {
        bench.read(1, DATA);
    }
    bench.send(0, &[0; DEPTH]);
    bench.send(1, &[1; DEPTH]);
    let mut from_1 = 0;
    for _ in 0..2 * DEPTH {
        from_1 += u32::from(bench.read(2, DATA));
        bench.read(0, DATA);
        bench.read(1, DATA);
    }
    assert!(from_1 > 0, "end 1 starves");
    for _ in 0..2 * DEPTH {
        bench.read(2, DATA);
        bench.read(0, DATA);
        bench.read(1, DATA);
    }
    bench.expect_counts(0, 2 * DEPTH as u64, 2 * DEPTH as u64, &[]);
    bench.expect_counts(1, DEPTH as u64, DEPTH as u64, &[]);
}

#[test]
fn writes_to_a_full_transmitter_are_lost_and_counted() {
    let mut bench = Bench::<2>::awake(LOSSLESS);
    bench.send(0, &[3; 2 * DEPTH + 4]);
    bench.expect_counts(0, 36, 16, &[(LossReason::TransmitOverrun, 4)]);
    assert_eq!(bench.ports[0].link_line().map(|line| line.in_flight()), Some(16));
}

#[test]
fn sender_that_flushes_held_bytes_counts_them_lost() {
    let mut bench = Bench::<2>::awake(LOSSLESS);
    bench.send(0, &[3; DEPTH + 5]);
    bench.write(0, FCR, 0x05);
    bench.expect_counts(0, 21, 16, &[(LossReason::Flushed, 5)]);
}

#[test]
fn lossy_link_never_holds_back_and_marks_the_loss_at_the_receiver() {
    let mut bench = Bench::<2>::awake(LOSSY);
    for byte in 0..20 {
        assert_eq!(bench.read(0, LSR) & THRE, THRE);
        bench.send(0, &[byte]);
    }
    assert_eq!((bench.read(1, LSR), bench.read(1, LSR)), (0x63, 0x61));
    bench.expect(1, &core::array::from_fn::<u8, DEPTH, _>(|index| index as u8));
    bench.expect_counts(0, 20, 16, &[(LossReason::ReceiverOverrun, 4)]);
    assert_eq!(bench.link.statistics(LinkEnd(1)).missed, 4);
}

#[test]
fn lossy_broadcast_counts_as_delivered_if_one_peer_took_it() {
    let mut bench = Bench::<3>::awake(LOSSY);
    bench.send(0, &[1; DEPTH]);
    bench.expect(1, &[1; DEPTH]);
    bench.send(0, &[2]);
    bench.expect(1, &[2]);
    bench.expect_counts(0, 17, 17, &[]);
    assert_eq!(
        (bench.link.statistics(LinkEnd(1)).missed, bench.link.statistics(LinkEnd(2)).missed),
        (0, 1)
    );
}

#[test]
fn stopped_peer_loses_bytes_with_a_reason_and_the_sender_goes_on() {
    let mut bench = Bench::<2>::awake(LOSSLESS);
    bench.send(0, &[1; DEPTH + 3]);
    assert_eq!(bench.read(0, LSR) & THRE, 0);
    bench.stop(1);
    assert!(!bench.link.is_live(LinkEnd(1)) && bench.touched.contains(LinkEnd(0)));
    assert_eq!(bench.read(0, LSR) & THRE, THRE);
    bench.expect_counts(0, 19, 16, &[(LossReason::PeerStopped, 3)]);
}

#[test]
fn what_a_stopped_end_had_written_still_arrives() {
    let mut bench = Bench::<2>::awake(LOSSLESS);
    let message: [u8; 24] = core::array::from_fn(|index| index as u8);
    bench.send(0, &message);
    bench.stop(0);
    bench.expect(1, &message);
    bench.expect_counts(0, 24, 24, &[]);
}

#[test]
fn one_stopped_peer_does_not_hold_the_others_up() {
    let mut bench = Bench::<3>::awake(LOSSLESS);
    bench.send(0, &[1; DEPTH]);
    bench.expect(1, &[1; DEPTH]);
    bench.send(0, b"next");
    bench.expect(1, b"");
    bench.stop(2);
    bench.expect(1, b"next");
}

#[test]
fn modem_lines_cross_and_drop_when_the_peer_stops() {
    let mut bench = Bench::<2>::asleep(LOSSLESS);
    bench.write(0, IER, 0x08);
    assert_eq!(bench.read(0, MSR), 0x00);
    bench.write(1, MCR, 0x02);
    assert_eq!((bench.touched, bench.ports[0].pin()), (ends(&[0]), true));
    assert_eq!(bench.read(0, MSR), 0x11);
    bench.write(1, MCR, 0x01);
    assert_eq!(bench.read(0, MSR), 0xab);
    bench.stop(1);
    assert_eq!((bench.touched, bench.read(0, MSR)), (ends(&[0]), 0x0a));
}

#[test]
fn modem_inputs_are_the_or_over_the_live_peers() {
    let mut bench = Bench::<3>::asleep(LOSSLESS);
    bench.write(1, MCR, 0x01);
    bench.write(2, MCR, 0x02);
    let levels = |bench: &mut Bench<3>, end| bench.read(end, MSR) & 0xf0;
    assert_eq!([0, 1, 2].map(|end| levels(&mut bench, end)), [0xb0, 0x10, 0xa0]);
    bench.stop(2);
    assert_eq!(levels(&mut bench, 0), 0xa0);
}

#[test]
fn tap_copies_what_passed_and_counts_what_it_had_no_room_for() {
    let mut bench = Bench::<2>::awake(LOSSLESS);
    bench.link = bench.link.with_tap(3);
    bench.send(0, b"ab");
    bench.send(1, b"cd");
    let tap = bench.link.tap().expect("the link has a tap");
    let at = Instant::from_ns(5);
    for (from_end, byte) in [(0, b'a'), (0, b'b'), (1, b'c')] {
        assert_eq!(tap.take(), Some(TapRecord { at, from_end: LinkEnd(from_end), byte }));
    }
    assert_eq!((tap.take(), tap.overflowed()), (None, 1));
    bench.send(1, b"e");
    assert_eq!(bench.link.tap().and_then(|tap| tap.take()).map(|record| record.byte), Some(b'e'));
}

#[test]
fn tap_without_room_only_counts() {
    let mut bench = Bench::<2>::awake(LOSSLESS);
    bench.link = bench.link.with_tap(0);
    bench.send(0, b"abc");
    assert_eq!(bench.link.tap().map(|tap| (tap.take(), tap.overflowed())), Some((None, 3)));
}

#[test]
fn a_break_is_a_marked_zero_behind_what_was_sent_before() {
    const SET_BREAK: u8 = 0x40;
    let mut bench = Bench::<2>::awake(LOSSLESS);
    bench.write(1, IER, 0x04);
    bench.send(0, b"ab");
    bench.write(0, LCR, 0x03 | SET_BREAK);
    bench.write(0, LCR, 0x03);
    bench.send(0, b"c");
    let mut heard = [(false, 0); 4];
    for heard in &mut heard {
        let has_interrupt = bench.ports[1].pin();
        let status = bench.ports[1].read(LSR);
        assert_eq!(status & 1, 1, "a byte is there");
        assert_eq!(has_interrupt, status & 0x10 != 0, "the line status interrupt reports it");
        assert_eq!(bench.ports[1].read(LSR) & 0x10, 0, "the read has cleared it");
        *heard = (status & 0x10 != 0, bench.ports[1].read(DATA));
    }
    assert_eq!(bench.ports[1].read(LSR) & 1, 0, "and no more");
    assert_eq!(heard, [(false, b'a'), (false, b'b'), (true, 0), (false, b'c')]);
}

#[test]
fn a_break_waits_for_room_where_nothing_may_be_lost() {
    let mut bench = Bench::<2>::awake(LOSSLESS);
    bench.send(0, &[1; DEPTH]);
    bench.write(0, LCR, 0x43);
    assert_eq!(bench.ports[1].read(LSR) & 0x82, 0, "neither BREAK nor overrun");
    bench.ports[1].read(DATA);
    bench.pump();
    assert_eq!(bench.ports[1].read(LSR) & 0x82, 0x80);
}
