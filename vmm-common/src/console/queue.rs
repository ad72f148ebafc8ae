//! Bytes that wait for their reader, in a ring: taking the first of them moves none of the others.

use alloc::collections::VecDeque;

/// A queue of bytes.
#[derive(Debug)]
pub struct Queue {
    bytes: VecDeque<u8>,
    /// The room that it has at last: it grows by doubling up to here.
    usual_bytes: usize,
}

impl Queue {
    /// An empty queue of seldom more than `usual_bytes`.
    pub const fn new(usual_bytes: usize) -> Self {
        Self { bytes: VecDeque::new(), usual_bytes }
    }

    /// How many bytes wait.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// The first bytes, as many as lie in one piece: none only if the queue is empty.
    pub fn first(&self) -> &[u8] {
        self.bytes.as_slices().0
    }

    /// Adds bytes at the end.
    pub fn extend(&mut self, bytes: &[u8]) {
        self.reserve(bytes.len());
        self.bytes.extend(bytes);
    }

    /// Moves all of `other` to the end.
    pub fn append(&mut self, other: &mut Self) {
        self.reserve(other.len());
        self.bytes.append(&mut other.bytes);
    }

    /// Removes the first `bytes`.
    pub fn drop_first(&mut self, bytes: usize) {
        self.bytes.drain(..bytes);
    }

    /// Makes room for `more` bytes: twice of what there was, but for the last step.
    fn reserve(&mut self, more: usize) {
        let needed = self.len() + more;
        if needed > self.bytes.capacity() {
            let room = (2 * self.bytes.capacity()).min(self.usual_bytes).max(needed);
            self.bytes.reserve_exact(room - self.len());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn taking_the_first_bytes_leaves_the_others_where_they_are() {
        const BYTES: usize = 1 << 20;
        let mut queue = Queue::new(BYTES);
        queue.extend(&[7; BYTES]);
        let address = queue.first().as_ptr() as usize;
        for taken in 1..=1000 {
            queue.drop_first(16);
            let first = queue.first();
            assert_eq!(first.as_ptr() as usize, address + 16 * taken);
            assert_eq!(first.len(), BYTES - 16 * taken);
        }
    }

    #[test]
    fn it_takes_no_more_memory_than_is_usual() {
        const USUAL: usize = 100_000;
        let mut queue = Queue::new(USUAL);
        while queue.len() < USUAL {
            queue.extend(&[0; 100]);
            assert!(queue.bytes.capacity() <= (2 * queue.len()).min(USUAL));
        }
    }

    #[test]
    fn bytes_come_out_in_order_wherever_they_lie() {
        let mut queue = Queue::new(0);
        let (mut added, mut taken) = (0_u32, 0_u32);
        for round in 0..1000_u32 {
            for _ in 0..round % 13 {
                queue.extend(&added.to_le_bytes());
                added += 1;
            }
            while queue.len() > 64 || (round == 999 && queue.len() > 0) {
                let first = queue.first();
                assert!(!first.is_empty(), "something waits");
                let byte = taken / 4;
                assert_eq!(first[0], byte.to_le_bytes()[taken as usize % 4]);
                queue.drop_first(1);
                taken += 1;
            }
        }
        assert_eq!(taken, 4 * added);
    }
}
