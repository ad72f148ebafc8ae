//! Words on the command line that the loader hands over.

use super::multiboot::Information;

impl Information {
    /// Whether the command line has `wanted` among its words; `word` as for [`Information::read`].
    pub fn has_word(&self, wanted: &str, word: impl Fn(u64) -> u32) -> bool {
        const LONGEST: u64 = 1024;
        let byte = |at: u64| word(self.command_line + at) as u8;
        if self.command_line == 0 {
            return false;
        }
        let is_end = |byte: u8| matches!(byte, 0 | b' ');
        let mut at = 0;
        while at < LONGEST && byte(at) != 0 {
            let matched = wanted.bytes().enumerate().all(|(i, c)| byte(at + i as u64) == c);
            if matched && is_end(byte(at + wanted.len() as u64)) {
                return true;
            }
            while !is_end(byte(at)) {
                at += 1;
            }
            at += u64::from(byte(at) == b' ');
        }
        false
    }
}
