//! The I/O APIC against a model with one small state machine a pin.

use crate::seed::for_each_seed;
use devices::ioapic::IoApic;

#[derive(Clone, Copy, Default)]
struct ModelPin {
    vector: u8,
    is_unmasked: bool,
    is_level: bool,
    asserted: bool,
    edge: bool,
    awaits_eoi: bool,
}

impl ModelPin {
    fn set(&mut self, level: bool) {
        self.edge |= level && !self.asserted && self.is_unmasked && !self.is_level;
        self.asserted = level;
    }

    fn configure(&mut self, vector: u8, is_unmasked: bool, is_level: bool) {
        (self.vector, self.is_unmasked, self.is_level) = (vector, is_unmasked, is_level);
        self.edge &= is_unmasked && !is_level;
        self.awaits_eoi &= is_level;
    }

    fn send(&mut self, is_accepted: bool) -> Option<u8> {
        let is_due = match self.is_level {
            true => self.is_unmasked && self.asserted && !self.awaits_eoi,
            false => self.is_unmasked && core::mem::take(&mut self.edge),
        };
        self.awaits_eoi |= is_due && self.is_level && is_accepted;
        is_due.then_some(self.vector)
    }

    fn end(&mut self, vector: u8) {
        self.awaits_eoi &= self.vector != vector;
    }
}

#[test]
fn io_apic_sends_what_the_model_sends() {
    for_each_seed(3000, |random| {
        let mut apic = IoApic::new(0);
        let mut pins = [ModelPin::default(); 24];
        for _ in 0..200 {
            let pin = random.below(24) as usize;
            let vector = 0x40 + random.below(8) as u8;
            match random.below(4) {
                0 | 1 => {
                    let level = random.flip();
                    apic.set_line(pin as u8, level);
                    pins[pin].set(level);
                }
                2 => {
                    let (is_unmasked, is_level) = (random.flip(), random.flip());
                    apic.write(0x00, 0x10 + 2 * pin as u32);
                    let bits = u32::from(!is_unmasked) << 16 | u32::from(is_level) << 15;
                    apic.write(0x10, bits | u32::from(vector));
                    pins[pin].configure(vector, is_unmasked, is_level);
                }
                _ => {
                    if random.flip() {
                        apic.end_of_interrupt(vector);
                    } else {
                        apic.write(0x40, u32::from(vector));
                    }
                    pins.iter_mut().for_each(|pin| pin.end(vector));
                }
            }
            if random.below(3) == 0 {
                continue;
            }
            let is_accepted = random.flip();
            let expected: Vec<u8> =
                pins.iter_mut().filter_map(|pin| pin.send(is_accepted)).collect();
            let mut sent = Vec::new();
            let mut first = 0;
            while let Some((pin, message)) = apic.next_message(first) {
                if is_accepted {
                    apic.accepted(pin, &message);
                }
                sent.push(message.vector);
                first = pin + 1;
            }
            assert_eq!(sent, expected);
        }
    });
}

#[test]
fn io_apic_survives_any_access() {
    for_each_seed(2000, |random| {
        let mut apic = IoApic::new(random.next() as u8);
        for _ in 0..200 {
            let offset = random.pick(&[0x00, 0x10, 0x10, 0x40, random.any()]);
            match random.below(4) {
                0 => apic.write(offset, random.any() as u32),
                1 => {
                    let _ = apic.read(offset);
                }
                2 => apic.set_line(random.any() as u8, random.flip()),
                _ => {
                    if let Some((pin, message)) = apic.next_message(random.next() as u8) {
                        apic.accepted(pin, &message);
                    }
                    apic.end_of_interrupt(random.next() as u8);
                }
            }
        }
    });
}
