//! The floor as a process: open /dev/kvm, load a guest of a few bytes, loop. `floor IMAGE`.

use bench::bare::Bare;
use std::io::Write;
use vmm_common::plan::BootKind;

fn main() -> anyhow::Result<()> {
    let path = std::env::args_os().nth(1).expect("an image's path");
    let image = std::fs::read(path)?;
    let mut out = std::io::stdout();
    Bare::new(&image, BootKind::Flat, "")?.run_to_end(|byte| {
        // A reader that left ends the process by the next signal or write.
        let _ = out.write_all(&[byte]);
    })
}
