//! Both directions of the link at once: sends N KiB (default 64) and receives as many. The second
//! parameter seeds the data. Its other end is itself.
#![no_std]
#![no_main]

#[path = "../common/mod.rs"]
mod common;
#[path = "shared/transfer.rs"]
mod transfer;

#[unsafe(no_mangle)]
extern "C" fn guest_main() -> ! {
    transfer::run(transfer::Role { is_sender: true, is_receiver: true })
}
