//! The keys of both spellings. [`crate::record`] reads by this one table and refuses every other
//! key; [`mod@crate::schema`] is made of it, so that both have the same keys.

use vmm_common::plan::{
    MAX_AFTER_BYTES, MAX_BUDGET_PERIOD_NS, MAX_CMDLINE_BYTES, MAX_DISKS, MAX_INPUT_BYTES,
    MAX_INPUTS, MAX_MEMORY_BYTES, MAX_MODULES, MAX_NICS, MAX_RESTART_SPAN_NS, MAX_RESTARTS,
    MAX_SLICE_NS, MAX_VCPUS, MAX_VMS, MAX_WEIGHT, MIN_RESTART_SPAN_NS, MIN_SLICE_NS, PAGE_BYTES,
};

/// A key of a mapping.
#[derive(Debug)]
pub(crate) struct Key {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    pub(crate) is_required: bool,
    /// For editors and the reference: its meaning, and its default.
    pub(crate) doc: &'static str,
}

/// The type of a key's value.
///
/// The ranges are for the schema and for the words "allowed: ..."; the plan's check refuses values
/// outside.
#[derive(Debug)]
pub(crate) enum Kind {
    /// A whole number.
    Integer { min: u64, max: u64 },
    /// The seed's 0 or 1.
    Flag,
    /// `true` or `false`.
    Boolean,
    /// Bytes, a multiple of `step` up to `max`.
    Size { step: u64, max: u64 },
    /// A time with its unit.
    Duration { min_ns: u64, max_ns: u64 },
    /// A rate: 115200 divided by a whole number.
    Baud,
    /// Text of up to `max_bytes` bytes.
    Text { max_bytes: usize },
    /// A name: letters, digits, `-` and `_`.
    Name,
    /// The name of a network interface of the host.
    Interface,
    /// An Ethernet address.
    Mac,
    /// Where a debugger is reached.
    Debugger,
    /// One of a few words.
    Choice(&'static [&'static str]),
    /// A mapping with these keys.
    Mapping(&'static Keys),
    /// One of a few words, or a mapping with exactly one of the `either` keys.
    Port { words: &'static [&'static str], either: &'static [&'static str], keys: &'static Keys },
    /// A list of mappings with these keys.
    List { of: &'static Keys, min: usize, max: usize },
}

/// The keys of one kind of mapping.
#[derive(Debug)]
pub(crate) struct Keys {
    /// "a VM", as in "unknown key in a VM".
    pub(crate) of: &'static str,
    pub(crate) keys: &'static [Key],
}

impl Keys {
    pub(crate) fn find(&self, name: &str) -> Option<&'static Key> {
        self.keys.iter().find(|key| key.name == name)
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &'static str> {
        self.keys.iter().map(|key| key.name)
    }
}

const fn optional(name: &'static str, kind: Kind, doc: &'static str) -> Key {
    Key { name, kind, is_required: false, doc }
}

const fn required(name: &'static str, kind: Kind, doc: &'static str) -> Key {
    Key { name, kind, is_required: true, doc }
}

/// The most networks: each has two interfaces at least, if it is of use.
const MAX_NETWORKS: usize = MAX_VMS * MAX_NICS / 2;
const ANY_INTEGER: Kind = Kind::Integer { min: 0, max: u64::MAX };
const PATH: Kind = Kind::Text { max_bytes: 4096 };
const MEMORY: Kind = Kind::Size { step: PAGE_BYTES, max: MAX_MEMORY_BYTES };
const VCPUS: Kind = Kind::Integer { min: 1, max: MAX_VCPUS };
const BUDGET_TIME: Kind = Kind::Duration { min_ns: MIN_SLICE_NS, max_ns: MAX_BUDGET_PERIOD_NS };
const CMDLINE: Kind = Kind::Text { max_bytes: MAX_CMDLINE_BYTES };
const OUTCOME: Kind = Kind::Choice(&["failure", "success"]);
const WRITES: Kind =
    Kind::Port { words: &["keep", "discard", "refuse"], either: &["to"], keys: &WRITES_KEYS };
const PORT: Kind = Kind::Port {
    words: &["console", "none", "absent"],
    either: &["link", "switched"],
    keys: &PORT_KEYS,
};
const HVC: Kind = Kind::Port { words: &["absent"], either: &["link"], keys: &HVC_KEYS };

/// The native spelling.
#[rustfmt::skip]
pub(crate) static TOP: Keys = Keys { of: "a config", keys: &[
    optional("slice", Kind::Duration { min_ns: MIN_SLICE_NS, max_ns: MAX_SLICE_NS },
        "How long a VM of average weight runs before the next one's turn. Default: 5ms"),
    optional("on_switch", Kind::Choice(&["barriers", "nothing"]),
        "What a switch to another VM does against speculation on bare metal: barriers, what the \
        processor needs and has; nothing, for VMs that trust each other. Over KVM it is Linux's. \
        Default: barriers"),
    optional("core", ANY_INTEGER,
        "The host core that all VMs run on. Default: the first one allowed"),
    required("vms", Kind::List { of: &VM, min: 1, max: MAX_VMS },
        "The virtual machines, in the order of their first turns"),
    optional("links", Kind::List { of: &LINK, min: 0, max: MAX_VMS * 4 },
        "The serial links between them"),
    optional("networks", Kind::List { of: &NETWORK, min: 0, max: MAX_NETWORKS },
        "The networks between them: each a switch"),
] };

#[rustfmt::skip]
pub(crate) static VM: Keys = Keys { of: "a VM", keys: &[
    optional("name", Kind::Name,
        "Unique name; leads its console lines. Default: vm0, vm1, ... by its place in the list"),
    optional("id", ANY_INTEGER,
        "Unique number. Default: its place in the list, from 0"),
    optional("kernel", PATH,
        "What runs: a built-in guest's name, or a path (with a / or a . in it) relative to this \
        file. Default: os"),
    optional("boot", Kind::Choice(&["auto", "multiboot", "linux", "pvh", "raw", "flat"]),
        "How the kernel is entered: multiboot 1; Linux's boot protocol, as a bzImage or an ELF \
        file; PVH; or raw (once named flat), as it is, at 0x200000 behind a BIOS stub at 0x8000. \
        Default: auto, \
        by the image's signature, and raw if it has none that is known"),
    optional("bios", PATH,
        "Your own BIOS stub for boot: raw, a path relative to this file"),
    optional("symbols", PATH,
        "What names the kernel's functions and lines in dumps: its ELF file, or a System.map; a \
        path relative to this file. Default: the kernel itself"),
    optional("initrd", PATH,
        "Linux's initial RAM disk, a path relative to this file"),
    optional("modules", Kind::List { of: &MODULE, min: 1, max: MAX_MODULES },
        "What a multiboot kernel gets besides, in this order"),
    optional("cmdline", CMDLINE,
        "The kernel's command line. Default for the kernel os: its user tests; for others: empty"),
    optional("memory", MEMORY,
        "RAM, in bytes or with KiB, MiB or GiB; what exceeds 3584MiB lies at 4GiB. \
        Default: 16MiB"),
    optional("vcpus", VCPUS,
        "Virtual CPUs; several need the local_apic. Default: 1"),
    optional("weight", Kind::Integer { min: 1, max: MAX_WEIGHT as u64 },
        "Its part of the core, in proportion to the other VMs' weights. Default: 1"),
    optional("budget", Kind::Mapping(&BUDGET),
        "In place of weight: at least and at most so much core time in every period"),
    optional("clock", Kind::Choice(&["wall", "own"]),
        "What its clocks do while others have the core: wall, they run on, and ticks missed are \
        delivered late; own, they stop. Default: wall"),
    optional("devices", Kind::Mapping(&DEVICES),
        "Devices that may be left out"),
    optional("disks", Kind::List { of: &DISK, min: 0, max: MAX_DISKS },
        "Its disks: /dev/vda, /dev/vdb, ... of a Linux; they need the io_apic"),
    optional("networks", Kind::List { of: &NIC, min: 0, max: MAX_NICS },
        "Its network interfaces (virtio), at most one at each network; they need the io_apic"),
    optional("keyboard", Kind::Boolean,
        "Starts with the keyboard; one VM may. Default: the first VM that does not decline"),
    optional("input", Kind::List { of: &INPUT, min: 1, max: MAX_INPUTS },
        "What is typed to it, in this order; the keyboard, and a pipe, come behind"),
    optional("screen", Kind::Choice(&["none", "console"]),
        "console, the console shows lines that the guest writes to the text screen at 0xb8000, and \
        what is typed goes to a keyboard (devices: ps2_keyboard). Default: none"),
    optional("on_halt", OUTCOME,
        "What it counts as when the guest halts for good, with interrupts off, which has no \
        status. Default: failure, as kernels halt after a panic, too"),
    optional("on_reset", Kind::Choice(&["success", "failure", "restart"]),
        "What it counts as when the guest asks for a reset, which has no status; or restart, it \
        begins anew. Default: failure, as kernels reset after a panic, too"),
    optional("on_failure", Kind::Choice(&["end", "restart"]),
        "What happens when it ends without success, but by a reset: end, or restart, it begins \
        anew. Default: end"),
    optional("restart_limit", Kind::Mapping(&RESTART_LIMIT),
        "It restarts by itself at most so often within so long, and then ends. Default: 3 times \
        within 10s"),
    optional("gdb", Kind::Debugger,
        "Where gdb reaches it: a TCP port of 127.0.0.1, or unix:PATH; with wait: before that, it \
        executes nothing before gdb lets it. Default: no debugger"),
    optional("com1", PORT,
        "Serial port at 0x3f8, IRQ 4. Default: console; absent with console: hvc0"),
    optional("com2", PORT, "Serial port at 0x2f8, IRQ 3. Default: absent"),
    optional("com3", PORT, "Serial port at 0x3e8, IRQ 4. Default: absent"),
    optional("com4", PORT, "Serial port at 0x2e8, IRQ 3. Default: absent"),
    optional("console", Kind::Choice(&["com1", "hvc0"]),
        "The console: com1, or hvc0, port 0 of a virtio console, which needs the io_apic. \
        Default: com1"),
    optional("hvc1", HVC, "Port 1 of the virtio console: an end of a link. Default: absent"),
    optional("hvc2", HVC, "Port 2 of the virtio console: an end of a link. Default: absent"),
    optional("hvc3", HVC, "Port 3 of the virtio console: an end of a link. Default: absent"),
    optional("hvc4", HVC, "Port 4 of the virtio console: an end of a link. Default: absent"),
] };

#[rustfmt::skip]
pub(crate) static INPUT: Keys = Keys { of: "an input", keys: &[
    optional("text", Kind::Text { max_bytes: MAX_INPUT_BYTES },
        "What is typed, as \"hello\\n\""),
    optional("file", PATH, "In place of text: a file that is typed, a path relative to this file"),
    optional("after", Kind::Text { max_bytes: MAX_AFTER_BYTES },
        "Waits until the VM has printed this text, behind what the input before it waited for. \
        Default: no wait"),
] };

#[rustfmt::skip]
static BUDGET: Keys = Keys { of: "a budget", keys: &[
    required("run", BUDGET_TIME, "Core time in each period"),
    required("every", BUDGET_TIME, "The period"),
] };

#[rustfmt::skip]
static RESTART_LIMIT: Keys = Keys { of: "a restart_limit", keys: &[
    required("times", Kind::Integer { min: 1, max: MAX_RESTARTS as u64 }, "How often"),
    required("within", Kind::Duration { min_ns: MIN_RESTART_SPAN_NS, max_ns: MAX_RESTART_SPAN_NS },
        "Within how long"),
] };

#[rustfmt::skip]
pub(crate) static MODULE: Keys = Keys { of: "a module", keys: &[
    required("file", PATH, "A path relative to this file"),
    optional("cmdline", CMDLINE, "Its command line. Default: empty"),
] };

#[rustfmt::skip]
pub(crate) static DISK: Keys = Keys { of: "a disk", keys: &[
    required("file", PATH, "A raw image, or a block device: a path relative to this file"),
    optional("writes", WRITES,
        "What becomes of the guest's writes: keep, they go to the file; discard, the end of the \
        run drops them; refuse, the disk is read-only; {to: FILE}, they go to that file, and the \
        image is only read. Default: discard"),
] };

#[rustfmt::skip]
pub(crate) static NIC: Keys = Keys { of: "a network interface", keys: &[
    required("name", Kind::Name, "The network that it is at"),
    optional("mac", Kind::Mac,
        "Its address. Default: 02:54, the last three bytes of the VM's id, and its place in the \
        list"),
    optional("link", Kind::Choice(&["up", "down"]),
        "down, its cable is unplugged. Default: up, while another interface or a TAP is at the \
        network"),
] };

#[rustfmt::skip]
static NETWORK: Keys = Keys { of: "a network", keys: &[
    required("name", Kind::Name, "Unique name, by which VMs refer to it"),
    optional("tap", Kind::Interface,
        "A TAP interface of the host that is at the network, too: over KVM alone"),
    optional("pcap", PATH,
        "A file that gets each frame (pcapng), a path relative to this file: over KVM alone"),
] };

#[rustfmt::skip]
static WRITES_KEYS: Keys = Keys { of: "writes", keys: &[
    optional("to", PATH, "A file that the first run makes: a path relative to this file"),
] };

#[rustfmt::skip]
static DEVICES: Keys = Keys { of: "devices", keys: &[
    optional("io_apic", Kind::Boolean, "I/O APIC at 0xfec00000. Default: true"),
    optional("hpet", Kind::Boolean, "HPET at 0xfed00000. Default: true"),
    optional("local_apic", Kind::Boolean, "Local APIC at 0xfee00000 and its MSRs. Default: true"),
    optional("ps2_keyboard", Kind::Boolean,
        "A keyboard at the i8042, which what is typed goes to, and not to the serial console. \
        Default: true with screen: console, else false"),
    optional("rng", Kind::Boolean,
        "A source of random bytes (virtio); it needs the io_apic. Default: false"),
] };

#[rustfmt::skip]
static PORT_KEYS: Keys = Keys { of: "a port", keys: &[
    optional("link", Kind::Name, "Always an end of the link with this name"),
    optional("switched", Kind::Name,
        "The console while the guest's IER is 0, an end of the link with this name while it is 1"),
    optional("baud", Kind::Baud, "Fixes the link's rate, whatever the guests program"),
] };

#[rustfmt::skip]
static HVC_KEYS: Keys = Keys { of: "a port", keys: &[
    optional("link", Kind::Name, "An end of the link with this name, at any rate"),
] };

#[rustfmt::skip]
static LINK: Keys = Keys { of: "a link", keys: &[
    required("name", Kind::Name, "Unique name, by which ports refer to it"),
    optional("baud", Kind::Baud,
        "Fixes the rate of every end, whatever the guests program. Default: what they program"),
    optional("lossy", Kind::Boolean,
        "Drops bytes that do not fit instead of holding the sender back. Default: false"),
    optional("tap", PATH,
        "A file that gets a copy of what passes, a path relative to this file"),
] };

/// The seed's spelling; its `vm0`, `vm1`, ... are each a [`SEED_VM`].
#[rustfmt::skip]
pub(crate) static SEED_TOP: Keys = Keys { of: "the seed's spelling (vm0, vm1, ...)", keys: &[
    required("vm_count", Kind::Integer { min: 1, max: MAX_VMS as u64 }, "The number of VMs"),
] };

#[rustfmt::skip]
pub(crate) static SEED_VM: Keys = Keys { of: "a VM of the seed's spelling", keys: &[
    required("id", ANY_INTEGER, "Unique number"),
    required("memory", MEMORY, "RAM in bytes"),
    required("vcpu_count", VCPUS, "Virtual CPUs; several need the local_apic"),
    required("io_apic", Kind::Flag, "I/O APIC: 1 with, 0 without"),
    required("HPET", Kind::Flag, "HPET: 1 with, 0 without"),
    required("local_apic", Kind::Flag, "Local APIC: 1 with, 0 without"),
] };

/// The number of a `vm0`, `vm1`, ... as the seed's script builds it.
pub(crate) fn seed_vm_number(key: &str) -> Option<u64> {
    let digits = key.strip_prefix("vm")?;
    let number = digits.bytes().all(|b| b.is_ascii_digit()).then(|| digits.parse().ok())??;
    (u64::to_string(&number) == digits).then_some(number)
}
