//! From a YAML file to a checked plan with its images in hand, or to every fault at once.
//!
//! ```text
//! bytes --node--> tree with places --record (by keys)--> typed values --native | seed--> Draft
//!   Draft --vmm_common::plan::check--> Plan --images--> Loaded        any fault on the way: Faults
//! ```
//!
//! No step stops at its first fault, and each continues with what the one before could read. A
//! value with a fault gets no second one that follows from the first.
#![forbid(unsafe_code)]

mod disks;
mod draft;
mod fault;
mod images;
mod inputs;
mod keys;
mod native;
mod networks;
mod node;
mod record;
mod refusals;
mod schema;
mod seed;
mod summary;
mod value;

pub use fault::{Fault, Faults};
pub use schema::schema;
pub use summary::{notes, summary};
pub use value::{parse_duration_ns, parse_time_limit_ns};

use fault::Collector;
use node::{Node, Position, Value};
use std::borrow::Cow;
use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;
use vmm_common::boot::{Boot, Images};
use vmm_common::plan::{Limits, Plan};
use vmm_common::units::Bytes;

/// Bytes of a config file.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// What the target offers to the plan.
#[derive(Clone, Debug)]
pub struct Environment<'a> {
    /// Memory, cores and the shortest slice.
    pub limits: Limits,
    /// The guests that Tandem brings: name and image.
    pub builtin: &'a [(&'static str, &'static [u8])],
}

/// A plan, and what boots each of its VMs.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The plan.
    pub plan: Plan,
    /// For each VM, in the plan's order.
    pub images: Vec<LoadedImage>,
}

/// What boots a VM.
#[derive(Clone, Debug)]
pub struct LoadedImage {
    /// The kernel image.
    pub kernel: Cow<'static, [u8]>,
    /// The BIOS stub, if the plan names one of its own and the kernel is entered by it.
    pub bios: Option<Cow<'static, [u8]>>,
    /// The plan's modules, in its order.
    pub modules: Vec<Cow<'static, [u8]>>,
    /// Where its parts go and how it is entered.
    pub boot: Boot,
}

impl LoadedImage {
    /// The files, as placing and packing need them.
    #[must_use]
    pub fn files(&self) -> Images<'_> {
        let modules = self.modules.iter().map(|module| &**module).collect();
        Images { kernel: &self.kernel, bios: self.bios.as_deref(), modules }
    }
}

/// Loads a config file; the paths in it are relative to where it lies.
///
/// # Errors
/// All faults of the file, of the images it names, and of what it asks of the host.
pub fn load(path: &Path, environment: &Environment<'_>) -> Result<Loaded, Faults> {
    let file = path.display().to_string();
    let bytes = read_file(path).map_err(|message| Faults::of_file(&file, message))?;
    load_bytes(&file, &bytes, path.parent().unwrap_or(Path::new("")), environment)
}

/// Loads a config from what its file holds; `file` is the name that faults give it, and paths in it
/// are relative to `directory`.
///
/// # Errors
/// As [`load`].
pub fn load_bytes(
    file: &str,
    bytes: &[u8],
    directory: &Path,
    environment: &Environment<'_>,
) -> Result<Loaded, Faults> {
    let text = decode(bytes).map_err(|message| Faults::of_file(file, message))?;
    let mut faults = Collector::default();
    let loaded = load_text(text, directory, environment, &mut faults);
    match loaded {
        Some(loaded) if faults.is_empty() => Ok(loaded),
        _ => Err(faults.into_faults(file, text)),
    }
}

fn load_text(
    text: &str,
    directory: &Path,
    environment: &Environment<'_>,
    faults: &mut Collector,
) -> Option<Loaded> {
    let root = match node::parse(text) {
        Ok(Some(root)) => root,
        Ok(None) => {
            faults.add(Position::FILE, format!("the file is empty; allowed: {SPELLINGS}"));
            return None;
        }
        Err(fault) => {
            faults.add(fault.at, fault.message);
            return None;
        }
    };
    let Node { at, value: Value::Mapping(entries) } = &root else {
        let shown = root.value.shown();
        faults.add(root.at, format!("the file holds {shown}; allowed: {SPELLINGS}"));
        return None;
    };
    let mut draft = if seed::is_spelled(entries) {
        seed::read(*at, entries, faults)
    } else {
        native::read(&root, directory, faults)
    };
    let wrong = draft.check(&environment.limits, faults);
    disks::measure(&mut draft, faults);
    let images = images::load(&draft, &wrong, environment, faults);
    Some(Loaded { plan: draft.plan, images })
}

/// What a config is, for messages.
const SPELLINGS: &str = "a mapping with the key vms, or with vm_count, vm0, vm1, ...";

fn read_file(path: &Path) -> Result<Vec<u8>, String> {
    let too_large = |more: &str, bytes: u64| {
        let allowed = Bytes(MAX_FILE_BYTES);
        format!("the file has {more}{bytes} bytes; allowed: up to {allowed}")
    };
    let cannot = |error: io::Error| format!("cannot read the file: {error}");
    let kind = std::fs::metadata(path).map_err(cannot)?.file_type();
    // A pipe has no length; a device may never end, nor ever begin.
    let (file, len) = match kind.is_fifo() {
        true => (File::open(path).map_err(cannot)?, MAX_FILE_BYTES + 1),
        false => match open_regular(path).map_err(cannot)? {
            (_, len) if len > MAX_FILE_BYTES => return Err(too_large("", len)),
            regular => regular,
        },
    };
    let mut bytes = Vec::new();
    file.take(len).read_to_end(&mut bytes).map_err(cannot)?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(too_large("more than ", MAX_FILE_BYTES));
    }
    Ok(bytes)
}

/// Opens a regular file, and nothing else: neither the open nor a read of as many bytes as it has
/// waits for what may never come.
fn open_regular(path: &Path) -> io::Result<(File, u64)> {
    let check = |data: &Metadata| match data.is_file() {
        true => Ok(data.len()),
        false => Err(io::Error::other("it is not a regular file")),
    };
    // Before the open, too: that of a device may do something.
    check(&std::fs::metadata(path)?)?;
    let flags = libc::O_NONBLOCK | libc::O_NOCTTY;
    let file = File::options().read(true).custom_flags(flags).open(path)?;
    let len = check(&file.metadata()?)?;
    Ok((file, len))
}

/// The bytes as text, without a byte order mark.
fn decode(bytes: &[u8]) -> Result<&str, String> {
    let wrong = |at: usize, byte: u8| {
        format!("byte {at} is {byte:#04x}, so the file is no text; allowed: YAML in UTF-8")
    };
    if bytes.len() as u64 > MAX_FILE_BYTES {
        let (bytes, allowed) = (bytes.len(), Bytes(MAX_FILE_BYTES));
        return Err(format!("the file has {bytes} bytes; allowed: up to {allowed}"));
    }
    if let Some(at) = bytes.iter().position(|byte| *byte == 0) {
        return Err(wrong(at, 0));
    }
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let at = error.valid_up_to();
        wrong(at, bytes[at])
    })?;
    Ok(text.strip_prefix('\u{feff}').unwrap_or(text))
}
