use super::*;

const A: Mac = [2, 0, 0, 0, 0, 0xa];
const B: Mac = [2, 0, 0, 0, 0, 0xb];
const STRANGER: Mac = [2, 0, 0, 0, 1, 1];
const OTHER: Mac = [2, 0, 0, 0, 1, 2];
const BROADCAST: Mac = [0xff; 6];

fn at(seconds: u64) -> Instant {
    Instant::from_ns(seconds * 1_000_000_000)
}

fn switch() -> Switch {
    Switch::new(vec![A, B, [2, 0, 0, 0, 0, 0xc]])
}

#[test]
fn addresses_of_the_plan_are_known_from_the_start() {
    let mut switch = switch();
    assert_eq!(switch.route(0, A, B, at(0)), Route::To(1));
    assert_eq!(switch.route(1, B, A, at(0)), Route::To(0));
    assert_eq!(switch.route(1, B, B, at(0)), Route::Nowhere);
}

#[test]
fn broadcasts_multicasts_and_unknown_addresses_are_flooded() {
    let mut switch = switch();
    for destination in [BROADCAST, [0x33, 0x33, 0, 0, 0, 1], [1, 0, 0x5e, 0, 0, 1], STRANGER] {
        assert_eq!(switch.route(0, A, destination, at(0)), Route::Flood, "{destination:x?}");
    }
}

#[test]
fn an_address_is_learnt_where_it_sends_and_moves_with_it() {
    let mut switch = switch();
    assert_eq!(switch.route(2, STRANGER, A, at(1)), Route::To(0));
    assert_eq!(switch.route(0, A, STRANGER, at(2)), Route::To(2));
    assert_eq!(switch.route(2, OTHER, STRANGER, at(2)), Route::Nowhere, "both are at port 2");
    switch.route(1, STRANGER, BROADCAST, at(3));
    assert_eq!(switch.route(0, A, STRANGER, at(3)), Route::To(1));
    switch.forget(1);
    assert_eq!(switch.route(0, A, STRANGER, at(3)), Route::Flood);
}

#[test]
fn an_address_that_is_silent_for_300_seconds_is_forgotten() {
    let mut switch = switch();
    switch.route(2, STRANGER, BROADCAST, at(10));
    let just_before = Instant::from_ns(at(310).as_ns() - 1);
    assert_eq!(switch.route(0, A, STRANGER, just_before), Route::To(2));
    assert_eq!(switch.route(0, A, STRANGER, at(310)), Route::Flood);
}

#[test]
fn sending_under_the_address_of_another_interface_draws_nothing() {
    let mut switch = switch();
    switch.route(2, A, BROADCAST, at(0));
    assert_eq!(switch.route(1, B, A, at(0)), Route::To(0));
    switch.route(2, BROADCAST, A, at(0));
    assert_eq!(switch.route(0, A, BROADCAST, at(0)), Route::Flood, "a group sends nothing");
}

#[test]
fn a_flood_of_addresses_is_bounded_and_displaces_the_most_silent() {
    let mut switch = switch();
    switch.route(2, STRANGER, BROADCAST, at(0));
    let address = |n: u32| {
        let [a, b, c, d] = n.to_le_bytes();
        [6, 0, a, b, c, d]
    };
    for n in 0..100_000 {
        switch.route(1, address(n), A, at(1));
    }
    assert_eq!(switch.entries.len(), 1024);
    assert_eq!(switch.route(0, A, STRANGER, at(1)), Route::Flood, "it was silent longest");
    assert_eq!(switch.route(0, A, address(99_999), at(1)), Route::To(1));
    assert_eq!(switch.route(0, A, B, at(1)), Route::To(1), "an interface's own is not in it");
}

#[test]
fn neither_a_multicast_address_nor_one_of_the_plan_is_learnt() {
    let mut switch = switch();
    switch.route(2, A, B, at(1));
    assert_eq!(switch.route(1, B, A, at(1)), Route::To(0), "it stays where the plan has it");
    let group = [3, 0, 0, 0, 0, 9];
    switch.route(2, group, B, at(1));
    assert_eq!(switch.route(1, B, group, at(1)), Route::Flood);
    // Nor do they displace what was learnt.
    switch.route(2, STRANGER, B, at(1));
    for n in 0..=255 {
        switch.route(1, [3, 0, 0, 0, 1, n], A, at(2));
        switch.route(1, [3, 0, 0, 1, 1, n], A, at(2));
    }
    assert_eq!(switch.port_of(STRANGER, at(2)), Some(2));
    assert!(switch.entries.iter().filter(|entry| entry.is_used).count() == 1);
}

#[test]
fn a_clock_that_is_read_late_ages_nothing() {
    let mut switch = switch();
    switch.route(2, STRANGER, A, at(9));
    assert_eq!(switch.route(0, A, STRANGER, at(8)), Route::To(2));
}
