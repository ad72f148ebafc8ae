//! The images a plan names: found, read, and placed in their machine's memory.

use crate::draft::Draft;
use crate::fault::{Collector, shown};
use crate::record::{Record, Site};
use crate::value::{nearest, size};
use crate::{Environment, LoadedImage};
use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read;
use vmm_common::boot;
use vmm_common::plan::{BootKind, DEFAULT_MEMORY_BYTES, Field, ImageSource, VmPlan};

/// The images of the plan's VMs, in its order; those that cannot be had are told and left out.
pub(crate) fn load(
    draft: &Draft,
    wrong: &BTreeSet<Field>,
    environment: &Environment<'_>,
    faults: &mut Collector,
) -> Vec<LoadedImage> {
    let mut images = Vec::new();
    for (index, vm) in draft.plan.vms.iter().enumerate() {
        let record = &draft.vms[index];
        let is_right = |field| draft.site(field).is_sound && !wrong.contains(&field);
        let can_place = is_right(Field::VmMemory(index)) && is_right(Field::VmCmdline(index));
        images.extend(load_one(vm, record, can_place, environment, faults));
    }
    images
}

fn load_one(
    vm: &VmPlan,
    record: &Record,
    can_place: bool,
    environment: &Environment<'_>,
    faults: &mut Collector,
) -> Option<LoadedImage> {
    let (at_kernel, at_bios) = (record.site(&["kernel"]), record.site(&["bios"]));
    if !at_kernel.is_sound || !at_bios.is_sound || !record.site(&["boot"]).is_sound {
        return None;
    }
    // Where the memory is wrong, which has been told, the image is still looked for.
    let memory_bytes = if can_place { vm.memory_bytes } else { DEFAULT_MEMORY_BYTES };
    let mut told = |site: Site, message| faults.add(site.at, message);
    let found = find(&vm.boot.kernel, environment, memory_bytes);
    let kernel = found.map_err(|message| told(at_kernel, format!("kernel is {message}"))).ok();
    let is_flat = vm.boot.kind == BootKind::Flat;
    let bios = vm.boot.bios.as_ref().filter(|_| is_flat).map(|bios| {
        let found = find(bios, environment, memory_bytes);
        found.map_err(|message| told(at_bios, format!("bios is {message}")))
    });
    let (kernel, bios) = (kernel?, bios.transpose().ok()?);
    if !can_place {
        return None;
    }
    let place = |bios| boot::place(vm.boot.kind, &kernel, bios, &vm.cmdline, memory_bytes);
    let placed = place(bios.as_deref());
    // The kernel's fault unless it fits with the stub that Tandem brings.
    let is_bios = bios.is_some() && place(None).is_ok();
    let (key, site, source) = match &vm.boot.bios {
        Some(bios) if is_bios => ("bios", at_bios, bios),
        _ => ("kernel", at_kernel, &vm.boot.kernel),
    };
    let explained = |error| told(site, format!("{key} is {}: {error}", name(source)));
    let boot = placed.map_err(explained).ok()?;
    Some(LoadedImage { kernel, bios, boot })
}

fn find(
    source: &ImageSource,
    environment: &Environment<'_>,
    memory_bytes: u64,
) -> Result<Cow<'static, [u8]>, String> {
    let shown = name(source);
    match source {
        ImageSource::Builtin(name) => {
            let found = environment.builtin.iter().find(|(known, _)| known == name);
            found.map(|(_, bytes)| Cow::Borrowed(*bytes)).ok_or_else(|| {
                let known: Vec<&str> = environment.builtin.iter().map(|(name, _)| *name).collect();
                let meant = match nearest(name, known.iter().copied()) {
                    Some(meant) => format!("did you mean {meant}?"),
                    None => format!("allowed: a path with a / or a . in it, {}", known.join(", ")),
                };
                format!("{shown}, which is no built-in guest; {meant}")
            })
        }
        ImageSource::File(path) => {
            read(path, memory_bytes).map(Cow::Owned).map_err(|why| format!("{shown}: {why}"))
        }
    }
}

/// A file's bytes, if they could fit into the memory.
fn read(path: &str, memory_bytes: u64) -> Result<Vec<u8>, String> {
    let too_large = |bytes: u64| {
        let (bytes, memory) = (size(bytes), size(memory_bytes));
        format!("it has {bytes}, the memory {memory}; allowed: an image that fits")
    };
    let metadata = std::fs::metadata(path).map_err(|error| error.to_string())?;
    if !metadata.is_file() {
        return Err(String::from("it is no regular file"));
    }
    if metadata.len() > memory_bytes {
        return Err(too_large(metadata.len()));
    }
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(|error| error.to_string())?;
    // It may have grown since.
    let read = file.take(memory_bytes.saturating_add(1)).read_to_end(&mut bytes);
    read.map_err(|error| error.to_string())?;
    let len = bytes.len() as u64;
    if len > memory_bytes { Err(too_large(len)) } else { Ok(bytes) }
}

fn name(source: &ImageSource) -> String {
    match source {
        ImageSource::Builtin(name) => shown(name),
        ImageSource::File(path) => path.escape_debug().to_string(),
    }
}
