//! The images a plan names: found, read, and placed in their machine's memory.

use crate::draft::Draft;
use crate::fault::{Collector, shown};
use crate::record::{Record, Site};
use crate::value::nearest;
use crate::{Environment, LoadedImage};
use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read;
use vmm_common::boot::{self, Images, Part};
use vmm_common::plan::{BootKind, DEFAULT_MEMORY_BYTES, Field, ImageSource};
use vmm_common::units::{Bytes, Escaped};

/// The images of the plan's VMs, in its order; those that cannot be read are reported and left out.
pub(crate) fn load(
    draft: &Draft,
    wrong: &BTreeSet<Field>,
    environment: &Environment<'_>,
    faults: &mut Collector,
) -> Vec<LoadedImage> {
    let mut images = Vec::new();
    for index in 0..draft.plan.vms.len() {
        let is_right = |field| draft.site(field).is_sound && !wrong.contains(&field);
        let can_place = is_right(Field::VmMemory(index)) && is_right(Field::VmCmdline(index));
        images.extend(load_one(index, draft, can_place, environment, faults));
    }
    images
}

fn load_one(
    index: usize,
    draft: &Draft,
    can_place: bool,
    environment: &Environment<'_>,
    faults: &mut Collector,
) -> Option<LoadedImage> {
    let (vm, record) = (&draft.plan.vms[index], &draft.vms[index]);
    let keys = ["kernel", "bios", "boot", "initrd", "modules"];
    let has_path = |module: &Record| module.site(&["file"]).is_sound;
    let are_sound = keys.iter().all(|key| record.site(&[key]).is_sound);
    if !are_sound || !draft.modules[index].iter().all(has_path) {
        return None;
    }
    // If the memory is faulty, which has been reported, the images are still checked.
    let memory_bytes = if can_place { vm.memory_bytes } else { DEFAULT_MEMORY_BYTES };
    let mut had = |part: Part, source: &ImageSource| {
        let (key, site) = place_of(part, index, draft);
        let is_kernel = part == Part::Kernel && vm.boot.kind != BootKind::Flat;
        let found = find(source, environment, memory_bytes, is_kernel);
        found.map_err(|message| faults.add(site.at, format!("{key} is {message}"))).ok()
    };
    let kernel = had(Part::Kernel, &vm.boot.kernel);
    let bios = vm.boot.bios.as_ref().filter(|_| vm.boot.kind == BootKind::Flat);
    let bios = bios.map(|bios| had(Part::Bios, bios));
    let modules = vm.boot.modules.iter().enumerate();
    let modules: Vec<_> =
        modules.map(|(index, module)| had(Part::Module(index), &module.source)).collect();
    let modules: Option<Vec<_>> = modules.into_iter().collect();
    let (kernel, bios, modules) =
        (kernel?, bios.map_or(Some(None), |bios| bios.map(Some))?, modules?);
    if !can_place {
        return None;
    }
    if let Some(path) = &vm.boot.symbols
        && let Err(why) = crate::open_regular(path.as_ref())
    {
        let site = record.site(&["symbols"]);
        faults.add(site.at, format!("symbols is {}: {why}", Escaped(path)));
    }
    let files = Images {
        kernel: &kernel,
        bios: bios.as_deref(),
        modules: modules.iter().map(|module| &**module).collect(),
    };
    let placed = boot::place(vm, &files).map_err(|error| {
        let (key, site) = place_of(error.part, index, draft);
        let source = match error.part {
            Part::Kernel => Some(&vm.boot.kernel),
            Part::Bios => vm.boot.bios.as_ref(),
            Part::Module(module) => vm.boot.modules.get(module).map(|module| &module.source),
        };
        let file = source.map(name).unwrap_or_default();
        faults.add(site.at, format!("{key} is {file}: {error}"));
    });
    let boot = placed.ok()?;
    Some(LoadedImage { kernel, bios, modules, boot })
}

/// The key that names a file, and where it is.
fn place_of(part: Part, vm: usize, draft: &Draft) -> (&'static str, Site) {
    let record = &draft.vms[vm];
    match part {
        Part::Kernel => ("kernel", record.site(&["kernel"])),
        Part::Bios => ("bios", record.site(&["bios"])),
        Part::Module(module) => match draft.modules[vm].get(module) {
            Some(module) => ("file", module.site(&["file"])),
            None => ("initrd", record.site(&["initrd"])),
        },
    }
}

fn find(
    source: &ImageSource,
    environment: &Environment<'_>,
    memory_bytes: u64,
    is_kernel: bool,
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
            let read = read(path, memory_bytes, is_kernel);
            read.map(Cow::Owned).map_err(|why| format!("{shown}: {why}"))
        }
    }
}

/// A file's bytes, if they could fit into the memory. The message about a kernel that is too large
/// gives its type, if known: an image of a disk never fits.
fn read(path: &str, memory_bytes: u64, is_kernel: bool) -> Result<Vec<u8>, String> {
    /// All signatures lie within this.
    const BEGIN_BYTES: u64 = 64 << 10;
    let too_large = |bytes: u64| {
        let mut begin = Vec::new();
        if is_kernel && let Ok(file) = File::open(path) {
            // An unreadable file has no signature.
            let _ = file.take(BEGIN_BYTES).read_to_end(&mut begin);
        }
        let what = boot::described(&begin).map(|what| format!(" ({what})")).unwrap_or_default();
        let (bytes, memory) = (Bytes(bytes), Bytes(memory_bytes));
        format!("it has {bytes}, the memory {memory}; allowed: an image that fits{what}")
    };
    let (file, len) = crate::open_regular(path.as_ref()).map_err(|error| error.to_string())?;
    if len > memory_bytes {
        return Err(too_large(len));
    }
    let mut bytes = Vec::new();
    // Read no more than the file's length: files of procfs have length 0, and reading some of them
    // waits for ever.
    file.take(len).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    Ok(bytes)
}

fn name(source: &ImageSource) -> String {
    match source {
        ImageSource::Builtin(name) => shown(name),
        ImageSource::File(path) => Escaped(path).to_string(),
    }
}
