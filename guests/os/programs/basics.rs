//! The smallest programs.

use crate::print::println;

/// Says hello.
pub fn hello_world(_arguments: &str) -> i32 {
    println!("Hello, world!");
    0
}

/// Prints its arguments.
pub fn echo(arguments: &str) -> i32 {
    println!("{arguments}");
    0
}
