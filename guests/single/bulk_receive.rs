//! Receives N KiB (default 64) over the link and compares the checksum. The other end is
//! bulk_send.
#![no_std]
#![no_main]

#[path = "../common/mod.rs"]
mod common;
#[path = "shared/transfer.rs"]
mod transfer;

#[unsafe(no_mangle)]
extern "C" fn guest_main() -> ! {
    transfer::run(transfer::Role { is_sender: false, is_receiver: true })
}
