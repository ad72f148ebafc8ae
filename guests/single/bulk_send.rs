//! Sends N KiB (default 64) over the link in bursts of 16 bytes. The second parameter seeds the
//! data. The other end is bulk_receive.
#![no_std]
#![no_main]

#[path = "../common/mod.rs"]
mod common;
#[path = "shared/transfer.rs"]
mod transfer;

#[unsafe(no_mangle)]
extern "C" fn guest_main() -> ! {
    transfer::run(transfer::Role { is_sender: true, is_receiver: false })
}
