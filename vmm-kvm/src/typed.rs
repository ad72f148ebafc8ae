//! Files that are typed to VMs: `--type NAME=FILE`.

use std::fs::File;
use std::io::Read;
use std::path::PathBuf;
use vmm_common::plan::Plan;

/// The most that is typed from a file.
const MAX_BYTES: u64 = 16 << 20;
const MAX_WORDS: &str = "16MiB";

/// What the command line says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TypedFile {
    /// The VM's name.
    pub vm: String,
    /// The file that is typed to it.
    pub path: PathBuf,
}

impl TypedFile {
    /// `NAME=FILE`.
    ///
    /// # Errors The text has another form; the message says what is allowed.
    pub fn parse(text: &str) -> Result<Self, String> {
        match text.split_once('=') {
            Some((vm, path)) if !vm.is_empty() && !path.is_empty() => {
                Ok(Self { vm: vm.to_string(), path: path.into() })
            }
            Some(_) | None => Err("allowed: a VM's name, =, and a file, as left=keys.txt".into()),
        }
    }
}

/// Reads `files`, the keys for each VM of `plan`; pipes to their end.
///
/// # Errors
/// All that is wrong, as messages.
pub fn read(plan: &Plan, files: &[TypedFile]) -> Result<Vec<Vec<u8>>, Vec<String>> {
    let mut keys = vec![Vec::new(); plan.vms.len()];
    let mut faults = Vec::new();
    for file in files {
        match read_one(plan, file) {
            Ok((vm, bytes)) => keys[vm].extend(bytes),
            Err(fault) => faults.push(format!("--type {}: {fault}", file.vm)),
        }
    }
    if faults.is_empty() { Ok(keys) } else { Err(faults) }
}

fn read_one(plan: &Plan, TypedFile { vm, path }: &TypedFile) -> Result<(usize, Vec<u8>), String> {
    let Some(index) = plan.vms.iter().position(|it| it.name == *vm) else {
        let names: Vec<&str> = plan.vms.iter().map(|vm| vm.name.as_str()).collect();
        return Err(format!("no VM has this name; allowed: {}", names.join(", ")));
    };
    if !plan.vms[index].has_console() {
        return Err("none of its ports is a console; allowed: console: com1 or hvc0".into());
    }
    let cannot = |error: std::io::Error| format!("cannot read {}: {error}", path.display());
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(cannot)?;
    file.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(cannot)?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(format!("{} is too large; allowed: up to {MAX_WORDS}", path.display()));
    }
    Ok((index, bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_and_a_file_are_parted_at_the_first_equals_sign() {
        let file = TypedFile { vm: "left".into(), path: "a=b.txt".into() };
        assert_eq!(TypedFile::parse("left=a=b.txt"), Ok(file));
        for text in ["", "left", "left=", "=keys.txt"] {
            assert!(TypedFile::parse(text).is_err(), "{text}");
        }
    }
}
