//! A VM to be placed, as a text file describes it or as a fuzzer's bytes do.
//!
//! ```text
//! # what is wrong with it
//! boot: linux                     auto, multiboot, linux, pvh or flat
//! memory: 0x1000000               bytes of RAM
//! cmdline: quiet                  nothing if left out
//! module: 0x1000 first            bytes of a module, and its command line; any number of these
//! bios: 0x9000                    bytes of a BIOS stub; ours if left out
//! length: 0x800                   bytes of the image; up to the last one given if left out
//! error: kernel: version is 1.02; allowed: 2.06 to 2.255
//! 1f1: 01 00                      bytes of the image from there on, zero where none are given
//! ```

use vmm_common::boot::{Boot, BootError, Images, Part, place};
use vmm_common::plan::{BootKind, ImageSource, ModulePlan, VmPlan};
use vmm_common::seed::{SeedVm, to_plan};

/// What fills modules and stubs.
const FILLER: u8 = 0x55;
/// Bytes that lead a fuzzer's input: pages of RAM (4), modules (1), bytes of each (2), of the
/// command line (2) and of the BIOS stub (2).
const HEAD_BYTES: usize = 11;
const PAGE: u64 = 0x1000;
/// RAM of up to 4 GiB and a little, so that what lies beyond the most is there, too.
const MAX_PAGES: u32 = 0x10_0100;
const MAX_MODULES: u8 = 4;
const MAX_CMDLINE_BYTES: u16 = 4096;
/// The first stub that is too long has 0x8001 bytes.
const NO_BIOS: u16 = 0xffff;

/// A machine and its files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Case {
    pub kind: BootKind,
    pub ram_bytes: u64,
    pub cmdline: String,
    pub kernel: Vec<u8>,
    pub bios: Option<Vec<u8>>,
    pub modules: Vec<(Vec<u8>, String)>,
}

impl Case {
    /// A kernel in 16 MiB, and nothing else.
    pub fn of(kind: BootKind, kernel: Vec<u8>) -> Self {
        let (cmdline, bios, modules) = (String::new(), None, Vec::new());
        Self { kind, ram_bytes: 0x100_0000, cmdline, kernel, bios, modules }
    }

    /// The case that a text file describes, and the error it expects.
    pub fn parse(text: &str) -> Result<(Self, String), String> {
        let (mut case, mut expected) = (Self::of(BootKind::Auto, Vec::new()), String::new());
        let mut length = None;
        for (number, line) in text.lines().enumerate() {
            let Some((key, value)) = line.split_once(':').filter(|_| !line.starts_with('#')) else {
                continue;
            };
            let value = value.trim();
            let bad = || format!("line {}: {line}", number + 1);
            match key {
                "boot" => case.kind = kind(value).ok_or_else(bad)?,
                "memory" => case.ram_bytes = hex(value).ok_or_else(bad)?,
                "cmdline" => case.cmdline = value.into(),
                "module" => {
                    let (bytes, cmdline) = value.split_once(' ').unwrap_or((value, ""));
                    let bytes = filled(hex(bytes).ok_or_else(bad)?);
                    case.modules.push((bytes, cmdline.into()));
                }
                "bios" => case.bios = Some(filled(hex(value).ok_or_else(bad)?)),
                "length" => length = Some(hex(value).ok_or_else(bad)? as usize),
                "error" => expected = value.into(),
                at => {
                    let at = usize::from_str_radix(at, 16).ok().ok_or_else(bad)?;
                    let bytes = value.split_whitespace().map(|byte| u8::from_str_radix(byte, 16));
                    let bytes: Vec<u8> = bytes.collect::<Result<_, _>>().map_err(|_| bad())?;
                    let end = at + bytes.len();
                    case.kernel.resize(case.kernel.len().max(end), 0);
                    case.kernel[at..end].copy_from_slice(&bytes);
                }
            }
        }
        case.kernel.resize(length.unwrap_or(case.kernel.len()), 0);
        Ok((case, expected))
    }

    /// The case that a fuzzer's bytes describe.
    pub fn decode(kind: BootKind, input: &[u8]) -> Option<Self> {
        let (head, kernel) = input.split_at_checked(HEAD_BYTES)?;
        let half = |at: usize| u16::from_le_bytes([head[at], head[at + 1]]);
        let pages = u32::from_le_bytes([head[0], head[1], head[2], head[3]]) % MAX_PAGES;
        let module = (filled(half(5).into()), String::from("of a module"));
        Some(Self {
            kind,
            ram_bytes: u64::from(pages) * PAGE,
            cmdline: "c".repeat(usize::from(half(7) % (MAX_CMDLINE_BYTES + 1))),
            kernel: kernel.to_vec(),
            bios: Some(half(9)).filter(|len| *len != NO_BIOS).map(|len| filled(len.into())),
            modules: vec![module; usize::from(head[4] % (MAX_MODULES + 1))],
        })
    }

    /// Bytes for a fuzzer that come as near to the case as they can.
    pub fn encode(&self) -> Vec<u8> {
        let half = |len: usize| u16::try_from(len).unwrap_or(NO_BIOS - 1).to_le_bytes();
        let module = self.modules.first().map_or(0, |(bytes, _)| bytes.len());
        let mut input = ((self.ram_bytes / PAGE) as u32).to_le_bytes().to_vec();
        input.push(self.modules.len() as u8);
        input.extend(half(module));
        input.extend(half(self.cmdline.len()));
        let bios = self.bios.as_ref().map_or(NO_BIOS.into(), Vec::len);
        input.extend((bios as u16).to_le_bytes());
        input.extend(&self.kernel);
        input
    }

    /// Places it.
    pub fn place(&self) -> Result<Boot, BootError> {
        place(&self.vm(), &self.images())
    }

    pub fn vm(&self) -> VmPlan {
        let seed = SeedVm {
            id: 0,
            memory: self.ram_bytes,
            vcpu_count: 1,
            io_apic: 1,
            hpet: 1,
            local_apic: 1,
        };
        let mut vm = to_plan(&[seed]).vms.remove(0);
        vm.boot.kind = self.kind;
        vm.cmdline.clone_from(&self.cmdline);
        let module = |(_, cmdline): &(Vec<u8>, String)| ModulePlan {
            source: ImageSource::File(String::from("module")),
            cmdline: cmdline.clone(),
        };
        vm.boot.modules = self.modules.iter().map(module).collect();
        vm
    }

    pub fn images(&self) -> Images<'_> {
        let modules = self.modules.iter().map(|(bytes, _)| bytes.as_slice()).collect();
        Images { kernel: &self.kernel, bios: self.bios.as_deref(), modules }
    }
}

/// An error with the file whose fault it is.
pub fn message(error: &BootError) -> String {
    match error.part {
        Part::Kernel => format!("kernel: {error}"),
        Part::Bios => format!("bios: {error}"),
        Part::Module(index) => format!("module {index}: {error}"),
    }
}

fn kind(word: &str) -> Option<BootKind> {
    let kinds = [
        ("auto", BootKind::Auto),
        ("multiboot", BootKind::Multiboot),
        ("linux", BootKind::Linux),
        ("pvh", BootKind::Pvh),
        ("flat", BootKind::Flat),
    ];
    kinds.iter().find(|(name, _)| *name == word).map(|(_, kind)| *kind)
}

fn hex(word: &str) -> Option<u64> {
    u64::from_str_radix(word.strip_prefix("0x")?, 16).ok()
}

fn filled(len: u64) -> Vec<u8> {
    vec![FILLER; len as usize]
}
