//! Which ends receive: rates, and machines that start at different times.

use super::{Bench, DATA, DEPTH, FCR, IER, LCR, LOSSLESS, LOSSY, LSR, MCR, THRE};
use crate::link::LinkEnd;
use crate::link::{LinkSettings, LossReason};

const SLOW: u8 = 12;
const FAST: u8 = 1;

#[test]
fn ends_at_different_rates_exchange_nothing_and_the_loss_says_why() {
    let mut bench = Bench::<2>::awake(LOSSLESS);
    bench.program(0, FAST);
    bench.program(1, SLOW);
    bench.send(0, b"lost");
    bench.expect(1, b"");
    bench.expect_counts(0, 4, 0, &[(LossReason::BaudMismatch, 4)]);
    assert_eq!(bench.read(0, LSR) & THRE, THRE);
}

#[test]
fn byte_reaches_exactly_the_ends_at_the_senders_rate() {
    let mut bench = Bench::<4>::awake(LOSSLESS);
    for (end, divisor) in [(0, SLOW), (1, FAST), (2, SLOW), (3, FAST)] {
        bench.program(end, divisor);
    }
    bench.send(0, b"slow");
    bench.send(1, b"fast");
    bench.expect(2, b"slow");
    bench.expect(3, b"fast");
    bench.expect(0, b"");
    bench.expect(1, b"");
}

#[test]
fn rates_that_round_to_the_same_number_are_still_different() {
    const DIVISORS: [u16; 2] = [40_000, 57_000];
    let mut bench = Bench::<2>::awake(LOSSLESS);
    for (end, divisor) in DIVISORS.into_iter().enumerate() {
        let [low, high] = divisor.to_le_bytes();
        for (offset, value) in [(LCR, 0x80), (DATA, low), (IER, high), (LCR, 0x03)] {
            bench.write(end, offset, value);
        }
    }
    assert_eq!(bench.ports[0].uart().baud(), bench.ports[1].uart().baud());
    bench.send(0, b"x");
    bench.expect_counts(0, 1, 0, &[(LossReason::BaudMismatch, 1)]);
}

#[test]
fn fixed_rate_overrides_what_the_guests_program() {
    let settings = LinkSettings { baud: Some(9600), ..LOSSLESS };
    let mut bench = Bench::<2>::awake(settings);
    bench.program(0, FAST);
    bench.program(1, SLOW);
    bench.send(0, b"through");
    bench.expect(1, b"through");
    assert_eq!(bench.link.settings().baud, Some(9600));
}

#[test]
fn bytes_sent_before_the_peer_has_started_are_held_through_its_start() {
    let mut bench = Bench::<2>::asleep(LOSSLESS);
    bench.wake(0);
    bench.program(0, FAST);
    bench.send(0, b"early");
    assert_eq!(bench.read(0, LSR) & THRE, 0);
    // The first steps of a polled kernel, FIFO flush included.
    for (offset, value) in [(IER, 0), (LCR, 0x80), (DATA, FAST), (IER, 0), (LCR, 3), (FCR, 0xc7)] {
        bench.write(1, offset, value);
        assert_eq!(bench.link.statistics(LinkEnd(0)).delivered, 0);
    }
    bench.write(1, MCR, 0x0b);
    bench.expect(1, b"early");
}

#[test]
fn bytes_at_a_rate_the_peer_has_yet_to_program_are_held() {
    let mut bench = Bench::<2>::awake(LOSSLESS);
    bench.program(0, SLOW);
    bench.send(0, b"wait");
    bench.expect(1, b"");
    bench.program(1, SLOW);
    bench.expect(1, b"wait");
    bench.expect_counts(0, 4, 4, &[]);
}

#[test]
fn half_written_divisor_loses_nothing() {
    let mut bench = Bench::<2>::awake(LOSSLESS);
    bench.program(0, SLOW);
    bench.program(1, SLOW);
    bench.write(1, LCR, 0x80);
    bench.write(1, DATA, 0);
    bench.send(0, b"mid");
    bench.write(1, DATA, SLOW);
    bench.write(1, LCR, 0x03);
    bench.expect(1, b"mid");
}

#[test]
fn sender_that_passes_through_another_rate_loses_nothing_it_holds() {
    let mut bench = Bench::<2>::awake(LOSSLESS);
    bench.program(0, SLOW);
    bench.program(1, SLOW);
    bench.send(0, &[6; DEPTH + 2]);
    for (offset, value) in [(LCR, 0x80), (DATA, FAST)] {
        bench.write(0, offset, value);
    }
    bench.expect(1, &[6; DEPTH]);
    bench.write(0, DATA, SLOW);
    bench.write(0, LCR, 0x03);
    bench.expect(1, &[6; 2]);
}

#[test]
fn bytes_held_by_a_rate_that_turns_out_different_are_counted_lost() {
    let mut bench = Bench::<2>::awake(LOSSLESS);
    bench.program(0, SLOW);
    bench.send(0, b"ab");
    bench.program(1, FAST);
    bench.expect(1, b"");
    bench.expect_counts(0, 2, 0, &[(LossReason::BaudMismatch, 2)]);
}

#[test]
fn lossy_link_does_not_wait_for_a_peer_to_start_or_to_program_its_rate() {
    let mut bench = Bench::<2>::asleep(LOSSY);
    bench.write(1, FCR, 0x01);
    bench.send(0, b"raw");
    bench.program(0, SLOW);
    bench.send(0, b"slow");
    bench.expect(1, b"raw");
    bench.expect_counts(0, 7, 3, &[(LossReason::BaudMismatch, 4)]);
}

#[test]
fn peer_in_loopback_holds_bytes_until_it_returns() {
    let mut bench = Bench::<2>::awake(LOSSLESS);
    bench.write(1, MCR, 0x1b);
    bench.send(0, b"outside");
    bench.send(1, b"inside");
    bench.expect(1, b"inside");
    bench.write(1, MCR, 0x0b);
    bench.expect(1, b"outside");
    bench.expect(0, b"");
}

#[test]
fn peer_without_fifos_takes_one_byte_at_a_time_and_loses_none() {
    let mut bench = Bench::<2>::awake(LOSSLESS);
    bench.write(1, FCR, 0);
    bench.send(0, &[5; DEPTH + 1]);
    bench.expect_counts(0, DEPTH as u64 + 1, 1, &[]);
    bench.expect(1, &[5; DEPTH + 1]);
}

#[test]
fn sender_that_ends_with_its_divisor_latch_open_still_delivers() {
    let mut bench = Bench::<2>::awake(LOSSLESS);
    bench.send(0, &[4; DEPTH + 3]);
    bench.write(0, LCR, 0x80);
    bench.stop(0);
    bench.expect(1, &[4; DEPTH + 3]);
}
