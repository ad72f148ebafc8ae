//! Random instructions whose memory operand is [RDI], or strings between [RSI] and [RDI].

/// Flags (SDM vol. 1, 3.4.3).
const CF: u64 = 1;
const PF: u64 = 1 << 2;
const AF: u64 = 1 << 4;
const ZF: u64 = 1 << 6;
const SF: u64 = 1 << 7;
const OF: u64 = 1 << 11;
const ALL: u64 = CF | PF | AF | ZF | SF | OF;

/// An xorshift generator.
pub struct Random(u64);

impl Random {
    /// The stream of this seed.
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    /// Any number.
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// A number below `limit`.
    pub fn below(&mut self, limit: u64) -> u64 {
        (self.next() >> 8) % limit
    }

    /// One of them.
    pub fn pick<'a, T>(&mut self, choices: &'a [T]) -> &'a T {
        &choices[self.below(choices.len() as u64) as usize]
    }

    /// A number of any size: few bits and many come often.
    pub fn any(&mut self) -> u64 {
        let value = self.next() >> self.below(64);
        if self.below(4) == 0 { !value } else { value }
    }
}

/// One instruction or two, and what they need.
pub struct Code {
    /// The instruction.
    pub bytes: [u8; Self::ROOM],
    /// Its length.
    pub len: usize,
    /// Flags that all processors leave alike.
    pub defined_flags: u64,
    /// RDI is RAM, and RSI the device.
    pub is_from_device: bool,
    /// Both are the device.
    pub is_between_devices: bool,
    /// The device must not hold zero.
    pub wants_nonzero: bool,
    /// RAX is what the device holds.
    pub wants_equal: bool,
    /// RAX is small, and RDX is zero.
    pub is_division: bool,
    /// RCX, where it counts.
    pub rcx: Option<u64>,
    /// RBX, where it is a bit's number.
    pub bit_offset: Option<u64>,
}

impl Code {
    /// The most bytes.
    pub const ROOM: usize = 15;

    /// Operands of `size` bytes; `is_wide` allows 16 bytes from there on.
    pub fn random(random: &mut Random, size: u8, is_wide: bool) -> Self {
        let mut code = Self {
            bytes: [0; Self::ROOM],
            len: 0,
            defined_flags: ALL,
            is_from_device: false,
            is_between_devices: false,
            wants_nonzero: false,
            wants_equal: false,
            is_division: false,
            rcx: None,
            bit_offset: None,
        };
        match random.below(if is_wide { 15 } else { 12 }) {
            0 | 1 => code.alu(random, size),
            2 => code.alu_immediate(random, size),
            3 => code.exchange(random, size),
            4 => code.alone(random, size),
            5 => code.shift(random, size),
            6 => code.double_shift(random, size),
            7 => code.bit(random, size),
            8 => code.multiply(random, size),
            9 => code.moves(random, size),
            10 => code.condition(random, size),
            11 => code.scan(random, size),
            12 => code.string(random),
            13 => code.stack_or_pair(random),
            _ => code.vector(random),
        }
        code
    }

    fn put(&mut self, bytes: &[u8]) {
        self.bytes[self.len..self.len + bytes.len()].copy_from_slice(bytes);
        self.len += bytes.len();
    }

    /// Prefixes for `size`, the opcode with its lowest bit for more than a byte, ModRM with
    /// `register`.
    fn operation(&mut self, opcode: &[u8], size: u8, register: u8) {
        match size {
            2 => self.put(&[0x66]),
            8 => self.put(&[0x48]),
            _ => {}
        }
        let (last, first) = opcode.split_last().expect("an opcode has a byte");
        self.put(first);
        self.put(&[last | u8::from(size > 1), register << 3 | 7]);
    }

    /// RAX, RCX, RDX, RBX, RSI; of bytes also AH and the like.
    fn register(random: &mut Random, size: u8) -> u8 {
        *random.pick(if size == 1 { &[0, 1, 2, 3, 4, 5, 6, 7][..] } else { &[0, 1, 2, 3, 6] })
    }

    fn immediate(&mut self, random: &mut Random, size: u8) {
        let bytes = random.any().to_le_bytes();
        self.put(&bytes[..usize::from(size.min(4))]);
    }

    fn lock(&mut self, random: &mut Random) {
        if random.below(3) == 0 {
            self.put(&[0xF0]);
        }
    }

    fn set_alu_flags(&mut self, number: u8) {
        if [1, 4, 6].contains(&number) {
            self.defined_flags = ALL & !AF;
        }
    }

    fn alu(&mut self, random: &mut Random, size: u8) {
        let number = random.below(8) as u8;
        let is_load = number == 7 || random.below(2) == 0;
        self.set_alu_flags(number);
        if !is_load {
            self.lock(random);
        }
        let register = Self::register(random, size);
        self.operation(&[number << 3 | u8::from(is_load) << 1], size, register);
    }

    fn alu_immediate(&mut self, random: &mut Random, size: u8) {
        if random.below(4) == 0 {
            self.defined_flags = ALL & !AF;
            self.operation(&[0xF6], size, 0);
            return self.immediate(random, size);
        }
        let number = random.below(8) as u8;
        self.set_alu_flags(number);
        if number != 7 {
            self.lock(random);
        }
        let is_short = size > 1 && random.below(2) == 0;
        self.operation(&[if is_short { 0x82 } else { 0x80 }], size, number);
        self.immediate(random, if is_short { 1 } else { size });
    }

    fn exchange(&mut self, random: &mut Random, size: u8) {
        let register = Self::register(random, size);
        match random.below(4) {
            0 => self.operation(&[0x86], size, register),
            1 => {
                self.lock(random);
                self.operation(&[0x0F, 0xC0], size, register);
            }
            which => {
                self.wants_equal = which == 2;
                self.lock(random);
                self.operation(&[0x0F, 0xB0], size, register);
            }
        }
    }

    fn alone(&mut self, random: &mut Random, size: u8) {
        self.lock(random);
        let (opcode, number) = *random.pick(&[(0xFE, 0), (0xFE, 1), (0xF6, 2), (0xF6, 3)]);
        self.operation(&[opcode], size, number);
    }

    fn shift(&mut self, random: &mut Random, size: u8) {
        let number = *random.pick(&[0, 1, 2, 3, 4, 5, 7]);
        let changed = if number < 4 { ALL } else { ALL & !AF };
        let count = random.below(8);
        self.defined_flags = if count == 1 { changed } else { changed & !OF };
        match random.below(3) {
            0 => {
                self.defined_flags = changed;
                self.operation(&[0xD0], size, number);
            }
            1 => {
                self.rcx = Some(count);
                self.operation(&[0xD2], size, number);
            }
            _ => {
                self.operation(&[0xC0], size, number);
                self.put(&[count as u8]);
            }
        }
        // By none, AF and OF stay; by one or more, AF is undefined behind a shift.
    }

    fn double_shift(&mut self, random: &mut Random, size: u8) {
        let size = size.max(2);
        let count = 1 + random.below(15);
        self.defined_flags = ALL & !AF & if count == 1 { ALL } else { !OF };
        let opcode = *random.pick(&[0xA4, 0xAC]);
        let register = Self::register(random, size);
        if random.below(2) == 0 {
            self.rcx = Some(count);
            self.operation(&[0x0F, opcode | 1], size, register);
        } else {
            // `operation` would set the lowest bit.
            self.operation(&[0x0F, opcode], size, register);
            let at = self.len - 2;
            self.bytes[at] &= !1;
            self.put(&[count as u8]);
        }
    }

    fn bit(&mut self, random: &mut Random, size: u8) {
        let size = size.max(2);
        self.defined_flags = CF | ZF;
        let number = random.below(4) as u8;
        if number != 0 {
            self.lock(random);
        }
        if random.below(2) == 0 {
            self.bit_offset = Some(random.below(8 * u64::from(size)));
            self.operation(&[0x0F, 0xA3 | number << 3], size, 3);
        } else {
            self.operation(&[0x0F, 0xBA], size, 4 | number);
            let at = self.len - 2;
            self.bytes[at] = 0xBA;
            self.put(&[random.next() as u8]);
        }
    }

    fn multiply(&mut self, random: &mut Random, size: u8) {
        self.defined_flags = CF | OF;
        match random.below(4) {
            0 => self.operation(&[0xF6], size, *random.pick(&[4, 5])),
            1 => {
                (self.is_division, self.wants_nonzero, self.defined_flags) = (true, true, 0);
                self.operation(&[0xF6], size, *random.pick(&[6, 7]));
            }
            2 => self.operation(&[0x0F, 0xAF], size.max(2), 1),
            _ => {
                let is_short = random.below(2) == 0;
                self.operation(&[if is_short { 0x6B } else { 0x69 }], size.max(2), 2);
                self.immediate(random, if is_short { 1 } else { size.max(2) });
            }
        }
    }

    fn moves(&mut self, random: &mut Random, size: u8) {
        let register = Self::register(random, size);
        match random.below(6) {
            0 => self.operation(&[0x88], size, register),
            1 => self.operation(&[0x8A], size, register),
            2 => {
                self.operation(&[0xC6], size, 0);
                self.immediate(random, size);
            }
            // MOVNTI of 4 bytes or 8.
            3 => self.operation(&[0x0F, 0xC3], size.max(4), 2),
            // MOVZX, MOVSX of bytes or words to 4 bytes or 8.
            _ => {
                let opcode = *random.pick(&[0xB6, 0xB7, 0xBE, 0xBF]);
                if random.below(2) == 0 {
                    self.put(&[0x48]);
                }
                self.put(&[0x0F, opcode, 1 << 3 | 7]);
            }
        }
    }

    fn condition(&mut self, random: &mut Random, size: u8) {
        let condition = random.below(16) as u8;
        if random.below(2) == 0 {
            self.put(&[0x0F, 0x90 | condition, 7]);
            return;
        }
        self.operation(&[0x0F, 0x40], size.max(2), 2);
        let at = self.len - 2;
        self.bytes[at] = 0x40 | condition;
    }

    fn scan(&mut self, random: &mut Random, size: u8) {
        (self.wants_nonzero, self.defined_flags) = (true, ZF);
        self.operation(&[0x0F, 0xBC], size.max(2), 1);
        let at = self.len - 2;
        self.bytes[at] = *random.pick(&[0xBC, 0xBD]);
    }

    /// Up to two elements of 4 bytes.
    fn string(&mut self, random: &mut Random) {
        let (opcode, is_comparison) = *random.pick(&[
            (0xA5, false),
            (0xAB, false),
            (0xAD, false),
            (0xA7, true),
            (0xAF, true),
        ]);
        match random.below(3) {
            0 => self.is_from_device = true,
            1 => self.is_between_devices = true,
            _ => {}
        }
        self.rcx = Some(random.below(3));
        match random.below(3) {
            0 => {}
            1 => self.put(&[0xF3]),
            _ if is_comparison => self.put(&[0xF2]),
            _ => self.put(&[0xF3]),
        }
        self.put(&[opcode]);
    }

    /// PUSH and POP, POP and PUSH, CMPXCHG8B.
    fn stack_or_pair(&mut self, random: &mut Random) {
        match random.below(3) {
            0 => self.put(&[0xFF, 0x37, 0x58]),
            1 => self.put(&[0x52, 0x8F, 0x07]),
            _ => {
                self.lock(random);
                self.put(&[0x0F, 0xC7, 0x0F]);
            }
        }
    }

    /// 16 bytes by way of XMM0, from RAM to the device or back.
    fn vector(&mut self, random: &mut Random) {
        self.is_from_device = random.below(2) == 0;
        let (load, store) = *random.pick(&[
            ([0xF3, 0x0F, 0x6F], [0xF3, 0x0F, 0x7F]),
            ([0x90, 0x0F, 0x10], [0x90, 0x0F, 0x11]),
        ]);
        self.put(&load);
        self.put(&[6]);
        self.put(&store);
        self.put(&[7]);
    }
}
