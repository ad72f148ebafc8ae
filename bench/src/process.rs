//! What a whole process costs: from its start to the guest's first line, and memory while it runs.

use crate::code;
use crate::images::{PROTOCOLS, image};
use anyhow::{Context, Result, bail};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long VMs run before their memory is looked at.
const SETTLING: Duration = Duration::from_millis(200);

/// VMs more than one, for what a further one costs.
pub const FURTHER: usize = 15;

/// Files and programs for the processes.
#[derive(Debug)]
pub struct Workplace {
    dir: PathBuf,
    programs: PathBuf,
}

impl Workplace {
    /// A directory of its own, and the programs beside this one.
    pub fn new() -> Result<Self> {
        let dir = std::env::temp_dir().join(format!("tandem-bench-{}", std::process::id()));
        std::fs::create_dir_all(&dir)?;
        let own = std::env::current_exe()?;
        let programs = own.parent().context("this program lies in a directory")?.to_path_buf();
        let vm = |kernel: &str, protocol: &str| {
            format!("  - {{kernel: ./{kernel}.img, boot: {protocol}, memory: 16MiB}}\n")
        };
        for (protocol, name) in PROTOCOLS {
            std::fs::write(dir.join(format!("{name}.img")), image(protocol))?;
            for vms in [1, 1 + FURTHER] {
                let config = format!("vms:\n{}", vm(name, name).repeat(vms));
                std::fs::write(dir.join(format!("{name}{vms}.yml")), config)?;
            }
        }
        std::fs::write(dir.join("spin.img"), code::one_line_then_spin())?;
        std::fs::write(dir.join("four.yml"), format!("vms:\n{}", vm("spin", "raw").repeat(4)))?;
        Ok(Self { dir, programs })
    }

    /// Seconds from the start of `vmm-kvm` to the first byte of the first of `vms` guests, which
    /// are images of `protocol`: 1 guest, or [`FURTHER`] more.
    pub fn tandem_start(&self, protocol: &str, vms: usize) -> Result<f64> {
        start(self.program("vmm-kvm")?.arg(self.dir.join(format!("{protocol}{vms}.yml"))))
    }

    /// Seconds from the start of the floor to the first byte its guest printed.
    pub fn floor_start(&self, protocol: &str) -> Result<f64> {
        let image = self.dir.join(format!("{protocol}.img"));
        start(self.program("floor")?.arg(image).arg(protocol))
    }

    /// Proportional set size for each of four VMs of one `vmm-kvm`, kB.
    pub fn tandem_memory(&self) -> Result<f64> {
        let mut child = spawn(self.program("vmm-kvm")?.arg(self.dir.join("four.yml")))?;
        // One line of each guest says that all of them run.
        let lines = read_lines(&mut child, 4);
        std::thread::sleep(SETTLING);
        let memory = lines.and_then(|()| pss_kb(&child));
        child.kill()?;
        child.wait()?;
        Ok(memory? / 4.0)
    }

    /// Proportional set size of each of four floors, kB.
    pub fn floor_memory(&self) -> Result<f64> {
        let image = self.dir.join("spin.img");
        let mut children = Vec::new();
        for _ in 0..4 {
            children.push(spawn(self.program("floor")?.arg(&image).arg("raw"))?);
        }
        std::thread::sleep(SETTLING);
        let ready = children.iter_mut().try_for_each(|child| read_lines(child, 1));
        let sum: Result<f64> = ready.and_then(|()| children.iter().map(pss_kb).sum());
        for child in &mut children {
            child.kill()?;
            child.wait()?;
        }
        Ok(sum? / 4.0)
    }

    fn program(&self, name: &str) -> Result<Command> {
        let path = self.programs.join(name);
        if !path.exists() {
            bail!("{} was not built", path.display());
        }
        Ok(Command::new(path))
    }
}

impl Drop for Workplace {
    fn drop(&mut self) {
        // What is left in the temporary directory does no harm.
        let _ = std::fs::remove_dir_all(Path::new(&self.dir));
    }
}

fn spawn(command: &mut Command) -> Result<Child> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().context("a process")
}

fn start(command: &mut Command) -> Result<f64> {
    let begin = Instant::now();
    let mut child = spawn(command)?;
    read_lines(&mut child, 0)?;
    let seconds = begin.elapsed().as_secs_f64();
    child.wait()?;
    Ok(seconds)
}

/// Reads one byte, then up to the end of line `lines`.
fn read_lines(child: &mut Child, lines: usize) -> Result<()> {
    let stdout = child.stdout.as_mut().context("its output is a pipe")?;
    let mut byte = [0];
    stdout.read_exact(&mut byte).context("the first byte")?;
    let mut left = lines;
    while left > 0 {
        stdout.read_exact(&mut byte).context("a line")?;
        left -= usize::from(byte[0] == b'\n');
    }
    Ok(())
}

fn pss_kb(child: &Child) -> Result<f64> {
    let rollup = std::fs::read_to_string(format!("/proc/{}/smaps_rollup", child.id()))?;
    let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:")).context("Pss")?;
    Ok(line.trim().trim_end_matches("kB").trim().parse()?)
}
