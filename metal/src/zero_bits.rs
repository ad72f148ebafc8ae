//! What a map lets pass is its bits that are 0: few among many, so that whole words are skipped.

/// Numbers of the bits that are 0.
pub fn zeros(words: &[u64]) -> impl Iterator<Item = u32> {
    let open = words.iter().enumerate().filter(|(_, word)| **word != u64::MAX);
    open.flat_map(|(index, word)| {
        (0..64).filter(move |bit| word >> bit & 1 == 0).map(move |bit| index as u32 * 64 + bit)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_that_are_0_are_found_at_both_ends_of_words() {
        let words = [u64::MAX, !(1 << 63 | 1), u64::MAX, !2];
        assert_eq!(zeros(&words).collect::<Vec<_>>(), [64, 127, 193]);
    }
}
