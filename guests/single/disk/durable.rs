//! Writes blocks with a counter, flushes, reads the disk's end, and prints every flush that was
//! acknowledged: as often as the command line says, or without end. A test that kills the VMM
//! finds all of these in the next run's first lines, the counters that the disk holds.

use super::driver::{Disk, EVENT_IDX, FLUSH, INDIRECT_DESC, OK, T_FLUSH, VERSION_1, disk, sectors};
use super::ram::{DATA, fill, get};
use crate::common::{boot, console, power};

/// Blocks that the counters go round.
const BLOCKS: u64 = 32;
const BLOCK_SECTORS: u64 = 8;
const BLOCK_BYTES: u32 = 4096;
const STATUS_ERROR: u32 = 2;

/// Begins behind the highest counter that the disk holds.
pub fn run() -> ! {
    let features = VERSION_1 | FLUSH | INDIRECT_DESC | EVENT_IDX;
    let disk = disk(0).and_then(|window| Disk::start(window, features));
    let Some(mut disk) = disk else { stop("there is no disk") };
    let mut counter = 0;
    for block in 0..BLOCKS {
        let (lowest, highest) = held(&mut disk, block);
        let mut line = console::Line::new();
        line.text("durable: block ").decimal(block).text(" holds ").decimal(lowest).print();
        counter = u64::max(counter, highest);
    }
    let last = sectors(disk.window) - BLOCK_SECTORS;
    let mut rounds = boot::number(0);
    while rounds != Some(0) {
        rounds = rounds.map(|rounds| rounds - 1);
        counter += 1;
        fill(DATA, BLOCK_BYTES as usize, |_| counter);
        let sector = counter % BLOCKS * BLOCK_SECTORS;
        if disk.write(sector, DATA, BLOCK_BYTES) != Some(OK) {
            stop("an error of a write");
        }
        if disk.ask(T_FLUSH, 0, &[], &[]) != Some(OK) {
            stop("an error of a flush");
        }
        console::Line::new().text("durable: flushed ").decimal(counter).print();
        if disk.read(last, DATA, BLOCK_BYTES) != Some(OK) {
            stop("an error of a read");
        }
    }
    power::off(0)
}

/// The lowest and the highest of a block's words: they differ if a write was cut short.
fn held(disk: &mut Disk, block: u64) -> (u64, u64) {
    if disk.read(block * BLOCK_SECTORS, DATA, BLOCK_BYTES) != Some(OK) {
        stop("an error of a read");
    }
    let words = (0..BLOCK_BYTES as usize / 8).map(|n| get::<u64>(DATA + 8 * n));
    words.fold((u64::MAX, 0), |(low, high), word| (low.min(word), high.max(word)))
}

fn stop(why: &str) -> ! {
    console::Line::new().text("durable: ").text(why).print();
    power::off(STATUS_ERROR)
}
