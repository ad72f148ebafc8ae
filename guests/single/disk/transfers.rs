//! Reads, writes and what else a disk does (Virtio 1.2, section 5.2.6).

use super::driver::{
    Data, Disk, INDIRECT_DESC, OK, PLACES, SLOTS, T_DISCARD, T_FLUSH, T_GET_ID, T_IN,
    T_WRITE_ZEROES, VERSION_1,
};
use super::ram::{DATA, fill, get, holds, put};
use super::registers::Window;
use super::{Verdict, expect};

/// Sectors before this hold words that count.
const WRITABLE_FROM: u64 = 256;
const BLOCK: u32 = 4096;
const SECTOR: u32 = 512;
/// Words of a sector.
const WORDS: u64 = 64;

fn start(window: Window, features: u64) -> Result<Disk, &'static str> {
    Disk::start(window, features).ok_or("it does not start")
}

fn is_ok(status: Option<u8>, what: &'static str) -> Verdict {
    expect(status == Some(OK), what)
}

/// Before [`WRITABLE_FROM`], by requests of 1 to 16 sectors.
pub fn reads(window: Window, features: u64) -> Verdict {
    let mut disk = start(window, features)?;
    let (mut sector, mut sectors) = (0, 1);
    while sector + sectors <= WRITABLE_FROM {
        let bytes = sectors as usize * SECTOR as usize;
        is_ok(disk.read(sector, DATA, bytes as u32), "an error")?;
        expect(holds(DATA, bytes, |n| sector * WORDS + n), "other words")?;
        sector += sectors;
        sectors = sectors % 16 + 5;
    }
    Ok(())
}

/// One request into five buffers, none of whole sectors.
pub fn uneven(window: Window) -> Verdict {
    let parts = [(0, 8), (0x1000, 504), (0x2000, 1000), (0x3000, 8), (0x4000, 16)];
    let data = parts.map(|(at, bytes)| Data { at: DATA + at, bytes });
    for features in [VERSION_1, VERSION_1 | INDIRECT_DESC] {
        let mut disk = start(window, features)?;
        is_ok(disk.ask(T_IN, 2, &[], &data), "an error")?;
        let mut word = 2 * WORDS;
        for Data { at, bytes } in data {
            expect(holds(at, bytes as usize, |n| word + n), "other words")?;
            word += u64::from(bytes) / 8;
        }
    }
    Ok(())
}

/// 5.2.6: 20 bytes of text.
pub fn identifier(window: Window) -> Verdict {
    const BYTES: u32 = 20;
    fill(DATA, 32, |_| u64::MAX);
    let mut disk = start(window, VERSION_1)?;
    is_ok(disk.ask(T_GET_ID, 0, &[], &[Data { at: DATA, bytes: BYTES }]), "an error")?;
    let is_text = |at: usize| matches!(get::<u8>(DATA + at), 0 | b' '..=b'~');
    expect((0..BYTES as usize).all(is_text), "it is no text")?;
    expect(get::<u8>(DATA) != 0, "it is empty")?;
    expect(get::<u8>(DATA + BYTES as usize) == 0xFF, "it is too long")
}

/// Writes, flushes, reads back, beside what must not change.
pub fn writes(window: Window, features: u64) -> Verdict {
    let mut disk = start(window, features)?;
    let at = WRITABLE_FROM + 8;
    fill(DATA, 3 * BLOCK as usize, |n| n ^ features);
    is_ok(disk.write(at, DATA, 3 * BLOCK), "an error of a write")?;
    fill(DATA, SECTOR as usize, |n| !n);
    is_ok(disk.write(at + 9, DATA, SECTOR), "an error of a write of a sector")?;
    if features & super::FLUSH != 0 {
        is_ok(disk.ask(T_FLUSH, 0, &[], &[]), "an error of a flush")?;
    }
    fill(DATA, 3 * BLOCK as usize, |_| u64::MAX);
    is_ok(disk.read(at, DATA, 3 * BLOCK), "an error of a read")?;
    let word = |n: u64| match n / WORDS {
        9 => !(n % WORDS),
        _ => n ^ features,
    };
    expect(holds(DATA, 3 * BLOCK as usize, word), "other words than were written")?;
    is_ok(disk.read(WRITABLE_FROM - 1, DATA, SECTOR), "an error before it")?;
    let before = (WRITABLE_FROM - 1) * WORDS;
    expect(holds(DATA, SECTOR as usize, |n| before + n), "what lies before it has changed")
}

pub fn write_zeroes(window: Window) -> Verdict {
    let mut disk = start(window, super::FULL | super::driver::WRITE_ZEROES)?;
    let at = WRITABLE_FROM + 32;
    for may_unmap in [0, 1] {
        fill(DATA, 2 * BLOCK as usize, |n| n + 1);
        is_ok(disk.write(at, DATA, 2 * BLOCK), "an error of a write")?;
        is_ok(disk.clear(T_WRITE_ZEROES, at + 1, 14, may_unmap), "an error")?;
        is_ok(disk.read(at, DATA, 2 * BLOCK), "an error of a read")?;
        let word = |n: u64| if matches!(n / WORDS, 1..=14) { 0 } else { n + 1 };
        expect(holds(DATA, 2 * BLOCK as usize, word), "other words")?;
    }
    Ok(())
}

/// What is discarded may hold anything; what is beside it does not change, and it can be written
/// again.
pub fn discard(window: Window) -> Verdict {
    let mut disk = start(window, super::FULL | super::driver::DISCARD)?;
    let at = WRITABLE_FROM + 64;
    fill(DATA, 2 * BLOCK as usize, |n| n + 7);
    is_ok(disk.write(at, DATA, 2 * BLOCK), "an error of a write")?;
    is_ok(disk.clear(T_DISCARD, at + 1, 14, 0), "an error")?;
    for (sector, first) in [(at, 0), (at + 15, 15 * WORDS)] {
        is_ok(disk.read(sector, DATA, SECTOR), "an error of a read")?;
        expect(holds(DATA, SECTOR as usize, |n| first + n + 7), "it takes more than it should")?;
    }
    fill(DATA, BLOCK as usize, |n| n + 9);
    is_ok(disk.write(at + 1, DATA, BLOCK), "an error of a write after it")?;
    fill(DATA, BLOCK as usize, |_| 0);
    is_ok(disk.read(at + 1, DATA, BLOCK), "an error of a read after it")?;
    expect(holds(DATA, BLOCK as usize, |n| n + 9), "other words after it")
}

/// As many requests as the queue takes, with one notification; they come back in any order, each
/// once.
pub fn many(window: Window, features: u64) -> Verdict {
    let mut disk = start(window, features)?;
    for _ in 0..3 {
        for slot in 0..SLOTS {
            let at = DATA + BLOCK as usize * usize::from(slot);
            put(at, u64::MAX);
            let sector = 8 * (u64::from(slot) * 7 % u64::from(SLOTS));
            disk.submit(slot, T_IN, sector, &[], &[Data { at, bytes: BLOCK }]);
        }
        disk.queue.notify();
        let mut seen = 0_u64;
        for _ in 0..SLOTS {
            let (head, written) = disk.wait().ok_or("one does not come back")?;
            expect(written == BLOCK + 1, "another number of bytes")?;
            expect(head < 64 && seen & 1 << head == 0, "one comes back twice")?;
            seen |= 1 << head;
        }
        expect(disk.queue.take_used().is_none(), "more come back than were sent")?;
        for slot in 0..SLOTS {
            expect(Disk::status(slot) == OK, "an error")?;
            let first = 8 * WORDS * (u64::from(slot) * 7 % u64::from(SLOTS));
            let at = DATA + BLOCK as usize * usize::from(slot);
            expect(holds(at, 64, |n| first + n), "other words")?;
        }
    }
    Ok(())
}

/// More requests than there are entries in the rings.
pub fn wraps(window: Window) -> Verdict {
    let mut disk = start(window, super::FULL)?;
    for n in 0..150 {
        is_ok(disk.read(n, DATA, SECTOR), "an error")?;
        expect(get::<u64>(DATA) == n * WORDS, "other words")?;
    }
    Ok(())
}

/// 2.7: a queue may have one descriptor, which names a table.
pub fn queue_of_one(window: Window) -> Verdict {
    let features = VERSION_1 | INDIRECT_DESC;
    let mut disk =
        Disk::start_with(window, features, PLACES.rings(1)).ok_or("it does not start")?;
    for n in 0..5 {
        is_ok(disk.read(n, DATA, SECTOR), "an error")?;
        expect(get::<u64>(DATA) == n * WORDS, "other words")?;
    }
    Ok(())
}
