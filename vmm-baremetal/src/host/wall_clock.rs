//! The date, from the battery-backed clock (MC146818), once at the start.

use metal::port::Port;

const SECONDS: u8 = 0;
const MINUTES: u8 = 2;
const HOURS: u8 = 4;
const DAY: u8 = 7;
const MONTH: u8 = 8;
const YEAR: u8 = 9;
const STATUS_A: u8 = 10;
const STATUS_B: u8 = 11;
/// Polls of a clock that is always busy before it is read all the same.
const PATIENCE: u32 = 1_000_000;

/// Unix time, seconds. Any contents of the registers give some time.
#[must_use]
pub fn unix_seconds() -> u64 {
    const UPDATE_IN_PROGRESS: u8 = 0x80;
    for _ in 0..PATIENCE {
        if register(STATUS_A) & UPDATE_IN_PROGRESS == 0 {
            break;
        }
    }
    let fields = [YEAR, MONTH, DAY, HOURS, MINUTES, SECONDS].map(register);
    seconds(fields, register(STATUS_B))
}

fn register(index: u8) -> u8 {
    const INDEX: Port = Port::new(0x70);
    const DATA: Port = Port::new(0x71);
    INDEX.write(index);
    DATA.read()
}

/// Year, month, day, hour, minute and second as status register B says they are coded.
fn seconds(fields: [u8; 6], status_b: u8) -> u64 {
    const BINARY: u8 = 4;
    const HOURS_24: u8 = 2;
    const AFTERNOON: u8 = 0x80;
    let plain = |value: u8| match status_b & BINARY {
        0 => u64::from(value >> 4) * 10 + u64::from(value & 15),
        _ => u64::from(value),
    };
    let [year, month, day, hour, minute, second] = fields;
    let is_afternoon = status_b & HOURS_24 == 0 && hour & AFTERNOON != 0;
    let hour = match (status_b & HOURS_24 == 0, plain(hour & !AFTERNOON)) {
        (true, hour) => hour % 12 + if is_afternoon { 12 } else { 0 },
        (false, hour) => hour,
    };
    // Days since 1970 by the civil calendar, years beginning in March.
    let (year, month) = (2000 + plain(year), plain(month).clamp(1, 12));
    let year = if month <= 2 { year - 1 } else { year };
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + plain(day).max(1) - 1;
    let days = 365 * year + year / 4 - year / 100 + year / 400 + day_of_year - 719_468;
    days * 86400 + hour * 3600 + plain(minute) * 60 + plain(second)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_read_in_both_codings() {
        assert_eq!(seconds([0x26, 0x11, 0x25, 0x09, 0x00, 0x01], 2), 1_795_597_201);
        assert_eq!(seconds([26, 11, 25, 9, 0, 1], 6), 1_795_597_201);
        assert_eq!(seconds([0x00, 0x03, 0x01, 0x00, 0x00, 0x00], 2), 951_868_800);
        assert_eq!(seconds([0x26, 0x11, 0x25, 0x89, 0x00, 0x01], 0), 1_795_597_201 + 43_200);
    }
}
