//! The text screen of a PC (VGA, mode 3), where the loader left one: for messages that must not
//! depend on a serial port.

use core::fmt;
use core::sync::atomic::{AtomicUsize, Ordering};

const ADDRESS: usize = 0xb_8000;
const COLUMNS: usize = 80;
const CELLS: usize = COLUMNS * 25;
/// White on black.
const ATTRIBUTE: u16 = 0x0f00;

/// The next cell.
static AT: AtomicUsize = AtomicUsize::new(0);

/// The screen. What is written begins at its top, and again there when it is full.
#[derive(Debug)]
pub struct Screen;

impl fmt::Write for Screen {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            match byte {
                b'\n' => while !put(b' ').is_multiple_of(COLUMNS) {},
                byte => {
                    put(byte);
                }
            }
        }
        Ok(())
    }
}

/// Shows a character; the next cell.
fn put(byte: u8) -> usize {
    let at = AT.load(Ordering::Relaxed);
    // SAFETY: the cells of the screen lie below 1 MiB, where nothing of ours or of a VM's lies; on
    // a machine without one, nothing is there.
    unsafe { ((ADDRESS + 2 * at) as *mut u16).write_volatile(ATTRIBUTE | u16::from(byte)) };
    let next = (at + 1) % CELLS;
    AT.store(next, Ordering::Relaxed);
    next
}
