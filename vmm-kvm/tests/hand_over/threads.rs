//! On threads of the system.

use std::thread;
use vmm_kvm::turn::Turn;

#[test]
fn threads_get_the_turn_in_the_order_they_are_named() {
    const ROUNDS: usize = 200;
    const THREADS: usize = 3;
    let turn = Turn::new(Vec::new(), THREADS);
    thread::scope(|scope| {
        for me in 0..THREADS {
            let turn = &turn;
            scope.spawn(move || {
                while let Some(mut held) = turn.wait(me) {
                    held.push(me);
                    if held.len() == ROUNDS {
                        held.end();
                    } else {
                        held.hand_to((me + 1) % THREADS);
                    }
                }
            });
        }
    });
    let order = turn.into_inner();
    assert!(order.iter().enumerate().all(|(at, me)| at % THREADS == *me), "{order:?}");
    assert_eq!(order.len(), ROUNDS);
}

#[test]
fn abandoned_turns_let_every_thread_go() {
    let turn = Turn::new((), 3);
    thread::scope(|scope| {
        let turn = &turn;
        let others = [1, 2].map(|me| scope.spawn(move || turn.wait(me).is_none()));
        let held = turn.wait(0).expect("it begins here");
        turn.abandon();
        held.hand_to(1);
        for other in others {
            assert!(other.join().expect("it leaves quietly"), "no thread got a turn");
        }
    });
}
