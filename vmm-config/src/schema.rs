//! The JSON Schema of both spellings, for editors: [`crate::keys`] in another form.

use crate::keys::{self, Key, Keys, Kind};
use serde_json::{Map, Value, json};
use vmm_common::plan::{MAX_NAME_CHARS, MAX_VMS};

/// A whole number in any spelling; only approximate, as the loader checks it.
const INTEGER: &str = "(0[xob][0-9A-Fa-f][0-9A-Fa-f_]*|[0-9][0-9_]*)";
/// The keys `vm0` to `vm63` of the seed's spelling.
const SEED_VM_PATTERN: &str = "^vm(0|[1-9][0-9]?)$";

/// The JSON Schema (draft 2020-12) of a config.
#[must_use]
pub fn schema() -> Value {
    let mut seed = mapping(&keys::SEED_TOP);
    seed["patternProperties"] = json!({ SEED_VM_PATTERN: mapping(&keys::SEED_VM) });
    seed["minProperties"] = json!(2);
    seed["maxProperties"] = json!(1 + MAX_VMS);
    let mut native = mapping(&keys::TOP);
    native["title"] = json!("Tandem's own spelling");
    seed["title"] = json!("The seed's spelling");
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Tandem config",
        "description": "Virtual machines that share one physical core",
        "anyOf": [native, seed],
    })
}

fn mapping(keys: &Keys) -> Value {
    let property = |key: &Key| {
        let mut property = kind(&key.kind);
        property["description"] = json!(key.doc);
        (key.name.to_owned(), property)
    };
    let required = keys.keys.iter().filter(|key| key.is_required).map(|key| key.name);
    json!({
        "type": "object",
        "properties": keys.keys.iter().map(property).collect::<Map<_, _>>(),
        "required": required.collect::<Vec<_>>(),
        "additionalProperties": false,
    })
}

fn kind(kind: &Kind) -> Value {
    match kind {
        // Numbers with separators are text to most readers of YAML.
        Kind::Integer { min, max } => {
            let number = if *max == u64::MAX {
                json!({ "type": "integer", "minimum": min })
            } else {
                json!({ "type": "integer", "minimum": min, "maximum": max })
            };
            let text = json!({ "type": "string", "pattern": format!("^{INTEGER}$") });
            json!({ "anyOf": [number, text] })
        }
        Kind::Flag => json!({ "enum": [0, 1] }),
        Kind::Boolean => json!({ "type": "boolean" }),
        Kind::Size { step, max } => json!({ "anyOf": [
            { "type": "integer", "minimum": step, "maximum": max, "multipleOf": step },
            {
                "type": "string",
                "pattern": format!("^{INTEGER} *(KiB|MiB|GiB)?$"),
            },
        ] }),
        Kind::Duration => {
            json!({ "type": "string", "pattern": "^[0-9]+([.][0-9]+)?(ns|us|µs|ms|s|m)$" })
        }
        Kind::Text { max_bytes } => {
            json!({ "type": ["string", "number"], "maxLength": max_bytes })
        }
        Kind::Name => json!({
            "type": ["string", "number"],
            "pattern": format!("^[A-Za-z0-9_-]{{1,{MAX_NAME_CHARS}}}$"),
        }),
        Kind::Choice(words) => json!({ "enum": words }),
        Kind::Mapping(keys) => mapping(keys),
        Kind::Port { words, either, keys } => {
            let mut end = mapping(keys);
            let one_of = either.iter().map(|key| json!({ "required": [key] }));
            end["oneOf"] = one_of.collect();
            json!({ "anyOf": [{ "enum": words }, end] })
        }
        Kind::List { of, min, max } => {
            json!({ "type": "array", "items": mapping(of), "minItems": min, "maxItems": max })
        }
    }
}

#[cfg(test)]
mod tests;
