//! A byte queue of fixed size, as the 16550A has two of.

/// A first-in first-out queue of at most `N` bytes. It never allocates and never grows.
#[derive(Clone, Debug)]
pub struct Fifo<const N: usize> {
    bytes: [u8; N],
    head: usize,
    len: usize,
}

impl<const N: usize> Fifo<N> {
    /// An empty queue.
    #[must_use]
    pub const fn new() -> Self {
        Self { bytes: [0; N], head: 0, len: 0 }
    }

    /// Appends `byte`.
    ///
    /// # Errors
    /// A full queue is unchanged and hands the byte back.
    pub fn push(&mut self, byte: u8) -> Result<(), u8> {
        if self.is_full() {
            return Err(byte);
        }
        self.bytes[(self.head + self.len) % N] = byte;
        self.len += 1;
        Ok(())
    }

    /// Takes the oldest byte.
    pub fn pop(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.head = (self.head + 1) % N;
        self.len -= 1;
        Some(byte)
    }

    /// The oldest byte, left in place.
    #[must_use]
    pub fn peek(&self) -> Option<u8> {
        (self.len > 0).then(|| self.bytes[self.head])
    }

    /// The bytes, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = u8> + '_ {
        (0..self.len).map(|index| self.bytes[(self.head + index) % N])
    }

    /// How many bytes wait.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether no byte waits.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether the next push would fail.
    #[must_use]
    pub const fn is_full(&self) -> bool {
        self.len == N
    }

    /// How many more bytes fit.
    #[must_use]
    pub const fn space(&self) -> usize {
        N - self.len
    }

    /// Drops every byte.
    pub const fn clear(&mut self) {
        self.head = 0;
        self.len = 0;
    }
}

impl<const N: usize> Default for Fifo<N> {
    fn default() -> Self {
        Self::new()
    }
}

/// Two queues are equal when they would pop the same bytes, wherever those lie in the ring.
impl<const N: usize> PartialEq for Fifo<N> {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl<const N: usize> Eq for Fifo<N> {}

#[cfg(test)]
mod tests {
    use super::Fifo;

    #[test]
    fn bytes_leave_in_the_order_they_came_across_many_wraps() {
        let mut fifo = Fifo::<3>::new();
        for byte in 0..100 {
            fifo.push(byte).unwrap();
            fifo.push(byte ^ 0x80).unwrap();
            assert_eq!(fifo.peek(), Some(byte));
            assert_eq!(fifo.pop(), Some(byte));
            assert_eq!(fifo.pop(), Some(byte ^ 0x80));
        }
        assert_eq!(fifo.pop(), None);
    }

    #[test]
    fn full_queue_hands_the_byte_back_and_keeps_the_old_ones() {
        let mut fifo = Fifo::<2>::new();
        assert_eq!((fifo.push(1), fifo.push(2), fifo.push(3)), (Ok(()), Ok(()), Err(3)));
        assert!(fifo.is_full());
        assert_eq!((fifo.len(), fifo.space()), (2, 0));
        assert_eq!((fifo.pop(), fifo.pop(), fifo.pop()), (Some(1), Some(2), None));
    }

    #[test]
    fn clear_empties() {
        let mut fifo = Fifo::<2>::new();
        fifo.push(1).unwrap();
        fifo.clear();
        assert!(fifo.is_empty());
        assert_eq!((fifo.space(), fifo.pop()), (2, None));
    }

    #[test]
    fn equality_looks_at_the_bytes_and_not_at_the_ring() {
        let mut moved = Fifo::<2>::new();
        moved.push(9).unwrap();
        moved.pop();
        moved.push(5).unwrap();
        let mut fresh = Fifo::<2>::new();
        fresh.push(5).unwrap();
        assert_eq!(moved, fresh);
    }

    #[test]
    fn queue_without_room_refuses_every_byte() {
        let mut fifo = Fifo::<0>::new();
        assert_eq!((fifo.push(7), fifo.pop()), (Err(7), None));
    }
}
