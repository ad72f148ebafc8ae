//! Names for the lines of a console that a hypervisor prints on.

use crate::Names;

/// Between the VM's name in brackets and what is said of it.
const SAID: &str = "]   ";
const ESCAPE: u8 = 0x1b;

/// Adds names to dumps in a console's output, as they pass.
///
/// What may be a line about a VM is held back until it ends. A guest's own lines are not: they
/// begin with its name.
#[derive(Debug)]
pub struct Annotator {
    names: Names,
    held: Vec<u8>,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Nothing of this line has come but what moves a terminal's cursor.
    Begin,
    /// A terminal's sequence.
    Escaped,
    /// It begins with a bracket.
    Held,
    /// It is another one.
    Passes,
}

impl Annotator {
    /// For a console of these VMs.
    #[must_use]
    pub const fn new(names: Names) -> Self {
        Self { names, held: Vec::new(), state: State::Begin }
    }

    /// What is to be shown after this chunk.
    pub fn annotate(&mut self, chunk: &[u8]) -> Vec<u8> {
        /// No line about a VM is longer.
        const LONGEST: usize = 4096;
        let mut shown = Vec::with_capacity(chunk.len());
        for byte in chunk.iter().copied() {
            let next = match (self.state, byte) {
                (State::Begin, b'[') => State::Held,
                (State::Begin, ESCAPE) => State::Escaped,
                (State::Escaped, b'@'..=b'Z' | b'a'..=b'~') => State::Begin,
                (State::Begin, b'\r') => State::Begin,
                (State::Begin, _) => State::Passes,
                (state, _) => state,
            };
            if next == State::Held {
                self.held.push(byte);
            } else {
                shown.push(byte);
            }
            self.state = if byte == b'\n' { State::Begin } else { next };
            if byte == b'\n' || self.held.len() > LONGEST {
                shown.extend(self.named());
            }
        }
        shown
    }

    /// What is held back of a line that has not ended.
    #[must_use]
    pub fn finish(self) -> Vec<u8> {
        self.held
    }

    /// The line that was held back.
    fn named(&mut self) -> Vec<u8> {
        let held = std::mem::take(&mut self.held);
        let Ok(text) = std::str::from_utf8(&held) else { return held };
        let line = text.trim_end_matches(['\r', '\n']);
        let Some((lead, said)) = line.split_once(SAID) else { return held };
        let name = lead.trim_start_matches('[');
        let of_vcpu = || self.names.vm(name.rsplit_once('.')?.0);
        let Some(vm) = self.names.vm(name).or_else(of_vcpu) else { return held };
        let (said, end) = (self.names.annotate(vm, said), &text[line.len()..]);
        let lines = said.lines().map(|said| format!("{lead}{SAID}{said}{end}"));
        lines.collect::<String>().into_bytes()
    }
}
