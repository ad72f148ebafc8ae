//! The hypervisor with some VMs in an emulator whose clock counts instructions, and what it
//! reported.

use anyhow::{Context, Result, anyhow, bail};
use serde::Deserialize;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;
use xtask::emulate::{
    self, Accelerator, Emulator, INSTRUCTIONS_PER_SECOND, Machine, Memory,
    NS_PER_COUNTED_INSTRUCTION,
};
use xtask::load;
use xtask::scratch::Scratch;

/// A run that takes longer than this is stuck.
const TIMEOUT: Duration = Duration::from_secs(300);

/// An emulator with a CPU. A run is the same each time, so none is made twice.
#[derive(Debug)]
pub struct Counting {
    kernel: PathBuf,
    emulator: Emulator,
    cpu: Option<&'static str>,
    /// By config.
    runs: RefCell<BTreeMap<String, Run>>,
}

/// A run that went well.
#[derive(Clone, Debug)]
pub struct Run {
    /// Where the time went.
    pub receipt: Receipt,
    /// The hypervisor's memory, if it reported it.
    pub memory: Option<Memory>,
    /// What an instruction takes by the emulator's clock.
    pub ns_per_instruction: f64,
}

/// Of the receipt's JSON ([`vmm_common::receipt::Receipt`]), what is needed here.
#[derive(Clone, Debug, Deserialize)]
#[allow(missing_docs, reason = "said where they are made")]
pub struct Receipt {
    pub wall_ns: u64,
    pub slice_ns: u64,
    pub idle_ns: u64,
    pub switches: u64,
    #[serde(default)]
    pub sibling_switches: u64,
    pub vms: Vec<VmReceipt>,
}

/// Of one VM's part ([`vmm_common::receipt::VmReceipt`]), what is needed here.
#[derive(Clone, Debug, Deserialize)]
#[allow(missing_docs, reason = "said where they are made")]
pub struct VmReceipt {
    pub entitled_ppm: u64,
    pub received_ppm: Option<u64>,
    pub longest_blackout_ns: u64,
    pub exits: BTreeMap<String, u64>,
}

impl Counting {
    /// One that boots `kernel`.
    #[must_use]
    pub fn new(kernel: &Path, emulator: Emulator, cpu: Option<&'static str>) -> Self {
        Self { kernel: kernel.to_path_buf(), emulator, cpu, runs: RefCell::default() }
    }

    /// Its name and its CPU, for people.
    #[must_use]
    pub fn name(&self) -> String {
        format!("{:?}, {}", self.emulator, self.cpu.unwrap_or("its default CPU"))
    }

    fn ns_per_instruction(&self) -> f64 {
        match self.emulator {
            Emulator::Bochs => 1e9 / INSTRUCTIONS_PER_SECOND as f64,
            Emulator::Qemu | Emulator::Debian => NS_PER_COUNTED_INSTRUCTION as f64,
        }
    }

    /// Runs the VMs of a config in YAML to their ends.
    ///
    /// # Errors
    /// The emulator cannot be run, or a VM or the hypervisor failed.
    pub fn run(&self, config: &str) -> Result<Run> {
        if let Some(run) = self.runs.borrow().get(config) {
            return Ok(run.clone());
        }
        let run = self.boot(config)?;
        self.runs.borrow_mut().insert(config.to_string(), run.clone());
        Ok(run)
    }

    fn boot(&self, config: &str) -> Result<Run> {
        let scratch = Scratch::new()?;
        let path = scratch.write("bench.yml", config.as_bytes())?;
        let loaded = load::config(&path, Emulator::Bochs.max_memory_mib());
        let load = load::packed(loaded.map_err(|faults| anyhow!("{faults}"))?)?;
        let machine = Machine {
            emulator: self.emulator,
            cpu: self.cpu.map(str::to_string),
            accelerator: Accelerator::Tcg,
            board: None,
            memory_mib: load.machine_memory_mib(),
            timeout: Some(TIMEOUT),
            has_keyboard: false,
            terminal: None,
            has_counted_clock: true,
            is_untagged: false,
            debugger: None,
            words: Vec::new(),
            names: vmm_symbols::Names::default(),
        };
        let report = emulate::run(&machine, &self.kernel, &load.pack, &mut io::sink())?;
        if report.exit != Some(0) {
            let console = String::from_utf8_lossy(&report.console);
            let what = if report.is_timed_out { "did not end" } else { "failed" };
            bail!("the run {what}; its console:\n{console}");
        }
        let receipt = report.receipt.context("the hypervisor reported no receipt")?;
        let receipt = serde_json::from_str(&receipt).context("the receipt")?;
        let ns_per_instruction = self.ns_per_instruction();
        Ok(Run { receipt, memory: report.memory, ns_per_instruction })
    }
}
