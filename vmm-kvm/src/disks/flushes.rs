//! Flushes of an overlay whose map is in its file: one at a time. Each writes the map as it stands
//! when it begins, and an older state must not land behind a newer one. Requests that come in the
//! meantime share the next flush.

use vmm_common::backing::{Operation, Token};

/// A request that ends with a flush: one, or a write that is to be durable.
pub type Asker = (Operation, Token);

/// The flush under way, and who waits for the next one.
#[derive(Debug, Default)]
pub struct Flushes {
    is_under_way: bool,
    waiting: Vec<Asker>,
}

impl Flushes {
    /// Those that a flush is to begin for: none while another one is under way.
    pub fn ask(&mut self, asker: Asker) -> Vec<Asker> {
        self.waiting.push(asker);
        self.next()
    }

    /// The flush under way has ended: those that the next one is to begin for.
    pub fn ended(&mut self) -> Vec<Asker> {
        self.is_under_way = false;
        self.next()
    }

    fn next(&mut self) -> Vec<Asker> {
        if self.is_under_way {
            return Vec::new();
        }
        self.is_under_way = !self.waiting.is_empty();
        std::mem::take(&mut self.waiting)
    }
}
