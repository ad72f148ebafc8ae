//! The floor for handing the turn over: two pinned threads, a futex, one KVM_RUN each.

use crate::bare::{Access, Bare, line_status_idle};
use crate::code;
use anyhow::Result;
use std::sync::atomic::{AtomicU32, Ordering};
use vmm_common::plan::BootKind;

/// Hands over `count` times between two threads on `core`.
pub fn run(core: u64, count: u32) -> Result<()> {
    let turn = AtomicU32::new(0);
    let rounds = count / code::POLLS + 2;
    let vms = [0, 1].map(|_| Bare::new(&code::line_polls(rounds), BootKind::Flat, ""));
    let [first, second] = vms;
    std::thread::scope(|scope| {
        let other = scope.spawn(|| side(1, second?, core, count, &turn));
        let here = scope.spawn(|| side(0, first?, core, count, &turn));
        here.join().expect("no panic")?;
        other.join().expect("no panic")
    })
}

fn side(me: u32, mut vm: Bare, core: u64, count: u32, turn: &AtomicU32) -> Result<()> {
    vmm_kvm::sys::pin_to(core)?;
    for _ in 0..count / 2 {
        loop {
            let holder = turn.load(Ordering::Acquire);
            if holder == me {
                break;
            }
            futex(turn, libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG, holder);
        }
        let access = vm.run(line_status_idle)?;
        debug_assert_ne!(access, Access::Off);
        turn.store(1 - me, Ordering::Release);
        futex(turn, libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG, 1);
    }
    Ok(())
}

fn futex(word: &AtomicU32, operation: i32, value: u32) {
    let no_timeout = std::ptr::null::<libc::timespec>();
    // SAFETY: the word outlives the call; waiting and waking write nothing.
    unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), operation, value, no_timeout) };
}
