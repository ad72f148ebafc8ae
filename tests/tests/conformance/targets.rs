//! Running a config on a target.

use serde_json::Value;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::thread;
use std::time::Duration;
use vmm_common::plan::{DebuggerAddress, DebuggerPlan, Plan};
use vmm_symbols::Names;
use xtask::emulate::{self, Accelerator, Emulator, Keyboard, Machine, Typed};
use xtask::linux::nested::Nested;
use xtask::scratch::Scratch;
use xtask::{gdb_session, hypervisor, load, pseudo_terminal};

/// Few emulated machines at a time: one of Intel's, one of AMD's, and one that runs Linux as a
/// host.
static ONE_OF_INTEL: Mutex<()> = Mutex::new(());
static ONE_OF_AMD: Mutex<()> = Mutex::new(());
static ONE_OF_DEBIAN: Mutex<()> = Mutex::new(());
/// Far beyond what any run takes: only a hang gets here.
const TIMEOUT: Duration = Duration::from_secs(1500);
/// How often a socket is looked for.
const POLL: Duration = Duration::from_millis(20);

/// Who runs guest instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    Kvm,
    VmxBochs,
    SvmQemu,
    SvmBochs,
    /// Hardware's KVM, if emulated hardware's; the one of the host may be another.
    KvmOnDebian,
}

/// What QEMU's time follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Clock {
    /// The instructions.
    Counted,
    /// The host's clock.
    Usual,
}

/// A run that is over.
#[derive(Debug)]
pub struct Outcome {
    pub console: String,
    pub receipt: Value,
    /// What each VM's guest reaches, as a bare-metal target reads it back from its control blocks.
    pub reaches: Vec<Value>,
    pub exit: i32,
}

impl Target {
    /// How many there are.
    pub const COUNT: usize = 5;
    /// The targets without an operating system beneath.
    pub const BARE: [Self; 3] = [Self::VmxBochs, Self::SvmQemu, Self::SvmBochs];

    pub fn name(self) -> &'static str {
        match self {
            Self::Kvm => "KVM",
            Self::VmxBochs => "VMX (Bochs)",
            Self::SvmQemu => "SVM (QEMU)",
            Self::SvmBochs => "SVM (Bochs)",
            Self::KvmOnDebian => "KVM (Debian in QEMU)",
        }
    }

    /// Runs `configs/NAME.yml`, pressing keys.
    pub fn run(self, name: &str, typed: &[Typed]) -> Outcome {
        self.run_file(&configs().join(format!("{name}.yml")), typed)
    }

    /// Runs a config, pressing keys.
    pub fn run_file(self, config: &Path, typed: &[Typed]) -> Outcome {
        match self.machine() {
            None => on_kvm(config, typed),
            Some(machine) => emulated(config, machine, (Clock::Counted, Vec::new()), typed),
        }
    }

    /// Runs a config by the emulators' usual clocks: a Linux takes billions of instructions, and
    /// QEMU takes several times as long for them while it counts.
    pub fn run_long(self, config: &Path, typed: &[Typed]) -> Outcome {
        match self.machine() {
            None => on_kvm(config, typed),
            Some(machine) => emulated(config, machine, (Clock::Usual, Vec::new()), typed),
        }
    }

    /// As [`Target::run_long`], so many times in one machine, whose files outlast each run: over
    /// KVM on Debian alone.
    pub fn run_again(self, config: &Path, typed: &[Typed], times: usize) -> Outcome {
        let words = match times {
            1 => Vec::new(),
            _ => vec![format!("again={times}")],
        };
        let machine = self.machine().expect("an emulated machine");
        emulated(config, machine, (Clock::Usual, words), typed)
    }

    /// Runs `configs/NAME.yml` without VPID and ASID; None where they are not ours.
    pub fn run_untagged(self, name: &str) -> Option<Outcome> {
        let config = configs().join(format!("{name}.yml"));
        let ours = self.machine().filter(|_| Self::BARE.contains(&self));
        let untagged = || vec![String::from("untagged")];
        ours.map(|machine| emulated(&config, machine, (Clock::Counted, untagged()), &[]))
    }

    /// Runs a config of the repository while gdb, with the symbols of `elf`, does to its VM `vm`
    /// what `commands` say, from the first instruction on; and what gdb printed.
    pub fn run_debugged(
        self,
        name: &str,
        (vm, elf): (&str, &Path),
        commands: &[&str],
    ) -> (Outcome, String) {
        let config = configs().join(format!("{name}.yml"));
        let session = |address: &str| {
            gdb_session::run(elf, address, commands).unwrap_or_else(|error| panic!("{error:#}"))
        };
        let Some(machine) = self.machine() else {
            let scratch = Scratch::new().expect("a folder for temporary files");
            let socket = scratch.path().join("gdb");
            let address = socket.to_str().expect("a path in UTF-8").to_owned();
            return thread::scope(|scope| {
                let gdb = scope.spawn(|| {
                    while !socket.exists() {
                        thread::sleep(POLL);
                    }
                    session(&address)
                });
                let option = format!("--gdb={vm}=wait:unix:{address}");
                let outcome = on_kvm_with(&config, &[], &[&option]);
                (outcome, gdb.join().expect("gdb runs"))
            });
        };
        let bridge = emulate::gdb::open(0).expect("a port is free");
        let waiting = |plan: &mut Plan| {
            let debugged = plan.vms.iter_mut().find(|it| it.name == vm).expect("it has this VM");
            let address = DebuggerAddress::Tcp(bridge.gdb);
            debugged.debugger = Some(DebuggerPlan { address, waits: true });
            Some(bridge.emulator)
        };
        thread::scope(|scope| {
            let gdb = scope.spawn(|| session(&format!(":{}", bridge.gdb)));
            let how = (Clock::Usual, Vec::new());
            let outcome = emulated_with(&config, machine, how, &[], waiting);
            (outcome, gdb.join().expect("gdb runs"))
        })
    }

    /// The emulator, and its CPU if it is not the usual one.
    fn machine(self) -> Option<(Emulator, Option<&'static str>)> {
        match self {
            Self::Kvm => None,
            Self::VmxBochs => Some((Emulator::Bochs, None)),
            Self::SvmQemu => Some((Emulator::Qemu, None)),
            Self::SvmBochs => Some((Emulator::Bochs, Some("ryzen"))),
            Self::KvmOnDebian => Some((Emulator::Debian, None)),
        }
    }
}

impl Outcome {
    /// The VMs' names.
    pub fn vms(&self) -> Vec<String> {
        let vms = self.receipt["vms"].as_array().expect("a receipt has VMs");
        vms.iter().filter_map(|vm| vm["name"].as_str()).map(str::to_string).collect()
    }

    /// The receipt's keys, with the kinds of their values; counts by name are open-ended.
    pub fn schema(&self) -> BTreeMap<String, &'static str> {
        let mut schema = BTreeMap::new();
        collect("", &self.receipt, &mut schema);
        schema
    }

    /// How often guests were left, by reason, over all VMs.
    pub fn exit_mix(&self) -> String {
        let mut mix: BTreeMap<&str, u64> = BTreeMap::new();
        for vm in self.receipt["vms"].as_array().expect("a receipt has VMs") {
            for (reason, count) in vm["exits"].as_object().expect("a VM has exits") {
                *mix.entry(reason.as_str()).or_default() += count.as_u64().unwrap_or(0);
            }
        }
        let parts: Vec<String> = mix.iter().map(|(why, count)| format!("{count} {why}")).collect();
        parts.join(" + ")
    }
}

fn collect(path: &str, value: &Value, schema: &mut BTreeMap<String, &'static str>) {
    match value {
        Value::Object(_) if ["exits", "lost", "counts"].iter().any(|it| path.ends_with(it)) => {
            schema.insert(path.to_string(), "counts");
        }
        Value::Object(fields) => {
            for (key, value) in fields {
                collect(&format!("{path}.{key}"), value, schema);
            }
        }
        Value::Array(items) => {
            for item in items {
                collect(&format!("{path}[]"), item, schema);
            }
        }
        Value::String(_) => {
            schema.insert(path.to_string(), "text");
        }
        // A share is null where no stretch was long enough to measure it.
        Value::Number(_) | Value::Null => {
            schema.insert(path.to_string(), "number");
        }
        Value::Bool(_) => {
            schema.insert(path.to_string(), "flag");
        }
    }
}

/// The folder of the configs.
pub fn configs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs")
}

fn on_kvm(config: &Path, typed: &[Typed]) -> Outcome {
    on_kvm_with(config, typed, &[])
}

fn on_kvm_with(config: &Path, typed: &[Typed], more: &[&str]) -> Outcome {
    let scratch = Scratch::new().expect("a folder for temporary files");
    let timeout = format!("{}s", TIMEOUT.as_secs());
    let [receipt, errors] = ["receipt.json", "errors"].map(|name| scratch.path().join(name));
    // Ctrl-A is ours on a terminal only.
    let (keys, terminal) = pseudo_terminal::open().expect("the host has a terminal");
    let mut command = Command::new(vmm_kvm());
    command.arg(config).arg("--receipt").arg(&receipt).arg("--timeout").arg(timeout).args(more);
    command.stdin(terminal).stdout(Stdio::piped());
    command.stderr(File::create(&errors).expect("a file in it"));
    let mut child = command.spawn().expect("vmm-kvm starts");
    let mut keyboard = Keyboard::new(typed, keys);
    let mut stdout = child.stdout.take().expect("it was asked for");
    let (mut console, mut buffer) = (Vec::new(), [0; 4096]);
    while let len @ 1.. = stdout.read(&mut buffer).expect("a pipe can be read") {
        console.extend(&buffer[..len]);
        keyboard.look_at(&console);
    }
    let status = child.wait().expect("it was started");
    let console = String::from_utf8_lossy(&console).into_owned();
    let errors = fs::read_to_string(&errors).unwrap_or_default();
    let json = fs::read(&receipt).unwrap_or_else(|_| panic!("{errors}"));
    let receipt = serde_json::from_slice(&json).expect("a receipt is JSON");
    Outcome { console, receipt, reaches: Vec::new(), exit: status.code().unwrap_or(-1) }
}

fn emulated(
    config: &Path,
    (emulator, cpu): (Emulator, Option<&str>),
    how: (Clock, Vec<String>),
    typed: &[Typed],
) -> Outcome {
    emulated_with(config, (emulator, cpu), how, typed, |_| None)
}

/// As [`emulated`]; `debugged` gives a VM of the plan a debugger, at a port of this host.
fn emulated_with(
    config: &Path,
    (emulator, cpu): (Emulator, Option<&str>),
    (clock, words): (Clock, Vec<String>),
    typed: &[Typed],
    debugged: impl FnOnce(&mut Plan) -> Option<u16>,
) -> Outcome {
    let loaded = load::config(config, emulator.max_memory_mib());
    let mut loaded = loaded.unwrap_or_else(|faults| panic!("{faults}"));
    let debugger = debugged(&mut loaded.plan);
    let load = load::packed(loaded).expect("disks can be read");
    let (kernel, module, memory_mib) = if emulator == Emulator::Debian {
        let nested = Nested::new(vmm_kvm_static(), config, &load.plan);
        let Nested { kernel, initramfs, memory_mib } =
            nested.unwrap_or_else(|error| panic!("Debian is not available: {error:#}"));
        (kernel, initramfs, memory_mib)
    } else {
        let memory_mib = load.machine_memory_mib();
        (kernel().to_owned(), load.pack, memory_mib)
    };
    let machine = Machine {
        emulator,
        cpu: cpu.map(str::to_string),
        accelerator: Accelerator::default(),
        board: None,
        memory_mib,
        timeout: Some(TIMEOUT),
        has_keyboard: false,
        terminal: None,
        has_counted_clock: clock == Clock::Counted,
        is_untagged: false,
        debugger,
        words,
        names: Names::open(&load.plan),
    };
    let one = match (emulator, cpu) {
        (Emulator::Bochs, None) => &ONE_OF_INTEL,
        (Emulator::Debian, _) => &ONE_OF_DEBIAN,
        (Emulator::Bochs | Emulator::Qemu, _) => &ONE_OF_AMD,
    };
    let _one = one.lock().unwrap_or_else(PoisonError::into_inner);
    let console = &mut std::io::sink();
    let report = emulate::run_typing(&machine, typed, &kernel, &module, console);
    let report = report.unwrap_or_else(|error| panic!("{emulator:?} is not available: {error:#}"));
    let console = String::from_utf8_lossy(&report.console).into_owned();
    let receipt = report.receipt.unwrap_or_else(|| {
        let why = if report.is_timed_out { format!(" within {TIMEOUT:?}") } else { String::new() };
        panic!("no receipt{why}; the console's last lines:\n{}", last_lines(&console))
    });
    let receipt = serde_json::from_str(&receipt).expect("a receipt is JSON");
    let reaches = report.reaches.iter().map(|json| serde_json::from_str(json));
    let reaches = reaches.collect::<Result<_, _>>().expect("what guests reach is JSON");
    Outcome { console, receipt, reaches, exit: report.exit.map_or(-1, i32::from) }
}

/// Where a run that hangs has got to: who shows only a part of a long message shows its end.
fn last_lines(console: &str) -> &str {
    const LINES: usize = 100;
    let newline = console.rmatch_indices('\n').nth(LINES);
    &console[newline.map_or(0, |(at, _)| at + 1)..]
}

/// The hypervisor, built once.
pub fn kernel() -> &'static Path {
    static KERNEL: OnceLock<PathBuf> = OnceLock::new();
    KERNEL.get_or_init(|| hypervisor::build().expect("the hypervisor builds"))
}

/// The KVM target for a machine without libraries, built once.
fn vmm_kvm_static() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| hypervisor::build_static().expect("vmm-kvm builds"))
}

/// The KVM target, built once.
fn vmm_kvm() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| hypervisor::built("vmm-kvm", &[]).expect("vmm-kvm builds"))
}
