//! A machine that begins anew at its end of a link.

use super::*;

/// DSR and DCD, and their changes, in the modem status.
const READY: u8 = 0xa0;
const READY_CHANGED: u8 = 0x0a;

/// Machine `end` begins anew: first its port goes, then a new one comes.
fn restart(bench: &mut Bench<2>, end: usize) {
    bench.link.stop(LinkEnd(end));
    bench.pump();
    bench.ports[end] = Port::new(PortMode::Link);
    bench.link.start_again(LinkEnd(end));
    bench.pump();
}

#[test]
fn a_peer_sees_the_lines_fall_and_rise() {
    let mut bench = Bench::<2>::awake(LOSSLESS);
    assert_eq!(bench.read(1, MSR) & READY, READY);
    restart(&mut bench, 0);
    assert_eq!(bench.read(1, MSR) & (READY | READY_CHANGED), READY_CHANGED, "they have fallen");
    bench.wake(0);
    assert_eq!(bench.read(1, MSR) & (READY | READY_CHANGED), READY | READY_CHANGED);
}

#[test]
fn what_a_survivor_has_stays_and_the_new_machine_gets_nothing_of_the_old_ones() {
    let mut bench = Bench::<2>::awake(LOSSLESS);
    bench.send(0, b"to the survivor");
    bench.send(1, b"to the old one");
    restart(&mut bench, 0);
    bench.wake(0);
    bench.expect(0, b"");
    bench.expect(1, b"to the survivor");
    bench.send(1, b"new");
    bench.expect(0, b"new");
    bench.expect_counts(0, 15, 15, &[]);
    bench.expect_counts(1, 17, 17, &[]);
}

#[test]
fn bytes_that_were_held_at_either_end_are_counted_as_lost_with_the_reason() {
    let mut bench = Bench::<2>::awake(LOSSLESS);
    // A full receiver, and as much behind it in the transmitter.
    bench.send(0, &[1; 2 * DEPTH]);
    bench.send(1, &[2; 2 * DEPTH]);
    restart(&mut bench, 0);
    bench.wake(0);
    // They went with the old port.
    bench.expect_counts(0, 32, 16, &[(LossReason::Flushed, 16)]);
    bench.expect_counts(1, 32, 16, &[(LossReason::PeerStopped, 16)]);
    // The account goes on in the next life.
    bench.ports[1].write(FCR, 0x03);
    bench.pump();
    bench.send(0, b"again");
    bench.expect_counts(0, 37, 21, &[(LossReason::Flushed, 16)]);
}
