//! Work for the processor: floating point in several processes, primes, a plain spin.

use crate::print::println;
use crate::{number, system};
use core::hint::black_box;

const SIZE: usize = 24;
const ROUNDS: u32 = 60;
/// Long enough for several slices of each process.
const WORK_NS: u64 = 150_000_000;
type Matrix = [[f64; SIZE]; SIZE];

/// Three processes multiply the same matrices while they are preempted; all must get the same
/// result, which they do only if no program's SSE registers are mixed up.
pub fn matrix(_arguments: &str) -> i32 {
    const PROCESSES: usize = 3;
    let expected = turned_vector(ROUNDS);
    for _ in 0..PROCESSES {
        match system::fork() {
            0 => return worker(expected),
            number if number < 0 => return 1,
            _ => {}
        }
    }
    let mut right = 0;
    while let Some(ended) = system::wait(0) {
        right += usize::from(ended.status == 0);
    }
    println!("matrix: {right} of {PROCESSES} processes right");
    i32::from(right != PROCESSES)
}

fn worker(expected: u64) -> i32 {
    let end_ns = system::time_ns() + WORK_NS;
    while system::time_ns() < end_ns {
        if turned_vector(ROUNDS) != expected {
            return 1;
        }
    }
    0
}

/// The bits of a sum over a rotation matrix raised to a power by repeated multiplication.
fn turned_vector(rounds: u32) -> u64 {
    let mut step = identity();
    for pair in 0..SIZE / 2 {
        let (cosine, sine) = (0.8 - pair as f64 * 1e-3, 0.6);
        let (left, right) = (2 * pair, 2 * pair + 1);
        step[left][left] = cosine;
        step[left][right] = -sine;
        step[right][left] = sine;
        step[right][right] = cosine;
    }
    let mut product = identity();
    for _ in 0..rounds {
        product = black_box(multiply(&product, &step));
    }
    product.iter().flatten().sum::<f64>().to_bits()
}

fn identity() -> Matrix {
    let mut matrix = [[0.0; SIZE]; SIZE];
    for (place, row) in matrix.iter_mut().enumerate() {
        row[place] = 1.0;
    }
    matrix
}

fn multiply(left: &Matrix, right: &Matrix) -> Matrix {
    let mut product = [[0.0; SIZE]; SIZE];
    for (result_row, left_row) in product.iter_mut().zip(left) {
        for (factor, right_row) in left_row.iter().zip(right) {
            for (sum, value) in result_row.iter_mut().zip(right_row) {
                *sum += factor * value;
            }
        }
    }
    product
}

/// Counts primes by trial division and reports at every tenth of the way.
pub fn primes(arguments: &str) -> i32 {
    let limit = number(arguments, 200_000).max(10);
    let mut count = 0;
    for tenth in 0..10 {
        let (from, to) = (limit / 10 * tenth, limit / 10 * (tenth + 1));
        count += (from..to).filter(|&candidate| is_prime(candidate)).count();
        println!("primes: {count} below {to}");
    }
    0
}

fn is_prime(candidate: u64) -> bool {
    let candidate = candidate as u32; // the wide division is much slower
    candidate >= 2
        && (2..)
            .take_while(|&divisor: &u32| divisor.saturating_mul(divisor) <= candidate)
            .all(|divisor| !candidate.is_multiple_of(divisor))
}

/// Computes for a while, looking at the clock seldom.
pub fn spin(arguments: &str) -> i32 {
    const LOOPS_PER_LOOK: u64 = 1_000_000;
    let duration_ms = number(arguments, 100);
    let end_ns = system::time_ns() + duration_ms * 1_000_000;
    let mut loops = 0;
    while system::time_ns() < end_ns {
        for _ in 0..LOOPS_PER_LOOK {
            loops = black_box(loops + 1);
        }
    }
    println!("spin: {loops} loops in {duration_ms} ms");
    0
}
