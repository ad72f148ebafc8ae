//! The command line: subcommands, messages, and the exit code.

use anyhow::{Context, Result};
use clap::Parser;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use vmm_common::plan::{Limits, MIN_SLICE_NS};
use vmm_common::stop::{BAD_PLAN, HOST_REFUSED, SUCCESS, exit_code};
use vmm_config::{Environment, Loaded};
use vmm_kvm::cli::{Arguments, Command, Run};
use vmm_kvm::run::{self, ConsolePlace, Options, Outcome};
use vmm_kvm::{sys, timeline};

/// Events that `--trace` keeps, the last ones: some 50 MB.
const TRACE_EVENTS: usize = 1 << 20;
/// Events kept without it.
const QUIET_TRACE_EVENTS: usize = 256;

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // If this cannot be written, there is no place to report that.
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { BAD_PLAN } else { SUCCESS });
        }
    };
    let code = match (arguments.command, arguments.run) {
        (Some(Command::Run(run)), _) | (None, Some(run)) => run_config(&run),
        (Some(Command::Check { config }), _) => check(&config),
        (Some(Command::Compile { config, output }), _) => compile(&config, &output),
        (Some(Command::Schema), _) => {
            print(&format!("{:#}\n", vmm_config::schema()));
            SUCCESS
        }
        (None, None) => {
            complain("which config? allowed: vmm-kvm CONFIG, or vmm-kvm --help");
            BAD_PLAN
        }
    };
    ExitCode::from(code)
}

fn run_config(arguments: &Run) -> u8 {
    let Some(loaded) = load(&arguments.config) else { return BAD_PLAN };
    for note in vmm_config::notes(&loaded) {
        complain(&note);
    }
    let reports = match Reports::open(arguments) {
        Ok(reports) => reports,
        Err(error) => {
            complain(&format!("{error:#}"));
            return HOST_REFUSED;
        }
    };
    let options = Options {
        config: arguments.config.clone(),
        core: arguments.core,
        log_dir: arguments.log_dir.clone(),
        timeout_ns: arguments.timeout,
        trace_events: if arguments.trace.is_some() { TRACE_EVENTS } else { QUIET_TRACE_EVENTS },
        console: ConsolePlace::Standard,
    };
    let outcome = match run::run(&loaded, options) {
        Ok(outcome) => outcome,
        Err(error) => {
            complain(&format!("{error:#}"));
            return HOST_REFUSED;
        }
    };
    report(&outcome, reports)
}

/// Prints the receipt, writes the files asked for; the exit code.
fn report(outcome: &Outcome, reports: Reports) -> u8 {
    let text = outcome.receipt.closing_lines(outcome.core);
    if outcome.is_output_read {
        print(&text);
    } else {
        // Without a reader, a write to standard output could block for ever.
        complain(&text);
    }
    for trouble in &outcome.console_troubles {
        complain(trouble);
    }
    let mut has_failed = false;
    for error in reports.write(outcome).into_iter().filter_map(Result::err) {
        complain(&format!("{error:#}"));
        has_failed = true;
    }
    let is_success = outcome.receipt.is_success() && outcome.is_output_whole && !has_failed;
    exit_code(outcome.stop_request, is_success)
}

/// The files that a run is to write, opened before it: a wrong path must not waste a run.
struct Reports {
    receipt: Option<(PathBuf, File)>,
    timeline: Option<(PathBuf, File)>,
}

impl Reports {
    fn open(arguments: &Run) -> Result<Self> {
        let open = |path: &Option<PathBuf>, what: &str| -> Result<Option<(PathBuf, File)>> {
            let Some(path) = path else { return Ok(None) };
            let file = File::create(path);
            let file =
                file.with_context(|| format!("cannot write {what} to {}", path.display()))?;
            Ok(Some((path.clone(), file)))
        };
        let receipt = open(&arguments.receipt, "the receipt")?;
        Ok(Self { receipt, timeline: open(&arguments.trace, "the timeline")? })
    }

    fn write(self, outcome: &Outcome) -> Vec<Result<()>> {
        let receipt = self.receipt.map(|(path, file)| {
            let context = || format!("cannot write the receipt to {}", path.display());
            let mut file = BufWriter::new(file);
            serde_json::to_writer_pretty(&mut file, &outcome.receipt).with_context(context)?;
            writeln!(file).and_then(|()| file.flush()).with_context(context)
        });
        let timeline = self.timeline.map(|(path, file)| {
            let context = || format!("cannot write the timeline to {}", path.display());
            timeline::write(&outcome.system, BufWriter::new(file)).with_context(context)
        });
        receipt.into_iter().chain(timeline).collect()
    }
}

fn check(config: &Path) -> u8 {
    let Some(loaded) = load(config) else { return BAD_PLAN };
    print(&vmm_config::summary(&loaded));
    SUCCESS
}

fn compile(config: &Path, output: &Path) -> u8 {
    let Some(loaded) = load(config) else { return BAD_PLAN };
    let words = vmm_common::seed::from_plan(&loaded.plan);
    let Some(bytes) = vmm_common::seed::encode(&words) else {
        let (has, max) = (words.len(), vmm_common::seed::MAX_CONFIG_VMS);
        complain(&format!("{}: {has} VMs; allowed in a config.bin: {max}", config.display()));
        return BAD_PLAN;
    };
    if let Err(error) = std::fs::write(output, bytes) {
        complain(&format!("cannot write {}: {error}", output.display()));
        return HOST_REFUSED;
    }
    SUCCESS
}

/// The config's plan and images, or every fault on standard error.
fn load(config: &Path) -> Option<Loaded> {
    let limits = Limits {
        host_memory_bytes: sys::available_memory().unwrap_or(u64::MAX),
        min_slice_ns: MIN_SLICE_NS,
        cores: sys::allowed_cores().unwrap_or_default(),
    };
    let builtin: Vec<_> = guests::IMAGES.iter().map(|image| (image.name, image.bytes)).collect();
    match vmm_config::load(config, &Environment { limits, builtin: &builtin }) {
        Ok(loaded) => Some(loaded),
        Err(faults) => {
            // Led by the file's name, as tools that parse compilers' output expect.
            let _ = write!(io::stderr(), "{faults}");
            None
        }
    }
}

/// To standard output; ignores a closed reader.
fn print(text: &str) {
    let mut stdout = io::stdout().lock();
    let _ = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
}

/// To standard error, led by our name.
fn complain(text: &str) {
    let _ = writeln!(io::stderr(), "vmm-kvm: {text}");
}
