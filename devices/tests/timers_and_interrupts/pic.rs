//! The 8259A pair against a model that keeps its priorities as a list.

use crate::seed::{Random, for_each_seed};
use devices::pic::PicPair;

/// A chip of the model: lines by number, priorities as an ordered list, the highest first.
struct ModelChip {
    base: u8,
    order: Vec<usize>,
    level: [bool; 8],
    edge: [bool; 8],
    is_level_triggered: [bool; 8],
    masked: [bool; 8],
    served: [bool; 8],
    is_auto_eoi: bool,
    rotates_on_auto_eoi: bool,
    is_special_mask: bool,
    is_special_nested: bool,
}

impl ModelChip {
    fn new(base: u8, icw4: u8) -> Self {
        Self {
            base,
            order: (0..8).collect(),
            level: [false; 8],
            edge: [false; 8],
            is_level_triggered: [false; 8],
            masked: [false; 8],
            served: [false; 8],
            is_auto_eoi: icw4 & 2 != 0,
            rotates_on_auto_eoi: false,
            is_special_mask: false,
            is_special_nested: icw4 & 16 != 0,
        }
    }

    fn asks(&self, line: usize) -> bool {
        if self.is_level_triggered[line] { self.level[line] } else { self.edge[line] }
    }

    /// Walks down the priorities: the first line that asks wins, unless one in service is above.
    /// `cascade` is the line of a chip below, which asks by itself.
    fn winner(&self, cascade: Option<(usize, bool)>) -> Option<usize> {
        for &line in &self.order {
            let is_cascade = cascade.is_some_and(|(cascade, _)| cascade == line);
            let asks = match cascade {
                Some((cascade, asks)) if cascade == line => asks,
                _ => self.asks(line),
            };
            let may_nest = self.is_special_nested && is_cascade && asks;
            if asks && !self.masked[line] && (may_nest || !self.blocks(line)) {
                return Some(line);
            }
            if self.blocks(line) && !may_nest {
                return None;
            }
            // A nesting line that is masked still holds back those below.
            if self.blocks(line) {
                return None;
            }
        }
        None
    }

    fn blocks(&self, line: usize) -> bool {
        self.served[line] && !(self.is_special_mask && self.masked[line])
    }

    fn serve(&mut self, line: usize) {
        self.edge[line] = false;
        if self.is_auto_eoi {
            if self.rotates_on_auto_eoi {
                self.rotate_below(line);
            }
        } else {
            self.served[line] = true;
        }
    }

    fn rotate_below(&mut self, line: usize) {
        while *self.order.last().expect("eight lines") != line {
            self.order.rotate_left(1);
        }
    }

    fn first_served(&self) -> Option<usize> {
        self.order.iter().copied().find(|&line| self.blocks(line))
    }

    fn set_line(&mut self, line: usize, level: bool) {
        self.edge[line] |= level && !self.level[line];
        self.level[line] = level;
    }

    fn operate(&mut self, ocw2: u8) {
        let (operation, line) = (ocw2 >> 5, usize::from(ocw2 & 7));
        let target = if operation & 2 != 0 { Some(line) } else { self.first_served() };
        match operation {
            0 => self.rotates_on_auto_eoi = false,
            4 => self.rotates_on_auto_eoi = true,
            6 => self.rotate_below(line),
            2 => {}
            _ => {
                if let Some(line) = target {
                    self.served[line] = false;
                    if operation & 4 != 0 {
                        self.rotate_below(line);
                    }
                }
            }
        }
    }
}

struct Model {
    primary: ModelChip,
    secondary: ModelChip,
}

impl Model {
    fn winner(&self) -> Option<usize> {
        let below = self.secondary.winner(None).is_some();
        self.primary.winner(Some((2, below)))
    }

    fn acknowledge(&mut self) -> u8 {
        let below = self.secondary.winner(None);
        match self.winner() {
            None => self.primary.base + 7,
            Some(line) => {
                self.primary.serve(line);
                match below.filter(|_| line == 2) {
                    None => self.primary.base + line as u8,
                    Some(line) => {
                        self.secondary.serve(line);
                        self.secondary.base + line as u8
                    }
                }
            }
        }
    }
}

fn bits(lines: &[bool; 8]) -> u8 {
    lines.iter().rev().fold(0, |bits, &is_set| bits << 1 | u8::from(is_set))
}

fn step(pic: &mut PicPair, model: &mut Model, random: &Random) {
    let is_primary = random.flip();
    let command = if is_primary { 0x20 } else { 0xA0 };
    let chip = if is_primary { &mut model.primary } else { &mut model.secondary };
    let byte = random.next() as u8;
    match random.below(12) {
        0..=4 => {
            let line = random.pick(&[0, 1, 3, 4, 5, 6, 7]);
            let level = random.flip();
            chip.set_line(line, level);
            pic.set_line(line as u8 + if is_primary { 0 } else { 8 }, level);
        }
        5..=7 => assert_eq!(pic.acknowledge(), model.acknowledge()),
        8 => {
            let mask = byte & random.next() as u8;
            chip.masked = core::array::from_fn(|line| mask & (1 << line) != 0);
            pic.write(command + 1, mask);
        }
        9 => {
            let ocw2 = random.pick(&[0x20, 0x20, 0x60 | byte & 7, byte & 0xE7]);
            chip.operate(ocw2);
            pic.write(command, ocw2);
        }
        10 => {
            let ocw3 = random.pick(&[0x48u8, 0x68]);
            chip.is_special_mask = ocw3 == 0x68;
            pic.write(command, ocw3);
        }
        _ => {
            let existing = if is_primary { 0xF8 } else { 0xDE };
            chip.is_level_triggered =
                core::array::from_fn(|line| byte & existing & (1 << line) != 0);
            pic.write(if is_primary { 0x4D0 } else { 0x4D1 }, byte);
        }
    }
}

#[test]
fn pic_pair_does_what_the_model_does() {
    for_each_seed(3000, |random| {
        let icw4 = [(); 2].map(|()| 1 | random.pick(&[0, 2, 16, 18]));
        let mut pic = PicPair::new();
        let mut model = Model {
            primary: ModelChip::new(0x20, icw4[0]),
            secondary: ModelChip::new(0x28, icw4[1]),
        };
        for (port, base, icw3, icw4) in [(0x20, 0x20, 4, icw4[0]), (0xA0, 0x28, 2, icw4[1])] {
            pic.write(port, 0x11);
            for word in [base, icw3, icw4, 0] {
                pic.write(port + 1, word);
            }
        }
        for _ in 0..200 {
            step(&mut pic, &mut model, random);
            assert_eq!(pic.has_interrupt(), model.winner().is_some());
            for (port, chip) in [(0x20, &model.primary), (0xA0, &model.secondary)] {
                pic.write(port, 0x0B);
                assert_eq!(pic.read(port), bits(&chip.served), "in service, {port:#x}");
                pic.write(port, 0x0A);
                let cascade = port == 0x20 && model.secondary.winner(None).is_some();
                let asks = core::array::from_fn(|line| chip.asks(line) || (line == 2 && cascade));
                assert_eq!(pic.read(port), bits(&asks), "requested, {port:#x}");
            }
        }
    });
}

#[test]
fn pic_pair_survives_any_access() {
    for_each_seed(2000, |random| {
        let mut pic = PicPair::new();
        for _ in 0..200 {
            let port = random.pick(&[0x20, 0x21, 0xA0, 0xA1, 0x4D0, 0x4D1, random.next() as u16]);
            match random.below(4) {
                0 => pic.write(port, random.next() as u8),
                1 => {
                    pic.read(port);
                }
                2 => pic.set_line(random.any() as u8, random.flip()),
                _ => {
                    pic.acknowledge();
                }
            }
        }
    });
}
