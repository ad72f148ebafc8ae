//! The command line: subcommands, messages, and the exit code.

use clap::Parser;
use std::io::{self, Write};
use std::os::fd::RawFd;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use vmm_common::plan::{Limits, MIN_SLICE_NS};
use vmm_common::stop::{BAD_PLAN, HOST_REFUSED, SUCCESS, VM_FAILED, exit_code};
use vmm_config::{Environment, Loaded};
use vmm_kvm::cli::{Arguments, Command, Run, SchemaOf};
use vmm_kvm::confinement::Request;
use vmm_kvm::control::client::{self, Connection};
use vmm_kvm::control::protocol;
use vmm_kvm::outputs::{self, Reports, Wanted};
use vmm_kvm::run::{self, ConsolePlace, Options, Outcome};
use vmm_kvm::{sys, timeline, typed};

/// Events that `--trace` keeps, the last ones: some 50 MB.
const TRACE_EVENTS: usize = 1 << 20;
/// Events kept without it.
const QUIET_TRACE_EVENTS: usize = 256;

fn main() -> ExitCode {
    let inherited = sys::inherited_files();
    sys::share_one_heap();
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // If this cannot be written, there is no place to report that.
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { BAD_PLAN } else { SUCCESS });
        }
    };
    let code = match (arguments.command, arguments.run) {
        (Some(Command::Run(run)), _) | (None, Some(run)) => run_config(&run, inherited),
        (Some(Command::Check { config }), _) => check(&config),
        (Some(Command::Compile { config, output }), _) => compile(&config, &output),
        (Some(Command::Schema { of }), _) => {
            let schema = match of {
                SchemaOf::Config => vmm_config::schema(),
                SchemaOf::Control => protocol::schema(),
            };
            print(&format!("{schema:#}\n"));
            SUCCESS
        }
        (Some(Command::Ctl { socket, command, vms }), _) => ctl(&socket, &command, &vms),
        (Some(Command::Guests), _) => {
            print(&guest_list());
            SUCCESS
        }
        (None, None) => {
            complain("which config? allowed: vmm-kvm CONFIG, or vmm-kvm --help");
            BAD_PLAN
        }
    };
    ExitCode::from(code)
}

/// Name and summary of each built-in guest.
fn guest_list() -> String {
    guests::IMAGES.iter().map(|image| format!("{:<16} {}\n", image.name, image.summary)).collect()
}

fn run_config(arguments: &Run, inherited: Vec<RawFd>) -> u8 {
    let wanted = Wanted {
        receipt: arguments.receipt.clone(),
        trace: arguments.trace.clone(),
        log_dir: arguments.log_dir.clone(),
        typed: arguments.typed.clone(),
    };
    let Some(mut loaded) = load(&arguments.config, &wanted) else { return BAD_PLAN };
    let refusals = arguments.gdb.iter().filter_map(|it| it.apply(&mut loaded.plan).err());
    let refusals: Vec<String> = refusals.collect();
    if !refusals.is_empty() {
        refusals.iter().for_each(|refusal| complain(refusal));
        return BAD_PLAN;
    }
    for note in vmm_config::notes(&loaded) {
        complain(&note);
    }
    let typed = match typed::read(&loaded.plan, &arguments.typed) {
        Ok(typed) => typed,
        Err(faults) => {
            faults.iter().for_each(|fault| complain(fault));
            return BAD_PLAN;
        }
    };
    let reports = match Reports::prepare(&wanted) {
        Ok(reports) => reports,
        Err(error) => {
            complain(&format!("{error:#}"));
            return HOST_REFUSED;
        }
    };
    let directories: Vec<PathBuf> = reports.directories().map(Path::to_path_buf).collect();
    let request = Request { inherited, directories };
    let options = Options {
        config: arguments.config.clone(),
        core: arguments.core,
        log_dir: arguments.log_dir.clone(),
        timeout_ns: arguments.timeout,
        trace_events: if arguments.trace.is_some() { TRACE_EVENTS } else { QUIET_TRACE_EVENTS },
        console: ConsolePlace::Standard,
        confinement: (!arguments.unconfined).then_some(request),
        typed,
        control: arguments.control.clone(),
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
    let troubles = [&outcome.console_troubles, &outcome.incomplete_files, &outcome.host_refusals];
    for trouble in troubles.into_iter().flatten() {
        complain(trouble);
    }
    let mut has_failed = !outcome.incomplete_files.is_empty();
    let receipt = |to: &mut dyn Write| {
        serde_json::to_writer_pretty(&mut *to, &outcome.receipt)?;
        writeln!(to)
    };
    let errors = reports.write(receipt, |to| timeline::write(&outcome.system, to));
    for error in errors {
        complain(&format!("{error:#}"));
        has_failed = true;
    }
    let is_success = outcome.receipt.is_success() && outcome.is_output_whole && !has_failed;
    match outcome.stop_request {
        None if !outcome.host_refusals.is_empty() => HOST_REFUSED,
        request => exit_code(request, is_success),
    }
}

/// Asks a run for something, of each VM named.
fn ctl(socket: &Path, command: &str, vms: &[String]) -> u8 {
    let mut connection = match Connection::open(socket) {
        Ok(connection) => connection,
        Err(error) => {
            complain(&format!("{error:#}"));
            return HOST_REFUSED;
        }
    };
    let mut code = SUCCESS;
    let none = [None];
    let named: Vec<Option<&str>> = vms.iter().map(|vm| Some(vm.as_str())).collect();
    for vm in if named.is_empty() { &none[..] } else { &named } {
        match (connection.request(command, *vm), command) {
            (Ok(result), "list") => print(&client::table(&result)),
            (Ok(result), _) if !result.is_null() => print(&format!("{result:#}\n")),
            (Ok(_), _) => {}
            (Err(error), _) => {
                let of = vm.map_or(String::new(), |vm| format!("{vm}: "));
                complain(&format!("{of}{error:#}"));
                code = VM_FAILED;
            }
        }
    }
    code
}

fn check(config: &Path) -> u8 {
    let Some(loaded) = load(config, &Wanted::default()) else { return BAD_PLAN };
    print(&vmm_config::summary(&loaded));
    let written = outputs::written_by_config(&loaded.plan);
    if !written.is_empty() {
        print(&format!("\na run creates or overwrites\n  {}\n", written.join("\n  ")));
    }
    SUCCESS
}

fn compile(config: &Path, output: &Path) -> u8 {
    let Some(loaded) = load(config, &Wanted::default()) else { return BAD_PLAN };
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

/// The config's plan and images, or every fault on standard error; files that a run with these
/// options may not write are such faults, too.
fn load(config: &Path, wanted: &Wanted) -> Option<Loaded> {
    let limits = Limits {
        host_memory_bytes: sys::available_memory().unwrap_or(u64::MAX),
        min_slice_ns: MIN_SLICE_NS,
        cores: sys::allowed_cores().unwrap_or_default(),
    };
    let builtin: Vec<_> = guests::IMAGES.iter().map(|image| (image.name, image.bytes)).collect();
    match vmm_config::load(config, &Environment { limits, builtin: &builtin }) {
        Ok(loaded) => {
            let conflicts = outputs::conflicts(config, &loaded.plan, wanted);
            conflicts.iter().for_each(|conflict| complain(conflict));
            conflicts.is_empty().then_some(loaded)
        }
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
