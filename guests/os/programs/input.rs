//! Counts what is typed.

use crate::print::println;
use crate::{number, system};

const CHUNK_BYTES: usize = 256;
const FNV_OFFSET: u32 = 0x811C_9DC5;
const FNV_PRIME: u32 = 0x0100_0193;

/// Reads N bytes as they come, without echo, and prints how many those were and their checksum
/// (FNV-1a, 32 bits).
pub fn count_input(arguments: &str) -> i32 {
    let wanted = number(arguments, 1024);
    println!("count_input: waiting for {wanted} bytes");
    let mut chunk = [0; CHUNK_BYTES];
    let (mut count, mut checksum) = (0, FNV_OFFSET);
    while count < wanted {
        let room = (wanted - count).min(CHUNK_BYTES as u64) as usize;
        let read = system::read(system::INPUT, chunk.get_mut(..room).unwrap_or(&mut []));
        let Ok(length @ 1..) = usize::try_from(read) else { return 1 };
        for &byte in chunk.get(..length).unwrap_or(&[]) {
            checksum = (checksum ^ u32::from(byte)).wrapping_mul(FNV_PRIME);
        }
        count += length as u64;
    }
    println!("count_input: {count} bytes, checksum {checksum:08x}");
    0
}
