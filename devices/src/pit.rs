//! The programmable interval timer: an 8254 and port 0x61, which gates and shows its channel 2.
//!
//! `counter.rs` is one counter as a function of clock ticks, `channel.rs` puts the 8254's byte-wide
//! access around it. Channel 0 drives IRQ0, channel 1 once refreshed memory, channel 2 is the
//! speaker and the guest's stopwatch.
//!
//! IRQ0 is edge-triggered and in mode 2 its low pulse lasts one clock, 838 ns: an owner who
//! samples a level between two deadlines would see it high for ever. So the pin is handed out as
//! *edges*: [`Pit::take_ticks`] counts the rising edges since its last call, so that late
//! sampling loses none: the owner lowers and raises IRQ0 once for each,
//! through a [`crate::backlog::Backlog`].
//!
//! Source: Intel 8254 datasheet (order 231164); ICH9 datasheet 13.7.1 for port 0x61.

mod channel;
mod counter;
#[cfg(test)]
mod tests;

use crate::backlog::Ticks;
use crate::time::MachineTime;
use channel::Channel;

/// Frequency of the counters' clock in Hz.
pub const CLOCK_HZ: u64 = 1_193_182;

const NS_PER_SECOND: u128 = 1_000_000_000;

/// Control word register; the channels are the three ports below it.
const CHANNEL_0: u16 = 0x40;
const CHANNEL_2: u16 = 0x42;
const CONTROL: u16 = 0x43;
/// System control port B (named NMI status and control in the ICH).
const SYSTEM_CONTROL_B: u16 = 0x61;

/// Control word bits 7-6 of the read-back command.
const READ_BACK: u8 = 0b11;
const READ_BACK_NO_COUNT: u8 = 1 << 5;
const READ_BACK_NO_STATUS: u8 = 1 << 4;

/// Port 0x61: channel 2's gate, the bits that keep what is written, refresh toggle, channel 2.
const GATE_2: u8 = 1 << 0;
const SYSTEM_CONTROL_WRITABLE: u8 = 0x0F;
const REFRESH_TOGGLE: u8 = 1 << 4;
const OUTPUT_2: u8 = 1 << 5;
/// Channel 1 of a PC asks for a refresh every 18 clocks.
const REFRESH_NS: u64 = 15_085;

/// The 8254 of a PC with port 0x61.
#[derive(Clone, Debug)]
pub struct Pit {
    channels: [Channel; 3],
    system_control: u8,
    /// Rising edges of channel 0 that the owner has not taken.
    irq0_edges: u64,
    /// Channel 0 was programmed since then.
    is_reprogrammed: bool,
}

impl Pit {
    /// A timer whose three channels wait for a control word, outputs high, channel 2 gated off.
    ///
    /// Firmware would leave channel 0 running at 18.2 Hz. Here nothing runs, so that a guest which
    /// never touches the timer never wakes the core; one that does programs it first.
    #[must_use]
    pub fn new(now: MachineTime) -> Self {
        let tick = tick_at(now);
        Self {
            channels: [
                Channel::new(true, tick),
                Channel::new(true, tick),
                Channel::new(false, tick),
            ],
            system_control: 0,
            irq0_edges: 0,
            is_reprogrammed: false,
        }
    }

    /// Reads port 0x40 to 0x43 or 0x61 at `now`; the control word (0x43) cannot be read and, like
    /// any other port, reads all ones.
    pub fn read(&mut self, port: u16, now: MachineTime) -> u8 {
        self.advance(now);
        match port {
            CHANNEL_0..=CHANNEL_2 => self.channels[usize::from(port - CHANNEL_0)].read(),
            SYSTEM_CONTROL_B => {
                let is_refresh_odd = !(now.as_ns() / REFRESH_NS).is_multiple_of(2);
                self.system_control
                    | if is_refresh_odd { REFRESH_TOGGLE } else { 0 }
                    | if self.channels[2].output() { OUTPUT_2 } else { 0 }
            }
            _ => 0xFF,
        }
    }

    /// Writes port 0x40 to 0x43 or 0x61 at `now`; a write to any other port is ignored.
    pub fn write(&mut self, port: u16, value: u8, now: MachineTime) {
        self.advance(now);
        let was_high = self.channels[0].output();
        if is_channel_0_programmed(port, value) {
            self.is_reprogrammed = true;
            self.irq0_edges = 0;
        }
        match port {
            CHANNEL_0..=CHANNEL_2 => self.channels[usize::from(port - CHANNEL_0)].write(value),
            CONTROL => self.write_control(value),
            SYSTEM_CONTROL_B => {
                self.system_control = value & SYSTEM_CONTROL_WRITABLE;
                self.channels[2].set_gate(value & GATE_2 != 0);
            }
            _ => {}
        }
        self.irq0_edges += u64::from(!was_high && self.channels[0].output());
    }

    /// The level of OUT of `channel` (0 to 2) at `now`; channels above 2 read low.
    ///
    /// Not fit for driving IRQ0: see [`Self::take_ticks`].
    #[must_use]
    pub fn output(&self, channel: usize, now: MachineTime) -> bool {
        self.channels.get(channel).is_some_and(|channel| {
            let mut then = channel.clone();
            then.advance(tick_at(now));
            then.output()
        })
    }

    /// Brings all channels to `now` in one step, whatever their periods.
    pub fn advance(&mut self, now: MachineTime) {
        let tick = tick_at(now);
        self.irq0_edges = self.irq0_edges.saturating_add(self.channels[0].advance(tick));
        self.channels[1].advance(tick);
        self.channels[2].advance(tick);
    }

    /// The rising edges of IRQ0 up to `now` since the last call.
    ///
    /// The owner pulses IRQ0 (low, then high) once for each: an interrupt controller holds one.
    pub fn take_ticks(&mut self, now: MachineTime) -> Ticks {
        self.advance(now);
        let count = core::mem::take(&mut self.irq0_edges);
        // Two divisions of 128 bits, which most accesses can skip.
        let period = if count > 0 { self.channels[0].period() } else { 0 };
        Ticks {
            count,
            period_ns: if period > 0 { instant_of(period).as_ns() } else { 0 },
            is_reprogrammed: core::mem::take(&mut self.is_reprogrammed),
        }
    }

    /// The next rising edge of IRQ0 if the guest changes nothing. After `advance(now)` this is
    /// later than `now`; `None` if channel 0 is stopped or its one-shot count has ended.
    #[must_use]
    pub fn deadline(&self) -> Option<MachineTime> {
        self.channels[0].next_rising_edge().map(instant_of)
    }

    fn write_control(&mut self, value: u8) {
        match value >> 6 {
            READ_BACK => {
                for (number, channel) in self.channels.iter_mut().enumerate() {
                    if value & (0b10 << number) != 0 {
                        let has_count = value & READ_BACK_NO_COUNT == 0;
                        let has_status = value & READ_BACK_NO_STATUS == 0;
                        channel.latch(has_count, has_status);
                    }
                }
            }
            number => self.channels[usize::from(number)].write_control(value),
        }
    }
}

/// A count for channel 0, or a control word that is no latch command.
const fn is_channel_0_programmed(port: u16, value: u8) -> bool {
    const CHANNEL: u8 = 0b1100_0000;
    const ACCESS: u8 = 0b0011_0000;
    match port {
        CHANNEL_0 => true,
        CONTROL => value & CHANNEL == 0 && value & ACCESS != 0,
        _ => false,
    }
}

/// The number of the clock tick at or before `now`.
fn tick_at(now: MachineTime) -> u64 {
    (u128::from(now.as_ns()) * u128::from(CLOCK_HZ) / NS_PER_SECOND) as u64
}

/// The first nanosecond of clock tick `tick`.
fn instant_of(tick: u64) -> MachineTime {
    let ns = (u128::from(tick) * NS_PER_SECOND).div_ceil(u128::from(CLOCK_HZ));
    u64::try_from(ns).map_or(MachineTime::FAR_FUTURE, MachineTime::from_ns)
}
