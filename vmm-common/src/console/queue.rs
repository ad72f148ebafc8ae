//! Bytes that wait for their reader, in a ring: taking the first of them moves none of the others.

use alloc::collections::VecDeque;

/// A queue of bytes.
#[derive(Debug)]
pub struct Queue(VecDeque<u8>);

impl Queue {
    /// An empty queue. It moves its bytes only once there are more than `capacity`.
    pub fn with_capacity(capacity: usize) -> Self {
        Self(VecDeque::with_capacity(capacity))
    }

    /// How many bytes wait.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The first bytes, as many as lie in one piece: none only if the queue is empty.
    pub fn first(&self) -> &[u8] {
        self.0.as_slices().0
    }

    /// Adds bytes at the end.
    pub fn extend(&mut self, bytes: &[u8]) {
        self.0.extend(bytes);
    }

    /// Moves all of `other` to the end.
    pub fn append(&mut self, other: &mut Self) {
        self.0.append(&mut other.0);
    }

    /// Removes the first `bytes`.
    pub fn drop_first(&mut self, bytes: usize) {
        self.0.drain(..bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn taking_the_first_bytes_leaves_the_others_where_they_are() {
        const BYTES: usize = 1 << 20;
        let mut queue = Queue::with_capacity(BYTES);
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
    fn bytes_come_out_in_order_wherever_they_lie() {
        let mut queue = Queue::with_capacity(0);
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
