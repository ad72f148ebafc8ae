use super::*;
use std::cell::RefCell;
use std::collections::BTreeMap;

/// A host with these cores online, and where each thread may run.
struct Host {
    online: RefCell<Vec<u64>>,
    masks: RefCell<BTreeMap<i32, Vec<u64>>>,
}

impl Cores for &Host {
    fn is_pinned(&self, thread: i32, core: u64) -> io::Result<bool> {
        Ok(self.allowed(thread)? == [core])
    }

    fn allowed(&self, thread: i32) -> io::Result<Vec<u64>> {
        let ended = || io::Error::from_raw_os_error(libc::ESRCH);
        self.masks.borrow().get(&thread).cloned().ok_or_else(ended)
    }

    fn pin(&self, thread: i32, core: u64) -> io::Result<()> {
        if !self.online.borrow().contains(&core) {
            return Err(io::Error::from_raw_os_error(libc::EINVAL));
        }
        self.masks.borrow_mut().insert(thread, vec![core]);
        Ok(())
    }
}

impl Host {
    /// Two threads on core 2 of eight.
    fn new() -> Self {
        let masks = [(10, vec![2]), (11, vec![2])];
        Self { online: RefCell::new((0..8).collect()), masks: RefCell::new(masks.into()) }
    }

    fn placement(&self) -> Placement<&Self> {
        let mut placement = Placement::with(2, self);
        placement.add(10, "left.0".into());
        placement.add(11, "right.0".into());
        placement
    }

    fn moves(&self, thread: i32, to: &[u64]) {
        self.masks.borrow_mut().insert(thread, to.to_vec());
    }

    fn masks(&self) -> Vec<Vec<u64>> {
        self.masks.borrow().values().cloned().collect()
    }
}

const fn at_ms(ms: u64) -> Instant {
    Instant::from_ns(ms * 1_000_000)
}

#[test]
fn a_thread_that_was_moved_is_put_back_within_half_a_second_and_it_is_reported() {
    let host = Host::new();
    let mut placement = host.placement();
    assert_eq!(placement.look(at_ms(0)).expect("they may"), [""; 0]);
    host.moves(11, &[0, 1, 2, 5]);
    assert_eq!(placement.look(at_ms(499)).expect("they may"), [""; 0]);
    let line = "[at 500ms thread right.0 was moved from core 2 to cores 0 to 2, core 5; put back \
                on core 2]";
    assert_eq!(placement.look(at_ms(500)).expect("they may"), [line]);
    assert_eq!(host.masks(), [[2], [2]]);
    let summary = "moves of threads to other cores: 1; all are on core 2";
    assert_eq!(placement.summary().as_deref(), Some(summary));
}

#[test]
fn all_threads_go_to_one_other_core_when_theirs_is_gone() {
    let host = Host::new();
    let mut placement = host.placement();
    host.online.borrow_mut().retain(|core| *core > 3);
    host.moves(10, &[3, 4, 5]);
    host.moves(11, &[3, 4, 5]);
    let line = "[at 2s thread left.0 was moved from core 2 to cores 3 to 5; core 2 is gone, all \
                threads are on core 4]";
    assert_eq!(placement.put_back(at_ms(2000)).expect("one is left"), [line]);
    assert_eq!((host.masks(), placement.core()), (vec![vec![4], vec![4]], 4));
}

#[test]
fn threads_that_may_be_nowhere_together_end_the_run() {
    let host = Host::new();
    let mut placement = host.placement();
    host.online.borrow_mut().clear();
    host.moves(10, &[3]);
    assert!(placement.put_back(at_ms(1)).is_err());
}

#[test]
fn a_thread_that_has_ended_is_not_missed() {
    let host = Host::new();
    let mut placement = host.placement();
    host.masks.borrow_mut().remove(&10);
    assert_eq!(placement.put_back(at_ms(1)).expect("it is gone"), [""; 0]);
    assert_eq!(placement.summary(), None);
}

#[test]
fn a_thread_that_is_moved_for_ever_does_not_fill_the_console() {
    let host = Host::new();
    let mut placement = host.placement();
    let mut lines = 0;
    for ms in 0..100 {
        host.moves(10, &[7]);
        lines += placement.put_back(at_ms(ms)).expect("they may").len();
    }
    assert_eq!(lines, MAX_TOLD as usize);
    let summary = "moves of threads to other cores: 100; all are on core 2";
    assert_eq!(placement.summary().as_deref(), Some(summary));
}
