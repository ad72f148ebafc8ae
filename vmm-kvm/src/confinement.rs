//! What a run gives up before its first guest runs: rights that no run needs, and that a guest
//! which took over this process could use.
//!
//! [`Confinement::of_process`] comes when all files are open and before any thread is started,
//! [`Confinement::of_thread`] in each thread. The run reports what the kernel cannot do, and goes
//! on with the rest.

mod calls;

use crate::sys::{self, Capability};
use anyhow::{Context, Result};
use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, PathBeneath, PathFd, Ruleset, RulesetAttr,
    RulesetCreatedAttr, RulesetStatus, Scope,
};
use seccompiler::BpfProgram;
use std::io::{self, Write};
use std::os::fd::RawFd;
use std::path::PathBuf;

/// What a confinement needs to know of the process.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// Descriptors that the process was started with, see [`sys::inherited_files`].
    pub inherited: Vec<RawFd>,
    /// Directories in which files will be made and renamed at the end.
    pub directories: Vec<PathBuf>,
}

/// What a thread does, which decides what it may ask of the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Runs a vCPU, and the host's side of the loop while it has the turn.
    Vcpu,
    /// Writes logs and taps.
    Files,
    /// Waits for the others, then writes the last output and the reports.
    Main,
}

/// The rights that threads keep.
#[derive(Clone, Debug)]
pub struct Confinement {
    /// None where the kernel has no filters of system calls.
    filters: Option<Filters>,
    /// Where it could not do all.
    shortfalls: Vec<String>,
}

#[derive(Clone, Debug)]
struct Filters {
    vcpu: BpfProgram,
    files: BpfProgram,
    main: BpfProgram,
}

/// Also names rights that only the newest kernels know; older ones restrict what they know.
const LANDLOCK: ABI = ABI::V6;

impl Confinement {
    /// Confines this process, as far as that is possible for all of its threads at once; `taps` are
    /// its descriptors of TAP interfaces.
    ///
    /// # Errors
    /// The kernel refuses what every kernel can do.
    pub fn of_process(request: &Request, taps: &[RawFd]) -> Result<Self> {
        let mut shortfalls = Vec::new();
        report_panics_plainly();
        sys::close_inherited(&request.inherited);
        sys::allow_no_new_privileges().context("PR_SET_NO_NEW_PRIVS")?;
        sys::forbid_dumps().context("PR_SET_DUMPABLE")?;
        // Root may write where others may not.
        let has_reports = !request.directories.is_empty();
        let kept: &[_] = match has_reports {
            true => &[Capability::DAC_OVERRIDE, Capability::FOWNER],
            false => &[],
        };
        sys::drop_capabilities(kept).context("dropping capabilities")?;
        if let Some(why) = close_file_system(&request.directories)? {
            shortfalls.push(format!("{why}: files are out of reach by system calls alone"));
        }
        let filters = match sys::has_call_filters() {
            true => {
                sys::report_refused_calls().context("SIGSYS")?;
                Some(Filters::compile(has_reports, taps)?)
            }
            false => {
                shortfalls.push(String::from(
                    "this kernel has no filters of system calls (seccomp): all are allowed",
                ));
                None
            }
        };
        Ok(Self { filters, shortfalls })
    }

    /// What the kernel could not do, as messages.
    #[must_use]
    pub fn shortfalls(&self) -> &[String] {
        &self.shortfalls
    }

    /// Confines the calling thread for good.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn of_thread(&self, role: Role) -> Result<()> {
        let name = match role {
            Role::Vcpu => "a vCPU's thread",
            Role::Files => "the thread that writes files",
            Role::Main => "the main thread",
        };
        sys::name_this_thread(name);
        if role != Role::Main {
            sys::drop_capabilities(&[]).context("dropping capabilities")?;
        }
        let Some(filters) = &self.filters else { return Ok(()) };
        let filter = match role {
            Role::Vcpu => &filters.vcpu,
            Role::Files => &filters.files,
            Role::Main => &filters.main,
        };
        seccompiler::apply_filter(filter).with_context(|| format!("{name}: a system call filter"))
    }
}

/// Confines the calling thread, if the run is confined.
///
/// # Errors
/// As [`Confinement::of_thread`].
pub fn confine(confinement: Option<&Confinement>, role: Role) -> Result<()> {
    confinement.map_or(Ok(()), |confinement| confinement.of_thread(role))
}

impl Filters {
    fn compile(has_reports: bool, taps: &[RawFd]) -> Result<Self> {
        let compile = |role| calls::filter(role, has_reports, taps).context("a system call filter");
        let [vcpu, files, main] = [Role::Vcpu, Role::Files, Role::Main].map(compile);
        Ok(Self { vcpu: vcpu?, files: files?, main: main? })
    }
}

/// Shows place and message of a panic, which is our own bug; a backtrace would read files.
fn report_panics_plainly() {
    std::panic::set_hook(Box::new(|panic| {
        let thread = std::thread::current();
        let name = thread.name().unwrap_or("without a name");
        // If this cannot be written, there is no place to report that.
        let _ = writeln!(io::stderr(), "thread {name} {panic}\n(--unconfined shows a backtrace)");
    }));
}

/// Landlock: closes the file system but for open files and new files in `directories`; closes TCP,
/// and other processes to signals and abstract sockets. Returns why not, where the kernel cannot.
fn close_file_system(directories: &[PathBuf]) -> Result<Option<String>> {
    let all = AccessFs::from_all(LANDLOCK);
    let ruleset =
        Ruleset::default().handle_access(all)?.handle_access(AccessNet::from_all(LANDLOCK))?;
    let mut ruleset = ruleset.scope(Scope::from_all(LANDLOCK))?.create().context("Landlock")?;
    let making: BitFlags<AccessFs> =
        AccessFs::MakeReg | AccessFs::RemoveFile | AccessFs::WriteFile | AccessFs::Truncate;
    for directory in directories {
        let place = PathFd::new(directory).context("Landlock")?;
        ruleset = ruleset.add_rule(PathBeneath::new(place, making)).context("Landlock")?;
    }
    let status = ruleset.restrict_self().context("Landlock")?;
    Ok(match status.ruleset {
        RulesetStatus::FullyEnforced | RulesetStatus::PartiallyEnforced => None,
        RulesetStatus::NotEnforced => {
            Some(String::from("this kernel has no Landlock, or it is switched off"))
        }
    })
}
