//! Kernel modules, and those that have to be there before them.

use anyhow::{Context, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};

/// The modules in `folder`, and below it, that `names` and what they need are, each behind all that
/// it needs.
///
/// # Errors
/// One is not there, or cannot be read.
pub fn with_needs(folder: &Path, names: &[&str]) -> Result<Vec<PathBuf>> {
    let mut all = Vec::new();
    collect(folder, &mut all)?;
    let mut order = Vec::new();
    for name in names {
        add(name, &all, &mut order)?;
    }
    Ok(order)
}

fn add(name: &str, all: &[PathBuf], order: &mut Vec<PathBuf>) -> Result<()> {
    let path = all.iter().find(|path| is_called(path, name));
    let Some(path) = path else { bail!("there is no kernel module {name}") };
    if order.contains(path) {
        return Ok(());
    }
    let module = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    for need in needs(&module) {
        add(&need, all, order)?;
    }
    order.push(path.clone());
    Ok(())
}

/// Names are the same whether they are spelled with `-` or `_`.
fn is_called(path: &Path, name: &str) -> bool {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    stem.replace('-', "_") == name.replace('-', "_")
}

/// What a module says that it needs, among the NUL-ended `key=value` of its section `.modinfo`.
fn needs(module: &[u8]) -> Vec<String> {
    const KEY: &[u8] = b"\0depends=";
    let at = module.windows(KEY.len()).position(|window| window == KEY);
    let Some(at) = at else { return Vec::new() };
    let value = module[at + KEY.len()..].split(|byte| *byte == 0).next().unwrap_or_default();
    let value = String::from_utf8_lossy(value);
    value.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

fn collect(folder: &Path, modules: &mut Vec<PathBuf>) -> Result<()> {
    let cannot = || format!("cannot read the folder {}", folder.display());
    for entry in fs::read_dir(folder).with_context(cannot)? {
        let path = entry.with_context(cannot)?.path();
        if path.is_dir() {
            collect(&path, modules)?;
        } else if path.extension().is_some_and(|extension| extension == "ko") {
            modules.push(path);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::Scratch;

    fn module(needs: &str) -> Vec<u8> {
        format!("\x7fELF\0license=GPL\0depends={needs}\0retpoline=Y\0").into_bytes()
    }

    #[test]
    fn a_module_comes_behind_all_that_it_needs() {
        let scratch = Scratch::new().expect("a folder for temporary files");
        for (name, needs) in
            [("kvm-amd", "kvm,ccp"), ("kvm", "irqbypass"), ("ccp", "rng_core"), ("rng-core", "")]
        {
            scratch.write(&format!("{name}.ko"), &module(needs)).expect("it can be written");
        }
        fs::create_dir(scratch.path().join("lib")).expect("it can be made");
        scratch.write("lib/irqbypass.ko", &module("")).expect("it can be written");
        let order = with_needs(scratch.path(), &["kvm_amd", "kvm"]).expect("all are there");
        let names: Vec<_> = order.iter().filter_map(|path| path.file_stem()).collect();
        assert_eq!(names, ["irqbypass", "kvm", "rng-core", "ccp", "kvm-amd"]);
    }

    #[test]
    fn one_that_is_not_there_is_named() {
        let scratch = Scratch::new().expect("a folder for temporary files");
        scratch.write("kvm.ko", &module("irqbypass")).expect("it can be written");
        let error = with_needs(scratch.path(), &["kvm"]).expect_err("its need is missing");
        assert!(error.to_string().contains("irqbypass"), "{error}");
    }
}
