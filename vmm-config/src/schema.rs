//! The JSON Schema of both spellings, for editors: [`crate::keys`] in another form.

use crate::keys::{self, Key, Keys, Kind};
use serde_json::{Map, Value, json};
use vmm_common::plan::{
    BASE_BAUD, MAX_INTERFACE_BYTES, MAX_NAME_CHARS, MAX_SOCKET_PATH_BYTES, MAX_VMS,
};

mod ranges;

/// A whole number in any spelling; only approximate, as the loader checks it.
const INTEGER: &str = "(0[xob][0-9A-Fa-f][0-9A-Fa-f_]*|[0-9][0-9_]*)";
/// Whole numbers that most readers of YAML take for text: with separators, or binary. Others in
/// quotes the loader refuses.
const INTEGER_AS_TEXT: &str = "^(?=.*_|0b)";
const PORTS: [&str; 4] = ["com1", "com2", "com3", "com4"];
/// All keys that may name a link.
const LINK_PORTS: [&str; 8] = ["com1", "com2", "com3", "com4", "hvc1", "hvc2", "hvc3", "hvc4"];
/// The keys `vm0` to `vm63` of the seed's spelling.
const SEED_VM_PATTERN: &str = "^vm(0|[1-9][0-9]?)$";

/// The JSON Schema (draft 2020-12) of a config.
#[must_use]
pub fn schema() -> Value {
    let mut seed = mapping(&keys::SEED_TOP);
    let mut seed_vm = mapping(&keys::SEED_VM);
    let without = json!({ "local_apic": { "const": 0 }, "vcpu_count": several_vcpus() });
    seed_vm["not"] = json!({ "properties": without });
    seed["patternProperties"] = json!({ SEED_VM_PATTERN: seed_vm });
    seed["minProperties"] = json!(2);
    seed["maxProperties"] = json!(1 + MAX_VMS);
    // None left out: each one needs the one before.
    let needs = |vm: usize| (format!("vm{vm}"), json!([format!("vm{}", vm - 1)]));
    seed["dependentRequired"] = (1..MAX_VMS).map(needs).collect::<Map<_, _>>().into();
    seed["allOf"] = (1..=MAX_VMS).map(vm_count).collect();
    let mut native = mapping(&keys::TOP);
    one_keyboard(&mut native["properties"]["vms"]);
    one_of_each(&mut native["properties"]["vms"]["items"]);
    native["if"] = json!({ "properties": { "vms": { "contains": has_a_link_port() } } });
    native["then"] = json!({ "required": ["links"] });
    native["allOf"] = json!([{
        "if": { "properties": { "vms": { "contains": has_networks() } } },
        "then": { "required": ["networks"] },
    }]);
    native["title"] = json!("Tandem's own spelling");
    seed["title"] = json!("The seed's spelling");
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Tandem config",
        "description": "Virtual machines that share one physical core",
        "anyOf": [native, seed],
    })
}

/// `vm_count` is the number of VMs.
fn vm_count(count: usize) -> Value {
    json!({
        "if": { "properties": { "vm_count": { "const": count } } },
        "then": { "required": [format!("vm{}", count - 1)], "maxProperties": count + 1 },
    })
}

fn one_keyboard(vms: &mut Value) {
    let starts_with_it = json!({ "keyboard": { "const": true } });
    vms["contains"] = json!({ "properties": starts_with_it, "required": ["keyboard"] });
    vms["minContains"] = json!(0);
    vms["maxContains"] = json!(1);
}

/// A weight or a budget; one console port: `com1` is one if it is left out; and local APICs for
/// several vCPUs.
fn one_of_each(vm: &mut Value) {
    let switched = json!({ "type": "object", "required": ["switched"] });
    let is_console = json!({ "anyOf": [{ "const": "console" }, switched] });
    let mut refused = vec![json!({ "required": ["weight", "budget"] }), several_without_apics()];
    for (index, first) in PORTS.iter().enumerate() {
        for second in &PORTS[index + 1..] {
            let named: Vec<_> = [first, second].into_iter().filter(|com| **com != "com1").collect();
            let mut both = json!({ *first: is_console, *second: is_console });
            if *first == "com1" {
                // Left out, it is a console unless hvc0 is.
                both["console"] = json!({ "not": { "const": "hvc0" } });
            }
            refused.push(json!({ "properties": both, "required": named }));
        }
    }
    for com in PORTS {
        let both = json!({ "console": { "const": "hvc0" }, com: is_console });
        refused.push(json!({ "properties": both, "required": ["console", com] }));
    }
    let elsewhere = json!({ "console": { "const": "com1" }, "com1": { "not": is_console } });
    refused.push(json!({ "properties": elsewhere, "required": ["console", "com1"] }));
    vm["not"] = json!({ "anyOf": refused });
}

/// Text, too, may be a number, which the loader checks.
fn several_vcpus() -> Value {
    json!({ "type": "integer", "minimum": 2 })
}

fn several_without_apics() -> Value {
    let without = json!({
        "properties": { "local_apic": { "const": false } },
        "required": ["local_apic"],
    });
    json!({
        "properties": { "vcpus": several_vcpus(), "devices": without },
        "required": ["vcpus", "devices"],
    })
}

/// Only a mapping names a link.
fn has_a_link_port() -> Value {
    let of = |com: &str| json!({ "properties": { com: { "type": "object" } }, "required": [com] });
    json!({ "anyOf": LINK_PORTS.map(of) })
}

fn has_networks() -> Value {
    let some = json!({ "type": "array", "minItems": 1 });
    json!({ "properties": { "networks": some }, "required": ["networks"] })
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
            let text = format!("{INTEGER_AS_TEXT}{INTEGER}$");
            let text = json!({ "type": "string", "pattern": text });
            json!({ "anyOf": [number, text] })
        }
        Kind::Flag => json!({ "enum": [0, 1] }),
        Kind::Boolean => json!({ "type": "boolean" }),
        Kind::Size { step, max } => json!({ "anyOf": [
            { "type": "integer", "minimum": step, "maximum": max, "multipleOf": step },
            { "type": "string", "pattern": ranges::sizes(*step, *max) },
        ] }),
        Kind::Baud => {
            let rates = (1..=BASE_BAUD).filter(|baud| BASE_BAUD.is_multiple_of(*baud));
            json!({ "enum": rates.collect::<Vec<_>>() })
        }
        Kind::Duration { min_ns, max_ns } => {
            json!({ "type": "string", "pattern": ranges::durations(*min_ns, *max_ns) })
        }
        Kind::Text { max_bytes } => {
            json!({ "type": ["string", "number"], "maxLength": max_bytes })
        }
        Kind::Name => json!({
            "type": ["string", "number"],
            "pattern": format!("^[A-Za-z0-9_-]{{1,{MAX_NAME_CHARS}}}$"),
        }),
        Kind::Interface => json!({
            "type": ["string", "number"],
            "pattern": format!("^[A-Za-z0-9_-][A-Za-z0-9_.-]{{0,{}}}$", MAX_INTERFACE_BYTES - 1),
        }),
        // One interface's: a group's has the lowest bit of the first byte.
        Kind::Mac => json!({
            "type": "string",
            "pattern": "^[0-9A-Fa-f][02468ACEace](:[0-9A-Fa-f]{2}){5}$",
        }),
        Kind::Debugger => json!({
            "type": ["string", "integer"],
            "pattern": format!(
                "^(wait:)?([1-9][0-9]{{0,4}}|unix:.{{1,{MAX_SOCKET_PATH_BYTES}}})$"
            ),
            "minimum": 1,
            "maximum": u16::MAX,
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
