//! The files that a run writes: which they are, and what they may not be.
//!
//! [`conflicts`] compares paths before anything runs. [`Reports`] are written once it is over;
//! logs, taps and captures, by a [`Recorder`], meanwhile.

mod recorder;
mod reports;

pub use recorder::{Form, Incomplete, LogFiles, Recorder, Slot, THREAD};
pub use reports::Reports;

use crate::typed::TypedFile;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use vmm_common::plan::{ImageSource, Plan, VmPlan, Writes};

/// The files that the command line asks for.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// The receipt as JSON.
    pub receipt: Option<PathBuf>,
    /// The timeline.
    pub trace: Option<PathBuf>,
    /// The directory for logs of each VM's raw output.
    pub log_dir: Option<PathBuf>,
    /// The directory for cores of VMs that failed.
    pub core_dir: Option<PathBuf>,
    /// What is typed to VMs: read, and not written.
    pub typed: Vec<TypedFile>,
}

/// A file that a run reads or writes.
#[derive(Debug)]
struct Use {
    what: String,
    path: PathBuf,
}

/// Two names of one file have the same.
#[derive(Debug, PartialEq, Eq)]
enum Identity {
    File {
        device: u64,
        inode: u64,
    },
    /// Not there yet: the directory it would be in, and its name.
    Absent(PathBuf),
}

/// Files that a run of `config` would overwrite though it reads them, or write twice, as messages.
#[must_use]
pub fn conflicts(config: &Path, plan: &Plan, wanted: &Wanted) -> Vec<String> {
    let mut seen: Vec<(Use, Option<Identity>)> =
        read_by(config, plan, wanted).into_iter().map(identified).collect();
    let mut messages = Vec::new();
    for written in written_by(plan, wanted) {
        let (written, identity) = identified(written);
        let is_same =
            |(_, other): &&(Use, Option<Identity>)| identity.is_some() && *other == identity;
        if let Some((other, _)) = seen.iter().find(is_same) {
            let (what, path) = (&written.what, written.path.display());
            messages.push(format!(
                "{what} would be written to {path}, which is {}; allowed: a file of its own",
                other.what
            ));
        }
        seen.push((written, identity));
    }
    messages
}

/// What a run of `plan` creates or overwrites, as the config says: a line for each file.
#[must_use]
pub fn written_by_config(plan: &Plan) -> Vec<String> {
    let written = written_by(plan, &Wanted::default()).into_iter();
    written.map(|Use { what, path }| format!("{} ({what})", path.display())).collect()
}

fn read_by(config: &Path, plan: &Plan, wanted: &Wanted) -> Vec<Use> {
    let mut read = vec![Use { what: String::from("the config"), path: config.to_path_buf() }];
    for vm in &plan.vms {
        let VmPlan { name, boot, .. } = vm;
        let mut image = |what: &str, source: &ImageSource| match source {
            ImageSource::Builtin(_) => {}
            ImageSource::File(path) => {
                read.push(Use { what: format!("VM {name}'s {what}"), path: path.into() });
            }
        };
        image("kernel", &boot.kernel);
        boot.bios.iter().for_each(|bios| image("bios", bios));
        boot.modules.iter().for_each(|module| image("module", &module.source));
        let only_read = vm.virtio.disks.iter().filter(|disk| disk.writes != Writes::Keep);
        read.extend(only_read.map(|disk| Use {
            what: format!("an image of VM {name}'s disks"),
            path: disk.file.clone().into(),
        }));
    }
    read.extend(wanted.typed.iter().map(|TypedFile { vm, path }| Use {
        what: format!("what is typed to VM {vm}"),
        path: path.clone(),
    }));
    for (what, path) in [("standard output", "/dev/stdout"), ("standard error", "/dev/stderr")] {
        read.push(Use { what: what.into(), path: path.into() });
    }
    read
}

fn written_by(plan: &Plan, wanted: &Wanted) -> Vec<Use> {
    let reports = [("the receipt", &wanted.receipt), ("the timeline", &wanted.trace)];
    let reports = reports
        .into_iter()
        .filter_map(|(what, path)| Some(Use { what: what.into(), path: path.clone()? }));
    let logs = wanted.log_dir.iter().flat_map(|dir| {
        let log = |vm: &VmPlan| Use { what: log_name(&vm.name), path: log_path(dir, &vm.name) };
        plan.vms.iter().map(log)
    });
    let taps = plan.links.iter().filter_map(|link| {
        Some(Use { what: tap_name(&link.name), path: link.tap.clone()?.into() })
    });
    let disks = plan.vms.iter().flat_map(|vm| {
        vm.virtio.disks.iter().enumerate().filter_map(|(number, disk)| {
            let path = match &disk.writes {
                Writes::Keep => &disk.file,
                Writes::To(file) => file,
                Writes::Discard | Writes::Refuse => return None,
            };
            let what = format!("what VM {} writes to disk{number}", vm.name);
            Some(Use { what, path: path.into() })
        })
    });
    let captures = plan.networks.iter().filter_map(|network| {
        let path = network.pcap.clone()?.into();
        Some(Use { what: capture_name(&network.name), path })
    });
    reports.chain(logs).chain(taps).chain(captures).chain(disks).collect()
}

/// What a VM's log is called in messages.
fn log_name(vm: &str) -> String {
    format!("{vm}'s log")
}

/// What a link's tap is called in messages.
fn tap_name(link: &str) -> String {
    format!("the tap of link {link}")
}

/// What a network's capture is called in messages.
fn capture_name(network: &str) -> String {
    format!("the capture of network {network}")
}

fn log_path(dir: &Path, vm: &str) -> PathBuf {
    dir.join(format!("{vm}.log"))
}

fn identified(file: Use) -> (Use, Option<Identity>) {
    let identity = match fs::metadata(&file.path) {
        Ok(data) if data.is_file() => {
            Some(Identity::File { device: data.dev(), inode: data.ino() })
        }
        // A device, a pipe: what is written to it overwrites nothing.
        Ok(_) => None,
        Err(_) => absent(&file.path).map(Identity::Absent),
    };
    (file, identity)
}

/// A path that is not there, by the true name of its directory.
fn absent(path: &Path) -> Option<PathBuf> {
    let directory = path.parent().filter(|it| !it.as_os_str().is_empty());
    let directory = fs::canonicalize(directory.unwrap_or(Path::new("."))).ok()?;
    Some(directory.join(path.file_name()?))
}

/// Refuses what a log or a tap may not be: writing through a link may reach any file, and writing
/// to what is not a file may wait for ever.
///
/// # Errors
/// What is at `path`, and what is allowed.
pub fn check_is_plain(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(data) => check_kind(&data),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

fn check_kind(data: &Metadata) -> io::Result<()> {
    let kind = data.file_type();
    let what = match () {
        () if kind.is_symlink() => "a symbolic link",
        () if kind.is_fifo() => "a FIFO",
        () if kind.is_socket() => "a socket",
        () if kind.is_dir() => "a directory",
        () if !kind.is_file() => "a device",
        () if data.nlink() > 1 => "a file with further names (hard links)",
        () => return Ok(()),
    };
    let message = format!("it is {what}; allowed: a regular file of one name, or a new name");
    Err(io::Error::other(message))
}
