use super::*;
use alloc::vec::Vec;
use core::cell::RefCell;

/// Restated: the window's address and size, and the screen's.
const WINDOW: u64 = 0xb_8000;
const WINDOW_BYTES: usize = 0x8000;
const WIDTH: usize = 80;

/// A guest's screen memory, as a BIOS leaves it.
struct Memory(RefCell<Vec<u8>>);

impl GuestMemory for Memory {
    fn read(&self, address: u64, to: &mut [u8]) -> bool {
        let memory = self.0.borrow();
        let Some(at) = address.checked_sub(WINDOW) else { return false };
        let from = memory.get(at as usize..at as usize + to.len());
        from.is_some_and(|from| {
            to.copy_from_slice(from);
            true
        })
    }

    fn write(&self, _address: u64, _from: &[u8]) -> bool {
        false
    }

    fn has(&self, _address: u64, _bytes: u64) -> bool {
        false
    }
}

/// A guest that writes lines, and scrolls by moving memory.
struct Guest {
    memory: Memory,
    screen: Screen,
    place: usize,
    has_cursor: bool,
}

impl Guest {
    fn new() -> Self {
        let memory = Memory(RefCell::new([b' ', 7].repeat(WINDOW_BYTES / 2)));
        Self { memory, screen: Screen::new(), place: 0, has_cursor: false }
    }

    fn write(&mut self, text: &str) {
        let mut memory = self.memory.0.borrow_mut();
        for byte in text.bytes() {
            if byte == b'\n' {
                self.place += WIDTH - self.place % WIDTH;
            } else {
                memory[self.place * 2] = byte;
                self.place += 1;
            }
            if self.place == 25 * WIDTH {
                memory.copy_within(WIDTH * 2..25 * WIDTH * 2, 0);
                memory[24 * WIDTH * 2..25 * WIDTH * 2].copy_from_slice(&[b' ', 7].repeat(WIDTH));
                self.place -= WIDTH;
            }
        }
    }

    fn picture(&self) -> Picture {
        let cursor = self.has_cursor.then_some(self.place as u16);
        picture_of(&self.memory, 0, cursor)
    }

    fn look(&mut self) -> String {
        let mut text = String::new();
        let picture = self.picture();
        self.screen.look(&picture, Moment::Settled, &mut text);
        text
    }

    fn finish(&mut self) -> String {
        let mut text = String::new();
        let picture = self.picture();
        self.screen.finish(&picture, &mut text);
        text
    }
}

fn picture_of(memory: &Memory, start: u16, cursor: Option<u16>) -> Picture {
    let mut picture = Picture::new();
    assert!(picture.take(memory, start, cursor), "it is RAM");
    picture
}

#[test]
fn a_row_is_printed_once_the_guest_goes_on_or_leaves_it_alone() {
    let mut guest = Guest::new();
    guest.write("Hel");
    assert_eq!(guest.look(), "");
    assert!(guest.screen.is_pending());
    guest.write("lo");
    assert_eq!(guest.look(), "");
    guest.write("\nthe next");
    assert_eq!(guest.look(), "Hello\n");
    assert_eq!(guest.look(), "the next\n");
    assert!(!guest.screen.is_pending());
    assert_eq!(guest.look(), "");
    assert_eq!(guest.finish(), "");
}

#[test]
fn while_the_guest_is_not_settled_a_row_that_stands_still_waits() {
    let mut guest = Guest::new();
    guest.write("half");
    for _ in 0..3 {
        let mut text = String::new();
        let picture = guest.picture();
        guest.screen.look(&picture, Moment::Any, &mut text);
        assert_eq!(text, "");
    }
    guest.write(" a line");
    assert_eq!(guest.finish(), "half a line\n");
}

#[test]
fn lines_that_scroll_are_printed_once() {
    let mut guest = Guest::new();
    let mut printed = String::new();
    let mut expected = String::new();
    for number in 0..500 {
        let line = alloc::format!("line {number} of the guest\n");
        guest.write(&line);
        expected += &line;
        // From one line to twenty at a look.
        if number % (1 + number / 25) == 0 {
            printed += &guest.look();
        }
    }
    printed += &guest.finish();
    assert!(printed == expected, "{printed}");
}

#[test]
fn a_look_in_the_middle_of_a_scroll_prints_nothing_twice() {
    for moved in 1..25 * WIDTH * 2 / 4 {
        let mut guest = Guest::new();
        guest.write(&(0..25).map(|row| alloc::format!("row {row}")).collect::<Vec<_>>().join("\n"));
        guest.look();
        guest.look();
        guest
            .memory
            .0
            .borrow_mut()
            .copy_within(WIDTH * 2..WIDTH * 2 + 4 * moved.min(24 * WIDTH / 2), 0);
        let middle = guest.look();
        memory_moves_on(&guest);
        guest.place = 24 * WIDTH;
        guest.write("a new one");
        let rest = guest.finish();
        assert_eq!(middle + &rest, "a new one\n", "{moved} of the double words moved");
    }
}

/// At the look before, the last row was not whole.
#[test]
fn a_look_in_the_middle_of_a_scroll_knows_it_by_the_rows_that_stay() {
    for moved in 1..24 * WIDTH / 2 {
        let mut guest = Guest::new();
        let rows: Vec<_> = (0..24).map(|row| alloc::format!("row {row}")).collect();
        guest.write(&rows.join("\n"));
        guest.write("\nrow");
        let before = guest.look();
        guest.write(" 24");
        let end = WIDTH * 2 + 4 * moved;
        guest.memory.0.borrow_mut().copy_within(WIDTH * 2..end, 0);
        let middle = guest.look();
        memory_moves_on(&guest);
        guest.place = 24 * WIDTH;
        guest.write("a new one");
        let all = before + &middle + &guest.finish();
        let lines: Vec<&str> = all.lines().collect();
        let expected: Vec<_> = (0..25).map(|row| alloc::format!("row {row}")).collect();
        assert_eq!(lines[..25], expected, "{moved} of the double words moved");
        assert_eq!(lines[25..], ["a new one"], "{moved} of the double words moved");
    }
}

/// The rest of a scroll by one row of the rows 0 to 24.
fn memory_moves_on(guest: &Guest) {
    let mut memory = guest.memory.0.borrow_mut();
    for row in 0..25 {
        let text = if row < 24 { alloc::format!("row {}", row + 1) } else { String::new() };
        let cells = &mut memory[row * WIDTH * 2..][..WIDTH * 2];
        cells.copy_from_slice(&[b' ', 7].repeat(WIDTH));
        for (cell, byte) in text.bytes().enumerate() {
            cells[cell * 2] = byte;
        }
    }
}

#[test]
fn a_status_line_does_not_hide_that_the_rest_scrolls() {
    let mut guest = Guest::new();
    for number in 0..24 {
        guest.write(&alloc::format!("line {number}\n"));
    }
    let status = |guest: &Guest, text: &str| {
        let mut memory = guest.memory.0.borrow_mut();
        for (cell, byte) in text.bytes().enumerate() {
            memory[cell * 2] = byte;
        }
    };
    status(&guest, "STATUS");
    guest.look();
    guest.look();
    guest.write("a new one\n");
    status(&guest, "STATUS");
    let text = guest.look() + &guest.look();
    assert!(text.ends_with("a new one\n") && text.lines().count() <= 2, "{text}");
}

#[test]
fn a_prompt_at_the_cursor_grows_in_its_line() {
    let mut guest = Guest::new();
    guest.has_cursor = true;
    guest.write("ready\n$ ");
    assert_eq!(guest.look(), "ready\n");
    assert_eq!(guest.look(), "$ ");
    guest.write("ls");
    assert_eq!(guest.look(), "");
    assert_eq!(guest.look(), "ls", "behind the prompt");
    guest.write("\nfile\n$ ");
    assert_eq!(guest.look(), "\nfile\n");
    assert_eq!(guest.finish(), "$ \n");
}

#[test]
fn what_is_cleared_and_written_again_is_printed_again() {
    let mut guest = Guest::new();
    guest.write("once");
    guest.look();
    assert_eq!(guest.look(), "once\n");
    guest.memory.0.borrow_mut().copy_from_slice(&[0; WINDOW_BYTES]);
    assert_eq!(guest.look(), "");
    guest.place = 0;
    guest.write("once");
    assert_eq!(guest.finish(), "once\n");
}

#[test]
fn a_screen_that_begins_elsewhere_goes_round_its_window() {
    let guest = Guest::new();
    // The last row of the window and what goes on at its beginning.
    let start = WINDOW_BYTES / 2 - 84;
    for (cell, byte) in [(start, b'a'), (start + 80, b'b'), (0, b'c'), (76, b'd')] {
        guest.memory.0.borrow_mut()[cell * 2] = byte;
    }
    let cursor = Some(start as u16 + 81);
    let picture = picture_of(&guest.memory, start as u16, cursor);
    assert_eq!(picture.text(), "a\nb   c\nd\n");
    assert_eq!(picture.cursor(), Some((1, 1)));
}

#[test]
fn characters_are_those_of_code_page_437_and_none_is_a_control() {
    let guest = Guest::new();
    for code in 0..=u8::MAX {
        guest.memory.0.borrow_mut()[usize::from(code) * 2] = code;
    }
    let text = guest.picture().text();
    assert!(text.chars().all(|character| character == '\n' || !character.is_control()), "{text}");
    let mut lines = text.lines();
    assert!(lines.next().expect("a row").starts_with(" ☺☻♥♦"));
    assert!(lines.next().expect("a row").contains("~⌂ÇüéâäàåçêëèïîìÄÅÉæ"));
    assert!(text.ends_with("≡±≥≤⌠⌡÷≈°∙·√ⁿ²■\n"), "{text}");
}
