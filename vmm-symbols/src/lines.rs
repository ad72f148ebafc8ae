//! The lines of a dump that name addresses.

use crate::file::SymbolFile;
use crate::instruction;

const AT: &str = " at 0x";
const CALL_TRACE: &str = "call trace: ";
const STACK: &str = "stack at ";
const BETWEEN: &str = " <- ";
/// Stands between the width of code and its bytes.
const CODE: &str = "-bit code ";

/// The line with names.
pub fn named(line: &str, file: &SymbolFile) -> String {
    annotate(line, &|address, is_return| file.name(address, is_return), &|address| {
        file.place(address)
    })
}

/// The lines, with instructions alone.
pub fn without_names(text: &str) -> String {
    text.lines().map(|line| annotate(line, &|_, _| None, &|_| None) + "\n").collect()
}

type NameOf<'a> = &'a dyn Fn(u64, bool) -> Option<String>;
type PlaceOf<'a> = &'a dyn Fn(u64) -> Option<String>;

fn annotate(line: &str, name: NameOf<'_>, place_of: PlaceOf<'_>) -> String {
    if let Some(trace) = line.strip_prefix(CALL_TRACE) {
        // Of where it is itself a line before has said it, but where that is in no function.
        let mut needs_place = trace
            .split(BETWEEN)
            .next()
            .and_then(address)
            .is_some_and(|at| name(at, false).is_none());
        let named = trace.split(BETWEEN).enumerate().map(|(depth, word)| {
            let (digits, times) = word.split_once(' ').unwrap_or((word, ""));
            let named = address(digits).and_then(|address| name(address, depth > 0));
            let gap = if times.is_empty() { "" } else { " " };
            let Some(name) = named else { return word.into() };
            let place = address(digits).filter(|_| std::mem::take(&mut needs_place));
            let place = place.and_then(|address| place_of(address.wrapping_sub(1)));
            let place = place.map(|place| format!(" ({place})")).unwrap_or_default();
            format!("{name}{place}{gap}{times}")
        });
        return format!("{CALL_TRACE}{}", named.collect::<Vec<_>>().join(BETWEEN));
    }
    if let Some((top, words)) = line.strip_prefix(STACK).and_then(|said| said.split_once(": ")) {
        let named = words.split(' ').map(|word| {
            let value = u64::from_str_radix(word, 16).ok();
            let name = value.and_then(|value| name(value, true)).filter(|it| it.contains('+'));
            name.map_or(word.into(), |name| format!("{word} ({name})"))
        });
        return format!("{STACK}{top}: {}", named.collect::<Vec<_>>().join(" "));
    }
    // The last one: what an exception was about comes before.
    let Some((before, rest)) = line.rsplit_once(AT) else { return line.into() };
    let digits = rest.find(|c: char| !c.is_ascii_hexdigit()).unwrap_or(rest.len());
    let (digits, behind) = rest.split_at(digits);
    let Ok(at) = u64::from_str_radix(digits, 16) else { return line.into() };
    let shown = name(at, false).map_or(format!("0x{digits}"), |name| match place_of(at) {
        Some(place) => format!("{name} ({place})"),
        None => name,
    });
    let behind = behind
        .strip_prefix(": ")
        .and_then(|code| code.split_once(CODE))
        .and_then(|(bits, bytes)| instruction::text(bits, bytes, at, |to| name(to, false)))
        .map_or(behind.into(), |text| format!(": {text}"));
    format!("{before} at {shown}{behind}")
}

fn address(word: &str) -> Option<u64> {
    u64::from_str_radix(word.strip_prefix("0x")?, 16).ok()
}
