//! Messages for faults of keys and values: what was found, and what is allowed.

use crate::keys::{Key, Keys, Kind};
use crate::node::{Position, Value};
use crate::record::scalar;
use crate::value::nearest;
use vmm_common::plan::MAX_NAME_CHARS;
use vmm_common::units::Bytes;

/// A value that the key does not allow.
pub(crate) fn wrong_value(key: &Key, value: &Value) -> String {
    let is = if matches!(value, Value::Nothing) {
        String::from("has no value")
    } else {
        format!("is {}", value.shown())
    };
    let words =
        if let Kind::Choice(words) | Kind::Port { words, .. } = &key.kind { *words } else { &[] };
    let meant = scalar(value).and_then(|text| nearest(text, words.iter().copied()));
    let meant = meant.map(|word| format!("did you mean {word}? ")).unwrap_or_default();
    format!("{} {is}; {meant}allowed: {}", key.name, key.kind.allowed())
}

/// A repeated key.
pub(crate) fn repeated_key(key: &str, first: Position) -> String {
    format!("repeated key {key}, first in line {}; allowed: once", first.line)
}

/// An unknown key.
pub(crate) fn unknown_key(key: &Value, keys: &Keys) -> String {
    let (of, name) = (keys.of, key.shown());
    match scalar(key).and_then(|name| nearest(name, keys.names())) {
        Some(meant) => format!("unknown key {name} in {of}; did you mean {meant}?"),
        None => format!("unknown key {name} in {of}; allowed: {}", list(keys.names())),
    }
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
            Self::Duration => String::from("a number with ns, us, ms, s or m behind it, as 5ms"),
            Self::Text { max_bytes } => {
                format!("text of up to {max_bytes} bytes, without NUL")
            }
            Self::Name => format!("1 to {MAX_NAME_CHARS} letters, digits, - and _"),
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
