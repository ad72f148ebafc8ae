//! What the console itself sends to a terminal.

/// Erases the character before the cursor.
pub const ERASE: &[u8] = b"\x08 \x08";
/// Plain text again (ECMA-48, 8.3.117).
pub const STYLE_END: &[u8] = b"\x1b[0m";
/// Before a VM has the terminal raw: keeps the titles (XTWINOPS).
pub const KEEP_TITLES: &[u8] = b"\x1b[22;0t";
/// Undoes what a guest may have done to a terminal that it had raw: ends an unfinished sequence
/// (CAN, ST); DECSTR; the main screen; mouse, focus and paste reports off; modifiers of keys as
/// usual; keypad, character sets, margins, wrapping and cursor as usual; plain text; the titles; to
/// the last row. (ECMA-48; DEC STD 070; "XTerm Control Sequences".)
pub const RESET_TERMINAL: &[u8] = b"\x18\x1b\\\x1b[!p\x1b[?1049l\
    \x1b[?9l\x1b[?1000l\x1b[?1001l\x1b[?1002l\x1b[?1003l\x1b[?1004l\x1b[?1005l\x1b[?1006l\
    \x1b[?1015l\x1b[?2004l\x1b[>4;0m\x1b[=0u\x1b>\x1b[?1l\x1b[?5l\x1b[?6l\x1b[?69l\x1b[4l\x1b[20l\
    \x1b(B\x0f\x1b[?7h\x1b[?25h\x1b[0m\x1b[r\x1b[23;0t\x1b[999;1H\r\n";
