//! What tables map, read from the tables themselves. The walk follows no rule of the code that
//! filled them, but those by which the processor reads them.

use super::{ADDRESS, ROOT_LEVEL, Tables, entry_bytes};
use crate::frames::Frame;
use crate::paging::LARGE;
use alloc::vec::Vec;
use vmm_common::grant::RamPiece;

impl Tables {
    /// Everything that the tables map, in the guest's order, neighbours joined.
    ///
    /// # Errors
    /// An entry leads to a table that is not one of these, or maps what the processor refuses.
    pub fn mappings(&self) -> Result<Vec<RamPiece>, &'static str> {
        let mut found = Vec::new();
        self.walk(self.root(), ROOT_LEVEL, 0, &mut found)?;
        Ok(found)
    }

    fn walk(
        &self,
        table: u64,
        level: u32,
        guest: u64,
        found: &mut Vec<RamPiece>,
    ) -> Result<(), &'static str> {
        let table = self.frames.iter().find(|frame| frame.address() == table);
        let words = table.map(Frame::words).ok_or("an entry leads to a table of another owner")?;
        let bytes = entry_bytes(level);
        for (guest, &entry) in (guest..).step_by(bytes as usize).zip(words) {
            let host = entry & ADDRESS;
            if entry == 0 {
                continue;
            }
            if level > 0 && entry & LARGE == 0 {
                self.walk(host, level - 1, guest, found)?;
                continue;
            }
            if !host.is_multiple_of(bytes) {
                return Err("an entry maps a page that is not aligned");
            }
            match found.last_mut() {
                Some(last)
                    if last.guest.end == guest
                        && last.host + (last.guest.end - last.guest.start) == host =>
                {
                    last.guest.end += bytes;
                }
                _ => found.push(RamPiece { guest: guest..guest + bytes, host }),
            }
        }
        Ok(())
    }
}
