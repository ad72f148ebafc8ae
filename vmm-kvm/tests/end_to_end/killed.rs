//! Runs that are killed at random moments while their guest writes and flushes: what was
//! acknowledged is there when the next run looks.
//!
//! `TANDEM_KILLS` is how often, in each mode, and `TANDEM_SEED` replays a run's moments.

use crate::disks::{BLOCKS, durable, empty_image};
use crate::harness::{Finished, Scratch, Signal};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const KILLS: u64 = 10;
/// The longest time that a run is left alone after its first flush.
const LONGEST_US: u64 = 60_000;

#[test]
fn what_an_image_was_flushed_survives_every_kill() {
    survives("keep");
}

#[test]
fn what_an_overlay_was_flushed_survives_every_kill() {
    survives("to");
}

/// Each run begins with what the disk holds, and goes on counting from there.
fn survives(mode: &str) {
    let (kills, mut random) = (number("TANDEM_KILLS").unwrap_or(KILLS), seed());
    println!("{mode}: TANDEM_KILLS={kills} TANDEM_SEED={random}");
    let scratch = Scratch::new();
    let image = empty_image(&scratch);
    let overlay = format!("{{to: {}}}", scratch.path("overlay").display());
    let writes = if mode == "to" { &overlay } else { mode };
    let mut flushed = 0;
    for kill in 0..kills {
        let run = durable("", &image, writes).start();
        run.shows("durable: flushed ");
        std::thread::sleep(Duration::from_micros(next(&mut random) % LONGEST_US));
        run.receives(Signal::KILL);
        let run = run.finish();
        assert_eq!(run.code(), None, "{}", run.shown());
        check_held(&run, flushed, kill);
        flushed = last_flushed(&run);
    }
    let run = durable("0", &image, writes).finish().ended_with(0);
    check_held(&run, flushed, kills);
    println!("{mode}: {flushed} flushes were acknowledged, and are there");
}

/// The counter of each block's last acknowledged write, or of a later one.
fn check_held(run: &Finished, flushed: u64, kill: u64) {
    let blocks = BLOCKS as u64;
    let lines = run.lines_of("disk");
    let held: Vec<u64> = lines.iter().filter_map(|line| number_after(line, " holds ")).collect();
    assert_eq!(held.len(), BLOCKS, "{}", run.shown());
    for (block, held) in (0..blocks).zip(held) {
        let rounds = (flushed + blocks - block) / blocks;
        let least = (rounds * blocks + block).saturating_sub(blocks);
        assert!(held >= least, "kill {kill}: block {block} holds {held}, {least} was flushed");
        assert!(held % blocks == block || held == 0, "kill {kill}: block {block} holds {held}");
    }
}

/// The last line may be cut off: it counts only if another begins behind it.
fn last_flushed(run: &Finished) -> u64 {
    let whole = run.output.rsplit_once('\n').map_or("", |(whole, _)| whole);
    let mut counters = whole.lines().filter_map(|line| number_after(line, " flushed "));
    counters.next_back().unwrap_or_else(|| panic!("{}", run.shown()))
}

fn number_after(line: &str, words: &str) -> Option<u64> {
    line.split_once(words)?.1.trim_end().parse().ok()
}

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} is {text}: a number is wanted")))
}

fn seed() -> u64 {
    let now =
        || SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |now| now.as_nanos() as u64);
    number("TANDEM_SEED").unwrap_or_else(now)
}

/// A step of a linear congruential generator; its upper bits are the better ones.
fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    *state >> 33
}
