//! The plan: what is to run, checked. Every way of describing machines (the YAML file, the seed's
//! `config.bin`) ends in this one type, and both targets start from it.

use alloc::string::String;
use alloc::vec::Vec;
use core::ops::Range;
use serde::{Deserialize, Serialize};

mod check;
mod debuggers;
mod hvc;
mod promise;
mod restarts;
mod virtio_devices;
pub use check::{BASE_BAUD, MAX_BUDGET_PERIOD_NS, MAX_CMDLINE_BYTES, MAX_NAME_CHARS};
pub use check::{Field, Limits, MAX_SLICE_NS, MAX_WEIGHT, Problem, check};
pub use debuggers::{DEBUGGER_FORM, DebuggerAddress, DebuggerPlan, MAX_SOCKET_PATH_BYTES};
pub use hvc::{ConsolePlan, MAX_HVC_LINKS};
pub use promise::TURN_OVERHEAD_NS;
pub use restarts::{MAX_RESTART_SPAN_NS, MAX_RESTARTS, MIN_RESTART_SPAN_NS, Restarts};
pub use virtio_devices::{
    DiskPlan, MAX_DISKS, MAX_INTERFACE_BYTES, MAX_NICS, NetworkPlan, NicPlan,
};
pub use virtio_devices::{VirtioKind, VirtioPlan, Writes};

/// The most modules a VM may have.
pub const MAX_MODULES: usize = 16;
/// The most VMs one plan may hold.
pub const MAX_VMS: usize = 64;
/// The most vCPUs of a VM: its local APICs reach so many.
pub const MAX_VCPUS: u64 = devices::lapic::MAX_PROCESSORS as u64;
/// The most vCPUs of all VMs: four for each of [`MAX_VMS`]. With more, tables for each vCPU grow,
/// and on one core each has little to gain.
pub const MAX_TOTAL_VCPUS: u64 = 4 * MAX_VMS as u64;
/// Serial ports of a machine, COM1 to COM4.
pub const SERIAL_PORTS: usize = 4;
/// RAM begins at 0 and ends below this address, where device registers may lie; the rest is
/// at [`HIGH_RAM`].
pub const DEVICE_HOLE: u64 = 0xe000_0000;
/// Where RAM continues that does not fit below the device hole: 4 GiB.
pub const HIGH_RAM: u64 = 1 << 32;
/// The most RAM: 256 GiB, which ends below 2^39, the least that processors with large memories can
/// address physically.
pub const MAX_MEMORY_BYTES: u64 = 256 << 30;
/// RAM is a multiple of this, bytes.
pub const PAGE_BYTES: u64 = 0x1000;
/// The slice if the config names none: 5 ms.
pub const DEFAULT_SLICE_NS: u64 = 5_000_000;
/// The shortest slice of either target: 200 us. Handing the core over costs some microseconds,
/// preempting a guest some tens: slices below this would be mostly that.
pub const MIN_SLICE_NS: u64 = 200_000;
/// RAM if the config names none: 16 MiB, as the seed's machines have.
pub const DEFAULT_MEMORY_BYTES: u64 = 0x100_0000;
/// The guest that runs where a config names no kernel.
pub const DEFAULT_KERNEL: &str = "os";

/// Several machines, what connects them, and how they share the core.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// Nanoseconds a VM of average weight runs before the next one's turn.
    pub slice_ns: u64,
    /// What a switch to another VM does against speculation.
    pub on_switch: OnSwitch,
    /// The host core to run on; None: the first that the host offers.
    pub core: Option<u64>,
    /// The machines, in the order of their first turns.
    pub vms: Vec<VmPlan>,
    /// The serial links between them.
    pub links: Vec<LinkPlan>,
    /// The networks between them.
    pub networks: Vec<NetworkPlan>,
}

/// What a switch from one VM to another does against speculation on bare metal; over KVM Linux
/// decides it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum OnSwitch {
    /// The barriers that this processor needs and has.
    #[default]
    Barriers,
    /// Nothing, for VMs that trust each other.
    Nothing,
}

/// One virtual machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VmPlan {
    /// Unique number.
    pub id: u64,
    /// Unique name; leads its console lines.
    pub name: String,
    /// RAM in bytes, from physical address 0; see [`ram_ranges`].
    pub memory_bytes: u64,
    /// Virtual CPUs, up to [`MAX_VCPUS`].
    pub vcpu_count: u64,
    /// Optional devices.
    pub devices: DeviceSet,
    /// What is loaded and where it is entered.
    pub boot: BootPlan,
    /// Handed to the kernel as its boot protocol does.
    pub cmdline: String,
    /// What its clocks do while others have the core.
    pub clock: ClockPolicy,
    /// Its part of the core.
    pub share: Share,
    /// What each serial port is connected to, COM1 first.
    pub serial: [SerialPlan; SERIAL_PORTS],
    /// Its virtio devices.
    pub virtio: VirtioPlan,
    /// The keyboard may be given to this VM.
    pub has_keyboard: bool,
    /// Its text screen and keyboard.
    pub screen: ScreenPlan,
    /// What is typed to it, in this order.
    pub input: Vec<InputPlan>,
    /// What its endings without a status count as.
    pub outcomes: Outcomes,
    /// When it begins anew by itself.
    pub restarts: Restarts,
    /// Its debugger, if it may have one.
    pub debugger: Option<DebuggerPlan>,
}

impl VmPlan {
    /// [`VmPlan::vcpu_count`] of a checked plan.
    #[must_use]
    pub fn processors(&self) -> u8 {
        self.vcpu_count.clamp(1, MAX_VCPUS) as u8
    }

    /// VM `index` of a config that names only its kernel, with COM1 the console.
    #[must_use]
    pub fn plain(index: usize, kernel: ImageSource) -> Self {
        use SerialPlan::{Absent, Console};
        Self {
            id: index as u64,
            name: alloc::format!("vm{index}"),
            memory_bytes: DEFAULT_MEMORY_BYTES,
            vcpu_count: 1,
            devices: DeviceSet { has_io_apic: true, has_hpet: true, has_local_apic: true },
            boot: BootPlan {
                kernel,
                kind: BootKind::Auto,
                bios: None,
                symbols: None,
                modules: Vec::new(),
            },
            cmdline: String::new(),
            clock: ClockPolicy::default(),
            share: Share::Weight(1),
            serial: [Console, Absent, Absent, Absent],
            virtio: VirtioPlan::default(),
            has_keyboard: false,
            screen: ScreenPlan::default(),
            input: Vec::new(),
            outcomes: Outcomes::default(),
            restarts: Restarts::default(),
            debugger: None,
        }
    }
}

/// The most entries of a VM's input.
pub const MAX_INPUTS: usize = 256;
/// The longest text that an input waits for, bytes.
pub const MAX_AFTER_BYTES: usize = 256;
/// The most bytes of one input.
pub const MAX_INPUT_BYTES: usize = 1 << 20;

/// Something typed to a VM.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct InputPlan {
    /// It is typed once the VM has printed this, behind what the input before it waited for. Empty:
    /// at once.
    pub after: String,
    /// What is typed.
    pub keys: Vec<u8>,
}

/// A VM's text screen and keyboard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScreenPlan {
    /// The console shows what the guest writes at 0xb8000.
    pub is_shown: bool,
    /// What is typed goes to a keyboard at the 8042, and not to the serial console.
    pub has_keyboard: bool,
}

/// What it counts as when a VM ends without a status.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcomes {
    /// It halted with interrupts disabled, for good.
    pub on_halt: Outcome,
    /// It asked for a reset.
    pub on_reset: Outcome,
}

/// How an ending counts. Kernels halt and reset after a panic as they do after a shutdown, so that
/// neither is a success until the config says so.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// As status 0 does.
    Success,
    /// As any other status does.
    #[default]
    Failure,
}

/// Devices a config may leave out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceSet {
    /// I/O APIC at 0xfec00000.
    pub has_io_apic: bool,
    /// HPET at 0xfed00000.
    pub has_hpet: bool,
    /// Local APIC at 0xfee00000, or by MSRs in x2APIC mode.
    pub has_local_apic: bool,
}

/// What boots a machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BootPlan {
    /// The kernel image.
    pub kernel: ImageSource,
    /// How it is entered.
    pub kind: BootKind,
    /// A user's own BIOS stub for [`BootKind::Flat`], loaded at 0x8000.
    pub bios: Option<ImageSource>,
    /// The file that names the kernel's addresses, for those who read a dump; None: the kernel.
    pub symbols: Option<String>,
    /// Further files for the kernel, in order: multiboot's modules, or Linux's one initrd.
    pub modules: Vec<ModulePlan>,
}

/// A further file for a kernel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModulePlan {
    /// The file.
    pub source: ImageSource,
    /// Its own command line, which Linux's initrd has none of.
    pub cmdline: String,
}

/// Where an image comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ImageSource {
    /// One of the guests that Tandem brings, by name.
    Builtin(String),
    /// A file, by a path that the host understands.
    File(String),
}

/// How a kernel is entered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum BootKind {
    /// By the image's signature: multiboot, Linux, PVH; flat if it has none.
    Auto,
    /// Multiboot 1, in 32-bit protected mode.
    Multiboot,
    /// Linux's boot protocol: a bzImage, or the ELF file inside it.
    Linux,
    /// An ELF file with a PVH entry, in 32-bit protected mode.
    Pvh,
    /// A raw image at 0x200000, by a BIOS stub entered in real mode at 0:0x8000.
    Flat,
}

/// What a VM's clocks do while it could run but another has the core.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum ClockPolicy {
    /// They keep running. Ticks are delivered late.
    #[default]
    Wall,
    /// They stop: the guest sees only the time in which it ran or had nothing to do.
    Own,
}

/// A VM's part of the core.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Share {
    /// In proportion to the weights of all VMs that have one.
    Weight(u32),
    /// At least, and at most, `run_ns` in every `period_ns`, as far as it has something to do.
    Budget {
        /// Nanoseconds of core time in each period.
        run_ns: u64,
        /// The period in nanoseconds.
        period_ns: u64,
    },
}

/// What a serial port is connected to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SerialPlan {
    /// The machine has no such port; its registers read all ones.
    Absent,
    /// A port with nothing connected.
    Unconnected,
    /// The shared console.
    Console,
    /// Always an end of `links[n]`.
    Link(usize),
    /// The console while IER is 0, an end of `links[n]` while IER is 1 (the seed's way).
    Switched(usize),
}

/// A serial link between two or more ports.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkPlan {
    /// Unique name.
    pub name: String,
    /// The rate both ends have, whatever the guests program; None: what they program.
    pub baud: Option<u32>,
    /// Drop what does not fit, as the seed does, instead of holding the sender back.
    pub is_lossy: bool,
    /// A file on the host that gets a copy of what passes.
    pub tap: Option<String>,
}

/// Where `memory_bytes` of RAM lie: from 0 up to the device hole, and from 4 GiB on what does not
/// fit there, if any.
#[must_use]
pub const fn ram_ranges(memory_bytes: u64) -> [Range<u64>; 2] {
    let low = if memory_bytes < DEVICE_HOLE { memory_bytes } else { DEVICE_HOLE };
    [0..low, HIGH_RAM..HIGH_RAM.saturating_add(memory_bytes - low)]
}

impl SerialPlan {
    /// The link this port may be an end of.
    #[must_use]
    pub const fn link(self) -> Option<usize> {
        match self {
            Self::Link(link) | Self::Switched(link) => Some(link),
            Self::Absent | Self::Unconnected | Self::Console => None,
        }
    }

    /// Whether the guest's console output may come from this port.
    #[must_use]
    pub const fn is_console(self) -> bool {
        match self {
            Self::Console | Self::Switched(_) => true,
            Self::Absent | Self::Unconnected | Self::Link(_) => false,
        }
    }
}

impl Plan {
    /// Each VM's share and number of vCPUs.
    #[must_use]
    pub fn shares(&self) -> Vec<(Share, u32)> {
        self.vms.iter().map(|vm| (vm.share, vm.processors().into())).collect()
    }

    /// The share of the core that VM `vm` is entitled to while all VMs have work: parts of a
    /// million.
    ///
    /// Budgets come first; what they leave is divided by weight.
    #[must_use]
    pub fn entitled_ppm(&self, vm: usize) -> u64 {
        const MILLION: u128 = 1_000_000;
        let budget = |share: Share| match share {
            Share::Budget { run_ns, period_ns } => {
                u128::from(run_ns) * MILLION / u128::from(period_ns.max(1))
            }
            Share::Weight(_) => 0,
        };
        let weight = |share: Share| match share {
            Share::Weight(weight) => u128::from(weight),
            Share::Budget { .. } => 0,
        };
        let budgets: u128 = self.vms.iter().map(|vm| budget(vm.share)).sum();
        let weights: u128 = self.vms.iter().map(|vm| weight(vm.share)).sum();
        let own = self.vms[vm].share;
        let ppm = match own {
            Share::Budget { .. } => budget(own),
            Share::Weight(_) => MILLION.saturating_sub(budgets) * weight(own) / weights.max(1),
        };
        u64::try_from(ppm).unwrap_or(u64::MAX)
    }

    /// What a VM of the default guest does where its config does not say: its user tests, then
    /// the first VM sends a message over the link and every other prints what arrives.
    #[must_use]
    pub fn default_cmdline(vm: usize) -> &'static str {
        if vm == 0 { "usertests; put_char; poweroff" } else { "usertests; get_char; poweroff" }
    }
}
