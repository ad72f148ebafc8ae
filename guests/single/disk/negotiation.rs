//! Registers and negotiation (Virtio 1.2, sections 2.2, 3.1 and 4.2.2).

use super::device::{negotiate, offered, reset};
use super::driver::{
    DISCARD, Disk, EVENT_IDX, FLUSH, INDIRECT_DESC, OK, READ_ONLY, VERSION_1, WRITE_ZEROES, sectors,
};
use super::ram::{DATA, USED, get};
use super::registers::{
    QUEUE_NOTIFY, QUEUE_SELECT, QUEUE_SIZE_MAX, STATUS, VENDOR_ID, VERSION, VERSION_VALUE, Window,
};
use super::{Verdict, expect};

pub fn registers(window: Window) -> Verdict {
    reset(window);
    expect(window.read(VERSION) == VERSION_VALUE, "the version is another")?;
    expect(window.read(VENDOR_ID) != 0, "no vendor")?;
    expect(window.read(STATUS) == 0, "a status after a reset")?;
    window.write(QUEUE_SELECT, 0);
    let most = window.read(QUEUE_SIZE_MAX);
    expect(most.is_power_of_two() && most >= 64, "the queue is too short")?;
    window.write(QUEUE_SELECT, 1);
    expect(window.read(QUEUE_SIZE_MAX) == 0, "there is a second queue")?;
    expect(sectors(window) == 512, "the disk has not 512 sectors")
}

pub fn features(window: Window) -> Verdict {
    let offered = offered(window);
    let expected = VERSION_1 | INDIRECT_DESC | EVENT_IDX;
    expect(offered & expected == expected, "a feature of every device is missing")?;
    let writes = FLUSH | DISCARD | WRITE_ZEROES;
    let is_right = offered & READ_ONLY != 0 || offered & writes == writes;
    expect(is_right, "a feature of a disk that can be written is missing")?;
    for accepted in [VERSION_1, expected] {
        expect(negotiate(window, accepted), "features that are offered are refused")?;
    }
    Ok(())
}

/// 2.2.2: FEATURES_OK stays clear.
pub fn not_offered(window: Window) -> Verdict {
    const NOT_OFFERED: u64 = 1 << 55;
    expect(offered(window) & NOT_OFFERED == 0, "it is offered")?;
    expect(!negotiate(window, VERSION_1 | NOT_OFFERED), "it is accepted")?;
    works(window)
}

/// 6.1: a device that does not work without version 1 does not set FEATURES_OK.
pub fn legacy(window: Window) -> Verdict {
    expect(!negotiate(window, INDIRECT_DESC), "it is accepted")?;
    works(window)
}

/// 3.1.1: the device uses no buffer before DRIVER_OK.
pub fn too_early(window: Window) -> Verdict {
    expect(negotiate(window, VERSION_1), "it does not start")?;
    let before: u16 = get(USED + 2);
    window.write(QUEUE_NOTIFY, 0);
    expect(get::<u16>(USED + 2) == before, "it uses buffers")?;
    works(window)
}

/// Whether the disk reads its first words, taken over anew.
pub fn works(window: Window) -> Verdict {
    let mut disk = Disk::start(window, VERSION_1).ok_or("it does not start again")?;
    super::ram::fill(DATA, 512, |_| u64::MAX);
    expect(disk.read(0, DATA, 512) == Some(OK), "it does not read")?;
    expect(super::ram::holds(DATA, 512, |n| n), "it reads something else")
}
