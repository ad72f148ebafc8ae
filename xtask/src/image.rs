//! The bootable image: an ISO 9660 file system with GRUB for a BIOS, the kernel and the packed
//! plan.

use crate::packages::{self, GRUB};
use crate::scratch::Scratch;
use anyhow::{Context, Result, bail};
use std::fs;
use std::path::Path;
use std::process::Command;

/// Boots at once. The module's name is for people who look at it.
fn grub_config(command_line: &str) -> String {
    format!(
        "\
set timeout=0
insmod multiboot
multiboot /boot/tandem {command_line}
module /boot/plan plan
boot
"
    )
}
/// GRUB for a BIOS, and nothing else that may be installed.
const GRUB_BIOS: &str = "/usr/lib/grub/i386-pc";

/// Writes the image to `output`; the kernel gets `command_line`, words without quotes.
///
/// # Errors
/// GRUB's tools are missing or fail, or a file cannot be read or written.
pub fn write(kernel: &Path, command_line: &str, pack: &[u8], output: &Path) -> Result<()> {
    packages::ensure(GRUB)?;
    let scratch = Scratch::new()?;
    fs::create_dir_all(scratch.path().join("boot/grub")).context("cannot make a folder")?;
    scratch.write("boot/grub/grub.cfg", grub_config(command_line).as_bytes())?;
    scratch.write("boot/plan", pack)?;
    fs::copy(kernel, scratch.path().join("boot/tandem"))
        .with_context(|| format!("cannot copy {}", kernel.display()))?;
    let mut grub = Command::new("grub-mkrescue");
    grub.args(["--directory", GRUB_BIOS, "--install-modules=multiboot normal"]);
    grub.args(["--locales=", "--fonts=", "--themes=", "--output"]).arg(output).arg(scratch.path());
    let made = grub.output().context("cannot run grub-mkrescue")?;
    if !made.status.success() || !output.exists() {
        bail!("grub-mkrescue failed:\n{}", String::from_utf8_lossy(&made.stderr));
    }
    Ok(())
}
