//! `run` and `image`: a config on the bare-metal hypervisor; `run --on debian`: on the KVM target.

use crate::debuggers;
use anyhow::{Context, Result};
use std::borrow::Cow;
use std::fs;
use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};
use std::time::Duration;
use vmm_common::console::Ability;
use vmm_symbols::Names;
use xtask::emulate::{self, Accelerator, Emulator, Machine, Report};
use xtask::linux::nested::Nested;
use xtask::load::{self, Load};
use xtask::{guest_files, hypervisor, image, linux};

const SUCCESS: u8 = 0;
/// The hypervisor never said how it ended.
const NO_REPORT: u8 = 1;
/// The time limit ended the run, as over KVM.
const TIMED_OUT: u8 = 1;
/// The config is wrong.
const USAGE: u8 = 2;
/// Something on this machine is missing or refuses.
const HOST_REFUSED: u8 = 3;
/// Lines of what else was said that are shown if it did not.
const LAST_LINES: usize = 20;
/// Memory assumed of the machine that boots an ISO, as its real size is not known here.
const ANY_MEMORY_MIB: u64 = 1 << 30;

/// A run in an emulated machine.
#[derive(Debug, clap::Args)]
pub struct Run {
    /// The YAML file
    config: PathBuf,
    /// The emulator
    #[arg(long, value_enum)]
    on: Emulator,
    /// The CPU, in the emulator's words [default: corei7_skylake_x in Bochs; EPYC,+svm,+npt in
    /// QEMU]
    #[arg(long, value_name = "MODEL")]
    cpu: Option<String>,
    /// What runs QEMU's instructions
    #[arg(long, value_enum, default_value_t)]
    accel: Accelerator,
    /// The board, in QEMU's words, as q35,pit=off [default: q35]
    #[arg(long, value_name = "BOARD")]
    board: Option<String>,
    /// Derive QEMU's clock from the instruction count, 32 ns each: the same timing in every run
    #[arg(long)]
    counted: bool,
    /// Do without VPID and ASID: translations are dropped at each switch
    #[arg(long)]
    untagged: bool,
    /// Add a word to the kernel's command line, as small_pages; may be repeated
    #[arg(long, value_name = "WORD")]
    word: Vec<String>,
    /// Also write the receipt as JSON
    #[arg(long, value_name = "FILE")]
    receipt: Option<PathBuf>,
    /// Also write the console's output to a file
    #[arg(long, value_name = "FILE")]
    log: Option<PathBuf>,
    /// Let gdb reach this VM; in place of the config's `gdb`. A TCP port of 127.0.0.1 may follow,
    /// with wait: before it if the VM is to wait, as left=wait:1234
    #[arg(long, value_name = "NAME[=PORT]")]
    gdb: Option<String>,
    /// End the run after this long, as 90s, 500ms or 2m; a number alone is in seconds
    #[arg(long, value_name = "TIME", value_parser = vmm_config::parse_time_limit_ns)]
    timeout: Option<u64>,
    /// Boot this kernel, or with Debian run this vmm-kvm, linked statically; without it, it is
    /// built
    #[arg(long, value_name = "FILE")]
    kernel: Option<PathBuf>,
}

/// An ISO.
#[derive(Debug, clap::Args)]
pub struct Image {
    /// The YAML file
    config: PathBuf,
    /// Where the ISO goes
    #[arg(short, long)]
    output: PathBuf,
    /// Take this kernel; without it, the hypervisor is built
    #[arg(long, value_name = "FILE")]
    kernel: Option<PathBuf>,
}

/// Runs a config; the exit code.
pub fn run(arguments: &Run) -> u8 {
    if arguments.untagged && arguments.on == Emulator::Debian {
        complain("--untagged is about our own switching; on Debian the switching is Linux's");
        return USAGE;
    }
    let Some(load) = load(&arguments.config, &arguments.gdb, arguments.on.max_memory_mib()) else {
        return USAGE;
    };
    if arguments.on != Emulator::Debian && !suits_bare_metal(&load) {
        return USAGE;
    }
    match boot(arguments, &load) {
        Ok(report) => exit_code(&report),
        Err(error) => refused(&error),
    }
}

/// Writes a config's ISO; the exit code.
pub fn image(arguments: &Image) -> u8 {
    let Some(load) = load(&arguments.config, &None, ANY_MEMORY_MIB) else { return USAGE };
    if !suits_bare_metal(&load) {
        return USAGE;
    }
    let kernel = kernel_or_built(&arguments.kernel);
    match kernel.and_then(|kernel| image::write(&kernel, "", &load.pack, &arguments.output)) {
        Ok(()) => SUCCESS,
        Err(error) => refused(&error),
    }
}

fn kernel_or_built(kernel: &Option<PathBuf>) -> Result<PathBuf> {
    kernel.clone().map_or_else(hypervisor::build, Ok)
}

/// What a machine boots, and the memory it takes.
struct Boot<'a> {
    kernel: PathBuf,
    module: Cow<'a, [u8]>,
    memory_mib: u64,
}

fn boot_of<'a>(arguments: &Run, load: &'a Load) -> Result<Boot<'a>> {
    if arguments.on != Emulator::Debian {
        let kernel = kernel_or_built(&arguments.kernel)?;
        let memory_mib = load.machine_memory_mib();
        return Ok(Boot { kernel, module: Cow::Borrowed(&load.pack), memory_mib });
    }
    let vmm_kvm = arguments.kernel.clone().map_or_else(hypervisor::build_static, Ok)?;
    let Nested { kernel, initramfs, memory_mib } =
        Nested::new(&vmm_kvm, &arguments.config, &load.plan)?;
    Ok(Boot { kernel, module: Cow::Owned(initramfs), memory_mib })
}

/// What the terminal at standard output can do.
fn ability() -> Ability {
    let variable = |name| std::env::var(name).ok();
    Ability::of_environment(variable("TERM").as_deref(), variable("NO_COLOR").as_deref())
}

fn boot(arguments: &Run, load: &Load) -> Result<Report> {
    let Boot { kernel, module, memory_mib } = boot_of(arguments, load)?;
    let debugger = debuggers::open(&load.plan)?;
    let machine = Machine {
        emulator: arguments.on,
        cpu: arguments.cpu.clone(),
        accelerator: arguments.accel,
        board: arguments.board.clone(),
        memory_mib,
        timeout: arguments.timeout.map(Duration::from_nanos),
        has_keyboard: true,
        terminal: io::stdout().is_terminal().then(ability),
        has_counted_clock: arguments.counted,
        is_untagged: arguments.untagged,
        debugger,
        words: arguments.word.clone(),
        names: Names::open(&load.plan),
    };
    let report = emulate::run(&machine, &kernel, &module, &mut io::stdout().lock())?;
    let write = |path: &Option<PathBuf>, bytes: &[u8]| {
        let Some(path) = path else { return Ok(()) };
        fs::write(path, bytes).with_context(|| format!("cannot write {}", path.display()))
    };
    write(&arguments.log, &report.console)?;
    if let Some(receipt) = &report.receipt {
        write(&arguments.receipt, receipt.as_bytes())?;
    } else if arguments.receipt.is_some() {
        let why = if report.is_timed_out { ": its time was up" } else { "" };
        complain(&format!("the hypervisor reported no receipt{why}"));
    }
    Ok(report)
}

fn exit_code(report: &Report) -> u8 {
    if report.is_timed_out {
        complain("time is up; the machine was switched off");
    }
    // Its own code then says that it was asked to end.
    let exit = report.exit.map(|exit| if report.is_timed_out { TIMED_OUT } else { exit });
    exit.unwrap_or_else(|| {
        complain("the hypervisor never reported how it ended");
        // Where Linux is beneath, it may have said why.
        for line in &report.debug[report.debug.len().saturating_sub(LAST_LINES)..] {
            complain(line);
        }
        NO_REPORT
    })
}

/// Whether bare metal can run it; says why not, and what will not be written.
fn suits_bare_metal(load: &Load) -> bool {
    let refused = load.refused_networks();
    refused.iter().chain(&load.unwritten_files()).for_each(|line| complain(line));
    refused.is_empty()
}

/// What was loaded and packed; None: the config's faults were printed.
fn load(config: &Path, gdb: &Option<String>, max_memory_mib: u64) -> Option<Load> {
    if let Err(error) = make_what_is_named(config) {
        // The config's own faults say what is missing.
        complain(&format!("{error:#}"));
    }
    match load::config(config, max_memory_mib) {
        Ok(mut loaded) => {
            if let Err(why) = debuggers::choose(&mut loaded.plan, gdb.as_deref()) {
                complain(&why);
                return None;
            }
            for note in vmm_config::notes(&loaded) {
                complain(&note);
            }
            load::packed(loaded).map_err(|error| complain(&format!("{error:#}"))).ok()
        }
        Err(faults) => {
            // Led by the file's name, as tools that read compilers' output want it.
            eprint!("{faults}");
            None
        }
    }
}

/// Fetches or writes what we can and the config names: Debian's kernel, the built-in guests as
/// files.
fn make_what_is_named(config: &Path) -> Result<()> {
    let text = fs::read_to_string(config).unwrap_or_default();
    if text.contains("target/linux/") {
        linux::ensure()?;
    }
    if text.contains("target/guests/") {
        guest_files::write()?;
    }
    Ok(())
}

fn refused(error: &anyhow::Error) -> u8 {
    complain(&format!("{error:#}"));
    HOST_REFUSED
}

/// To standard error, led by our name.
fn complain(text: &str) {
    eprintln!("xtask: {text}");
}
