//! The floor as a process: open /dev/kvm, load a guest of a few bytes, loop. `floor IMAGE
//! PROTOCOL`.

use bench::bare::Bare;
use bench::images::PROTOCOLS;
use std::io::Write;

fn main() -> anyhow::Result<()> {
    let path = std::env::args_os().nth(1).expect("an image's path");
    let image = std::fs::read(path)?;
    let name = std::env::args().nth(2).expect("its boot protocol");
    let protocol = PROTOCOLS.iter().find(|(_, known)| *known == name);
    let (protocol, _) = protocol.expect("a protocol by its name in a config");
    let mut out = std::io::stdout();
    Bare::new(&image, *protocol, "")?.run_to_end(|byte| {
        // A reader that left ends the process by the next signal or write.
        let _ = out.write_all(&[byte]);
    })
}
