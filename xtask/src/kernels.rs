//! Small kernels in C that go wrong (`tests/kernels`), compiled by the host's compiler.

use anyhow::{Context, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// Frames that a call trace can follow, nothing that needs a floating-point unit, and no sections
/// but the kernel's own.
const FLAGS: &[&str] = &[
    "-ffreestanding",
    "-nostdlib",
    "-static",
    "-no-pie",
    "-g",
    "-O0",
    "-fno-omit-frame-pointer",
    "-mno-sse",
    "-mno-mmx",
    "-mno-red-zone",
    "-fno-pic",
    "-fcf-protection=none",
    "-fno-stack-protector",
    "-fno-asynchronous-unwind-tables",
    "-Wl,--build-id=sha1",
];

/// The folder of the sources.
#[must_use]
pub fn sources() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/kernels")
}

/// The names of all, without the suffix of a C file, in alphabetical order. Their last two digits
/// say how wide their code is.
///
/// # Errors
/// The folder cannot be read.
pub fn names() -> Result<Vec<String>> {
    let folder = sources();
    let entries = fs::read_dir(&folder).with_context(|| folder.display().to_string())?;
    let name = |path: PathBuf| {
        let is_source = path.extension().is_some_and(|extension| extension == "c");
        path.file_stem().filter(|_| is_source)?.to_str().map(str::to_owned)
    };
    let mut names: Vec<String> = entries.flatten().filter_map(|it| name(it.path())).collect();
    names.sort();
    Ok(names)
}

/// Compiles all, once; the folder with a file `NAME.elf` for each.
///
/// # Errors
/// There is no compiler, or it refuses one.
pub fn build() -> Result<&'static Path> {
    static BUILT: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let built = BUILT.get_or_init(|| build_all().map_err(|error| format!("{error:#}")));
    match built {
        Ok(folder) => Ok(folder),
        Err(error) => bail!("{error}"),
    }
}

fn build_all() -> Result<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/kernels");
    fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
    for name in names()? {
        compile(&name, &folder).with_context(|| format!("the kernel {name}"))?;
    }
    Ok(folder)
}

fn compile(name: &str, folder: &Path) -> Result<()> {
    let (bits, format) = match name.ends_with("32") {
        true => ("32", "elf_i386"),
        false => ("64", "elf_x86_64"),
    };
    // Another process may compile the same: each renames a whole file.
    let own = folder.join(format!("{name}.{}", std::process::id()));
    let mut command = Command::new("cc");
    command.current_dir(sources()).args(FLAGS).arg(format!("-m{bits}"));
    command.args(["-Wl,-T,link.ld".into(), format!("-Wl,-m,{format}")]);
    command.arg("-Wl,--no-warn-rwx-segments").arg("-o").arg(&own);
    command.args([format!("start{bits}.S"), format!("{name}.c")]);
    let done = command.output().context("cc")?;
    if !done.status.success() {
        bail!("cc: {}", String::from_utf8_lossy(&done.stderr));
    }
    fs::rename(&own, folder.join(format!("{name}.elf"))).context("cannot rename it")
}
