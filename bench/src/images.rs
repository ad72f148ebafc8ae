//! The same guest as an image of each boot protocol: it prints a line and powers off.

use crate::code::one_line_then_off;
use samples::{ADDRESS, ElfFile, MACHINE_X86_64, Segment, note, put};
use vmm_common::plan::BootKind;

#[allow(dead_code, missing_docs, reason = "the tests of the loaders use more of it")]
#[path = "../../vmm-common/tests/images/samples.rs"]
mod samples;

/// Every protocol, and its name in a config.
pub const PROTOCOLS: [(BootKind, &str); 4] = [
    (BootKind::Multiboot, "multiboot"),
    (BootKind::Pvh, "pvh"),
    (BootKind::Linux, "linux"),
    (BootKind::Flat, "raw"),
];

/// The guest as an image for `protocol`. Its code is the same in 32 and in 64 bits.
pub fn image(protocol: BootKind) -> Vec<u8> {
    match protocol {
        BootKind::Auto | BootKind::Flat => one_line_then_off(),
        BootKind::Multiboot => {
            let mut image = samples::multiboot_by_addresses();
            put(&mut image, 64, &one_line_then_off());
            image
        }
        BootKind::Pvh => {
            let text = Segment::load(ADDRESS.into(), one_line_then_off());
            let note = Segment::note(note(b"Xen", 18, &u64::from(ADDRESS).to_le_bytes()));
            let (machine, entry) = (MACHINE_X86_64, ADDRESS.into());
            ElfFile { is_64_bit: true, machine, entry, segments: vec![text, note] }.build()
        }
        BootKind::Linux => {
            /// Behind the boot sector and one sector of setup; the 64-bit entry is 0x200 further.
            const ENTRY: usize = 0x400 + 0x200;
            let mut image = samples::bzimage();
            put(&mut image, ENTRY, &one_line_then_off());
            image
        }
    }
}
