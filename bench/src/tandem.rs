//! Tandem itself, run in this process as its command line runs it.

use anyhow::{Context, Result, bail};
use std::borrow::Cow;
use std::fs::File;
use std::io::{Read, Seek};
use std::path::PathBuf;
use vmm_common::boot::{self, Images};
use vmm_common::plan::{
    BootKind, BootPlan, ConsolePlan, DiskPlan, ImageSource, LinkPlan, NetworkPlan, NicPlan,
    OnSwitch, Plan, SerialPlan, Share, VirtioPlan, VmPlan, Writes,
};
use vmm_config::{Loaded, LoadedImage};
use vmm_kvm::run::{ConsolePlace, Options, Outcome, run};

/// A guest and its part of the core.
#[derive(Clone, Debug)]
pub struct Guest {
    /// The image.
    pub image: Cow<'static, [u8]>,
    /// How it is entered.
    pub kind: BootKind,
    /// Its command line.
    pub cmdline: String,
    /// Its weight.
    pub weight: u32,
    /// The image of its disk, whose writes are dropped; None: it has none.
    pub disk: Option<PathBuf>,
    /// Its console is port 0 of a virtio console, not COM1.
    pub has_hvc: bool,
    /// It has an interface at the network, which is that of all that have one.
    pub is_networked: bool,
}

impl Guest {
    /// A built-in guest.
    pub fn builtin(name: &str, cmdline: &str) -> Self {
        let image = guests::find(name).expect("a built-in guest").bytes;
        let cmdline = cmdline.to_string();
        Self {
            image: Cow::Borrowed(image),
            kind: BootKind::Auto,
            cmdline,
            weight: 1,
            disk: None,
            has_hvc: false,
            is_networked: false,
        }
    }

    /// A guest of a few instructions.
    pub fn flat(code: Vec<u8>) -> Self {
        let image = Cow::Owned(code);
        Self {
            image,
            kind: BootKind::Flat,
            cmdline: String::new(),
            weight: 1,
            disk: None,
            has_hvc: false,
            is_networked: false,
        }
    }
}

/// Runs `guests`, COM2 of all of them on one link, to their end; what they printed goes to
/// `console`.
pub fn run_guests(guests: &[Guest], slice_ns: u64, core: u64, console: File) -> Result<Outcome> {
    let outcome = run_for(guests, (slice_ns, None), core, console)?;
    if let Some(failed) = outcome.receipt.vms.iter().find(|vm| !vm.is_success) {
        bail!("{} {}", failed.name, failed.ending);
    }
    Ok(outcome)
}

/// The same; with a time limit the VMs may still run when it is reached, and are stopped then.
pub fn run_for(
    guests: &[Guest],
    (slice_ns, timeout_ns): (u64, Option<u64>),
    core: u64,
    console: File,
) -> Result<Outcome> {
    let is_linked = guests.len() > 1;
    let com2 = if is_linked { SerialPlan::Link(0) } else { SerialPlan::Unconnected };
    let disk = |path: &PathBuf| DiskPlan {
        file: path.to_string_lossy().into_owned(),
        bytes: path.metadata().map_or(0, |data| data.len()),
        writes: Writes::Discard,
    };
    let mac = |index: usize| NicPlan::default_mac(index as u64, 0);
    let nic = |index| NicPlan { network: 0, mac: mac(index), is_up: true };
    let lan = NetworkPlan { name: "lan".to_string(), tap: None, pcap: None };
    let is_networked = guests.iter().any(|guest| guest.is_networked);
    let vm = |(index, guest): (usize, &Guest)| {
        let plain = VmPlan::plain(index, ImageSource::Builtin("bench".to_string()));
        let com1 = if guest.has_hvc { SerialPlan::Absent } else { SerialPlan::Console };
        let console = ConsolePlan { is_console: guest.has_hvc, ..ConsolePlan::default() };
        VmPlan {
            memory_bytes: crate::bare::RAM_BYTES,
            boot: BootPlan { kind: guest.kind, ..plain.boot },
            cmdline: guest.cmdline.clone(),
            share: Share::Weight(guest.weight),
            virtio: VirtioPlan {
                disks: guest.disk.iter().map(disk).collect(),
                nics: if guest.is_networked { vec![nic(index)] } else { Vec::new() },
                console,
                ..plain.virtio
            },
            serial: [com1, com2, SerialPlan::Absent, SerialPlan::Absent],
            ..plain
        }
    };
    let link = LinkPlan { name: "com2".to_string(), baud: None, is_lossy: false, tap: None };
    let plan = Plan {
        on_switch: OnSwitch::default(),
        slice_ns,
        core: Some(core),
        vms: guests.iter().enumerate().map(vm).collect(),
        links: if is_linked { vec![link] } else { Vec::new() },
        networks: if is_networked { vec![lan] } else { Vec::new() },
    };
    let image = |(guest, vm): (&Guest, &VmPlan)| {
        let boot = boot::place(vm, &Images::of(&guest.image))?;
        let kernel = guest.image.clone();
        Ok::<_, anyhow::Error>(LoadedImage { kernel, bios: None, modules: Vec::new(), boot })
    };
    let images = guests.iter().zip(&plan.vms).map(image).collect::<Result<_>>()?;
    let options =
        Options { console: ConsolePlace::File(console), timeout_ns, ..Options::default() };
    run(&Loaded { plan, images }, options)
}

/// The same, with what they printed thrown away.
pub fn run_quietly(guests: &[Guest], slice_ns: u64, core: u64) -> Result<Outcome> {
    let null = File::options().write(true).open("/dev/null").context("/dev/null")?;
    run_guests(guests, slice_ns, core, null)
}

/// The same, with what they printed returned.
pub fn run_and_read(guests: &[Guest], slice_ns: u64, core: u64) -> Result<(Outcome, String)> {
    let path = std::env::temp_dir().join(format!("tandem-bench-console-{}", std::process::id()));
    let file = File::options().create(true).truncate(true).read(true).write(true).open(&path);
    let mut file = file.context("a temporary file")?;
    std::fs::remove_file(&path).context("a temporary file")?;
    let outcome = run_guests(guests, slice_ns, core, file.try_clone()?)?;
    let mut text = String::new();
    file.rewind()?;
    file.read_to_string(&mut text)?;
    Ok((outcome, text))
}
