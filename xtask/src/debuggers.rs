//! Which VM of a bare-metal run gdb reaches, and how: the machine has one port for it.

use anyhow::Result;
use vmm_common::plan::{DebuggerAddress, DebuggerPlan, ImageSource, Plan};
use xtask::emulate::gdb;

/// Leaves the plan with at most one debugger: that of the command line, or the only one of the
/// config.
///
/// # Errors
/// What is wrong, and what is allowed.
pub fn choose(plan: &mut Plan, wanted: Option<&str>) -> Result<(), String> {
    let with = |plan: &Plan| -> Vec<String> {
        let with = plan.vms.iter().filter(|vm| vm.debugger.is_some());
        with.map(|vm| vm.name.clone()).collect()
    };
    let Some(wanted) = wanted else {
        let names = with(plan);
        return match names.len() {
            0 | 1 => Ok(()),
            _ => Err(format!(
                "gdb: in {} VMs; allowed on bare metal, which has one port for it: one, as by \
                --gdb {}",
                names.len(),
                names[0]
            )),
        };
    };
    let (name, address) = match wanted.split_once('=') {
        Some((name, address)) => (name, Some(address)),
        None => (wanted, None),
    };
    let Some(at) = plan.vms.iter().position(|vm| vm.name == name) else {
        let names: Vec<&str> = plan.vms.iter().map(|vm| vm.name.as_str()).collect();
        return Err(format!("--gdb {name}: no VM has this name; allowed: {}", names.join(", ")));
    };
    let given = match address {
        Some(address) => {
            let parsed = address.parse::<DebuggerPlan>();
            Some(parsed.map_err(|form| format!("--gdb {name}={address}: allowed: {form}"))?)
        }
        None => None,
    };
    let any = DebuggerPlan { address: DebuggerAddress::Tcp(0), waits: false };
    let chosen = given.or_else(|| plan.vms[at].debugger.clone()).unwrap_or(any);
    for (index, vm) in plan.vms.iter_mut().enumerate() {
        vm.debugger = (index == at).then(|| chosen.clone());
    }
    Ok(())
}

/// Opens the way for gdb, if a VM has a debugger, and prints what to type; the port for the
/// emulator.
///
/// # Errors
/// The port is taken, or the address is none of TCP's.
pub fn open(plan: &Plan) -> Result<Option<u16>> {
    let found = plan.vms.iter().find_map(|vm| vm.debugger.as_ref().map(|it| (vm, it)));
    let Some((vm, DebuggerPlan { address, waits })) = found else { return Ok(None) };
    let DebuggerAddress::Tcp(port) = address else {
        anyhow::bail!("VM {}: gdb: {address}; allowed in an emulated machine: a TCP port", vm.name)
    };
    let bridge = gdb::open(*port)?;
    let kernel = match &vm.boot.kernel {
        ImageSource::Builtin(name) => format!("target/guests/{name}.elf"),
        ImageSource::File(path) => path.clone(),
    };
    let waits = if *waits { "; it waits" } else { "" };
    let port = bridge.gdb;
    eprintln!("xtask: {}: gdb {kernel} -ex 'target remote :{port}'{waits}", vm.name);
    Ok(Some(bridge.emulator))
}
