//! Reads a mapping by its table of keys: reports every unknown, repeated, missing or mistyped key,
//! and keeps the rest as typed values, each with its place.

use crate::fault::Collector;
use crate::keys::{Key, Keys, Kind};
use crate::node::{Node, Position, Value};
use crate::refusals::{list, repeated_key, unknown_key, wrong_value};
use crate::value::{parse_duration_ns, parse_integer, parse_mac, parse_size};
use std::collections::BTreeMap;
use vmm_common::plan::{BASE_BAUD, DebuggerPlan};

/// A mapping that has been read.
#[derive(Debug)]
pub(crate) struct Record {
    /// Where it begins.
    at: Position,
    /// It is a mapping at all.
    is_sound: bool,
    fields: Vec<Field>,
}

#[derive(Debug)]
struct Field {
    key: &'static str,
    at: Position,
    /// None if it is faulty, which has been reported.
    value: Option<Typed>,
}

#[derive(Debug)]
enum Typed {
    Integer(u64),
    Boolean(bool),
    Text(String),
    Record(Record),
    List(Vec<Record>),
}

/// The position of a key's value, or where it belongs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Site {
    pub(crate) at: Position,
    /// The value could be read, so that faults that follow from it are reported.
    pub(crate) is_sound: bool,
    /// The key is there; else the place is where its mapping begins.
    pub(crate) is_there: bool,
}

impl Typed {
    fn text(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl Record {
    /// Reads `node` by `keys`.
    pub(crate) fn read(node: &Node, keys: &'static Keys, faults: &mut Collector) -> Self {
        let Value::Mapping(entries) = &node.value else {
            let (of, value) = (keys.of, node.value.shown());
            let names = list(keys.names());
            faults.add(
                node.at,
                format!("{value} is not {of}; allowed: a mapping with the keys {names}"),
            );
            return Self { at: node.at, is_sound: false, fields: Vec::new() };
        };
        Self::read_entries(node.at, entries.iter().map(|(key, value)| (key, value)), keys, faults)
    }

    /// Reads the entries of a mapping at `at` by `keys`.
    pub(crate) fn read_entries<'a>(
        at: Position,
        entries: impl IntoIterator<Item = (&'a Node, &'a Node)>,
        keys: &'static Keys,
        faults: &mut Collector,
    ) -> Self {
        let mut fields: Vec<Field> = Vec::new();
        let mut known = BTreeMap::new();
        for (name, node) in entries {
            let Some(key) = scalar(&name.value).and_then(|name| keys.find(name)) else {
                faults.add(name.at, unknown_key(&name.value, keys));
                continue;
            };
            if let Some(first) = known.insert(key.name, name.at) {
                faults.add(name.at, repeated_key(key.name, first));
                continue;
            }
            // A null has no position of its own; report its key's.
            let at = if matches!(node.value, Value::Nothing) { name.at } else { node.at };
            let value = read_value(key, node, at, faults);
            fields.push(Field { key: key.name, at, value });
        }
        let is_missing = |key: &&Key| key.is_required && !known.contains_key(key.name);
        let missing: Vec<&str> = keys.keys.iter().filter(is_missing).map(|key| key.name).collect();
        if !missing.is_empty() {
            let plural = if missing.len() == 1 { "key" } else { "keys" };
            faults.add(at, format!("missing {plural} {} in {}", missing.join(", "), keys.of));
        }
        fields.extend(missing.into_iter().map(|key| Field { key, at, value: None }));
        Self { at, is_sound: true, fields }
    }

    fn field(&self, key: &str) -> Option<&Field> {
        self.fields.iter().find(|field| field.key == key)
    }

    fn typed(&self, key: &str) -> Option<&Typed> {
        self.field(key)?.value.as_ref()
    }

    /// The key is present, valid or not.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.field(key).is_some()
    }

    /// Where the value of the first of `keys` that is there is; else where the mapping begins.
    pub(crate) fn site(&self, keys: &[&str]) -> Site {
        match keys.iter().find_map(|key| self.field(key)) {
            Some(Field { at, value, .. }) => {
                Site { at: *at, is_sound: value.is_some(), is_there: true }
            }
            None => Site { at: self.at, is_sound: self.is_sound, is_there: false },
        }
    }

    pub(crate) fn integer(&self, key: &str) -> Option<u64> {
        if let Typed::Integer(value) = self.typed(key)? { Some(*value) } else { None }
    }

    /// An integer whose range the table keeps within 32 bits.
    pub(crate) fn integer32(&self, key: &str) -> Option<u32> {
        self.integer(key).map(|value| u32::try_from(value).unwrap_or(u32::MAX))
    }

    pub(crate) fn boolean(&self, key: &str) -> Option<bool> {
        if let Typed::Boolean(value) = self.typed(key)? { Some(*value) } else { None }
    }

    pub(crate) fn text(&self, key: &str) -> Option<&str> {
        if let Typed::Text(value) = self.typed(key)? { Some(value) } else { None }
    }

    pub(crate) fn record(&self, key: &str) -> Option<&Self> {
        if let Typed::Record(value) = self.typed(key)? { Some(value) } else { None }
    }

    pub(crate) fn mac(&self, key: &str) -> Option<[u8; 6]> {
        parse_mac(self.text(key)?)
    }

    /// Takes the list out, to be kept beside the record.
    pub(crate) fn take_list(&mut self, key: &str) -> Vec<Self> {
        let field = self.fields.iter_mut().find(|field| field.key == key);
        match field.and_then(|field| field.value.as_mut()) {
            Some(Typed::List(items)) => std::mem::take(items),
            _ => Vec::new(),
        }
    }
}

fn read_value(key: &Key, node: &Node, at: Position, faults: &mut Collector) -> Option<Typed> {
    let typed = match &key.kind {
        Kind::Integer { max, .. } => integer(node).filter(|v| fits(*v, *max)).map(Typed::Integer),
        Kind::Flag => integer(node).filter(|value| *value <= 1).map(Typed::Integer),
        Kind::Boolean => boolean(node).map(Typed::Boolean),
        Kind::Size { .. } => scalar(&node.value).and_then(parse_size).map(Typed::Integer),
        Kind::Baud => integer(node).filter(|v| fits(*v, u64::from(BASE_BAUD))).map(Typed::Integer),
        Kind::Duration { .. } => {
            scalar(&node.value).and_then(parse_duration_ns).map(Typed::Integer)
        }
        Kind::Text { max_bytes } => scalar(&node.value)
            .filter(|text| text.len() <= *max_bytes && !text.contains('\0'))
            .map(Typed::text),
        Kind::Name | Kind::Interface => scalar(&node.value).map(Typed::text),
        Kind::Debugger => {
            scalar(&node.value).filter(|text| text.parse::<DebuggerPlan>().is_ok()).map(Typed::text)
        }
        Kind::Mac => scalar(&node.value).filter(|text| parse_mac(text).is_some()).map(Typed::text),
        Kind::Choice(words) => {
            scalar(&node.value).filter(|text| words.contains(text)).map(Typed::text)
        }
        Kind::Mapping(keys) if matches!(node.value, Value::Mapping(_)) => {
            Some(Typed::Record(Record::read(node, keys, faults)))
        }
        Kind::Mapping(_) => None,
        Kind::Port { .. } => return port(key, node, at, faults),
        Kind::List { of, min, max } => {
            if let Value::List(items) = &node.value {
                return list_of(key.name, node.at, items, (of, *min, *max), faults);
            }
            None
        }
    };
    if typed.is_none() {
        faults.add(at, wrong_value(key, &node.value));
    }
    typed
}

/// Mappings, up to the key's maximum: those beyond are not read, so that no later step has to
/// handle tens of thousands of them.
fn list_of(
    name: &str,
    at: Position,
    items: &[Node],
    (keys, min, max): (&'static Keys, usize, usize),
    faults: &mut Collector,
) -> Option<Typed> {
    let count = items.len();
    if !(min..=max).contains(&count) {
        let at = items.get(max).map_or(at, |item| item.at);
        let plural = if count == 1 { "entry" } else { "entries" };
        faults.add(at, format!("{name} has {count} {plural}; allowed: {min} to {max}"));
    }
    let read = |item| Record::read(item, keys, faults);
    let records: Vec<Record> = items.iter().take(max).map(read).collect();
    (count >= min).then_some(Typed::List(records))
}

/// A word, or a mapping with exactly one of the `either` keys.
fn port(key: &Key, node: &Node, at: Position, faults: &mut Collector) -> Option<Typed> {
    let Kind::Port { words, either, keys } = &key.kind else { return None };
    if let Some(word) = scalar(&node.value).filter(|word| words.contains(word)) {
        return Some(Typed::text(word));
    }
    if !matches!(node.value, Value::Mapping(_)) {
        faults.add(at, wrong_value(key, &node.value));
        return None;
    }
    let record = Record::read(node, keys, faults);
    let named: Vec<&str> = either.iter().copied().filter(|key| record.has(key)).collect();
    match named[..] {
        [_] => return Some(Typed::Record(record)),
        [] => faults.add(node.at, format!("missing key {} in {}", either.join(" or "), keys.of)),
        [first, second, ..] => {
            let site = record.site(&[second]);
            faults.add(site.at, format!("{second} beside {first}; allowed: one of them"));
        }
    }
    None
}

/// The plan's fields for the smaller ranges have 32 bits; the plan's check reports the faults of
/// values that fit.
fn fits(value: u64, max: u64) -> bool {
    value <= max.max(u32::MAX.into())
}

fn boolean(node: &Node) -> Option<bool> {
    if let Value::Boolean(value) = node.value { Some(value) } else { None }
}

fn integer(node: &Node) -> Option<u64> {
    if let Value::Number(text) = &node.value { parse_integer(text) } else { None }
}

/// The text of a text, or of a number: as it was written.
pub(crate) fn scalar(value: &Value) -> Option<&str> {
    match value {
        Value::Text(text) | Value::Number(text) => Some(text),
        Value::Nothing | Value::Boolean(_) | Value::List(_) | Value::Mapping(_) => None,
    }
}
