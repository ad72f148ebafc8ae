//! What a config types to its VMs; files are read here, so that it is part of the plan.

use crate::fault::Collector;
use crate::native::resolved;
use crate::record::Record;
use std::fs::File;
use std::io::Read;
use std::path::Path;
use vmm_common::plan::{InputPlan, MAX_INPUT_BYTES, VmPlan};
use vmm_common::units::{Bytes, Escaped};

/// The `input` of `vm`.
pub(crate) fn plans(
    records: &[Record],
    vm: &VmPlan,
    directory: &Path,
    faults: &mut Collector,
) -> Vec<InputPlan> {
    if let Some(first) = records.first()
        && !vm.has_console()
    {
        let message = "input, but nothing reads it; allowed: a port that is a console, or a \
                       ps2_keyboard";
        faults.add(first.site(&[]).at, message.to_owned());
    }
    records.iter().map(|record| plan(record, directory, faults)).collect()
}

fn plan(record: &Record, directory: &Path, faults: &mut Collector) -> InputPlan {
    let after = record.text("after").unwrap_or_default().to_owned();
    let site = record.site(&["text", "file"]);
    let keys = match (record.text("text"), record.text("file")) {
        (Some(text), None) => text.as_bytes().to_vec(),
        (None, Some(path)) => {
            let path = resolved(directory, path);
            read(&path).unwrap_or_else(|why| {
                faults.add(site.at, format!("file is {}: {why}", Escaped(&path)));
                Vec::new()
            })
        }
        (Some(_), Some(_)) => {
            faults.add(site.at, String::from("file beside text; allowed: one of them"));
            Vec::new()
        }
        (None, None) => {
            if record.site(&[]).is_sound && !record.has("text") && !record.has("file") {
                let message = "an input without text or file; needed: one of them";
                faults.add(record.site(&[]).at, String::from(message));
            }
            Vec::new()
        }
    };
    InputPlan { after, keys }
}

fn read(path: &str) -> Result<Vec<u8>, String> {
    let is_file = std::fs::metadata(path).map_err(|error| error.to_string())?.is_file();
    if !is_file {
        return Err(String::from("it is no regular file; allowed: one"));
    }
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(|error| error.to_string())?;
    let read = file.take(MAX_INPUT_BYTES as u64 + 1).read_to_end(&mut bytes);
    read.map_err(|error| error.to_string())?;
    if bytes.len() > MAX_INPUT_BYTES {
        return Err(format!("it is too large; allowed: up to {}", Bytes(MAX_INPUT_BYTES as u64)));
    }
    Ok(bytes)
}
