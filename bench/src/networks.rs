//! Networks: data between two VMs on one core, against two emulators on that core, which are joined
//! by a socket that carries frames, and against the serial link.

use crate::lines::{Line, Target};
use crate::measure::{marginal, seconds, side_by_side};
use crate::tandem::{Guest, run_quietly};
use anyhow::{Context, Result, anyhow, ensure};
use std::io;
use std::path::Path;
use std::time::Duration;
use xtask::emulate::alone::{self, Kernel};
use xtask::emulate::{self, Accelerator, Emulator, Machine};
use xtask::linux::{Linux, plain};
use xtask::scratch::Scratch;
use xtask::{guest_files, hypervisor, linux, load};

const SLICE_NS: u64 = 5_000_000;
/// What the guest `net` sends in a round, each way; all of it is summed by sender and receiver.
const MEBIBYTE: f64 = (1 << 20) as f64;
const MEGABYTE: f64 = 1e6;
/// A run that takes longer than this is stuck.
const TIMEOUT: Duration = Duration::from_secs(600);

fn faster(what: &str, rates: (f64, f64), least: f64) -> Line {
    let (ours, floor) = rates;
    Line {
        what: what.to_string(),
        ours: format!("{:.3} MB/s", ours / MEGABYTE),
        floor: format!("{:.3} MB/s", floor / MEGABYTE),
        figure: ours / floor,
        target: Target::AtLeast(least),
    }
}

fn cmdlines(rounds: u32) -> [String; 2] {
    let ends = ["role=server ip=10.0.0.1", "role=client ip=10.0.0.2 peer=10.0.0.1"];
    ends.map(|end| format!("{end} rounds={rounds}"))
}

/// 1 MiB each way at once, with checksums: beside two QEMUs that run the same guest by the same KVM
/// (or by emulation, where KVM is not for QEMU), and beside the serial link, in turn.
///
/// # Errors
/// The host refuses something.
pub fn transfers(core: u64) -> Result<Vec<Line>> {
    const ROUNDS: (u32, u32) = (1, 17);
    const QEMU_ROUNDS: (u32, u32) = (1, 5);
    const KIB: (u32, u32) = (4, 36);
    const TIMES: usize = 3;
    let ours = |rounds| {
        let ends = cmdlines(rounds)
            .map(|cmdline| Guest { is_networked: true, ..Guest::builtin("net", &cmdline) });
        seconds(|| run_quietly(&ends, SLICE_NS, core).map(drop))
    };
    let image = guest_files::write()?.join("net.bin");
    let qemu = |rounds, accelerator| {
        let lines = cmdlines(rounds).map(|line| format!("{line} lenient reset"));
        let kernels = [&lines[0], &lines[1]].map(|cmdline| Kernel { file: &image, cmdline });
        seconds(|| {
            let ends = alone::network(kernels, accelerator, TIMEOUT)?;
            let is_fine = ends.iter().all(|end| end.console.contains("net: all passed"));
            ensure!(is_fine, "two QEMUs do not exchange data: {ends:?}");
            Ok(())
        })
    };
    let serial = |kib: u32| {
        let ends = ["bulk_send", "bulk_receive"].map(|end| Guest::builtin(end, &kib.to_string()));
        seconds(|| run_quietly(&ends, SLICE_NS, core).map(drop))
    };
    let mut lines = Vec::new();
    let names = [(Accelerator::Kvm, "KVM"), (Accelerator::Tcg, "TCG")];
    for (accelerator, name) in names {
        if let Err(error) = qemu(1, accelerator) {
            eprintln!("two QEMUs on {name}: {error:#}");
            continue;
        }
        let costs = side_by_side(
            TIMES,
            || marginal(ROUNDS, ours),
            || marginal(QEMU_ROUNDS, |rounds| qemu(rounds, accelerator)),
        )?;
        let rates = (2.0 * MEBIBYTE / costs.0, 2.0 * MEBIBYTE / costs.1);
        let what = format!("1 MiB each way by virtio-net, bytes per second / two QEMUs on {name}");
        let least = if accelerator == Accelerator::Kvm { 10.0 } else { 1.0 };
        lines.push(faster(&what, rates, least));
    }
    let (ours, serial) = side_by_side(TIMES, || marginal(ROUNDS, ours), || marginal(KIB, serial))?;
    let rates = (2.0 * MEBIBYTE / ours, 1024.0 / serial);
    lines.push(faster("the same / the serial link, one way", rates, 10.0));
    Ok(lines)
}

/// Debian's kernel twice, one of which fetches data over TCP: on Tandem's SVM in one QEMU, and in
/// two QEMUs, all on one core, in turn; by the fetching guest's clock.
///
/// # Errors
/// The host refuses something.
pub fn linux() -> Result<Vec<Line>> {
    const BYTES: u64 = 64 << 20;
    const TIMES: usize = 5;
    let linux = linux::ensure()?;
    let kernel = hypervisor::build()?;
    let ours = || said_seconds(&on_svm(&kernel, &linux, BYTES)?);
    let floor = || {
        let [fetches, serves] = plain::network(&linux, BYTES, TIMEOUT, &mut io::sink())?;
        ensure!([fetches.status, serves.status] == [0, 0], "two QEMUs do not exchange data");
        said_seconds(&fetches.console)
    };
    let (ours, floor) = side_by_side(TIMES, ours, floor)?;
    let rate = |seconds: f64| BYTES as f64 / seconds;
    let two = "Linux to Linux by TCP, SVM in QEMU, bytes per second / two QEMUs on TCG";
    Ok(vec![
        faster(two, (rate(ours), rate(floor)), 1.0),
        faster("the same / 1 MB/s", (rate(ours), MEGABYTE), 1.0),
    ])
}

/// What the fetching Linux printed of its time.
fn said_seconds(console: &str) -> Result<f64> {
    let took =
        console.lines().find_map(|line| line.split_once("network: took ")?.1.split_once(" s"));
    let (took, _) = took.with_context(|| format!("no rate is said:\n{console}"))?;
    took.parse::<f64>().context("a time")
}

/// The console of the two Linux kernels of `configs/linux_net.yml`, in real time.
fn on_svm(kernel: &Path, linux: &Linux, bytes: u64) -> Result<String> {
    const CONFIG: &str = include_str!("../../configs/linux_net.yml");
    let text = CONFIG
        .replace("../target/linux/vmlinuz", &linux.kernel.display().to_string())
        .replace("../target/linux/initramfs.cpio", &linux.initramfs.display().to_string())
        .replace("1048576", &bytes.to_string());
    let scratch = Scratch::new()?;
    let path = scratch.write("tcp.yml", text.as_bytes())?;
    let loaded = load::config(&path, Emulator::Qemu.max_memory_mib());
    let load = load::packed(loaded.map_err(|faults| anyhow!("{faults}"))?)?;
    let machine = Machine {
        emulator: Emulator::Qemu,
        cpu: None,
        accelerator: Accelerator::Tcg,
        board: None,
        memory_mib: load.machine_memory_mib(),
        timeout: Some(TIMEOUT),
        has_keyboard: false,
        terminal: None,
        has_counted_clock: false,
        is_untagged: false,
        debugger: None,
        words: Vec::new(),
        names: vmm_symbols::Names::default(),
    };
    let report = emulate::run(&machine, kernel, &load.pack, &mut io::sink())?;
    let console = String::from_utf8_lossy(&report.console).into_owned();
    ensure!(report.exit == Some(0), "the run failed; its console:\n{console}");
    Ok(console)
}
