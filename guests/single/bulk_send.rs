//! Sends N KiB (default 64) over the link, with 16-byte bursts. The second parameter seeds the data.
//! The other end is bulk_receive.
#![no_std]
#![no_main]

#[path = "../common/mod.rs"]
mod common;
#[path = "shared/transfer.rs"]
mod transfer;

#[unsafe(no_mangle)]
extern "C" fn guest_main() -> ! {
    transfer::run(transfer::Direction::Send)
}
