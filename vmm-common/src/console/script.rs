//! What a config types to a VM: each input once the VM has printed the text that it waits for.
//!
//! A text is looked for in the bytes that the VM prints, as they are, by the algorithm of Knuth,
//! Morris and Pratt: the state is one number, and a byte costs a few steps.

use crate::plan::InputPlan;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

/// The inputs of a VM.
#[derive(Debug)]
pub(super) struct Script {
    inputs: Vec<InputPlan>,
    /// The one that waits.
    next: usize,
    matcher: Matcher,
}

/// Looks for one text.
#[derive(Debug, Default)]
struct Matcher {
    /// For each beginning of the text, how long the longest shorter one is that it ends with.
    borders: Vec<usize>,
    /// Bytes of the text that have just been printed.
    matched: usize,
}

impl Script {
    pub(super) fn new(inputs: &[InputPlan]) -> Self {
        let mut script = Self { inputs: inputs.to_vec(), next: 0, matcher: Matcher::default() };
        script.prepare();
        script
    }

    /// Whether an input waits.
    pub(super) fn is_waiting(&self) -> bool {
        self.next < self.inputs.len()
    }

    /// What is to be typed before the VM has printed anything.
    pub(super) fn begin(&mut self) -> Vec<u8> {
        let mut keys = Vec::new();
        self.take_ready(&mut keys);
        keys
    }

    /// The VM has printed `bytes`: what is to be typed then.
    pub(super) fn printed(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut keys = Vec::new();
        for byte in bytes {
            let Some(input) = self.inputs.get(self.next) else { break };
            if self.matcher.is_found(input.after.as_bytes(), *byte) {
                self.take(&mut keys);
                self.take_ready(&mut keys);
            }
        }
        keys
    }

    /// The text that did not come, and how many bytes were to be typed after it.
    pub(super) fn unfinished(&self) -> Option<(&str, usize)> {
        let first = self.inputs.get(self.next)?;
        let bytes = self.inputs[self.next..].iter().map(|input| input.keys.len()).sum();
        Some((&first.after, bytes))
    }

    fn take_ready(&mut self, keys: &mut Vec<u8>) {
        while self.inputs.get(self.next).is_some_and(|input| input.after.is_empty()) {
            self.take(keys);
        }
    }

    fn take(&mut self, keys: &mut Vec<u8>) {
        keys.append(&mut self.inputs[self.next].keys);
        self.next += 1;
        self.prepare();
    }

    fn prepare(&mut self) {
        let text = self.inputs.get(self.next).map_or("", |input| &input.after);
        self.matcher = Matcher::new(text.as_bytes());
    }
}

impl Matcher {
    fn new(text: &[u8]) -> Self {
        let mut borders = vec![0; text.len()];
        let mut length = 0;
        for at in 1..text.len() {
            while length > 0 && text[at] != text[length] {
                length = borders[length - 1];
            }
            length += usize::from(text[at] == text[length]);
            borders[at] = length;
        }
        Self { borders, matched: 0 }
    }

    /// Takes a byte; whether `text`, which is that of [`Matcher::new`], ends with it.
    fn is_found(&mut self, text: &[u8], byte: u8) -> bool {
        while self.matched > 0 && text[self.matched] != byte {
            self.matched = self.borders[self.matched - 1];
        }
        self.matched += usize::from(!text.is_empty() && text[self.matched] == byte);
        let is_found = self.matched == text.len();
        if is_found {
            self.matched = 0;
        }
        is_found
    }
}

/// A sentence about a VM whose inputs were not all typed.
pub(super) fn sentence(name: &str, (after, bytes): (&str, usize)) -> String {
    use crate::units::Escaped;
    alloc::format!(
        "{bytes} bytes of {name}'s input were not typed: it did not print {}",
        Escaped(after)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn script(inputs: &[(&str, &str)]) -> Script {
        let input = |(after, keys): &(&str, &str)| InputPlan {
            after: (*after).into(),
            keys: keys.as_bytes().to_vec(),
        };
        Script::new(&inputs.iter().map(input).collect::<Vec<_>>())
    }

    #[test]
    fn each_input_is_typed_behind_its_text() {
        let mut script =
            script(&[("", "now"), ("$ ", "one"), ("", " more"), ("$ ", "two"), ("x", "z")]);
        assert_eq!(script.begin(), b"now");
        assert_eq!(script.printed(b"boot\n$"), b"");
        assert_eq!(script.printed(b" "), b"one more");
        assert_eq!(script.printed(b"out$ put$ "), b"two");
        assert_eq!(script.unfinished(), Some(("x", 1)));
        assert_eq!(script.printed(b"x and x"), b"z");
        assert!(!script.is_waiting());
        assert_eq!(script.printed(b"x"), b"");
        assert_eq!(script.unfinished(), None);
    }

    #[test]
    fn a_text_is_found_wherever_it_begins() {
        for (text, printed, at) in [
            ("aab", "aaab", 4),
            ("abab", "abaabab", 7),
            ("abcabd", "abcabcabd", 9),
            ("aaaa", "aaabaaaa", 8),
        ] {
            let mut script = script(&[(text, "!")]);
            script.begin();
            let found = printed.bytes().position(|byte| script.printed(&[byte]) == b"!");
            assert_eq!(found, Some(at - 1), "{text} in {printed}");
        }
    }

    #[test]
    fn texts_do_not_share_bytes() {
        let mut script = script(&[("aa", "1"), ("aa", "2")]);
        script.begin();
        assert_eq!(script.printed(b"aaa"), b"1");
        assert_eq!(script.printed(b"a"), b"2");
    }
}
