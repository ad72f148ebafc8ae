//! TLB shoot-down: a page is mapped elsewhere while all processors have its translation, and each
//! of them must see the new page once it has executed INVLPG (SDM vol. 3, 4.10.5).

use super::handlers::{SHOOT_DOWN_VECTOR, WINDOW, invalidate};
use super::ipi::{self, Destination};
use super::processors::{self, Processor};
use super::{Verdict, expect};
use crate::common::global::Global;
use core::sync::atomic::{AtomicU64, Ordering};

const PRESENT_AND_WRITABLE: u64 = 3;
const ROUNDS: u64 = 20;
const PAGES: usize = 4;

#[repr(align(4096))]
struct Page(#[expect(dead_code, reason = "only the processor looks at it")] [u64; 512]);

static TABLE: Global<Page> = Global::new(Page([0; 512]));
static TARGETS: Global<[Page; PAGES]> = Global::new([const { Page([0; 512]) }; PAGES]);
static EXPECTED: AtomicU64 = AtomicU64::new(0);

unsafe extern "C" {
    static mut user_directory: [u64; 512];
}

/// Maps the window's page to the page that holds `round`.
fn map(round: u64) {
    let page = (round as usize) % PAGES;
    let target = TARGETS.pointer().cast::<Page>().wrapping_add(page).cast::<u64>();
    // SAFETY: one of the pages; all processors read it through the window, as below.
    unsafe { target.write_volatile(round) };
    let entry = target as u64 | PRESENT_AND_WRITABLE;
    // SAFETY: a translation that processors may still have leads to another of the pages.
    unsafe { TABLE.pointer().cast::<u64>().write_volatile(entry) };
    EXPECTED.store(round, Ordering::SeqCst);
}

fn look(me: &'static Processor) {
    // SAFETY: mapped before any processor looks.
    let seen = unsafe { (WINDOW as *const u64).read_volatile() };
    me.is_right.store(seen == EXPECTED.load(Ordering::SeqCst), Ordering::SeqCst);
}

fn all_see_it() -> bool {
    processors::run_on_all(look)
        && processors::all().iter().all(|processor| processor.is_right.load(Ordering::SeqCst))
}

pub fn check() -> Verdict {
    // SAFETY: the entry is not in use yet.
    unsafe { user_directory[0] = TABLE.pointer() as u64 | PRESENT_AND_WRITABLE };
    map(1);
    expect(all_see_it(), "a processor does not see the page")?;
    for round in 2..2 + ROUNDS {
        let counts = || processors::others().iter().map(|other| other.count(SHOOT_DOWN_VECTOR));
        let before: u64 = counts().sum();
        map(round);
        invalidate();
        ipi::send(SHOOT_DOWN_VECTOR, Destination::Others);
        let expected = before + processors::others().len() as u64;
        let is_done = processors::wait_until(|| counts().sum::<u64>() == expected);
        expect(is_done, "a processor does not take the interrupt")?;
        expect(all_see_it(), "a processor sees the old page")?;
    }
    Ok(())
}
