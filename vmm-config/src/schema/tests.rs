use super::*;
use crate::node::{self, Node};
use std::fs;
use std::path::PathBuf;

/// The part of the JSON Schema standard that is used, without patterns of values.
fn is_valid(value: &Value, schema: &Value) -> bool {
    let Value::Object(rules) = schema else { panic!("{schema} is no schema") };
    rules.iter().all(|(rule, argument)| match rule.as_str() {
        "$schema" | "title" | "description" | "pattern" | "patternProperties" => true,
        "anyOf" => list(argument).iter().any(|schema| is_valid(value, schema)),
        "oneOf" => list(argument).iter().filter(|schema| is_valid(value, schema)).count() == 1,
        "enum" => list(argument).contains(value),
        "type" => is_of_type(value, argument),
        "minimum" => value.as_f64().is_none_or(|value| value >= argument.as_f64().unwrap()),
        "maximum" => value.as_f64().is_none_or(|value| value <= argument.as_f64().unwrap()),
        "multipleOf" => {
            value.as_u64().is_none_or(|value| value.is_multiple_of(argument.as_u64().unwrap()))
        }
        "maxLength" => value.as_str().is_none_or(|text| text.len() as u64 <= count(argument)),
        "minItems" => value.as_array().is_none_or(|items| items.len() as u64 >= count(argument)),
        "maxItems" => value.as_array().is_none_or(|items| items.len() as u64 <= count(argument)),
        "minProperties" => value.as_object().is_none_or(|v| v.len() as u64 >= count(argument)),
        "maxProperties" => value.as_object().is_none_or(|v| v.len() as u64 <= count(argument)),
        "items" => {
            value.as_array().is_none_or(|items| items.iter().all(|item| is_valid(item, argument)))
        }
        "required" => value
            .as_object()
            .is_none_or(|v| list(argument).iter().all(|key| v.contains_key(key.as_str().unwrap()))),
        "properties" => value.as_object().is_none_or(|entries| {
            entries.iter().all(|(key, value)| has_property(key, value, rules))
        }),
        "additionalProperties" => *argument == json!(false),
        other => panic!("the schema uses {other}, which this test does not know"),
    })
}

/// The key is described, by itself or by the one pattern of keys there is, and the value is valid.
fn has_property(key: &str, value: &Value, rules: &Map<String, Value>) -> bool {
    let by_name = rules["properties"].get(key);
    let by_pattern = rules
        .get("patternProperties")
        .and_then(|patterns| keys::seed_vm_number(key).and_then(|_| patterns.get(SEED_VM_PATTERN)));
    by_name.or(by_pattern).is_some_and(|schema| is_valid(value, schema))
}

fn is_of_type(value: &Value, types: &Value) -> bool {
    let is = |name: &Value| match name.as_str().expect("types have names") {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "number" => value.is_number(),
        "integer" => value.is_u64() || value.is_i64(),
        "boolean" => value.is_boolean(),
        other => panic!("no type {other}"),
    };
    types.as_array().map_or_else(|| is(types), |types| types.iter().any(is))
}

fn list(value: &Value) -> &Vec<Value> {
    value.as_array().expect("a list")
}

fn count(value: &Value) -> u64 {
    value.as_u64().expect("a count")
}

/// As an editor's reader of YAML 1.2 sees it.
fn json(node: &Node) -> Value {
    match &node.value {
        node::Value::Nothing => Value::Null,
        node::Value::Boolean(value) => json!(value),
        node::Value::Number(text) => {
            text.parse::<u64>().map_or(json!(text), |number| json!(number))
        }
        node::Value::Text(text) => json!(text),
        node::Value::List(items) => items.iter().map(json).collect(),
        node::Value::Mapping(entries) => {
            let entry = |(key, value): &(Node, Node)| {
                let node::Value::Text(key) = &key.value else { panic!("keys are text") };
                (key.clone(), json(value))
            };
            Value::Object(entries.iter().map(entry).collect())
        }
    }
}

fn is_valid_text(text: &str) -> bool {
    is_valid(&json(&node::parse(text).unwrap().unwrap()), &schema())
}

fn configs() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../configs"))
}

#[test]
fn every_config_that_tandem_brings_is_valid() {
    let files = fs::read_dir(configs()).expect("the configs are there");
    let paths = files.map(|file| file.unwrap().path());
    let paths: Vec<_> = paths.filter(|path| path.extension().is_some_and(|e| e == "yml")).collect();
    assert!(paths.len() >= 7);
    for path in paths {
        assert!(is_valid_text(&fs::read_to_string(&path).unwrap()), "{}", path.display());
    }
}

#[test]
fn what_the_loader_refuses_by_its_table_the_schema_refuses_too() {
    let names = [
        "unknown_key",
        "unknown_key_near",
        "unknown_key_top",
        "unknown_key_in_port",
        "wrong_type",
        "wrong_type_list",
        "wrong_type_vm",
        "seed_missing_key",
        "seed_no_vm_count",
        "seed_flag",
        "seed_mixed",
        "memory_zero",
        "link_and_switched",
        "port_word",
        "weight_range",
        "vcpus_two",
        "no_vms",
        "vms_missing",
        "too_many_vms",
        "not_a_mapping",
        "slice_no_unit",
        "budget_range",
    ];
    for name in names {
        let path = configs().join("invalid").join(name).with_extension("yml");
        assert!(!is_valid_text(&fs::read_to_string(path).unwrap()), "{name}");
    }
}

#[test]
fn every_key_is_described() {
    fn check(schema: &Value, described: &mut usize) {
        if let Some(properties) = schema.get("properties").and_then(Value::as_object) {
            for (key, property) in properties {
                assert!(
                    property["description"].as_str().is_some_and(|doc| !doc.is_empty()),
                    "{key}"
                );
                *described += 1;
            }
        }
        match schema {
            Value::Object(rules) => rules.values().for_each(|rule| check(rule, described)),
            Value::Array(items) => items.iter().for_each(|item| check(item, described)),
            _ => (),
        }
    }
    let mut described = 0;
    check(&schema(), &mut described);
    assert!(described > 40, "{described} keys");
}
