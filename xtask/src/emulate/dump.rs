//! Registers of a VM that was stopped, on their way to the reader: behind them comes the
//! instruction as an assembler writes it, which the hypervisor leaves to a host.

use super::report::clean;
use iced_x86::{Decoder, DecoderOptions, FastFormatter};

/// Ends the lines about a VM's registers: how wide its code is.
const CODE_SEGMENT: &str = "code segment: ";

/// Looks for dumps in a console's output.
#[derive(Debug, Default)]
pub struct Disassembler {
    line: Vec<u8>,
    rip: u64,
    code: Vec<u8>,
}

impl Disassembler {
    /// The chunk, with a line more behind each dump.
    pub fn annotate(&mut self, chunk: &[u8]) -> Vec<u8> {
        let mut annotated = Vec::with_capacity(chunk.len());
        for byte in chunk {
            annotated.push(*byte);
            if *byte != b'\n' {
                self.line.push(*byte);
                continue;
            }
            let line = clean(&std::mem::take(&mut self.line));
            if let Some(text) = self.behind(&line) {
                annotated.extend(text.into_bytes());
            }
        }
        annotated
    }

    /// What follows this line. The hypervisor's own are led by a VM's name in brackets.
    fn behind(&mut self, line: &str) -> Option<String> {
        let (name, said) = line.strip_prefix('[')?.split_once("]   ")?;
        if let Some(rest) = said.strip_prefix("rip ") {
            self.rip = u64::from_str_radix(rest.split(' ').next()?, 16).ok()?;
        } else if let Some(bytes) = said.strip_prefix("code ")
            && let Ok(bytes) = bytes.split(' ').map(|byte| u8::from_str_radix(byte, 16)).collect()
        {
            self.code = bytes;
        } else if let Some(width) = said.strip_prefix(CODE_SEGMENT) {
            let bits = width.split(' ').next()?.parse().ok()?;
            let text = disassembly(bits, self.rip, &std::mem::take(&mut self.code))?;
            return Some(format!("[{name}]   instruction: {text}\r\n"));
        }
        None
    }
}

/// The first instruction of `bytes`, which lie at `rip`.
fn disassembly(bits: u32, rip: u64, bytes: &[u8]) -> Option<String> {
    if bytes.is_empty() || !matches!(bits, 16 | 32 | 64) {
        return None;
    }
    let instruction = Decoder::with_ip(bits, bytes, rip, DecoderOptions::NONE).decode();
    let mut text = String::new();
    FastFormatter::new().format(&instruction, &mut text);
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DUMP: &str = "guest | code 90\r\n[guest stopped: triple fault]\r\n\
        [guest]   rip 0000000000001000  rflags 00000002\r\n[guest]   code 0f 11 07 90\r\n\
        [guest]   code segment: 64 bits\r\n[guest]   exit 48\r\n";
    const ADDED: &str = "[guest]   instruction: movups [rdi],xmm0\r\n";

    #[test]
    fn the_instruction_follows_the_registers_wherever_chunks_end() {
        let expected = DUMP.replace("64 bits\r\n", &format!("64 bits\r\n{ADDED}"));
        for len in [1, 2, 7, 1000] {
            let mut disassembler = Disassembler::default();
            let chunks = DUMP.as_bytes().chunks(len);
            let all: Vec<u8> = chunks.flat_map(|chunk| disassembler.annotate(chunk)).collect();
            assert_eq!(String::from_utf8_lossy(&all), expected, "chunks of {len}");
        }
    }

    #[test]
    fn the_width_of_the_code_counts_and_nonsense_adds_nothing() {
        assert_eq!(disassembly(16, 0x1000, &[0xeb, 0xfe]).as_deref(), Some("jmp 1000h"));
        assert_eq!(disassembly(64, 0x1000, &[0xff, 0xff]).as_deref(), Some("(bad)"));
        assert_eq!(disassembly(64, 0x1000, &[]), None);
        let nonsense =
            "[a]   rip xyz\n[a]   code\n[a]   code segment: 65 bits\n[a]   code segment:\n";
        let annotated = Disassembler::default().annotate(nonsense.as_bytes());
        assert_eq!(String::from_utf8_lossy(&annotated), nonsense);
    }
}
