//! Ends whose ports are switched between console and link, or are not on the link at all.

use super::{Bench, DATA, FCR, IER, LOSSLESS, LSR, THRE};
use crate::link::{Link, LossReason, Port, PortMode};

const MESSAGE: &[u8] = b"COM1 writes OK!!!!\n";

/// Two machines with one switched port each, past the first steps of their kernels.
fn switched() -> Bench<2> {
    let mut bench = Bench::awake(LOSSLESS);
    bench.ports = [const { Port::new(PortMode::Switched) }; 2];
    for end in 0..2 {
        bench.write(end, IER, 0);
        bench.program(end, 1);
        bench.wake(end);
        bench.write(end, IER, 0);
    }
    bench
}

/// Writes `bytes` as a polled kernel does; returns how many went before THRE stayed down.
fn put(bench: &mut Bench<2>, end: usize, bytes: &[u8]) -> usize {
    for (index, &byte) in bytes.iter().enumerate() {
        if bench.read(end, LSR) & THRE == 0 {
            return index;
        }
        bench.write(end, DATA, byte);
    }
    bytes.len()
}

#[test]
fn message_written_by_put_char_is_read_by_get_char() {
    let mut bench = switched();
    bench.write(0, IER, 1);
    bench.write(1, IER, 1);
    let first = put(&mut bench, 0, MESSAGE);
    bench.expect(1, &MESSAGE[..first]);
    assert_eq!(put(&mut bench, 0, &MESSAGE[first..]), MESSAGE.len() - first);
    bench.write(0, IER, 0);
    bench.expect(1, &MESSAGE[first..]);
    bench.write(1, IER, 0);
    assert_eq!((bench.ports[0].console_take(), bench.ports[1].console_take()), (None, None));
}

#[test]
fn reader_that_links_late_still_gets_the_message() {
    let mut bench = switched();
    bench.write(0, IER, 1);
    assert_eq!(put(&mut bench, 0, &MESSAGE[..16]), 16);
    bench.write(0, IER, 0);
    bench.expect(1, b"");
    bench.write(1, IER, 1);
    bench.expect(1, &MESSAGE[..16]);
}

#[test]
fn console_output_of_a_switched_end_stays_off_the_link() {
    let mut bench = switched();
    bench.send(0, b"boot log");
    bench.write(1, IER, 1);
    bench.expect(1, b"");
    let printed: [Option<u8>; 8] = core::array::from_fn(|_| bench.ports[0].console_take());
    assert_eq!(printed, b"boot log".map(Some));
    bench.expect_counts(0, 0, 0, &[]);
}

#[test]
fn message_of_a_machine_that_ended_waits_for_the_reader() {
    let mut bench = switched();
    bench.write(0, IER, 1);
    assert_eq!(put(&mut bench, 0, &MESSAGE[..17]), 17);
    bench.write(0, IER, 0);
    bench.stop(0);
    bench.write(1, IER, 1);
    bench.expect(1, &MESSAGE[..17]);
}

#[test]
fn switched_end_and_link_end_talk() {
    let mut bench = switched();
    bench.ports[1] = Port::new(PortMode::Link);
    bench.wake(1);
    bench.write(0, IER, 1);
    bench.send(0, b"up");
    bench.expect(1, b"up");
    bench.send(1, b"down");
    bench.expect(0, b"down");
}

#[test]
fn ports_without_a_link_line_are_no_peers() {
    let mut bench = Bench::<3>::awake(LOSSLESS);
    bench.ports[1] = Port::new(PortMode::Console);
    bench.ports[2] = Port::new(PortMode::Unconnected);
    bench.write(1, FCR, 1);
    bench.send(0, b"?");
    bench.expect_counts(0, 1, 0, &[(LossReason::PeerStopped, 1)]);
    bench.send(1, b"c");
    assert_eq!(bench.ports[1].console_take(), Some(b'c'));
}

#[test]
fn largest_link_carries_to_everybody() {
    let mut bench = Bench::<{ crate::link::MAX_ENDS }>::awake(LOSSLESS);
    bench.send(63, b"z");
    for end in 0..63 {
        bench.expect(end, b"z");
    }
}

#[test]
#[should_panic(expected = "a link has 2 to 64 ends, not 1")]
fn link_with_one_end_is_our_own_bug() {
    let _ = Link::new(LOSSLESS, 1);
}
