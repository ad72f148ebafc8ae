//! Messages for faults of keys and values: what was found, and what is allowed.

use crate::keys::{Key, Keys, Kind};
use crate::node::{Position, Value};
use crate::record::scalar;
use crate::value::{nearest, parse_integer};
use vmm_common::plan::{BASE_BAUD, DEBUGGER_FORM, MAX_INTERFACE_BYTES, MAX_NAME_CHARS};
use vmm_common::units::Bytes;

/// A value that the key does not allow.
pub(crate) fn wrong_value(key: &Key, value: &Value) -> String {
    let is = if matches!(value, Value::Nothing) {
        String::from("has no value")
    } else if is_needlessly_quoted(&key.kind, value) {
        format!("is \"{}\"", value.shown())
    } else {
        format!("is {}", value.shown())
    };
    let words =
        if let Kind::Choice(words) | Kind::Port { words, .. } = &key.kind { *words } else { &[] };
    let meant = scalar(value).and_then(|text| nearest(text, words.iter().copied()));
    let meant = meant.map(|word| format!("did you mean {word}? ")).unwrap_or_default();
    let quotes = if is_needlessly_quoted(&key.kind, value) { ", without quotes" } else { "" };
    format!("{} {is}; {meant}allowed: {}{quotes}", key.name, key.kind.allowed())
}

/// A number or a truth value in quotes, which make it text. The message shows the quotes, because
/// without them the value would look right.
fn is_needlessly_quoted(kind: &Kind, value: &Value) -> bool {
    let Value::Text(text) = value else { return false };
    match kind {
        Kind::Integer { .. } | Kind::Baud | Kind::Flag => parse_integer(text).is_some(),
        Kind::Boolean => matches!(text.as_str(), "true" | "false"),
        Kind::Size { .. } | Kind::Duration { .. } | Kind::Text { .. } | Kind::Name => false,
        Kind::Interface | Kind::Mac | Kind::Debugger => false,
        Kind::Choice(_) | Kind::Mapping(_) | Kind::Port { .. } | Kind::List { .. } => false,
    }
}

/// A repeated key.
pub(crate) fn repeated_key(key: &str, first: Position) -> String {
    format!("repeated key {key}, first in line {}; allowed: once", first.line)
}

/// An unknown key.
pub(crate) fn unknown_key(key: &Value, keys: &Keys) -> String {
    let (of, name) = (keys.of, key.shown());
    let meant = |name| nearest(name, keys.names()).or_else(|| other_spelling(name, keys));
    match scalar(key).and_then(meant) {
        Some(meant) => format!("unknown key {name} in {of}; did you mean {meant}?"),
        None => format!("unknown key {name} in {of}; allowed: {}", list(keys.names())),
    }
}

/// The key of these that means what `name` means in the other spelling.
fn other_spelling(name: &str, keys: &Keys) -> Option<&'static str> {
    const VCPUS: [&str; 2] = ["vcpus", "vcpu_count"];
    keys.names().find(|key| VCPUS.contains(&name) && VCPUS.contains(key))
}

pub(crate) fn list<'a>(words: impl Iterator<Item = &'a str>) -> String {
    words.collect::<Vec<_>>().join(", ")
}

impl Kind {
    /// What is allowed there, for messages.
    pub(crate) fn allowed(&self) -> String {
        match self {
            Self::Integer { min, max } if min == max => format!("{min}"),
            Self::Integer { max: u64::MAX, .. } => String::from("a whole number"),
            Self::Integer { min, max } => format!("a whole number from {min} to {max}"),
            Self::Flag => String::from("0 or 1"),
            Self::Boolean => String::from("true or false"),
            Self::Size { step, max } => {
                let (step, max) = (Bytes(*step), Bytes(*max));
                format!("{step} to {max} in steps of {step}, as 16MiB or 0x100_0000")
            }
            Self::Baud => format!("{BASE_BAUD} divided by a whole number, as 9600"),
            Self::Duration { .. } => {
                String::from("a number with ns, us, ms, s or m behind it, as 5ms")
            }
            Self::Text { max_bytes } => {
                format!("text of up to {max_bytes} bytes, without NUL")
            }
            Self::Name => format!("1 to {MAX_NAME_CHARS} letters, digits, - and _"),
            Self::Interface => {
                format!("1 to {MAX_INTERFACE_BYTES} letters, digits, -, _ and ., none in front")
            }
            Self::Mac => String::from("an Ethernet address, as 52:54:00:00:00:01"),
            Self::Debugger => DEBUGGER_FORM.into(),
            Self::Choice(words) => words.join(", "),
            Self::Mapping(keys) => {
                let keys: Vec<String> = keys.names().map(|key| format!("{key}: ...")).collect();
                format!("{{{}}}", keys.join(", "))
            }
            Self::Port { words, either, .. } => {
                let either: Vec<String> =
                    either.iter().map(|key| format!("{{{key}: NAME}}")).collect();
                format!("{}, {}", words.join(", "), either.join(", "))
            }
            Self::List { of, .. } => format!("a list, each item {}", of.of),
        }
    }
}
