//! Small cases in every interleaving. A thread that is never woken is a deadlock, which loom
//! reports; so is a lock that is not free when its thread has the turn.

use super::turn::Turn;
use loom::model::Builder;
use loom::sync::Arc;
use loom::thread::{self, JoinHandle};

/// How often the model takes the core from a thread that could go on. More finds nothing more in
/// cases of this size, and takes minutes.
const PREEMPTIONS: usize = 3;

/// What each thread does with its turns: hands it to a thread, or ends all.
#[derive(Clone, Copy)]
enum Step {
    HandTo(usize),
    End,
}

/// Runs one thread for each list of steps; the order in which threads had their turns.
fn check(steps: &'static [&'static [Step]], order: &'static [usize]) {
    each_interleaving(move || {
        let turn = Arc::new(Turn::new(Vec::new(), steps.len()));
        let start = |me: usize| -> JoinHandle<()> {
            let turn = turn.clone();
            thread::spawn(move || follow(&turn, me, steps[me]))
        };
        let threads: Vec<_> = (0..steps.len()).map(start).collect();
        threads.into_iter().for_each(join);
        let turn = Arc::try_unwrap(turn).expect("all threads have left");
        assert_eq!(turn.into_inner(), order);
    });
}

fn follow(turn: &Turn<Vec<usize>>, me: usize, steps: &[Step]) {
    let mut steps = steps.iter();
    while let Some(mut held) = turn.wait(me) {
        held.push(me);
        match steps.next().expect("no turn comes unasked") {
            Step::HandTo(next) => held.hand_to(*next),
            Step::End => held.end(),
        }
    }
}

/// The first wait: the thread makes itself known and looks whose turn it is, while the holder
/// changes that and looks for a thread to wake. Each must not miss the other.
#[test]
fn a_turn_that_is_handed_to_a_thread_as_it_begins_to_wait_is_not_missed() {
    check(&[&[Step::HandTo(1)], &[Step::End]], &[0, 1]);
}

#[test]
fn a_turn_goes_there_and_back() {
    check(&[&[Step::HandTo(1), Step::End], &[Step::HandTo(0)]], &[0, 1, 0]);
}

#[test]
fn a_turn_goes_round_three_threads() {
    check(&[&[Step::HandTo(2)], &[Step::End], &[Step::HandTo(1)]], &[0, 2, 1]);
}

/// A thread gives up while another one has the turn and hands it on: all leave, in either order.
#[test]
fn a_thread_that_gives_up_lets_the_holder_go() {
    each_interleaving(|| {
        let turn = Arc::new(Turn::new((), 2));
        let (holder, other) = (turn.clone(), turn);
        let holder = thread::spawn(move || {
            if let Some(held) = holder.wait(0) {
                held.hand_to(1);
            }
            assert!(holder.wait(0).is_none());
        });
        join(thread::spawn(move || other.abandon()));
        join(holder);
    });
}

/// The same for one that waits already, or is about to.
#[test]
fn a_thread_that_gives_up_lets_one_that_waits_go() {
    each_interleaving(|| {
        let turn = Arc::new(Turn::new((), 2));
        let (waiting, other) = (turn.clone(), turn);
        let waiting = thread::spawn(move || assert!(waiting.wait(1).is_none()));
        join(thread::spawn(move || other.abandon()));
        join(waiting);
    });
}

fn each_interleaving(case: impl Fn() + Send + Sync + 'static) {
    let mut model = Builder::new();
    model.preemption_bound = Some(PREEMPTIONS);
    model.check(case);
}

/// By a thread that never waits for a turn: a wake-up left over would end loom's own wait.
fn join(thread: JoinHandle<()>) {
    thread.join().expect("it does not panic");
}
