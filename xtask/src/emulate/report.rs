//! What a run left behind, and the lines on port 0xe9 that say how it ended.

/// Leads the line with the hypervisor's exit code.
const EXIT: &str = "tandem-exit: ";
/// Leads the line with the receipt as JSON.
const RECEIPT: &str = "tandem-receipt: ";
/// Leads a line with what one VM's guest reaches, as JSON, read back from its control block.
const REACH: &str = "tandem-reach: ";
/// Leads the line with the memory in use, as JSON.
const MEMORY: &str = "tandem-memory: ";

/// A machine that is off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// All that came from COM1.
    pub console: Vec<u8>,
    /// The hypervisor's exit code; None: it never said.
    pub exit: Option<u8>,
    /// The receipt as JSON.
    pub receipt: Option<String>,
    /// What the hypervisor used of the machine's memory; None: it did not say.
    pub memory: Option<Memory>,
    /// What each VM's guest reaches, `vmm_common::grant::Reach` as JSON.
    pub reaches: Vec<String>,
    /// All lines of port 0xe9, cleared of what an emulator draws between them.
    pub debug: Vec<String>,
    /// It was switched off because its time was up.
    pub is_timed_out: bool,
}

/// The hypervisor's own memory at the end of a run, beyond its image and the VMs' RAM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// Frames taken: tables, control blocks, maps of ports and MSRs, state areas.
    pub frames_bytes: u64,
    /// Heap in use.
    pub heap_bytes: u64,
}

impl Report {
    /// A report from the console and what was written to port 0xe9.
    pub(super) fn new(console: Vec<u8>, debug: &[u8], is_timed_out: bool) -> Self {
        let debug: Vec<String> = clean(debug).lines().map(str::to_owned).collect();
        let exit = debug.iter().rev().find_map(|line| exit(line));
        let receipt = debug.iter().rev().find_map(|line| json(line, RECEIPT));
        let memory = debug.iter().rev().find_map(|line| memory(line));
        let reaches = debug.iter().filter_map(|line| json(line, REACH)).collect();
        Self { console, exit, receipt, memory, reaches, debug, is_timed_out }
    }
}

fn exit(line: &str) -> Option<u8> {
    let (_, rest) = line.split_once(EXIT)?;
    let digits = rest.split(|c: char| !c.is_ascii_digit()).next()?;
    digits.parse().ok()
}

/// The JSON value behind the lead, less what may follow it.
fn json(line: &str, lead: &str) -> Option<String> {
    let (_, rest) = line.split_once(lead)?;
    let mut values = serde_json::Deserializer::from_str(rest).into_iter::<serde_json::Value>();
    values.next()?.ok()?;
    Some(rest[..values.byte_offset()].to_owned())
}

fn memory(line: &str) -> Option<Memory> {
    let value: serde_json::Value = serde_json::from_str(&json(line, MEMORY)?).ok()?;
    let bytes = |key: &str| value[key].as_u64();
    Some(Memory { frames_bytes: bytes("frames_bytes")?, heap_bytes: bytes("heap_bytes")? })
}

/// The text without the sequences that move a terminal's cursor (ECMA-48, 5.4 and 8.3) and without
/// control characters other than line feed.
pub(super) fn clean(bytes: &[u8]) -> String {
    const ESCAPE: char = '\x1b';
    let text = String::from_utf8_lossy(bytes);
    let mut characters = text.chars();
    let mut clean = String::new();
    while let Some(c) = characters.next() {
        match c {
            ESCAPE => skip_sequence(&mut characters),
            '\n' => clean.push(c),
            _ if c.is_control() => {}
            _ => clean.push(c),
        }
    }
    clean
}

fn skip_sequence(characters: &mut std::str::Chars<'_>) {
    match characters.next() {
        // Control sequence: up to its final character.
        Some('[') => {
            characters.find(|c| ('@'..='~').contains(c));
        }
        // A character set's designation is one longer.
        Some('(' | ')') => {
            characters.next();
        }
        Some(_) | None => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(debug: &str) -> Report {
        Report::new(Vec::new(), debug.as_bytes(), false)
    }

    #[test]
    fn the_last_exit_code_counts() {
        assert_eq!(report("tandem-exit: 3\ntandem-exit: 17\n").exit, Some(17));
        assert_eq!(report("tandem-receipt: {}\n").exit, None);
        assert_eq!(report("tandem-exit: 256\n").exit, None);
        assert_eq!(report("tandem-exit: \n").exit, None);
    }

    #[test]
    fn what_a_terminal_gets_between_is_passed_over() {
        let noisy = "\x1b[2J\x1b(B\x1b[1;1HGRUB\x1b[3;1Htandem-\x1b[0mreceipt: \
                     {\"a\": [1]}\x1b[K\r\n\x1b[5;1Htandem-exit: 1\r\n\x1b[?25h";
        let report = report(noisy);
        assert_eq!(report.receipt.as_deref(), Some("{\"a\": [1]}"));
        assert_eq!(report.exit, Some(1));
    }

    #[test]
    fn a_receipt_that_is_no_json_is_none() {
        assert_eq!(report("tandem-receipt: {\"a\": \n").receipt, None);
        assert_eq!(report("tandem-receipt: {} and more\n").receipt.as_deref(), Some("{}"));
    }

    #[test]
    fn memory_is_told_in_bytes_or_not_at_all() {
        let whole = report("tandem-memory: {\"frames_bytes\":8192,\"heap_bytes\":100}\x1b[K\n");
        assert_eq!(whole.memory, Some(Memory { frames_bytes: 8192, heap_bytes: 100 }));
        assert_eq!(report("tandem-memory: {\"frames_bytes\":8192}\n").memory, None);
        assert_eq!(report("tandem-receipt: {}\n").memory, None);
    }

    #[test]
    fn sequences_that_never_end_end_with_the_text() {
        for text in ["\x1b", "\x1b[", "\x1b[12;", "\x1b("] {
            assert_eq!(clean(text.as_bytes()), "");
        }
    }
}
