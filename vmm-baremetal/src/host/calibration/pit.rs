//! Channel 2 of the 8254, by the gate of the speaker.

use metal::port::Port;

/// Its rate, Hz.
pub use metal::nmi_timer::PIT_HZ as HZ;

const GATE: Port = Port::new(0x61);
const CONTROL: Port = Port::new(0x43);
const CHANNEL_2: Port = Port::new(0x42);

/// Speaker off, gate low; then mode 0, low and high byte, all ones; then gate high starts the
/// count.
pub fn start() {
    let gate = GATE.read() & !3;
    GATE.write(gate);
    CONTROL.write(0xb0);
    CHANNEL_2.write(0xff);
    CHANNEL_2.write(0xff);
    GATE.write(gate | 1);
}

/// The count, latched.
pub fn read() -> u16 {
    CONTROL.write(0x80);
    let low = CHANNEL_2.read();
    u16::from_le_bytes([low, CHANNEL_2.read()])
}

/// The count has ended, and wraps to the top.
pub fn is_over() -> bool {
    GATE.read() & 0x20 != 0
}
