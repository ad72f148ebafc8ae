//! The turn among threads: on threads of the system, and in every interleaving and every order of
//! memory accesses that the language allows, as the model checker `loom` goes through them.

mod model;
mod parking;
mod threads;
#[path = "../../src/turn.rs"]
mod turn;
