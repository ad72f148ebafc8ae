//! A YAML file as a tree in which every key and value has its position.
//!
//! Reading into a tree first, and into a plan from there, lets all faults be reported at once: a
//! typed `Deserialize` would stop at the first. Scalars keep the text the user wrote, so that
//! `0x100_0000` and `16MiB` are read by our own rules and shown as they stand.

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_yaml::options::{DuplicateKeyPolicy, NonFiniteFloatPolicy};
use serde_yaml::{Location, Options, Spanned};
use std::fmt;

/// Nodes of a file, and nodes that its aliases may add. 64 VMs with every key have about 4,000.
const MAX_NODES: usize = 50_000;
/// Mappings and lists within each other.
const MAX_DEPTH: usize = 32;

/// Where a key or value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Position {
    /// 1-based.
    pub(crate) line: usize,
    /// In characters, 1-based.
    pub(crate) column: usize,
    /// Characters of it in that line.
    pub(crate) width: usize,
    /// Line and column of the text itself, where the place is an alias or a merge.
    pub(crate) written: (usize, usize),
}

impl Position {
    /// The file as a whole.
    pub(crate) const FILE: Self = Self { line: 0, column: 0, width: 0, written: (0, 0) };
    /// The file's start, for what the file does not have.
    pub(crate) const START: Self = Self { line: 1, column: 1, width: 1, written: (1, 1) };
}

/// A key or value.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) at: Position,
    pub(crate) value: Value,
}

/// What a node is.
#[derive(Clone, Debug)]
pub(crate) enum Value {
    /// Nothing, `~` or `null`.
    Nothing,
    /// `true` or `false`.
    Boolean(bool),
    /// What YAML takes for a number, as written.
    Number(String),
    /// Any other scalar.
    Text(String),
    List(Vec<Node>),
    Mapping(Vec<(Node, Node)>),
}

impl Value {
    /// As messages show it.
    pub(crate) fn shown(&self) -> String {
        match self {
            Self::Nothing => String::from("nothing"),
            Self::Boolean(value) => value.to_string(),
            Self::Number(text) | Self::Text(text) => crate::fault::shown(text),
            Self::List(_) => String::from("a list"),
            Self::Mapping(_) => String::from("a mapping"),
        }
    }
}

/// Why a text is not accepted as YAML.
#[derive(Debug)]
pub(crate) struct SyntaxFault {
    pub(crate) at: Position,
    pub(crate) message: String,
}

/// The tree of `text`; None if there is nothing in it but comments.
pub(crate) fn parse(text: &str) -> Result<Option<Node>, SyntaxFault> {
    let parsed = serde_yaml::from_str_with_options::<Spanned<Raw>>(text, options());
    let root = parsed.map_err(|error| syntax_fault(&error, text))?;
    let root = node(root, text);
    let is_empty = matches!(root.value, Value::Nothing) && root.at.width == 0;
    Ok(if is_empty { None } else { Some(root) })
}

fn options() -> Options {
    let budget = serde_yaml::budget! {
        max_depth: MAX_DEPTH,
        // Block and flow style get the same message about the depth.
        flow_nesting_limit: 2 * MAX_DEPTH,
        max_nodes: MAX_NODES,
        max_events: 4 * MAX_NODES,
        max_recorded_anchor_events: 4 * MAX_NODES,
        max_documents: 2,
        enforce_alias_anchor_ratio: false,
    };
    let alias_limits = serde_yaml::alias_limits! {
        max_total_replayed_events: MAX_NODES,
        max_replay_stack_depth: MAX_DEPTH,
    };
    serde_yaml::options! {
        budget: budget,
        alias_limits: alias_limits,
        // Each is reported, with the others.
        duplicate_keys: DuplicateKeyPolicy::PassThrough,
        strict_booleans: true,
        non_finite_float_policy: NonFiniteFloatPolicy::PassThrough,
        with_snippet: false,
    }
}

fn syntax_fault(error: &serde_yaml::Error, source: &str) -> SyntaxFault {
    use serde_yaml::Error;
    let error = error.without_snippet();
    let at = error.location().map_or(Position::START, |place| position(&place, &place));
    let cause = match error {
        Error::AliasError { error, .. } => error.without_snippet(),
        other => other,
    };
    let message = match cause {
        Error::MultipleDocuments { .. } => {
            String::from("a second document begins here; allowed: one in a file")
        }
        Error::Budget { breach: serde_yaml::budget::BudgetBreach::Depth { .. }, .. } => {
            format!("nested too deep; allowed: {MAX_DEPTH} levels")
        }
        Error::Budget { .. }
        | Error::AliasReplayLimitExceeded { .. }
        | Error::AliasReplayStackDepthExceeded { .. } => {
            format!("too much in one file, aliases expanded; allowed: {MAX_NODES} values")
        }
        Error::RecursiveReferencesRequireWeakTypes { .. } => {
            String::from("an alias within its own anchor; allowed: an anchor that ends before")
        }
        Error::UnknownAnchor { .. } => {
            String::from("an alias of nothing; allowed: the name of an anchor (&name) above")
        }
        other => {
            let text = other.to_string();
            let text = text.rfind(" at line ").map_or(text.as_str(), |end| &text[..end]);
            if text.contains(" tab")
                && let Some(at) = tab_indentation(source)
            {
                let message = String::from("a tab in the indentation; allowed: spaces");
                return SyntaxFault { at, message };
            }
            format!("not YAML: {text}")
        }
    };
    SyntaxFault { at, message }
}

/// The first tab that indents a line; the parser reports only the start of the value before it.
fn tab_indentation(source: &str) -> Option<Position> {
    source.lines().enumerate().find_map(|(index, line)| {
        let column = line.find(|c| c != ' ').filter(|at| line[*at..].starts_with('\t'))? + 1;
        let line = index + 1;
        Some(Position { line, column, width: 1, written: (line, column) })
    })
}

/// A node from the parser.
enum Raw {
    Nothing,
    Boolean(bool),
    /// Its value, in case its text is unavailable.
    Number(String),
    Text(String),
    List(Vec<Spanned<Raw>>),
    Mapping(Vec<(Spanned<Raw>, Spanned<Raw>)>),
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RawVisitor)
    }
}

struct RawVisitor;

#[rustfmt::skip]
impl<'de> Visitor<'de> for RawVisitor {
    type Value = Raw;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { f.write_str("any value") }
    fn visit_unit<E>(self) -> Result<Raw, E> { Ok(Raw::Nothing) }
    fn visit_bool<E>(self, value: bool) -> Result<Raw, E> { Ok(Raw::Boolean(value)) }
    fn visit_i64<E>(self, value: i64) -> Result<Raw, E> { Ok(Raw::Number(value.to_string())) }
    fn visit_u64<E>(self, value: u64) -> Result<Raw, E> { Ok(Raw::Number(value.to_string())) }
    fn visit_f64<E>(self, value: f64) -> Result<Raw, E> { Ok(Raw::Number(value.to_string())) }
    fn visit_str<E>(self, value: &str) -> Result<Raw, E> { Ok(Raw::Text(value.to_owned())) }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Raw, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = access.next_element()? {
            items.push(item);
        }
        Ok(Raw::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Raw, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = access.next_entry()? {
            if entries.len() == MAX_NODES {
                return Err(A::Error::custom("too many entries in one mapping"));
            }
            entries.push(entry);
        }
        Ok(Raw::Mapping(entries))
    }
}

fn node(raw: Spanned<Raw>, text: &str) -> Node {
    let at = position(&raw.referenced, &raw.defined);
    let value = match raw.value {
        Raw::Nothing => Value::Nothing,
        Raw::Boolean(value) => Value::Boolean(value),
        Raw::Number(value) => Value::Number(written(&raw.defined, text).unwrap_or(value)),
        Raw::Text(value) => Value::Text(value),
        Raw::List(items) => Value::List(items.into_iter().map(|item| node(item, text)).collect()),
        Raw::Mapping(entries) => {
            let entry = |(key, value)| (node(key, text), node(value, text));
            Value::Mapping(entries.into_iter().map(entry).collect())
        }
    };
    Node { at, value }
}

fn position(referenced: &Location, defined: &Location) -> Position {
    let number = |value: u64| usize::try_from(value).unwrap_or(usize::MAX);
    Position {
        line: number(referenced.line()).max(1),
        column: number(referenced.column()).max(1),
        width: number(referenced.span().len()),
        written: (number(defined.line()), number(defined.column())),
    }
}

/// The text of a scalar as written in the file.
fn written(place: &Location, text: &str) -> Option<String> {
    let start = usize::try_from(place.span().byte_offset()?).ok()?;
    let len = usize::try_from(place.span().byte_len()?).ok()?;
    text.get(start..start.checked_add(len)?).map(str::to_owned)
}

#[cfg(test)]
mod tests;
