//! Times and medians.

use anyhow::Result;
use std::time::{Duration, Instant};

/// The median of `values`, which are not empty.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Seconds that `work` takes, by the clock.
pub fn seconds(work: impl FnOnce() -> Result<()>) -> Result<f64> {
    let begin = Instant::now();
    work()?;
    Ok(begin.elapsed().as_secs_f64())
}

/// Seconds of processor time that `work` takes, all threads of this process together.
pub fn cpu_seconds(work: impl FnOnce() -> Result<()>) -> Result<f64> {
    let begin = cpu_time();
    work()?;
    Ok((cpu_time() - begin).as_secs_f64())
}

fn cpu_time() -> Duration {
    // SAFETY: an rusage is integers, for which zero is a value.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: the pointer is to a structure of ours.
    unsafe { libc::getrusage(libc::RUSAGE_SELF, &mut usage) };
    let of = |t: libc::timeval| {
        Duration::from_secs(t.tv_sec as u64) + Duration::from_micros(t.tv_usec as u64)
    };
    of(usage.ru_utime) + of(usage.ru_stime)
}

/// What one of `count` pieces of work costs by itself: the difference between a long and a short
/// run, so that boot and set-up cancel out.
pub fn marginal(counts: (u32, u32), mut cost: impl FnMut(u32) -> Result<f64>) -> Result<f64> {
    let (short, long) = counts;
    let (few, many) = (cost(short)?, cost(long)?);
    Ok((many - few) / f64::from(long - short))
}

/// Medians of `rounds` rounds of two costs measured in turn.
pub fn side_by_side(
    rounds: usize,
    mut ours: impl FnMut() -> Result<f64>,
    mut floor: impl FnMut() -> Result<f64>,
) -> Result<(f64, f64)> {
    let (mut our_costs, mut floor_costs) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        floor_costs.push(floor()?);
        our_costs.push(ours()?);
    }
    Ok((median(our_costs), median(floor_costs)))
}
