//! A run from plan to receipt: creates the VMs and what surrounds them, lets their threads run, and
//! closes the accounts.

use crate::capture::Captures;
use crate::confinement::{self, Confinement, Role, confine};
use crate::console::Output;
use crate::control::Control;
use crate::disks::Disks;
use crate::events::HostEvents;
use crate::gdb::Debuggers;
use crate::host::LinuxHost;
use crate::kvm::{self, GuestRam, PreparedVcpu, SetUp};
use crate::outputs::{self, Incomplete, Recorder};
use crate::placement::Placement;
use crate::sys::{self, Clock};
use crate::tap::Taps;
use crate::threads::{World, run_threads};
use crate::uplinks::Uplinks;
use anyhow::{Context, Result, anyhow, bail};
use kvm_ioctls::Kvm;
use std::fs::File;
use std::io::{self, IsTerminal};
use std::iter;
use std::os::fd::RawFd;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use vmm_common::Instant;
use vmm_common::console::{Console, ConsoleSettings};
use vmm_common::cpuid::CpuidResult;
use vmm_common::plan::ClockPolicy;
use vmm_common::receipt::Receipt;
use vmm_common::registers::CpuState;
use vmm_common::seam::Fault;
use vmm_common::stop::StopRequest;
use vmm_common::switch_on::{self, Beginning, HostFacts};
use vmm_common::system::System;
use vmm_common::vm::{Ending, Vm};
use vmm_config::Loaded;
use vmm_symbols::Names;

/// What the command line adds to a config.
#[derive(Debug, Default)]
pub struct Options {
    /// The YAML file, for messages.
    pub config: PathBuf,
    /// The core, in place of the config's.
    pub core: Option<u64>,
    /// The directory for logs of each VM's raw output.
    pub log_dir: Option<PathBuf>,
    /// When the run ends at the latest, ns after its start.
    pub timeout_ns: Option<u64>,
    /// How many events the trace keeps.
    pub trace_events: usize,
    /// Where the console is.
    pub console: ConsolePlace,
    /// What the process gives up before the first guest runs; None if it does more than one run.
    pub confinement: Option<confinement::Request>,
    /// Where the control socket is.
    pub control: Option<PathBuf>,
    /// What is typed to each VM, if anything, from the start.
    pub typed: Vec<Vec<u8>>,
}

/// Where the shared console is.
#[derive(Debug, Default)]
pub enum ConsolePlace {
    /// Standard input and output; the terminal, if they are one.
    #[default]
    Standard,
    /// Output to this file, and no keyboard: for programs that run VMs.
    File(File),
}

/// A run that is over.
#[derive(Debug)]
pub struct Outcome {
    /// The VMs, their trace and their accounts.
    pub system: System<GuestRam>,
    /// The closed accounts.
    pub receipt: Receipt,
    /// Why it ended before its VMs did.
    pub stop_request: Option<StopRequest>,
    /// The core it ran on.
    pub core: u64,
    /// Standard output still has a reader.
    pub is_output_read: bool,
    /// No output was left out because it was not read.
    pub is_output_whole: bool,
    /// Errors of the console, as messages.
    pub console_troubles: Vec<String>,
    /// VMs that the host refused to run any further, as messages.
    pub host_refusals: Vec<String>,
    /// Logs and taps that lack something, as messages.
    pub incomplete_files: Vec<String>,
}

/// A VM before its threads run.
type MadeVm<'a> = (Vec<PreparedVcpu>, (Beginning<'a>, GuestRam));

/// Output kept for a slow reader.
const OUTPUT_BYTES: usize = 4 << 20;
/// Keys kept for guests that do not read them; more wait in the terminal or the pipe.
const TYPED_AHEAD_BYTES: usize = 16 << 20;
/// How long the last bytes for logs and taps wait for a file that takes none.
const FILE_PATIENCE: Duration = Duration::from_secs(2);

/// Runs what was loaded to its end.
pub fn run(loaded: &Loaded, options: Options) -> Result<Outcome> {
    let plan = &loaded.plan;
    let core = choose_core(options.core.or(plan.core))?;
    let kvm = kvm::open(&options.config)?;
    // Before any thread is made, so that all inherit the mask and the blocked signals.
    sys::pin_to(core).with_context(|| format!("cannot pin to core {core}"))?;
    let is_shared = matches!(options.console, ConsolePlace::Standard);
    let stdin = is_shared.then(sys::stdin).transpose().context("standard input")?;
    let is_terminal = stdin.as_ref().is_some_and(File::is_terminal);
    let mut events = HostEvents::new(stdin)?;
    let clock = Clock::start();
    let made = make_vms(&kvm, loaded, clock)?;
    let (vcpus, vms): (Vec<_>, Vec<_>) = made.into_iter().unzip();
    let (beginnings, rams): (Vec<_>, Vec<_>) = vms.into_iter().unzip();
    let machines = beginnings.iter().map(Beginning::switch_on).zip(rams).collect();
    let names: Vec<String> = plan.vms.iter().map(|vm| vm.name.clone()).collect();
    let output = open_output(options.console)?;
    let settings = ConsoleSettings {
        display: output.display(),
        has_command_keys: is_terminal,
        output_bytes: OUTPUT_BYTES,
        typed_ahead_bytes: TYPED_AHEAD_BYTES,
    };
    let mut console = Console::new(plan, settings);
    for (vm, keys) in options.typed.iter().enumerate() {
        console.type_to(vm, keys);
    }
    let time_limit = options.timeout_ns.map_or(Instant::FAR_FUTURE, Instant::from_ns);
    let system = System::new(plan, machines, options.trace_events, clock.now());
    // Only now, so that a run that is refused creates and truncates nothing.
    let uplinks = Uplinks::open(plan)?;
    let disks = Disks::open(plan, core)?;
    if let Some(fd) = disks.completion_fd() {
        events.end_waits_by(fd)?;
    }
    let symbols = Names::open(plan);
    let debuggers = Debuggers::open(plan, &system)?;
    let control = options.control.as_deref().map(Control::open).transpose()?;
    if let Some(control) = &control {
        events.end_waits_by(control.descriptor())?;
    }
    let (opened, files) = Recorder::open(plan, options.log_dir.as_deref())?;
    let taps: Vec<RawFd> = uplinks.descriptors().collect();
    let confinement = options.confinement.as_ref();
    let confinement = confinement.map(|it| Confinement::of_process(it, &taps)).transpose()?;
    let of_recorder = confinement.clone();
    let prepare = move || confine(of_recorder.as_ref(), Role::Files);
    let mut recorder = Recorder::start(opened, prepare)?;
    let captures = Captures::begin(plan, files.captures, clock.now(), &mut recorder);
    let (console, recorder) = ((console, output), (recorder, files.logs));
    let behind = (disks, uplinks, captures);
    let mut host = LinuxHost::new(
        (clock, beginnings),
        console,
        recorder,
        behind,
        events,
        (time_limit, symbols),
    );
    if is_terminal {
        host.take_terminal()?;
    }
    let taps = Taps::new(plan, &files.taps);
    let mut placement = Placement::new(core);
    placement.add(sys::this_thread(), "main".into());
    if let Some(thread) = host.recorder.thread() {
        placement.add(thread, outputs::THREAD.into());
    }
    let world = World::new(system, host, taps, placement, (debuggers, control));
    let world = run_threads(world, vcpus, &names, confinement.as_ref())?;
    let shortfalls = confinement.map(|it| it.shortfalls().to_vec()).unwrap_or_default();
    finish(world, loaded, shortfalls)
}

/// The core to run on: the one asked for, or the first that is allowed.
fn choose_core(wanted: Option<u64>) -> Result<u64> {
    let allowed = sys::allowed_cores().context("the allowed cores")?;
    match wanted {
        Some(core) if allowed.contains(&core) => Ok(core),
        Some(core) => Err(anyhow!("core {core} is offline or not allowed; allowed: {allowed:?}")),
        None => allowed.first().copied().ok_or_else(|| anyhow!("no core is allowed")),
    }
}

/// Creates the VMs in parallel, so that their waits ([`SetUp`]) overlap.
fn make_vms<'a>(kvm: &Kvm, loaded: &'a Loaded, clock: Clock) -> Result<Vec<MadeVm<'a>>> {
    let processor = kvm::supported_cpuid(kvm)?;
    let make = &|vm: usize, set_up: SetUp| {
        let made = make_vm(kvm, &processor, loaded, vm, clock, set_up);
        made.with_context(|| format!("VM {}", loaded.plan.vms[vm].name))
    };
    thread::scope(|scope| {
        let start =
            |vm| thread::Builder::new().spawn_scoped(scope, move || make(vm, SetUp::InTurn));
        let others: Vec<_> = (1..loaded.plan.vms.len()).map(start).collect();
        let first = make(0, SetUp::AtOnce);
        let others = others.into_iter().map(|thread| {
            let thread = thread.context("the host cannot start a thread")?;
            thread.join().map_err(|_| anyhow!("making a VM panicked; please report this"))?
        });
        iter::once(first).chain(others).collect()
    })
}

fn make_vm<'a>(
    kvm: &Kvm,
    processor: impl Fn(u32, u32) -> CpuidResult,
    loaded: &'a Loaded,
    vm: usize,
    clock: Clock,
    set_up: SetUp,
) -> Result<MadeVm<'a>> {
    let (plan, image) = (&loaded.plan.vms[vm], &loaded.images[vm]);
    let ram = GuestRam::new(plan.memory_bytes)?;
    ram.place(&image.boot, &image.files())?;
    let fd = kvm::create_vm(kvm, &ram, set_up)?;
    let make = |id| {
        let parts = (ram.clone(), clock);
        let after_init = CpuState::after_init();
        let registers = if id == 0 { &image.boot.registers } else { &after_init };
        PreparedVcpu::new(fd.clone(), id, parts, registers, plan.processors() > 1)
    };
    let vcpus = (0..plan.processors()).map(make).collect::<Result<Vec<_>>>()?;
    let [first, others @ ..] = &*vcpus else { bail!("a VM has at least one vCPU") };
    others.iter().for_each(|vcpu| vcpu.follow_tsc_of(first));
    if plan.clock == ClockPolicy::Own {
        vcpus.iter().try_for_each(PreparedVcpu::check_can_hold_tsc)?;
    }
    let tsc = first.tsc_clock()?;
    let facts = HostFacts {
        epoch_seconds: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs()),
        tsc_hz: tsc.hz,
        // KVM keeps writes to IA32_TSC_DEADLINE for a local APIC of its own, past the MSR filter,
        // and drops them where it has none (KVM_GET_SUPPORTED_CPUID never shows the feature).
        has_tsc_deadline: false,
    };
    let (tables, machine) = switch_on::prepare(plan, &image.boot, facts, processor);
    for (vcpu, table) in vcpus.iter().zip(&tables) {
        vcpu.set_cpuid(table)?;
    }
    Ok((vcpus, (Beginning::new(machine, image.files(), tsc, clock.now()), ram)))
}

fn open_output(place: ConsolePlace) -> Result<Output> {
    let to = match place {
        ConsolePlace::Standard => sys::stdout().context("standard output")?,
        ConsolePlace::File(file) => file,
    };
    Ok(Output::new(to))
}

/// Why the host refused to run a VM any further, and what to do; None if it did not refuse.
fn host_refusal(vm: &Vm<GuestRam>) -> Option<String> {
    let Some(Ending::Fault(Fault::Host { errno })) = vm.ending else { return None };
    let error = io::Error::from_raw_os_error(errno);
    let advice = match errno {
        libc::EAGAIN => {
            "; KVM may lack a thread of its own: see `ulimit -u` and the pids.max of the cgroup"
        }
        libc::ENOMEM => "; the host, or the memory.max of the cgroup, has no memory left",
        _ => "",
    };
    Some(format!("VM {}: the host does not run its vCPU: {error}{advice}", vm.name()))
}

fn finish(world: World<'_>, loaded: &Loaded, shortfalls: Vec<String>) -> Result<Outcome> {
    let World { mut system, mut host, mut taps, placement, .. } = world;
    let end = host.clock.now();
    taps.drain(&mut system, &mut host.recorder);
    host.close_disks(FILE_PATIENCE);
    let unread = host.drain()?;
    // Once it has all its lines: they are for a terminal that is raw.
    host.give_terminal_back();
    let receipt = Receipt::close(&loaded.plan, &mut system, end);
    let incomplete = host.recorder.finish(FILE_PATIENCE).into_iter();
    let mut incomplete_files: Vec<String> = incomplete.map(|Incomplete(why)| why).collect();
    incomplete_files.extend(taps.omissions(&mut system));
    let mut troubles: Vec<String> = shortfalls;
    troubles.extend(placement.summary());
    if let Some(error) = host.output.write_error() {
        troubles.push(format!("standard output: {error}"));
    }
    if unread > 0 {
        troubles.push(format!("{unread} bytes of output left out: they were not read"));
    }
    troubles.extend(host.console.omissions());
    troubles.extend(host.console.unread_keys());
    let is_output_read = unread == 0 && !host.output.is_closed();
    let stop_request = host.stop_request;
    let is_output_whole = is_output_read && host.console.omissions().next().is_none();
    let host_refusals = system.vms.iter().filter_map(host_refusal).collect();
    Ok(Outcome {
        system,
        receipt,
        stop_request,
        core: placement.core(),
        is_output_read,
        is_output_whole,
        console_troubles: troubles,
        host_refusals,
        incomplete_files,
    })
}
