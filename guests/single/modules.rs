//! Says how it was booted: the command line, and the modules with theirs and what is in them.
#![no_std]
#![no_main]

#[path = "../common/mod.rs"]
mod common;

use common::{boot, console, interrupts, power};

#[unsafe(no_mangle)]
extern "C" fn guest_main() -> ! {
    console::initialise(console::COM1);
    interrupts::initialise();
    say("cmdline", boot::command_line());
    let mut line = console::Line::new();
    line.text("modules: ").decimal(boot::modules().count() as u64).print();
    for module in boot::modules() {
        say("module", module.command_line);
        let mut line = console::Line::new();
        let (bytes, sum) = (module.bytes.len() as u64, sum(module.bytes));
        line.text("  ").decimal(bytes).text(" bytes, sum ").decimal(sum).print();
    }
    power::off(0)
}

fn say(what: &str, text: &[u8]) {
    let mut line = console::Line::new();
    line.text(what).text(": ").text(core::str::from_utf8(text).unwrap_or("not UTF-8")).print();
}

fn sum(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |sum, byte| sum + u64::from(*byte))
}
