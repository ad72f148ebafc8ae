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

pub use console::Annotator;

use file::{Opened, SymbolFile};
use std::sync::{Arc, Mutex, PoisonError};
use vmm_common::index::VmIndex;
use vmm_common::plan::{ImageSource, Plan};

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
    Opened(Opened),
    Read(Box<SymbolFile>),
}

impl Names {
    /// Opens what names the kernels of `plan`: the file given for it, or the kernel itself. A kernel
    /// that cannot be opened any more has no names; other programs may change files at any time.
    #[must_use]
    pub fn open(plan: &Plan) -> Self {
        let open = |vm: &vmm_common::plan::VmPlan| {
            let path = match &vm.boot.kernel {
                ImageSource::File(path) => Some(path),
                ImageSource::Builtin(_) => None,
            };
            let file = path.and_then(|path| Opened::open(path).ok());
            let symbols = Mutex::new(file.map_or(Source::None, Source::Opened));
            Arc::new(Named { vm: vm.name.clone(), symbols })
        };
        Self { vms: plan.vms.iter().map(open).collect() }
    }

    /// The lines of a dump of a VM, with names.
    #[must_use]
    pub fn annotate(&self, VmIndex(vm): VmIndex, text: &str) -> String {
        let Some(named) = self.vms.get(vm) else { return lines::without_names(text) };
        let source = &mut *named.symbols.lock().unwrap_or_else(PoisonError::into_inner);
        if let Source::Opened(file) = source {
            *source = file.read().map_or(Source::None, |file| Source::Read(file.into()));
        }
        match source {
            Source::Read(file) => text.lines().map(|line| lines::named(line, file) + "\n").collect(),
            Source::None | Source::Opened(_) => lines::without_names(text),
        }
    }

    /// The VM whose lines are led by this name.
    fn vm(&self, name: &str) -> Option<VmIndex> {
        self.vms.iter().position(|named| named.vm == name).map(VmIndex)
    }
}
