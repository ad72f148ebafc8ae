//! Dates: seconds of Unix time to the fields of the clock and back, in the proleptic Gregorian
//! calendar.

/// The last second of year 9999, the last that the century register can show.
pub(super) const END_OF_9999: u64 = 253_402_300_799;

const SECONDS_PER_DAY: i64 = 86_400;
/// Days from 0000-03-01 to 1970-01-01. Years that start in March end with the leap day.
const DAYS_TO_1970: i64 = 719_468;
const DAYS_PER_400_YEARS: i64 = 146_097;
/// 1970-01-01 was a Thursday, the fifth day counted from Sunday.
const WEEKDAY_OF_1970: i64 = 4;

/// A date and time as the clock's registers hold it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct DateTime {
    pub(super) second: u8,
    pub(super) minute: u8,
    /// 0 to 23.
    pub(super) hour: u8,
    /// 1, Sunday, to 7.
    pub(super) weekday: u8,
    /// 1 to 31.
    pub(super) day: u8,
    /// 1 to 12.
    pub(super) month: u8,
    /// 0 to 99.
    pub(super) year: u8,
    /// 0 to 99.
    pub(super) century: u8,
}

/// Seconds since midnight at Unix time `unix_seconds`.
pub(super) fn second_of_day(unix_seconds: i64) -> u32 {
    unix_seconds.rem_euclid(SECONDS_PER_DAY) as u32
}

impl DateTime {
    /// The date and time at Unix time `unix_seconds`. Years are shown modulo 10,000.
    pub(super) fn from_unix(unix_seconds: i64) -> Self {
        let days = unix_seconds.div_euclid(SECONDS_PER_DAY);
        let second = second_of_day(unix_seconds);
        let (year, month, day) = date_of(days);
        Self {
            second: (second % 60) as u8,
            minute: (second / 60 % 60) as u8,
            hour: (second / 3600) as u8,
            weekday: (days + WEEKDAY_OF_1970).rem_euclid(7) as u8 + 1,
            day,
            month,
            year: year.rem_euclid(100) as u8,
            century: year.div_euclid(100).rem_euclid(100) as u8,
        }
    }

    /// Unix time of this date and time; the weekday does not count. Fields out of their range,
    /// which a guest may write, carry over: 31 April is 1 May, second 75 is in the next minute.
    pub(super) fn to_unix(self) -> i64 {
        let year = i64::from(self.century) * 100 + i64::from(self.year);
        let months = year * 12 + i64::from(self.month) - 1;
        let days = days_of(months.div_euclid(12), months.rem_euclid(12) + 1) + i64::from(self.day);
        (days - 1) * SECONDS_PER_DAY
            + i64::from(self.hour) * 3600
            + i64::from(self.minute) * 60
            + i64::from(self.second)
    }
}

/// Days from 1970-01-01 to the first of `month` (1 to 12) of `year`.
fn days_of(year: i64, month: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let months_from_march = (month + 9) % 12;
    let day_of_year = (153 * months_from_march + 2) / 5;
    year * 365 + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400) + day_of_year
        - DAYS_TO_1970
}

/// Year, month and day of the day `days` after 1970-01-01.
fn date_of(days: i64) -> (i64, u8, u8) {
    let days = days + DAYS_TO_1970;
    let era = days.div_euclid(DAYS_PER_400_YEARS);
    let day_of_era = days.rem_euclid(DAYS_PER_400_YEARS);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let months_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * months_from_march + 2) / 5 + 1;
    let month = (months_from_march + 2) % 12 + 1;
    let year = era * 400 + year_of_era + i64::from(month <= 2);
    (year, month as u8, day as u8)
}
