//! Names for what a dump says in addresses: functions, lines, and the instruction as an assembler
//! writes it.
//!
//! The hypervisor prints facts, the same on every target (`vmm_common::diagnosis`). A program on a
//! host that passes the lines on adds the names: vmm-kvm to its own, xtask to those of the
//! bare-metal hypervisor's console. So the printed text is equal, and no parser of a kernel's file
//! runs beside guests without an operating system beneath.
//!
//! ```text
//! ... at 0x1000f3: 64-bit code c7 00 ...    ->  ... at write_bad+0x11 (k64.c:42): mov ...
//! call trace: 0x1000f3 <- 0x100132          ->  call trace: write_bad+0x11 <- kmain+0x3f
//! ```
//!
//! The files are opened before the first guest runs, as a confined run opens none later, and are
//! read and parsed when the first dump asks.
#![forbid(unsafe_code)]

mod console;
mod file;
mod instruction;
mod lines;
mod map;
#[cfg(test)]
mod tests;

pub use console::Annotator;

use file::{Opened, SymbolFile};
use std::sync::{Arc, Mutex, PoisonError};
use vmm_common::index::VmIndex;
use vmm_common::plan::{ImageSource, Plan, VmPlan};

/// The names of each VM's kernel.
#[derive(Clone, Debug, Default)]
pub struct Names {
    vms: Vec<Arc<Named>>,
}

#[derive(Debug)]
struct Named {
    vm: String,
    symbols: Mutex<Source>,
}

/// Where a VM's names come from.
#[derive(Debug)]
enum Source {
    None,
    Opened {
        symbols: Opened,
        /// Where that is another file.
        kernel: Option<Opened>,
    },
    Read {
        file: Box<SymbolFile>,
        /// A line for the first dump.
        doubt: Option<String>,
    },
}

impl Names {
    /// Opens what names the kernels of `plan`: the file given for it, or the kernel itself. One
    /// that cannot be opened any more has no names; other programs may change files at any time.
    #[must_use]
    pub fn open(plan: &Plan) -> Self {
        let open = |vm: &VmPlan| {
            let symbols = Mutex::new(Source::open(vm));
            Arc::new(Named { vm: vm.name.clone(), symbols })
        };
        Self { vms: plan.vms.iter().map(open).collect() }
    }

    /// The lines of a dump of a VM, with names.
    #[must_use]
    pub fn annotate(&self, VmIndex(vm): VmIndex, text: &str) -> String {
        let Some(named) = self.vms.get(vm) else { return lines::without_names(text) };
        let source = &mut *named.symbols.lock().unwrap_or_else(PoisonError::into_inner);
        source.read();
        let Source::Read { file, doubt } = source else { return lines::without_names(text) };
        let mut annotated = String::new();
        for line in text.lines() {
            let named = lines::named(line, file);
            if named != line
                && let Some(doubt) = doubt.take()
            {
                annotated += &(doubt + "\n");
            }
            annotated += &(named + "\n");
        }
        annotated
    }

    /// The VM whose lines are led by this name.
    fn vm(&self, name: &str) -> Option<VmIndex> {
        self.vms.iter().position(|named| named.vm == name).map(VmIndex)
    }
}

impl Source {
    fn open(vm: &VmPlan) -> Self {
        let kernel = match &vm.boot.kernel {
            ImageSource::File(path) => Opened::open(path).ok(),
            ImageSource::Builtin(_) => None,
        };
        match (&vm.boot.symbols, kernel) {
            (Some(path), kernel) => match Opened::open(path) {
                Ok(symbols) => Self::Opened { symbols, kernel },
                Err(_) => Self::None,
            },
            (None, Some(symbols)) => Self::Opened { symbols, kernel: None },
            (None, None) => Self::None,
        }
    }

    /// Reads what was opened, once.
    fn read(&mut self) {
        let Self::Opened { symbols, kernel } = self else { return };
        let Some(file) = symbols.read() else {
            *self = Self::None;
            return;
        };
        // A compressed kernel does not say.
        let of_kernel = kernel.as_ref().and_then(Opened::build_id);
        let doubt = match (file.build_id(), of_kernel) {
            (Some(named), Some(runs)) if named != runs => {
                Some(format!("the names are of another build: {named}, and the kernel is {runs}"))
            }
            _ => None,
        };
        *self = Self::Read { file: Box::new(file), doubt };
    }
}
