//! Requests that end with an error, after which the disk goes on (Virtio 1.2, section 5.2.6).

use super::driver::{
    DISCARD, Data, Disk, IO_ERROR, OK, T_DISCARD, T_WRITE_ZEROES, UNSUPPORTED, WRITE_ZEROES,
    sectors,
};
use super::negotiation::works;
use super::ram::{DATA, fill, holds};
use super::registers::Window;
use super::{Verdict, expect};

const SECTOR: u32 = 512;

fn start(window: Window) -> Result<Disk, &'static str> {
    Disk::start(window, super::FULL | WRITE_ZEROES | DISCARD).ok_or("it does not start")
}

pub fn beyond_the_end(window: Window) -> Verdict {
    let mut disk = start(window)?;
    let end = sectors(window);
    expect(disk.read(end - 1, DATA, SECTOR) == Some(OK), "the last sector cannot be read")?;
    for (sector, bytes) in [
        (end, SECTOR),
        (end - 1, 2 * SECTOR),
        (end + 1, SECTOR),
        (1 << 55, SECTOR),
        (u64::MAX, SECTOR),
        (u64::MAX, 2 * SECTOR),
    ] {
        expect(disk.read(sector, DATA, bytes) == Some(IO_ERROR), "it is no error")?;
    }
    works(window)
}

/// Nothing is written, not even what lies before the end.
pub fn write_beyond(window: Window) -> Verdict {
    let mut disk = start(window)?;
    let last = sectors(window) - 1;
    fill(DATA, SECTOR as usize, |n| n + 3);
    expect(disk.write(last, DATA, SECTOR) == Some(OK), "the last sector cannot be written")?;
    fill(DATA, 2 * SECTOR as usize, |_| 0);
    expect(disk.write(last, DATA, 2 * SECTOR) == Some(IO_ERROR), "it is no error")?;
    expect(disk.read(last, DATA, SECTOR) == Some(OK), "the last sector cannot be read")?;
    expect(holds(DATA, SECTOR as usize, |n| n + 3), "something was written")
}

pub fn no_whole_sectors(window: Window) -> Verdict {
    let mut disk = start(window)?;
    for bytes in [8, SECTOR - 1, SECTOR + 1] {
        expect(disk.read(0, DATA, bytes) == Some(IO_ERROR), "it is no error")?;
    }
    works(window)
}

pub fn unknown_type(window: Window) -> Verdict {
    let mut disk = start(window)?;
    for kind in [6, 18, 0x7FFF_FFFE] {
        expect(disk.read(0, DATA, SECTOR) == Some(OK), "an error before it")?;
        let status = disk.ask(kind, 0, &[], &[Data { at: DATA, bytes: SECTOR }]);
        expect(status == Some(UNSUPPORTED), "it is supported")?;
    }
    works(window)
}

/// 5.2.6.2: reserved flags are not supported, and sectors lie on the disk.
pub fn bad_segments(window: Window) -> Verdict {
    let mut disk = start(window)?;
    let end = sectors(window);
    for (kind, sector, sectors, flags, status) in [
        (T_DISCARD, 300, 8, 1, UNSUPPORTED),
        (T_WRITE_ZEROES, 300, 8, 2, UNSUPPORTED),
        (T_DISCARD, end, 1, 0, IO_ERROR),
        (T_WRITE_ZEROES, end - 1, 2, 0, IO_ERROR),
        (T_WRITE_ZEROES, u64::MAX, 1, 0, IO_ERROR),
    ] {
        expect(disk.clear(kind, sector, sectors, flags) == Some(status), "another status")?;
    }
    works(window)
}

pub fn write_refused(window: Window) -> Verdict {
    let mut disk = start(window)?;
    fill(DATA, SECTOR as usize, |_| 0);
    expect(disk.write(0, DATA, SECTOR) == Some(IO_ERROR), "it is no error")?;
    works(window)
}
