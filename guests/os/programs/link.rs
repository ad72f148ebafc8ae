//! The two ends of the link between machines: while COM1's interrupt enable bit is set, what one
//! machine writes is what another one reads.

use crate::print::println;
use crate::system;

const LINE_FEED: u8 = b'\n';
const LONGEST_LINE: usize = 128;

/// Sends a line.
pub fn put_char(_arguments: &str) -> i32 {
    system::set_uart_int_en(0x01);
    system::write(system::OUTPUT, b"COM1 writes OK!!!!\n");
    system::set_uart_int_en(0x00);
    0
}

/// Waits for a line, byte by byte, and prints it.
pub fn get_char(_arguments: &str) -> i32 {
    let mut line = [0; LONGEST_LINE];
    let mut length = 0;
    system::set_uart_int_en(0x01);
    for place in &mut line {
        let mut byte = [0];
        if system::read(system::INPUT, &mut byte) <= 0 || byte[0] == LINE_FEED {
            break;
        }
        *place = byte[0];
        length += 1;
    }
    system::set_uart_int_en(0x00);
    let line = line.get(..length).unwrap_or(&[]);
    match str::from_utf8(line) {
        Ok(line) => println!("the result: {line}"),
        Err(_) => println!("the result: {line:x?}, which is no text"),
    }
    0
}
