//! The lines of the table: what is measured, against which floor, with which target.

use crate::bare::Bare;
use crate::duo::Duo;
use crate::images::PROTOCOLS;
use crate::measure::{cpu_seconds, marginal, median, seconds, side_by_side};
use crate::process::{FURTHER, Workplace};
use crate::tandem::{Guest, run_and_read, run_quietly};
use crate::{code, handover};
use anyhow::{Context, Result};
use std::io::Write;
use vmm_common::Instant;
use vmm_common::plan::BootKind;

/// One line of the table.
#[derive(Clone, Debug)]
pub struct Line {
    /// What was measured.
    pub what: String,
    /// Ours, with its unit.
    pub ours: String,
    /// The floor's, with its unit.
    pub floor: String,
    /// Ours over the floor's, or what else the target is about.
    pub figure: f64,
    /// The most, or the least, the figure may be.
    pub target: Target,
}

/// What a figure should be.
#[derive(Clone, Copy, Debug)]
pub enum Target {
    /// At most this.
    AtMost(f64),
    /// At least this.
    AtLeast(f64),
}

impl Target {
    /// Whether `figure` is as it should be.
    pub fn is_met(self, figure: f64) -> bool {
        match self {
            Self::AtMost(most) => figure <= most,
            Self::AtLeast(least) => figure >= least,
        }
    }
}

const MS: u64 = 1_000_000;
const US: f64 = 1e6;
/// The slice where the line does not name one.
const SLICE_NS: u64 = 5 * MS;
/// Starts of processes whose median is taken.
const STARTS: usize = 41;

pub(crate) fn ratio(what: &str, unit: &str, scale: f64, costs: (f64, f64), most: f64) -> Line {
    let (ours, floor) = costs;
    Line {
        what: what.to_string(),
        ours: format!("{:.2} {unit}", ours * scale),
        floor: format!("{:.2} {unit}", floor * scale),
        figure: ours / floor,
        target: Target::AtMost(most),
    }
}

/// One port exit: a write to COM1's scratch register.
pub fn port_exit(core: u64) -> Result<Line> {
    const COUNTS: (u32, u32) = (2_000, 22_000);
    let ours = |count| {
        let guest = [Guest::flat(code::port_writes(count))];
        seconds(|| run_quietly(&guest, SLICE_NS, core).map(drop))
    };
    let floor = |count| {
        let mut vm = Bare::new(&code::port_writes(count), BootKind::Flat, "")?;
        seconds(|| vm.run_to_end(drop))
    };
    let costs = side_by_side(9, || marginal(COUNTS, ours), || marginal(COUNTS, floor))?;
    Ok(ratio("one port exit through the whole VMM / bare KVM_RUN loop", "us", US, costs, 1.05))
}

/// Console output, one OUT a byte, without looking at the line status.
pub fn console(core: u64) -> Result<Line> {
    const LINES: (u32, u32) = (20, 1_020);
    const LINE_BYTES: f64 = 64.0;
    let ours = |lines| {
        let guest = [Guest::flat(code::console_lines(lines))];
        cpu_seconds(|| run_quietly(&guest, SLICE_NS, core).map(drop))
    };
    let floor = |lines| {
        let mut vm = Bare::new(&code::console_lines(lines), BootKind::Flat, "")?;
        let mut null = std::fs::File::options().write(true).open("/dev/null")?;
        cpu_seconds(|| vm.run_to_end(|byte| null.write_all(&[byte]).expect("/dev/null takes all")))
    };
    let costs = side_by_side(5, || marginal(LINES, ours), || marginal(LINES, floor))?;
    let scale = US / LINE_BYTES;
    Ok(ratio(
        "console output in bursts, CPU per byte / write(2) per byte",
        "us",
        scale,
        costs,
        0.25,
    ))
}

/// Console output by a virtio console, 4 KiB a notification, beside one port exit a byte.
pub fn hvc(core: u64) -> Result<Line> {
    const LINES: (u32, u32) = (64, 16_448);
    const COM1_LINES: (u32, u32) = (20, 1_020);
    const LINE_BYTES: f64 = 64.0;
    let ours = |lines: u32| {
        let burst = Guest::builtin("hvc_burst", &(lines * LINE_BYTES as u32).to_string());
        let guest = [Guest { has_hvc: true, ..burst }];
        cpu_seconds(|| run_quietly(&guest, SLICE_NS, core).map(drop))
    };
    let floor = |lines| {
        let mut vm = Bare::new(&code::console_lines(lines), BootKind::Flat, "")?;
        let mut null = std::fs::File::options().write(true).open("/dev/null")?;
        cpu_seconds(|| vm.run_to_end(|byte| null.write_all(&[byte]).expect("/dev/null takes all")))
    };
    let costs = side_by_side(5, || marginal(LINES, ours), || marginal(COM1_LINES, floor))?;
    let what = "output of a virtio console, CPU per byte / write(2) per byte of COM1";
    Ok(ratio(what, "us", US / LINE_BYTES, costs, 0.05))
}

/// One byte there and back between two VMs.
pub fn round_trip(core: u64, waiting: &str, most: f64) -> Result<Line> {
    const ROUNDS: (u32, u32) = (100, 1_100);
    let cmdline = |rounds: u32| format!("{rounds} {waiting}");
    let ours = |rounds| {
        let ends = ["link_ping", "link_pong"].map(|end| Guest::builtin(end, &cmdline(rounds)));
        seconds(|| run_quietly(&ends, SLICE_NS, core).map(drop))
    };
    let floor = |rounds| {
        let cmdline = cmdline(rounds);
        let mut duo = Duo::new([("link_ping", &cmdline), ("link_pong", &cmdline)])?;
        seconds(|| duo.run())
    };
    let costs = side_by_side(7, || marginal(ROUNDS, ours), || marginal(ROUNDS, floor))?;
    let how = if waiting == "irq" { "by interrupt and HLT" } else { "polling LSR" };
    Ok(ratio(&format!("one byte there and back, {how} / duo"), "us", US, costs, most))
}

/// Bulk data one way, by bytes received.
pub fn bulk(core: u64) -> Result<Line> {
    const KIB: (u32, u32) = (4, 36);
    let ours = |kib: u32| {
        let cmdline = kib.to_string();
        let ends = ["bulk_send", "bulk_receive"].map(|end| Guest::builtin(end, &cmdline));
        seconds(|| run_quietly(&ends, SLICE_NS, core).map(drop))
    };
    let floor = |kib: u32| {
        let cmdline = kib.to_string();
        let mut duo = Duo::new([("bulk_send", &cmdline), ("bulk_receive", &cmdline)])?;
        seconds(|| duo.run())
    };
    let costs = side_by_side(5, || marginal(KIB, ours), || marginal(KIB, floor))?;
    Ok(ratio("bulk over the link, per byte / duo", "us", US / 1024.0, costs, 1.0))
}

/// 1 MiB each way at once: both checksums right and no byte lost.
pub fn duplex(core: u64, slice_ms: u64) -> Result<Line> {
    const KIB: u32 = 1024;
    let ends = [1, 2].map(|seed| Guest::builtin("bulk", &format!("{KIB} {seed}")));
    let begin = std::time::Instant::now();
    let (outcome, text) = run_and_read(&ends, slice_ms * MS, core)?;
    let seconds = begin.elapsed().as_secs_f64();
    let sent = checksums(&text, "sent");
    let received = checksums(&text, "received");
    anyhow::ensure!(sent.len() == 2 && received.len() == 2, "a report is missing:\n{text}");
    let is_equal = sent[0] == received[1] && sent[1] == received[0];
    let lost = outcome.receipt.lost_bytes + u64::from(!is_equal);
    Ok(Line {
        what: format!("1 MiB each way at once, slice {slice_ms} ms: bytes lost or wrong"),
        ours: format!("{lost} in {seconds:.1} s"),
        floor: format!("checksums {}", if is_equal { "equal" } else { "differ" }),
        figure: lost as f64,
        target: Target::AtMost(0.0),
    })
}

/// The checksums that guests reported, in the order of the VMs' names.
fn checksums<'a>(text: &'a str, word: &str) -> Vec<&'a str> {
    let mut lines: Vec<_> =
        text.lines().filter(|line| line.contains(&format!("bulk: {word} "))).collect();
    lines.sort_unstable();
    lines.iter().filter_map(|line| line.split_whitespace().last()).collect()
}

/// Handing the turn to the other thread.
pub fn hand_over(core: u64) -> Result<Line> {
    const ROUNDS: (u32, u32) = (20, 520);
    // The first poll of each round finds the line for the first time: no hand-over for that one.
    const HAND_OVERS: f64 = (code::POLLS - 1) as f64;
    let ours = |rounds| {
        let guest = || Guest::flat(code::line_polls(rounds));
        seconds(|| run_quietly(&[guest(), guest()], SLICE_NS, core).map(drop))
    };
    let floor = |rounds: u32| {
        let count = rounds * 2 * (code::POLLS - 1);
        seconds(|| handover::run(core, count))
    };
    let costs = side_by_side(7, || marginal(ROUNDS, ours), || marginal(ROUNDS, floor))?;
    let scale = US / (2.0 * HAND_OVERS);
    Ok(ratio(
        "handing the turn over / two pinned threads, futex, one KVM_RUN",
        "us",
        scale,
        costs,
        1.3,
    ))
}

/// What ending a slice costs a spinning guest.
pub fn preemption(core: u64) -> Result<Line> {
    const PERIOD_NS: u64 = MS / 2;
    const SPIN: &str = "1500";
    let loops_of_floor = |period_ns: Option<u64>| -> Result<f64> {
        let mut text = Vec::new();
        let mut vm =
            Bare::new(guests::find("spin").expect("built in").bytes, BootKind::Auto, SPIN)?;
        let clock = vmm_kvm::sys::Clock::start();
        let flag = &raw mut vm.vcpu.get_kvm_run().immediate_exit;
        // SAFETY: the flag is this thread's vCPU's, which outlives the timer.
        let mut timer = unsafe { vmm_kvm::sys::ThreadTimer::new(clock, flag) }?;
        // Slices end at regular moments, whatever ending one takes: as ours do.
        let mut slice_end = clock.now();
        loop {
            if let Some(period_ns) = period_ns {
                slice_end = slice_end.after_ns(period_ns).max(clock.now());
                timer.arm(slice_end, clock);
            }
            loop {
                use crate::bare::Access;
                match vm.run(crate::bare::line_status_idle)? {
                    Access::Signal => {
                        break;
                    }
                    Access::Off => {
                        timer.disarm(Instant::ZERO);
                        return spin_loops(&String::from_utf8_lossy(&text)).map(|all| all[0]);
                    }
                    Access::Out(0x3f8, byte) => text.push(byte),
                    Access::Out(..) | Access::In(_) | Access::Store(_) => {}
                    Access::Halt | Access::Other => {}
                }
            }
        }
    };
    let loops_of_ours = || -> Result<f64> {
        let (_, text) = run_and_read(&[Guest::builtin("spin", SPIN)], PERIOD_NS, core)?;
        spin_loops(&text).map(|all| all[0])
    };
    let (mut free, mut floor, mut ours) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..7 {
        free.push(loops_of_floor(None)?);
        floor.push(loops_of_floor(Some(PERIOD_NS))?);
        ours.push(loops_of_ours()?);
    }
    let free = median(free);
    let cost = |loops: Vec<f64>| (1.0 - median(loops) / free) * PERIOD_NS as f64 / 1e9;
    let costs = (cost(ours), cost(floor));
    Ok(ratio("preemption by slice end / bare timer signal loop", "us", US, costs, 1.1))
}

/// How the work of spinning guests of these weights compares with one alone, and their shares.
pub fn shares(core: u64, weights: &[u32], seconds: u32) -> Result<Vec<Line>> {
    let spin = |ms: u32, weight| Guest { weight, ..Guest::builtin("spin", &ms.to_string()) };
    let rate = |guests: &[Guest]| -> Result<_> {
        let (outcome, text) = run_and_read(guests, SLICE_NS, core)?;
        let work: f64 = spin_loops(&text)?.iter().sum();
        Ok((work / (outcome.receipt.wall_ns as f64 / 1e9), outcome))
    };
    let (alone_before, _) = rate(&[spin(1000 * seconds, 1)])?;
    let guests: Vec<_> = weights.iter().map(|weight| spin(1000 * seconds, *weight)).collect();
    let (together, outcome) = rate(&guests)?;
    let (alone_after, _) = rate(&[spin(1000 * seconds, 1)])?;
    let alone = f64::midpoint(alone_before, alone_after);
    let receipt = &outcome.receipt;
    let who = match weights {
        [1, 1] => "two VMs".to_string(),
        [1, 2, 4] => "weights 1:2:4".to_string(),
        many => format!("{} VMs", many.len()),
    };
    let share = share(&who, receipt)?;
    // The boots of many guests take part of the time that one alone would compute in.
    if weights.len() > 3 {
        return Ok(vec![share, blackout(&who, weights, receipt)]);
    }
    let work = Line {
        what: format!("work of {who} at 5 ms slices / one alone"),
        ours: format!("{:.1} M/s", together / 1e6),
        floor: format!("{:.1} M/s", alone / 1e6),
        figure: together / alone,
        target: Target::AtLeast(0.99),
    };
    Ok(vec![work, share])
}

/// How far the work of a guest of weight 1 beside one of weight 3, by their own counts, is from a
/// quarter: what it costs to get in and out must be charged to neither.
pub fn work_shares(core: u64) -> Result<Vec<Line>> {
    let spin = |weight| Guest { weight, ..Guest::builtin("spin", "3000") };
    let line = |(slice_ms, target): (u64, f64)| {
        let error = || -> Result<f64> {
            let (_, text) = run_and_read(&[spin(1), spin(3)], slice_ms * MS, core)?;
            let loops = spin_loops(&text)?;
            let work: f64 = loops.iter().sum();
            // They are done in any order: the lesser has weight 1.
            Ok((loops.iter().copied().fold(work, f64::min) / work - 0.25).abs() * 100.0)
        };
        let error = median((0..5).map(|_| error()).collect::<Result<_>>()?);
        Ok(Line {
            what: format!("share of work of weights 1:3, error at {slice_ms} ms slices, per cent"),
            ours: format!("{error:.3} %"),
            floor: "entitlement".to_string(),
            figure: error,
            target: Target::AtMost(target),
        })
    };
    [(5, 0.3), (1, 0.5)].into_iter().map(line).collect()
}

fn share(who: &str, receipt: &vmm_common::receipt::Receipt) -> Result<Line> {
    let error = receipt.share_error_ppm().context("the shares were measured")? as f64 / 1e4;
    Ok(Line {
        what: format!("share error of {who}, per cent"),
        ours: format!("{error:.3} %"),
        floor: "entitlement".to_string(),
        figure: error,
        target: Target::AtMost(1.0),
    })
}

/// The longest time a VM had to wait, against the sum of the others' turns.
fn blackout(who: &str, weights: &[u32], receipt: &vmm_common::receipt::Receipt) -> Line {
    let cycle_ns = SLICE_NS * weights.len() as u64;
    let sum: u32 = weights.iter().sum();
    let allowed_ns = |weight: &u32| cycle_ns * u64::from(sum - weight) / u64::from(sum);
    let worst = receipt.vms.iter().zip(weights).map(|(vm, weight)| {
        (vm.longest_blackout_ns as f64 / allowed_ns(weight) as f64, vm.longest_blackout_ns, weight)
    });
    let (figure, ns, weight) = worst.max_by(|a, b| a.0.total_cmp(&b.0)).expect("there are VMs");
    Line {
        what: format!("longest blackout of {who} / sum of the others' turns"),
        ours: format!("{:.2} ms", ns as f64 / MS as f64),
        floor: format!("{:.2} ms", allowed_ns(weight) as f64 / MS as f64),
        figure,
        target: Target::AtMost(1.05),
    }
}

/// The loop counts that `spin` guests reported.
fn spin_loops(text: &str) -> Result<Vec<f64>> {
    let count = |line: &str| -> Option<f64> {
        line.split_once("spin: ")?.1.split_whitespace().next()?.parse().ok()
    };
    let counts: Vec<f64> = text.lines().filter_map(count).collect();
    anyhow::ensure!(!counts.is_empty(), "no spin guest reported:\n{text}");
    Ok(counts)
}

/// From a process's start to its guest's first byte, by each boot protocol.
pub fn starts(workplace: &Workplace) -> Result<Vec<Line>> {
    let start = |(_, protocol): (BootKind, &str)| {
        let ours = || workplace.tandem_start(protocol, 1);
        let costs = side_by_side(STARTS, ours, || workplace.floor_start(protocol))?;
        let what = format!("process start to the first byte of a {protocol} guest / floor");
        Ok(ratio(&what, "ms", 1e3, costs, 1.3))
    };
    PROTOCOLS.into_iter().map(start).collect()
}

/// What the first byte waits for each VM more in the process.
pub fn further_vm(workplace: &Workplace) -> Result<Line> {
    let many = || workplace.tandem_start("raw", 1 + FURTHER);
    let (many, one) = side_by_side(STARTS, many, || workplace.tandem_start("raw", 1))?;
    let ms = (many - one) * 1e3 / FURTHER as f64;
    Ok(Line {
        what: "process start, each further VM of the process, ms".to_string(),
        ours: format!("{:.2} ms", many * 1e3),
        floor: format!("{:.2} ms alone", one * 1e3),
        figure: ms,
        target: Target::AtMost(0.6),
    })
}

/// Memory for each of four VMs.
pub fn memory(workplace: &Workplace) -> Result<Line> {
    let (ours, floor) = (workplace.tandem_memory()?, workplace.floor_memory()?);
    Ok(Line {
        what: "PSS a VM with four 16 MiB VMs running, kB".to_string(),
        ours: format!("{ours:.0} kB"),
        floor: format!("{floor:.0} kB"),
        figure: ours,
        target: Target::AtMost(350.0),
    })
}
