//! Names that were perhaps meant.

const LONGEST: usize = 32;
const FARTHEST: usize = 2;

/// Whether two names differ by few enough edits for one to be a misspelling of the other.
pub fn is_near(left: &str, right: &str) -> bool {
    left.len() < LONGEST
        && right.len() < LONGEST
        && (left.starts_with(right)
            || right.starts_with(left)
            || distance(left.as_bytes(), right.as_bytes()) <= FARTHEST)
}

/// Levenshtein's distance, with one row of the table.
fn distance(left: &[u8], right: &[u8]) -> usize {
    let mut row = [0; LONGEST];
    for (column, cell) in row.iter_mut().enumerate() {
        *cell = column;
    }
    for (line, left_byte) in left.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = line + 1;
        for (column, right_byte) in right.iter().enumerate() {
            let replaced = diagonal + usize::from(left_byte != right_byte);
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[right.len()]
}
