//! The alarm: hours, minutes and seconds, each a number or "every".

const SECONDS_PER_DAY: u32 = 86_400;

/// Hour, minute and second of the alarm; `None` matches every one.
pub(super) type Pattern = (Option<u32>, Option<u32>, Option<u32>);

/// Seconds from `second_of_day` to the next second that matches `pattern`, 1 to a day; `None` if a
/// field can never match.
///
/// The next match differs from the following second in a field that the pattern fixes, in one that
/// goes up by one, or in those below that start again at 0: three candidates a field are enough.
pub(super) fn seconds_to(pattern: Pattern, second_of_day: u32) -> Option<u32> {
    let start = (second_of_day + 1) % SECONDS_PER_DAY;
    let mut nearest = None;
    for hour in candidates(pattern.0, start / 3600, 24) {
        for minute in candidates(pattern.1, start / 60 % 60, 60) {
            for second in candidates(pattern.2, start % 60, 60) {
                let (Some(hour), Some(minute), Some(second)) = (hour, minute, second) else {
                    continue;
                };
                let at = hour * 3600 + minute * 60 + second;
                let wait = (at + SECONDS_PER_DAY - start) % SECONDS_PER_DAY + 1;
                nearest = Some(nearest.map_or(wait, |best: u32| best.min(wait)));
            }
        }
    }
    nearest
}

/// The values below `limit` that the field of the next match can have.
fn candidates(field: Option<u32>, start: u32, limit: u32) -> [Option<u32>; 3] {
    match field {
        Some(value) => [Some(value).filter(|&value| value < limit), None, None],
        None => [Some(start), Some((start + 1) % limit), Some(0)],
    }
}
