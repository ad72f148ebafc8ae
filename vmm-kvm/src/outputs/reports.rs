//! The receipt and the timeline, written once a run is over. A file that is there already is
//! replaced as a whole, so that a run that fails leaves it as it was, and none where none was.

use super::Wanted;
use crate::sys;
use anyhow::{Context, Result, anyhow};
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use vmm_common::plan::{Plan, VmPlan};

/// Names tried for a file that is to replace another.
const TEMPORARY_NAMES: u32 = 100;

/// Where the receipt and the timeline go.
#[derive(Debug)]
pub struct Reports {
    receipt: Option<Report>,
    timeline: Option<Report>,
    /// Of each VM, if any.
    cores: Vec<Report>,
}

/// A file that is to be written.
#[derive(Debug)]
pub struct Report {
    what: &'static str,
    /// The path that was asked for.
    path: PathBuf,
    place: Place,
}

#[derive(Debug)]
enum Place {
    /// A file of this name, no link, in a directory in which files can be made.
    File(PathBuf),
    /// A device or a pipe, open.
    Open(File),
}

impl Reports {
    /// Checks that the files can be written: a wrong path must not waste a run.
    ///
    /// # Errors
    /// The first that cannot.
    pub fn prepare(wanted: &Wanted, plan: &Plan) -> Result<Self> {
        let prepare = |path: &Option<PathBuf>, what: &'static str| {
            path.as_deref().map(|path| Report::prepare(path, what)).transpose()
        };
        let core = |directory: &PathBuf, vm: &VmPlan| {
            Report::prepare(&directory.join(format!("{}.core", vm.name)), "the core")
        };
        let cores = wanted
            .core_dir
            .iter()
            .flat_map(|directory| plan.vms.iter().map(move |vm| core(directory, vm)));
        Ok(Self {
            cores: cores.collect::<Result<_>>()?,
            receipt: prepare(&wanted.receipt, "the receipt")?,
            timeline: prepare(&wanted.trace, "the timeline")?,
        })
    }

    /// The directories in which files will be made and renamed.
    pub fn directories(&self) -> impl Iterator<Item = &Path> {
        let reports = [&self.receipt, &self.timeline].into_iter().flatten().chain(&self.cores);
        reports.filter_map(|report| match &report.place {
            Place::File(path) => path.parent(),
            Place::Open(_) => None,
        })
    }

    /// The cores that were asked for, each with the number of its VM.
    pub fn take_cores(&mut self) -> impl Iterator<Item = (usize, Report)> + use<> {
        std::mem::take(&mut self.cores).into_iter().enumerate()
    }

    /// Writes what was asked for; the errors.
    pub fn write(
        self,
        receipt: impl FnOnce(&mut dyn Write) -> io::Result<()>,
        timeline: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> Vec<anyhow::Error> {
        let receipt = self.receipt.map(|report| report.write(receipt));
        let timeline = self.timeline.map(|report| report.write(timeline));
        [receipt, timeline].into_iter().flatten().filter_map(Result::err).collect()
    }
}

impl Report {
    fn prepare(path: &Path, what: &'static str) -> Result<Self> {
        let place = Place::find(path);
        let place = place.with_context(|| format!("cannot write {what} to {}", path.display()))?;
        Ok(Self { what, path: path.to_path_buf(), place })
    }

    /// Writes it by offsets; where it is.
    ///
    /// # Errors
    /// The file system refuses: what was there before is there still.
    pub fn write_file(self, content: impl FnOnce(&File) -> io::Result<()>) -> Result<PathBuf> {
        let Self { what, path, place } = self;
        let written = match place {
            Place::File(path) => replace_by(&path, |file| content(&file)),
            Place::Open(_) => Err(io::Error::other("it is no regular file")),
        };
        written.with_context(|| format!("cannot write {what} to {}", path.display()))?;
        Ok(path)
    }

    fn write(self, content: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<()> {
        let written = match self.place {
            Place::File(path) => replace(&path, content),
            Place::Open(file) => fill(file, content),
        };
        written.with_context(|| format!("cannot write {} to {}", self.what, self.path.display()))
    }
}

impl Place {
    fn find(path: &Path) -> Result<Self> {
        match fs::metadata(path) {
            Ok(data) if data.is_dir() => Err(anyhow!("it is a directory")),
            Ok(data) if data.is_file() => {
                // A file that may not be written may not be replaced.
                OpenOptions::new().write(true).open(path)?;
                Self::file(fs::canonicalize(path)?)
            }
            Ok(_) => {
                // The open of a FIFO without a reader would wait for one.
                let flags = libc::O_NONBLOCK | libc::O_NOCTTY;
                let file = OpenOptions::new().write(true).custom_flags(flags).open(path)?;
                sys::set_blocking(&file)?;
                Ok(Self::Open(file))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                if fs::symlink_metadata(path).is_ok() {
                    return Err(anyhow!("it is a link to a file that is not there"));
                }
                Self::file(super::absent(path).ok_or(error)?)
            }
            Err(error) => Err(error.into()),
        }
    }

    fn file(path: PathBuf) -> Result<Self> {
        let (_, temporary) = temporary_beside(&path)?;
        fs::remove_file(temporary)?;
        Ok(Self::File(path))
    }
}

/// Writes a new file and gives it the name of the old one.
fn replace(path: &Path, content: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
    replace_by(path, |file| fill(file, content))
}

fn replace_by(path: &Path, content: impl FnOnce(File) -> io::Result<()>) -> io::Result<()> {
    let (file, temporary) = temporary_beside(path)?;
    let replaced = content(file).and_then(|()| fs::rename(&temporary, path));
    if replaced.is_err() {
        // The error that is reported is the first.
        let _ = fs::remove_file(&temporary);
    }
    replaced
}

fn fill(file: File, content: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
    let mut file = BufWriter::new(file);
    content(&mut file)?;
    file.flush()
}

/// A new file in the directory of `path`.
fn temporary_beside(path: &Path) -> io::Result<(File, PathBuf)> {
    let process = std::process::id();
    let mut number = 0;
    loop {
        let temporary = path.with_file_name(format!(".vmm-kvm-{process}-{number}.tmp"));
        match OpenOptions::new().write(true).create_new(true).open(&temporary) {
            // Another run, in another container perhaps, has the same number.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                number += 1;
                if number == TEMPORARY_NAMES {
                    return Err(error);
                }
            }
            opened => return opened.map(|file| (file, temporary)),
        }
    }
}
