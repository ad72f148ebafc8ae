use super::*;
use crate::node::{self, Node};
use std::fs;
use std::path::PathBuf;

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

fn validator() -> jsonschema::Validator {
    jsonschema::draft202012::new(&schema()).expect("it is a schema")
}

fn configs() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../configs"))
}

#[test]
fn every_config_that_tandem_brings_is_valid() {
    let validator = validator();
    let files = fs::read_dir(configs()).expect("the configs are there");
    let paths = files.map(|file| file.unwrap().path());
    let paths: Vec<_> = paths.filter(|path| path.extension().is_some_and(|e| e == "yml")).collect();
    assert!(paths.len() >= 7);
    for path in paths {
        let text = fs::read_to_string(&path).unwrap();
        let config = json(&node::parse(&text).unwrap().unwrap());
        let error = validator.validate(&config).err();
        assert!(error.is_none(), "{}: {}", path.display(), error.unwrap());
    }
}

/// Invalid configs that the schema accepts, and why it has to.
const ACCEPTED: [(&str, &str); 30] = [
    ("baud_mismatch", "compares values at two places"),
    ("baud_mismatch_with_link", "compares values at two places"),
    ("budgets_leave_nothing", "adds"),
    ("budgets_over", "adds"),
    ("core_absent", "a fact of the host"),
    ("disk_kinds", "a file"),
    ("disk_missing", "a file"),
    ("disk_partial_sector", "a file"),
    ("duplicate_id", "compares values at two places"),
    ("duplicate_key", "a reader of YAML refuses it"),
    ("duplicate_link", "compares values at two places"),
    ("duplicate_name", "compares values at two places"),
    ("hvc_one_end", "compares values at two places"),
    ("hvc_without_io_apic", "compares values at two places"),
    ("image_directory", "a file"),
    ("image_larger_than_memory", "a file"),
    ("image_missing", "a file"),
    ("image_not_multiboot", "a file"),
    ("image_unknown", "a path and a built-in guest's name are both text"),
    ("input", "files, and keys that exclude each other"),
    ("link_one_end", "counts references"),
    ("link_unknown", "a reference"),
    ("memory_host", "a fact of the host"),
    ("memory_unaligned", "a multiple, in text"),
    ("network_duplicate", "compares values at two places"),
    ("network_unknown", "a reference"),
    ("symbols_missing", "a file"),
    ("vcpus_total", "adds"),
    ("virtio_without_io_apic", "compares values at two places"),
    ("weight_tiny", "divides"),
];

#[test]
fn what_the_loader_refuses_the_schema_refuses_too_as_far_as_it_can() {
    let validator = validator();
    let files = fs::read_dir(configs().join("invalid")).expect("they are there");
    let (mut accepted, mut refused) = (Vec::new(), 0);
    for path in files.map(|file| file.unwrap().path()) {
        let is_config = path.extension().is_some_and(|extension| extension == "yml");
        let text = is_config.then(|| fs::read_to_string(&path).ok()).flatten();
        // A schema does not see a file that is not YAML.
        let Some(Ok(Some(node))) = text.as_deref().map(node::parse) else { continue };
        match validator.is_valid(&json(&node)) {
            true => accepted.push(path.file_stem().unwrap().to_str().unwrap().to_owned()),
            false => refused += 1,
        }
    }
    accepted.sort_unstable();
    assert_eq!(accepted, ACCEPTED.map(|(name, _)| name));
    assert!(refused >= 40, "{refused}");
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
        // Conditions name keys again.
        let is_condition = |rule: &str| matches!(rule, "if" | "not" | "contains");
        match schema {
            Value::Object(rules) => {
                let rules = rules.iter().filter(|(name, _)| !is_condition(name));
                rules.for_each(|(_, rule)| check(rule, described));
            }
            Value::Array(items) => items.iter().for_each(|item| check(item, described)),
            _ => (),
        }
    }
    let mut described = 0;
    check(&schema(), &mut described);
    assert!(described > 40, "{described} keys");
}
