//! Sends whatever a terminal, or a program that reads lines, may take for more than text: every
//! control of ASCII, every byte of the upper half, the controls of C1 in both encodings, each
//! escape and control sequence, strings, reports, and characters that end lines or turn text round.
//! Behind each stands what another VM's or Tandem's lines look like. `[loud]` waits for a q, sends
//! only sequences that leave a terminal changed, and waits for another.
#![no_std]
#![no_main]

#[path = "../common/mod.rs"]
mod common;

use common::{boot, console, cpu, power};

const ESC: u8 = 0x1B;
/// What a forger would print at the beginning of a line.
const FORGED: [&[u8]; 3] =
    [b"other | forged", b"[other powered off, status 0]", b"[the keyboard is other's]"];

/// Introducers of control strings (ECMA-48, 8.3; and screen's title), of 7 bits behind an ESC.
const STRINGS: &[u8] = b"]P^_Xk";
/// What strings say: titles, colours, folders, links, clipboards, fonts, notifications, file
/// transfers; settings and capabilities that the terminal is to report; a picture; tmux's passing.
const CONTENTS: [&[u8]; 22] = [
    b"0;forged", b"1;forged", b"2;forged", b"2;?", b"4;1;?", b"4;1;rgb:00/00/00",
    b"7;file:///forged", b"8;;file:///forged", b"9;forged", b"10;?", b"11;?", b"12;#ff0000",
    b"50;forged", b"52;c;Zm9yZ2Vk", b"52;c;?", b"104", b"133;A", b"777;notify;forged;forged",
    b"1337;File=inline=1:Zm9yZ2Vk", b"$qm", b"+q544e", b"q#0;2;0;0;0~-",
];
/// Ends of strings: BEL, ST in 7 and in 8 bits and in UTF-8, CAN, none.
const STRING_ENDS: [&[u8]; 6] = [b"\x07", b"\x1B\\", b"\x9C", b"\xC2\x9C", b"\x18", b""];
/// Parameters of control sequences, each given to all final bytes.
const PARAMETERS: [&[u8]; 16] = [
    b"", b"0", b"1", b"2", b"5", b"6", b"999", b"1;1", b"999;999", b"8;3;3", b"?6", b"?1049",
    b"?25", b">", b"=", b"!",
];
/// Modes that a terminal may be in, set and reset by `h` and `l`, asked for by `$p`.
const MODES: [&[u8]; 25] = [
    b"4", b"20", b"?1", b"?3", b"?5", b"?6", b"?7", b"?9", b"?12", b"?25", b"?47", b"?66", b"?69",
    b"?1000", b"?1002", b"?1003", b"?1004", b"?1006", b"?1047", b"?1048", b"?1049", b"?2004",
    b"?2026", b"?2048", b"?9001",
];
/// Sequences that are none of these, and characters.
const OTHERS: [&[u8]; 26] = [
    b"\x1B#8", b"\x1B(0lqk", b"\x1B)0\x0E", b"\x1B%G", b"\x1B%@", b"\x1B F", b"\x1B[>4;2m",
    b"\x1B[?4m", b"\x1B[>1u", b"\x1B[=5u", b"\x1B[?u", b"\x1B[21t", b"\x1B[14t", b"\x1B[0\x07c",
    b"\x1B[31", b"\x1B[3\x18c", b"\x1B\x1B[6n", b"\x08 \x08\x08 \x08\x08 \x08\x08 \x08",
    "\u{85}".as_bytes(), "\u{2028}".as_bytes(), "\u{2029}".as_bytes(),
    "\u{202E}\u{202D}\u{2067}\u{2066}\u{2068}\u{61C}\u{200E}\u{200F}".as_bytes(),
    b"\xC0\x9B6n", b"\xE0\x80\x9B", b"\xED\xA0\x80", b"\xF4\x90\x80\x80\xC3",
];
/// More than the rest of a row, and than a line is kept long.
const LONG: [usize; 4] = [71, 80, 4096, 4200];

#[unsafe(no_mangle)]
extern "C" fn guest_main() -> ! {
    console::initialise(console::COM1);
    if boot::has_word("loud") {
        be_loud();
    }
    send(b"escapes: begin\n");
    for byte in (0..=0xFF).filter(|byte| !(b' '..=b'~').contains(byte)) {
        probe(&[b"byte ", &[byte]]);
    }
    for c1 in 0x80..0xA0 {
        probe(&[b"utf-8 ", &[0xC2, c1]]);
    }
    for last in b'0'..=b'~' {
        probe(&[b"escape ", &[ESC, last]]);
    }
    for last in b'@'..=b'~' {
        for parameters in PARAMETERS {
            sequence(&[parameters, &[last]]);
        }
        probe(&[b"csi ", b"\x9B6", &[last]]);
        probe(&[b"csi ", b"\xC2\x9B6", &[last]]);
    }
    for mode in MODES {
        sequence(&[mode, b"$p"]);
        sequence(&[mode, b"h"]);
        sequence(&[mode, b"l"]);
        sequence(&[mode, b"h"]);
    }
    for introducer in STRINGS {
        for contents in CONTENTS {
            string(&[ESC, *introducer], contents);
        }
        string(&[introducer ^ 0xC0], b"0;forged");
        string(&[0xC2, introducer ^ 0xC0], b"0;forged");
    }
    for other in OTHERS {
        probe(&[b"other ", other]);
    }
    for columns in LONG {
        for _ in 0..columns {
            send(b".");
        }
        probe(&[]);
    }
    send(b"escapes: end\nescapes: an unfinished line");
    power::off(0)
}

/// One line: `parts`, and each forgery, at once and behind what may bring the cursor back.
fn probe(parts: &[&[u8]]) {
    for forged in FORGED {
        for part in parts {
            send(part);
        }
        send(forged);
        send(b"\n");
    }
}

fn sequence(parts: &[&[u8]]) {
    send(b"csi \x1B[");
    for part in parts {
        send(part);
    }
    send(FORGED[0]);
    send(b"\n");
}

fn string(introducer: &[u8], contents: &[u8]) {
    for end in STRING_ENDS {
        send(b"string ");
        send(introducer);
        send(contents);
        send(end);
        send(FORGED[1]);
        send(b"\n");
    }
}

/// What a terminal that is raw obeys and answers, an unfinished string at the end.
fn be_loud() -> ! {
    send(b"escapes: waiting for a q\n");
    wait_for_q();
    send(b"\x1B]2;forged\x07\x1B[?1049h\x1B[2J\x1B[?25l\x1B[?1003h\x1B[?2004h\x1B[4h\x1B=\x1B[?1h");
    send(b"\x1B[3;5r\x1B[?6h\x1B[41m\x1B(0\x1B[1;1Hloud\x1B[6n\x1B]0;unfinished");
    wait_for_q();
    power::off(0)
}

/// Waits for a q, and discards what else the terminal may have typed.
fn wait_for_q() {
    while cpu::in8(console::COM1 + console::LINE_STATUS) & console::DATA_READY == 0
        || cpu::in8(console::COM1) != b'q'
    {}
}

fn send(bytes: &[u8]) {
    console::write(bytes);
}
