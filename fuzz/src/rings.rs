//! What an input of the target `rings` means, and what it starts from.

#[path = "../../devices/tests/rings/peer.rs"]
mod peer;
#[path = "../../devices/tests/rings/promises.rs"]
pub mod promises;
#[path = "../../devices/tests/rings/seeds.rs"]
pub mod seeds;
