//! The command interpreter on COM1: `;` separates commands, `&` leaves one in the background.
//!
//! It first runs the commands it was started with, which are the kernel's command line, echoing
//! each like one that is typed; then it asks for more. `poweroff` without a status reports whether
//! any command failed.

use crate::print::{print, println};
use crate::spelling::is_near;
use crate::{PROGRAMS, system};

const PROMPT: &str = "$ ";
const LONGEST_LINE: usize = 256;

struct Shell {
    has_failure: bool,
}

/// The shell: never ends by itself.
pub fn run(arguments: &str) -> i32 {
    let mut shell = Shell { has_failure: false };
    for command in split(arguments) {
        println!("{PROMPT}{command}");
        shell.execute(command);
    }
    let mut line = [0; LONGEST_LINE];
    loop {
        print!("{PROMPT}");
        let length = read_line(&mut line);
        let Ok(text) = str::from_utf8(line.get(..length).unwrap_or(&[])) else {
            println!("that is no text");
            continue;
        };
        for command in split(text) {
            shell.execute(command);
        }
        while let Some(ended) = system::poll_children() {
            println!("[{}] ended with {}", ended.number, ended.status);
        }
    }
}

fn split(line: &str) -> impl Iterator<Item = &str> {
    line.split_inclusive([';', '&'])
        .map(|command| command.trim_end_matches(';').trim())
        .filter(|command| !command.is_empty())
}

impl Shell {
    fn execute(&mut self, command: &str) {
        let (command, in_background) = match command.strip_suffix('&') {
            Some(command) => (command.trim(), true),
            None => (command, false),
        };
        let (name, arguments) = command.split_once(' ').unwrap_or((command, ""));
        match name {
            "" => {}
            "help" => help(),
            "poweroff" => self.power_off(arguments.trim()),
            "wait" => while system::wait(0).is_some() {},
            _ if PROGRAMS.iter().any(|program| program.name == name) => {
                self.start(command, in_background);
            }
            _ => {
                self.has_failure = true;
                report_unknown(name);
            }
        }
    }

    fn start(&mut self, command: &str, in_background: bool) {
        let child = system::spawn(command);
        if child < 0 {
            println!("{command}: too many processes or too little memory");
            self.has_failure = true;
        } else if in_background {
            println!("[{child}] {command}");
        } else {
            let status = system::wait(child).map_or(1, |ended| ended.status);
            if status != 0 {
                println!("{command}: ended with {status}");
                self.has_failure = true;
            }
        }
    }

    fn power_off(&self, status: &str) {
        if status.is_empty() {
            system::shut_down(u32::from(self.has_failure));
        }
        match status.parse() {
            Ok(status) => system::shut_down(status),
            Err(_) => println!("poweroff: {status} is no status"),
        }
    }
}

fn help() {
    println!(
        "; separates commands, & starts one in the background. Besides the programs there are"
    );
    println!("help, wait (for the background) and poweroff [status].");
    for program in PROGRAMS {
        println!("{:>16}  {}", program.name, program.summary);
    }
}

fn report_unknown(name: &str) {
    print!("{name}: no such command");
    let mut separator = "; did you mean ";
    for program in PROGRAMS.iter().filter(|program| is_near(name, program.name)) {
        print!("{separator}{}", program.name);
        separator = ", ";
    }
    println!("{}", if separator == ", " { "?" } else { "; try help" });
}

/// Reads a line with echo and the usual corrections; gives its length.
fn read_line(line: &mut [u8; LONGEST_LINE]) -> usize {
    const BACKSPACE: u8 = 8;
    const DELETE: u8 = 0x7F;
    const CONTROL_C: u8 = 3;
    const CONTROL_U: u8 = 0x15;
    let mut length = 0;
    loop {
        let mut byte = [0];
        system::read(system::INPUT, &mut byte);
        match byte[0] {
            b'\r' | b'\n' => {
                print!("\n");
                return length;
            }
            CONTROL_C => {
                print!("^C\n");
                return 0;
            }
            BACKSPACE | DELETE if length > 0 => {
                print!("\x08 \x08");
                length -= 1;
            }
            CONTROL_U => {
                for _ in 0..length {
                    print!("\x08 \x08");
                }
                length = 0;
            }
            b' '..=b'~' if length < LONGEST_LINE => {
                system::write(system::OUTPUT, &byte);
                line[length] = byte[0];
                length += 1;
            }
            _ => {}
        }
    }
}
