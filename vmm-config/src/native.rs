//! The native spelling: a list of named VMs and the links between them.

use crate::draft::{Draft, HVC_KEYS, PORT_KEYS};
use crate::fault::{Collector, shown};
use crate::inputs;
use crate::keys;
use crate::networks;
use crate::node::{Node, Position};
use crate::record::Record;
use crate::value::nearest;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use vmm_common::plan::{
    BootKind, BootPlan, ClockPolicy, ConsolePlan, DEFAULT_KERNEL, DEFAULT_MEMORY_BYTES,
    DEFAULT_SLICE_NS, DebuggerAddress, DebuggerPlan, DeviceSet, DiskPlan, ImageSource, LinkPlan,
    MAX_HVC_LINKS, ModulePlan, OnSwitch, Outcome, Outcomes, Plan, Restarts, SERIAL_PORTS,
    ScreenPlan, SerialPlan, Share, VirtioPlan, VmPlan, Writes,
};

/// Reads a file whose top level is `node`; paths in it are relative to `directory`.
pub(crate) fn read(node: &Node, directory: &Path, faults: &mut Collector) -> Draft {
    let mut top = Record::read(node, &keys::TOP, faults);
    let mut vms = top.take_list("vms");
    let links = top.take_list("links");
    let are_links_sound = top.site(&["links"]).is_sound
        && links.iter().all(|link: &Record| link.site(&["name"]).is_sound);
    let mut wiring = Wiring::new(&links, directory, are_links_sound);
    let mut plans: Vec<VmPlan> = Vec::new();
    let network_records = top.take_list("networks");
    let are_networks_sound = top.site(&["networks"]).is_sound;
    let names = networks::Names::new(&network_records, are_networks_sound);
    let (mut modules, mut disks, mut nics) = (Vec::new(), Vec::new(), Vec::new());
    for (index, record) in vms.iter_mut().enumerate() {
        let serial = wiring.ports(record, faults);
        if record.text("console") == Some("com1") && !serial[0].is_console() {
            let message = "console is com1, which is no console here; allowed: com1: console";
            faults.add(record.site(&["console"]).at, String::from(message));
        }
        let console = wiring.console(record, faults);
        modules.push(record.take_list("modules"));
        disks.push(record.take_list("disks"));
        let inputs = record.take_list("input");
        nics.push(record.take_list("networks"));
        plans.push(vm(index, record, serial, directory, faults));
        plans[index].boot.modules = modules_of(record, &modules[index], directory, faults);
        plans[index].virtio.disks = disks_of(&disks[index], directory);
        plans[index].virtio.nics = names.nics(plans[index].id, &nics[index], faults);
        plans[index].virtio.console = console;
        plans[index].input = inputs::plans(&inputs, &plans[index], directory, faults);
    }
    for index in 0..plans.len() {
        if !vms[index].has("cmdline") {
            plans[index].cmdline = default_cmdline(&plans, index).to_owned();
        }
    }
    give_keyboard(&mut plans, &vms);
    let Wiring { links: link_plans, fixed: bauds, is_sound, .. } = wiring;
    let plan = Plan {
        slice_ns: top.integer("slice").unwrap_or(DEFAULT_SLICE_NS),
        on_switch: match top.text("on_switch") {
            Some("nothing") => OnSwitch::Nothing,
            _ => OnSwitch::Barriers,
        },
        core: top.integer("core"),
        vms: plans,
        links: link_plans,
        networks: networks::plans(&network_records, directory),
    };
    let (are_ports_sound, networks) = (is_sound, network_records);
    Draft { plan, top, vms, modules, disks, nics, networks, links, bauds, are_ports_sound }
}

fn vm(
    index: usize,
    record: &Record,
    serial: [SerialPlan; SERIAL_PORTS],
    directory: &Path,
    faults: &mut Collector,
) -> VmPlan {
    let device = |key| record.record("devices").and_then(|d| d.boolean(key)).unwrap_or(true);
    let has_rng = record.record("devices").and_then(|d| d.boolean("rng")).unwrap_or(false);
    let outcome = |key| match record.text(key) {
        Some("success") => Outcome::Success,
        _ => Outcome::Failure,
    };
    VmPlan {
        id: record.integer("id").unwrap_or(index as u64),
        name: record.text("name").map_or_else(|| format!("vm{index}"), str::to_owned),
        memory_bytes: record.integer("memory").unwrap_or(DEFAULT_MEMORY_BYTES),
        vcpu_count: record.integer("vcpus").unwrap_or(1),
        devices: DeviceSet {
            has_io_apic: device("io_apic"),
            has_hpet: device("hpet"),
            has_local_apic: device("local_apic"),
        },
        boot: boot(record, directory, faults),
        cmdline: record.text("cmdline").unwrap_or_default().to_owned(),
        clock: match record.text("clock") {
            Some("own") => ClockPolicy::Own,
            _ => ClockPolicy::Wall,
        },
        share: share(record, faults),
        serial,
        virtio: VirtioPlan { has_entropy: has_rng, ..VirtioPlan::default() },
        has_keyboard: record.boolean("keyboard").unwrap_or(false),
        debugger: debugger(record, directory),
        screen: screen(record),
        input: Vec::new(),
        outcomes: Outcomes { on_halt: outcome("on_halt"), on_reset: outcome("on_reset") },
        restarts: restarts(record),
    }
}

fn restarts(record: &Record) -> Restarts {
    let is_restart = |key| record.text(key) == Some("restart");
    let limit = record.record("restart_limit");
    let limit = limit.and_then(|limit| Some((limit.integer32("times")?, limit.integer("within")?)));
    let Restarts { times, within_ns, .. } = Restarts::default();
    let (times, within_ns) = limit.unwrap_or((times, within_ns));
    Restarts {
        on_reset: is_restart("on_reset"),
        on_failure: is_restart("on_failure"),
        times,
        within_ns,
    }
}

/// The `gdb`; a socket's path is relative to the file.
fn debugger(record: &Record, directory: &Path) -> Option<DebuggerPlan> {
    let mut plan: DebuggerPlan = record.text("gdb")?.parse().ok()?;
    if let DebuggerAddress::Unix(path) = &mut plan.address {
        *path = resolved(directory, path);
    }
    Some(plan)
}

fn screen(record: &Record) -> ScreenPlan {
    let is_shown = record.text("screen") == Some("console");
    let keyboard = record.record("devices").and_then(|devices| devices.boolean("ps2_keyboard"));
    ScreenPlan { is_shown, has_keyboard: keyboard.unwrap_or(is_shown) }
}

fn boot(record: &Record, directory: &Path, faults: &mut Collector) -> BootPlan {
    let kernel = record.text("kernel").unwrap_or(DEFAULT_KERNEL);
    let kernel = if kernel.contains(['/', '.']) {
        ImageSource::File(resolved(directory, kernel))
    } else {
        ImageSource::Builtin(kernel.to_owned())
    };
    let kind = match record.text("boot") {
        Some("multiboot") => BootKind::Multiboot,
        Some("linux") => BootKind::Linux,
        Some("pvh") => BootKind::Pvh,
        Some("raw" | "flat") => BootKind::Flat,
        _ => BootKind::Auto,
    };
    let bios = record.text("bios");
    if let Some(bios) = bios
        && kind != BootKind::Flat
        && record.site(&["boot"]).is_sound
    {
        let message = format!("bios is {}; allowed: only with boot: raw", shown(bios));
        faults.add(record.site(&["bios"]).at, message);
    }
    let bios = bios.map(|path| ImageSource::File(resolved(directory, path)));
    let symbols = record.text("symbols").map(|path| resolved(directory, path));
    BootPlan { kernel, kind, bios, symbols, modules: Vec::new() }
}

/// The `modules`, or the `initrd` as the only one.
fn modules_of(
    vm: &Record,
    modules: &[Record],
    directory: &Path,
    faults: &mut Collector,
) -> Vec<ModulePlan> {
    let module = |path: &str, cmdline: &str| ModulePlan {
        source: ImageSource::File(resolved(directory, path)),
        cmdline: cmdline.to_owned(),
    };
    if vm.has("initrd") && vm.has("modules") {
        let at = vm.site(&["initrd"]).at;
        faults.add(at, String::from("initrd beside modules; allowed: one of them"));
    } else if let Some(initrd) = vm.text("initrd") {
        return vec![module(initrd, "")];
    }
    let of = |record: &Record| {
        module(record.text("file").unwrap_or_default(), record.text("cmdline").unwrap_or_default())
    };
    modules.iter().map(of).collect()
}

/// The `disks`; their sizes come with the files.
fn disks_of(disks: &[Record], directory: &Path) -> Vec<DiskPlan> {
    let writes = |record: &Record| match (record.record("writes"), record.text("writes")) {
        (Some(to), _) => Writes::To(resolved(directory, to.text("to").unwrap_or_default())),
        (None, Some("keep")) => Writes::Keep,
        (None, Some("refuse")) => Writes::Refuse,
        (None, _) => Writes::Discard,
    };
    let disk = |record: &Record| DiskPlan {
        file: resolved(directory, record.text("file").unwrap_or_default()),
        bytes: 0,
        writes: writes(record),
    };
    disks.iter().map(disk).collect()
}

/// A path in the file, as the host understands it.
pub(crate) fn resolved(directory: &Path, path: &str) -> String {
    // Collected from its components, it is without a `.` in between.
    directory.join(path).components().collect::<PathBuf>().to_string_lossy().into_owned()
}

fn share(record: &Record, faults: &mut Collector) -> Share {
    if record.has("weight") && record.has("budget") {
        let at = record.site(&["budget"]).at;
        faults.add(at, String::from("budget beside weight; allowed: one of them"));
    }
    let budget = record.record("budget").and_then(|budget| {
        Some(Share::Budget { run_ns: budget.integer("run")?, period_ns: budget.integer("every")? })
    });
    budget.unwrap_or_else(|| Share::Weight(record.integer32("weight").unwrap_or(1)))
}

/// The user tests of the default guest; then, where COM1 is switched to a link, the first VM at it
/// sends a message and the others print it. Nothing for other guests.
fn default_cmdline(plans: &[VmPlan], index: usize) -> &'static str {
    let VmPlan { boot, serial: [com1, ..], .. } = &plans[index];
    match (&boot.kernel, com1) {
        (ImageSource::Builtin(kernel), _) if kernel != DEFAULT_KERNEL => "",
        (ImageSource::File(_), _) => "",
        (ImageSource::Builtin(_), SerialPlan::Switched(_)) => {
            let is_first = plans[..index].iter().all(|vm| vm.serial[0] != *com1);
            Plan::default_cmdline(usize::from(!is_first))
        }
        (ImageSource::Builtin(_), _) => "usertests; poweroff",
    }
}

/// If no VM asks for the keyboard, the first that does not decline starts with it.
fn give_keyboard(plans: &mut [VmPlan], records: &[Record]) {
    if plans.iter().all(|vm| !vm.has_keyboard)
        && let Some(first) = records.iter().position(|record| !record.has("keyboard"))
    {
        plans[first].has_keyboard = true;
    }
}

/// The links, as their ports become known.
struct Wiring<'a> {
    links: Vec<LinkPlan>,
    numbers: BTreeMap<&'a str, usize>,
    /// Where each link's rate was first fixed.
    fixed: Vec<Option<Position>>,
    /// All links have their names, so that one which is not found does not exist.
    are_links_sound: bool,
    /// Every port's link was found.
    is_sound: bool,
}

impl<'a> Wiring<'a> {
    fn new(records: &'a [Record], directory: &Path, are_links_sound: bool) -> Self {
        let link = |record: &Record| LinkPlan {
            name: record.text("name").unwrap_or("link").to_owned(),
            baud: record.integer32("baud"),
            is_lossy: record.boolean("lossy").unwrap_or(false),
            tap: record.text("tap").map(|path| resolved(directory, path)),
        };
        let mut numbers = BTreeMap::new();
        for (number, record) in records.iter().enumerate() {
            if let Some(name) = record.text("name") {
                numbers.entry(name).or_insert(number);
            }
        }
        // Where two links have one name, which is reported, the ends of the second cannot be known.
        let are_links_known = are_links_sound && numbers.len() == records.len();
        let fixed = |record: &Record| record.integer("baud").map(|_| record.site(&["baud"]).at);
        Self {
            links: records.iter().map(link).collect(),
            numbers,
            fixed: records.iter().map(fixed).collect(),
            are_links_sound,
            is_sound: are_links_known,
        }
    }

    fn ports(&mut self, vm: &Record, faults: &mut Collector) -> [SerialPlan; SERIAL_PORTS] {
        self.is_sound &= vm.site(&[]).is_sound;
        let com1 = if vm.text("console") == Some("hvc0") { "absent" } else { "console" };
        let defaults = [com1, "absent", "absent", "absent"];
        let mut ports = [SerialPlan::Absent; SERIAL_PORTS];
        for ((port, key), default) in ports.iter_mut().zip(PORT_KEYS).zip(defaults) {
            self.is_sound &= vm.site(&[key]).is_sound;
            *port = match (vm.record(key), vm.text(key).unwrap_or(default)) {
                (Some(end), _) => self.end(end, faults),
                (None, "console") => SerialPlan::Console,
                (None, "none") => SerialPlan::Unconnected,
                (None, _) => SerialPlan::Absent,
            };
        }
        ports
    }

    /// The virtio console.
    fn console(&mut self, vm: &Record, faults: &mut Collector) -> ConsolePlan {
        let is_console = vm.text("console") == Some("hvc0");
        let mut links = [None; MAX_HVC_LINKS];
        for (link, key) in links.iter_mut().zip(HVC_KEYS) {
            self.is_sound &= vm.site(&[key]).is_sound;
            *link = vm.record(key).and_then(|end| self.end(end, faults).link());
        }
        ConsolePlan { is_console, links }
    }

    /// The end of a link that `port` describes.
    fn end(&mut self, port: &Record, faults: &mut Collector) -> SerialPlan {
        let key = if port.has("link") { "link" } else { "switched" };
        let Some(name) = port.text(key) else {
            self.is_sound = false;
            return SerialPlan::Unconnected;
        };
        let Some(&number) = self.numbers.get(name) else {
            self.is_sound = false;
            if self.are_links_sound {
                faults.add(port.site(&[key]).at, self.unknown_link(key, name));
            }
            return SerialPlan::Unconnected;
        };
        if let Some(baud) = port.integer32("baud") {
            self.fix_baud(number, baud, port.site(&["baud"]).at, faults);
        }
        if key == "link" { SerialPlan::Link(number) } else { SerialPlan::Switched(number) }
    }

    fn fix_baud(&mut self, number: usize, baud: u32, at: Position, faults: &mut Collector) {
        let LinkPlan { name, baud: of_link, .. } = &mut self.links[number];
        let of_link = *of_link.get_or_insert(baud);
        let first = *self.fixed[number].get_or_insert(at);
        if of_link != baud {
            let (name, line) = (shown(name), first.line);
            faults.add(
                at,
                format!(
                    "baud mismatch: {baud} here, {of_link} for link {name} in line {line}; \
                    allowed: one rate for a link"
                ),
            );
        }
    }

    fn unknown_link(&self, key: &str, name: &str) -> String {
        let known: Vec<&str> = self.numbers.keys().copied().collect();
        let shown = shown(name);
        match nearest(name, known.iter().copied()) {
            _ if known.is_empty() => {
                format!("{key} is {shown}, but links names none; allowed: a link's name")
            }
            Some(meant) => format!("{key} is {shown}, which is no link; did you mean {meant}?"),
            None => {
                format!("{key} is {shown}, which is no link; allowed: {}", known.join(", "))
            }
        }
    }
}
