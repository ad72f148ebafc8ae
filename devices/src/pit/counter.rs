//! One counter of the 8254 as a function of the clock (datasheet, "Mode definitions").
//!
//! A counter is not counted down: it knows the count it was loaded with and how many clocks have
//! passed since, and output, value and next edge follow from these. Advancing over a million
//! periods is one division.

/// The six counting modes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// Mode 0: low from the control word until the count ends.
    InterruptOnTerminalCount,
    /// Mode 1: low for the count after each gate edge.
    OneShot,
    /// Mode 2: low for the last clock of each period.
    RateGenerator,
    /// Mode 3: high for the first half of each period.
    SquareWave,
    /// Mode 4: low for one clock when the count ends.
    SoftwareStrobe,
    /// Mode 5: mode 4, started by a gate edge.
    HardwareStrobe,
}

impl Mode {
    /// Control word bits 3-1; 6 and 7 are modes 2 and 3 as well.
    pub(super) const fn from_bits(bits: u8) -> Self {
        match bits & 7 {
            0 => Self::InterruptOnTerminalCount,
            1 => Self::OneShot,
            2 | 6 => Self::RateGenerator,
            3 | 7 => Self::SquareWave,
            4 => Self::SoftwareStrobe,
            _ => Self::HardwareStrobe,
        }
    }

    const fn is_periodic(self) -> bool {
        matches!(self, Self::RateGenerator | Self::SquareWave)
    }

    /// A gate edge, rather than a write, loads the count.
    const fn is_triggered(self) -> bool {
        matches!(self, Self::OneShot | Self::HardwareStrobe)
    }
}

/// One counting element with its gate.
#[derive(Clone, Debug)]
pub(super) struct Counter {
    mode: Mode,
    is_bcd: bool,
    gate: bool,
    /// The count being counted, 1 to 65,536; `None` until one is loaded.
    count: Option<u64>,
    /// A count written and not loaded yet.
    next_count: Option<u64>,
    /// Clocks counted since the count was loaded, up to tick `since`.
    elapsed: u64,
    /// The tick up to which `elapsed` is right. One ahead of time just after loading, because a
    /// count is loaded by the clock after the write.
    since: u64,
    now: u64,
    /// Mode 0 stops between the two bytes of a new count.
    is_held: bool,
}

impl Counter {
    pub(super) const fn new(mode: Mode, is_bcd: bool, gate: bool, tick: u64) -> Self {
        Self {
            mode,
            is_bcd,
            gate,
            count: None,
            next_count: None,
            elapsed: 0,
            since: tick,
            now: tick,
            is_held: false,
        }
    }

    /// A control word: forgets the count.
    pub(super) fn restart(&mut self, mode: Mode, is_bcd: bool) {
        *self = Self::new(mode, is_bcd, self.gate, self.now);
    }

    /// Brings the counter to `tick`; returns the number of rising edges of OUT on the way.
    pub(super) fn advance(&mut self, tick: u64) -> u64 {
        self.now = self.now.max(tick);
        let mut edges = 0;
        if let Some(boundary) = self.reload_tick().filter(|&boundary| boundary <= self.now) {
            edges += self.run_to(boundary);
            self.reload();
        }
        edges + self.run_to(self.now)
    }

    /// Writes a count; 0 is the largest (2^16, or 10^4 in BCD).
    pub(super) fn write(&mut self, value: u16) {
        let count = match (if self.is_bcd { from_bcd(value) } else { u64::from(value) }, self.mode)
        {
            (0, _) => self.modulus(),
            // A period of one clock is illegal (datasheet, modes 2 and 3): there is no room for
            // an edge. Two is the nearest that works.
            (1, Mode::RateGenerator | Mode::SquareWave) => 2,
            (count, _) => count,
        };
        self.is_held = false;
        if self.mode.is_triggered() || (self.mode.is_periodic() && self.count.is_some()) {
            self.next_count = Some(count);
        } else {
            self.load(count);
        }
    }

    /// The first byte of two was written.
    pub(super) fn hold(&mut self) {
        if self.mode == Mode::InterruptOnTerminalCount {
            self.is_held = true;
            self.elapsed = 0;
        }
    }

    /// Sets the gate at the tick advanced to. A rising edge triggers modes 1 and 5 and starts a new
    /// period in 2 and 3.
    pub(super) fn set_gate(&mut self, gate: bool) {
        let is_rising = gate && !self.gate;
        self.gate = gate;
        let is_trigger = is_rising && (self.mode.is_triggered() || self.mode.is_periodic());
        if is_trigger && let Some(count) = self.next_count.take().or(self.count) {
            self.load(count);
        }
    }

    /// The level of OUT.
    pub(super) fn output(&self) -> bool {
        let Some(count) = self.count else { return self.mode != Mode::InterruptOnTerminalCount };
        match self.mode {
            Mode::InterruptOnTerminalCount => !self.is_held && self.elapsed >= count,
            Mode::OneShot => self.elapsed >= count,
            Mode::RateGenerator => !self.gate || self.elapsed % count != count - 1,
            Mode::SquareWave => !self.gate || self.elapsed % count < high_clocks(count),
            Mode::SoftwareStrobe | Mode::HardwareStrobe => self.elapsed != count,
        }
    }

    /// The value of the counting element as the CPU reads it.
    pub(super) fn value(&self) -> u16 {
        let count = self.count.unwrap_or(0);
        let value = match self.mode {
            Mode::RateGenerator if count != 0 => count - self.elapsed % count,
            // Counts by two, once through for each half of the period.
            Mode::SquareWave if count != 0 => {
                let (position, high) = (self.elapsed % count, high_clocks(count));
                let into_half = if position < high { position } else { position - high };
                (count & !1) - 2 * into_half
            }
            _ => count + self.modulus() - self.elapsed % self.modulus(),
        };
        let value = (value % self.modulus()) as u16;
        if self.is_bcd { to_bcd(value) } else { value }
    }

    /// The count last written, if any, has not been loaded yet.
    pub(super) fn is_null(&self) -> bool {
        self.count.is_none() || self.next_count.is_some() || self.now < self.since
    }

    /// Clocks from one rising edge of OUT to the next; 0 in modes that have one at most.
    pub(super) fn period(&self) -> u64 {
        self.count.filter(|_| self.mode.is_periodic()).unwrap_or(0)
    }

    /// The tick of the next rising edge of OUT, later than the current one.
    pub(super) fn next_rising_edge(&self) -> Option<u64> {
        let count = self.count.filter(|_| self.is_running())?;
        let wait = match (self.mode, self.next_count) {
            (Mode::SquareWave, Some(next)) if self.elapsed % count < high_clocks(count) => {
                self.to_half_end(count) + next - high_clocks(next)
            }
            (Mode::SquareWave | Mode::RateGenerator, _) => count - self.elapsed % count,
            (Mode::InterruptOnTerminalCount | Mode::OneShot, _) => {
                count.checked_sub(self.elapsed).filter(|&wait| wait != 0)?
            }
            (Mode::SoftwareStrobe | Mode::HardwareStrobe, _) => {
                (count + 1).checked_sub(self.elapsed).filter(|&wait| wait != 0)?
            }
        };
        Some(self.since + wait)
    }

    fn load(&mut self, count: u64) {
        self.count = Some(count);
        self.next_count = None;
        self.elapsed = 0;
        self.since = self.now + 1;
    }

    fn is_running(&self) -> bool {
        self.count.is_some() && (self.gate || self.mode.is_triggered()) && !self.is_held
    }

    /// When a periodic counter loads a count written in the middle of a period: at the end
    /// of the period, or of the half period in mode 3.
    fn reload_tick(&self) -> Option<u64> {
        let count = self.count.filter(|_| self.next_count.is_some() && self.is_running())?;
        match self.mode {
            Mode::RateGenerator => Some(self.since + count - self.elapsed % count),
            Mode::SquareWave => Some(self.since + self.to_half_end(count)),
            Mode::InterruptOnTerminalCount | Mode::OneShot => None,
            Mode::SoftwareStrobe | Mode::HardwareStrobe => None,
        }
    }

    /// Loads the pending count, having run exactly to [`Self::reload_tick`].
    fn reload(&mut self) {
        let is_mid_period = self.count.is_some_and(|count| !self.elapsed.is_multiple_of(count));
        if let Some(next) = self.next_count.take() {
            self.count = Some(next);
            self.elapsed = if is_mid_period { high_clocks(next) } else { 0 };
        }
    }

    /// Counts on to `tick`; returns the rising edges of OUT on the way.
    fn run_to(&mut self, tick: u64) -> u64 {
        let Some(clocks) = tick.checked_sub(self.since) else { return 0 };
        self.since = tick;
        let Some(count) = self.count.filter(|_| self.is_running()) else { return 0 };
        let before = self.elapsed;
        self.elapsed += clocks;
        let passed = |end: u64| u64::from(before < end && end <= self.elapsed);
        match self.mode {
            Mode::RateGenerator | Mode::SquareWave => self.elapsed / count - before / count,
            Mode::InterruptOnTerminalCount | Mode::OneShot => passed(count),
            Mode::SoftwareStrobe | Mode::HardwareStrobe => passed(count + 1),
        }
    }

    /// Clocks to the end of the current half of a square wave.
    fn to_half_end(&self, count: u64) -> u64 {
        let position = self.elapsed % count;
        let high = high_clocks(count);
        if position < high { high - position } else { count - position }
    }

    const fn modulus(&self) -> u64 {
        if self.is_bcd { 10_000 } else { 1 << 16 }
    }
}

/// Clocks for which a square wave is high: the longer half of an odd count.
const fn high_clocks(count: u64) -> u64 {
    count.div_ceil(2)
}

/// Four decimal digits; a digit above 9 keeps its binary value, as in the counting element.
fn from_bcd(value: u16) -> u64 {
    [12, 8, 4, 0].iter().fold(0, |sum, shift| sum * 10 + u64::from((value >> shift) & 0xF))
}

fn to_bcd(value: u16) -> u16 {
    (value / 1000 % 10) << 12 | (value / 100 % 10) << 8 | (value / 10 % 10) << 4 | (value % 10)
}
