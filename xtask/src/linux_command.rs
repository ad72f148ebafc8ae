//! `linux`: the small Linux, fetched, and tried in QEMU without a hypervisor of ours.

use anyhow::Result;
use std::io::{self, Write};
use std::time::Duration;
use xtask::linux::{self, plain};

/// Far beyond what any job takes.
const TIMEOUT: Duration = Duration::from_secs(900);

/// A Linux.
#[derive(Debug, clap::Args)]
pub struct Linux {
    /// Boot it in QEMU for this, such as "steal 2"; without it, it is only fetched
    #[arg(long)]
    job: Option<String>,
    /// Make a disk with a whole Debian, too, in target/linux/debian/
    #[arg(long, conflicts_with = "job")]
    disk: bool,
    /// Boot another one for this, joined with the first by their second serial ports
    #[arg(long, value_name = "JOB", requires = "job")]
    with: Option<String>,
}

/// Fetches, and does a job; whether all went well.
pub fn linux(arguments: &Linux) -> bool {
    done(arguments).unwrap_or_else(|error| {
        eprintln!("xtask: {error:#}");
        false
    })
}

fn done(arguments: &Linux) -> Result<bool> {
    let linux = linux::ensure()?;
    let console = &mut io::stdout().lock();
    match (&arguments.job, &arguments.with) {
        (None, _) => {
            for package in &linux.packages {
                writeln!(console, "{package}")?;
            }
            let files = [&linux.kernel, &linux.initramfs, &linux.busybox];
            for path in files.into_iter().chain(&linux.modules) {
                writeln!(console, "{}", path.display())?;
            }
            if arguments.disk {
                let disk = linux::root_disk::ensure()?;
                for path in [disk.kernel, disk.initrd, disk.image] {
                    writeln!(console, "{}", path.display())?;
                }
            }
            Ok(true)
        }
        (Some(job), None) => Ok(plain::run(&linux, job, TIMEOUT, console)?.status == 0),
        (Some(job), Some(with)) => {
            let [one, other] = plain::pair(&linux, [job, with], TIMEOUT, console)?;
            write!(console, "the other end:\n{}", other.console)?;
            Ok(one.status == 0 && other.status == 0)
        }
    }
}
