//! Holds KVM's clock page to its contract (Linux, Documentation/virt/kvm/x86/msr.rst): it lies at
//! any multiple of 4 bytes and nothing around it is touched; its stamp is never ahead of the
//! time-stamp counter; its time agrees with the HPET's, also right after the guest has written its
//! counter.
#![no_std]
#![no_main]

#[path = "../common/mod.rs"]
mod common;

use common::global::Global;
use common::{boot, clock, console, cpu, interrupts, power};

const SYSTEM_TIME: u32 = 0x4b56_4d01;
const TIME_STAMP_COUNTER: u32 = 0x10;
const HPET: u64 = 0xFED0_0000;
const DEFAULT_ROUNDS: u64 = 200;
/// Two clocks read one after the other, at best of some tries.
const TRIES: u64 = 20;
const AGREE_NS: u64 = 20_000_000;

const AREA_BYTES: usize = 128;
const PAGE_BYTES: usize = 32;
/// Aligned to 4 and to no more.
const PAGE_AT: usize = 20;
const UNTOUCHED: u8 = 0xA5;

#[repr(C, align(64))]
struct Area([u8; AREA_BYTES]);

static AREA: Global<Area> = Global::new(Area([UNTOUCHED; AREA_BYTES]));

#[unsafe(no_mangle)]
extern "C" fn guest_main() -> ! {
    console::initialise(console::COM1);
    interrupts::initialise();
    let rounds = boot::number(0).unwrap_or(DEFAULT_ROUNDS);
    let ticks_a_second = clock::time_stamp_kilohertz() * 1000;
    // SAFETY: starts the HPET's counter; no comparator is enabled.
    unsafe { cpu::write_device64(HPET + 0x10, 1) };
    // SAFETY: the page lies in the area, which nothing else uses.
    unsafe { cpu::write_msr(SYSTEM_TIME, (area() + PAGE_AT as u64) | 1) };
    let first = lead();
    let is_right = [
        report("lies where it was put", is_rest_untouched() && field(0, 4) != 0),
        report("is never stamped ahead", rounds_of(rounds, || {})),
        report("follows a counter set to 0", rounds_of(rounds, || set_counter(0)) && agree(first)),
        report("follows a counter set ahead", {
            let ahead = || set_counter(cpu::time_stamp() + 100 * ticks_a_second);
            rounds_of(rounds, ahead) && agree(first)
        }),
        report("touches nothing else", is_rest_untouched()),
    ];
    power::off(is_right.into_iter().filter(|is_right| !is_right).count() as u32)
}

fn report(what: &str, is_right: bool) -> bool {
    let verdict = if is_right { " PASSED" } else { " FAILED" };
    console::Line::new().text("kvm_clock: ").text(what).text(verdict).print();
    is_right
}

fn area() -> u64 {
    AREA.pointer() as u64
}

/// Bytes `at` to `at + len` of the page.
fn field(at: usize, len: usize) -> u64 {
    let byte = |n: usize| u64::from(byte(PAGE_AT + at + n)) << (8 * n);
    (0..len).map(byte).fold(0, |sum, byte| sum | byte)
}

fn is_rest_untouched() -> bool {
    let page = PAGE_AT..PAGE_AT + PAGE_BYTES;
    (0..AREA_BYTES).filter(|at| !page.contains(at)).all(|at| byte(at) == UNTOUCHED)
}

/// Byte `at` of the area, which the monitor may write at any time.
fn byte(at: usize) -> u8 {
    assert!(at < AREA_BYTES);
    let address = (AREA.pointer() as *const u8).wrapping_add(at);
    // SAFETY: within the area.
    unsafe { address.read_volatile() }
}

fn set_counter(value: u64) {
    // SAFETY: only this guest's own measurements use the counter.
    unsafe { cpu::write_msr(TIME_STAMP_COUNTER, value) };
}

/// After `step` the stamp is behind the counter, by less than the time between two stamps.
fn rounds_of(rounds: u64, step: impl Fn()) -> bool {
    (0..rounds).all(|_| {
        step();
        page_time().is_some()
    })
}

/// The time that the page gives; None if its stamp is ahead of the counter.
fn page_time() -> Option<u64> {
    loop {
        let version = field(0, 4);
        let (stamp, time, multiplier) = (field(8, 8), field(16, 8), field(24, 4));
        let shift = field(28, 1) as i8;
        let counter = cpu::time_stamp();
        if version.is_multiple_of(2) && version == field(0, 4) {
            let ticks = counter.checked_sub(stamp)?;
            let ticks = if shift < 0 { ticks >> -shift } else { ticks << shift };
            return Some(time + ((u128::from(ticks) * u128::from(multiplier)) >> 32) as u64);
        }
    }
}

/// Nanoseconds of the HPET.
fn hpet_time() -> u64 {
    // SAFETY: reads of the capabilities and the counter change nothing.
    let period_fs = unsafe { cpu::read_device64(HPET) } >> 32;
    // SAFETY: as above.
    let count = unsafe { cpu::read_device64(HPET + 0xF0) };
    count * (period_fs / 1_000_000)
}

/// How far the page's time is ahead of the HPET's, which was started later: by the shortest of some
/// readings, as the core may be taken in between.
fn lead() -> Option<u64> {
    let reading = || {
        let before = hpet_time();
        let lead = page_time()?.wrapping_sub(before);
        Some((hpet_time() - before, lead))
    };
    let best = (0..TRIES).filter_map(|_| reading()).min();
    best.map(|(_, lead)| lead)
}

/// The two clocks go on together.
fn agree(lead_at_first: Option<u64>) -> bool {
    match (lead_at_first, lead()) {
        (Some(first), Some(now)) => now.abs_diff(first) < AGREE_NS,
        (None, _) | (_, None) => false,
    }
}
