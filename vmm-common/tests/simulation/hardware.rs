//! The drivers of the simulated guests: interrupt controllers and serial ports, as a small
//! operating system would have them.

use crate::cpu::Cpu;
use crate::seed::Random;
use vmm_common::seam::ExitReason;

/// How interrupts reach a guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Controller {
    /// By the pair of 8259s; the local APIC, if it is used at all, is in xAPIC mode.
    Pic,
    /// By the I/O APIC and the local APIC.
    IoApic { is_level: bool, is_x2apic: bool },
}

const PIC_BASE: u8 = 0x20;
const IO_APIC_BASE: u8 = 0x40;

const SPURIOUS: u32 = 0xf0;
const END_OF_INTERRUPT: u32 = 0xb0;

impl Controller {
    pub fn random(random: &Random) -> Self {
        match random.flip() {
            true => Self::Pic,
            false => Self::IoApic { is_level: random.flip(), is_x2apic: random.flip() },
        }
    }

    /// The vector of an interrupt line.
    pub fn vector(self, irq: u8) -> u8 {
        irq + if self == Self::Pic { PIC_BASE } else { IO_APIC_BASE }
    }

    /// Interrupts off, everything initialised, only `irqs` unmasked.
    pub async fn initialize(self, cpu: &Cpu, irqs: &[u8]) {
        cpu.disable_interrupts().await;
        let bits: u16 = irqs.iter().map(|irq| 1 << irq).sum();
        let cascade = if bits >> 8 == 0 { 0 } else { 1 << 2 };
        let unmasked = if self == Self::Pic { bits | cascade } else { 0 };
        let [low, high] = (!unmasked).to_le_bytes();
        let words = [(0x20, 0x11), (0x21, PIC_BASE), (0x21, 4), (0x21, 1), (0x21, low)];
        for (port, value) in words {
            cpu.outb(port, value).await;
        }
        let words = [(0xa0, 0x11), (0xa1, PIC_BASE + 8), (0xa1, 2), (0xa1, 1), (0xa1, high)];
        for (port, value) in words {
            cpu.outb(port, value).await;
        }
        let Self::IoApic { is_level, is_x2apic } = self else { return };
        if is_x2apic {
            let base = cpu.read_msr(0x1b).await;
            cpu.write_msr(0x1b, base | 1 << 10).await;
        }
        self.write_apic(cpu, SPURIOUS, 0x1ff).await;
        for irq in irqs {
            // Timers tick by edges only.
            let is_level = is_level && !matches!(irq, 0 | 8);
            let pin = if *irq == 0 { 2 } else { u32::from(*irq) };
            let entry = u32::from(self.vector(*irq)) | u32::from(is_level) << 15;
            cpu.store(0xfec0_0000, 0x11 + 2 * pin).await;
            cpu.store(0xfec0_0010, 0).await;
            cpu.store(0xfec0_0000, 0x10 + 2 * pin).await;
            cpu.store(0xfec0_0010, entry).await;
        }
    }

    /// Switches the local APIC on, for its timer, where the 8259s have the rest.
    pub async fn enable_local_apic(self, cpu: &Cpu) {
        self.write_apic(cpu, SPURIOUS, 0x1ff).await;
    }

    /// The interrupt with this vector is dealt with.
    pub async fn end_of_interrupt(self, cpu: &Cpu, vector: u8) {
        if vector >= IO_APIC_BASE {
            return self.write_apic(cpu, END_OF_INTERRUPT, 0).await;
        }
        if vector >= PIC_BASE + 8 {
            cpu.outb(0xa0, 0x20).await;
        }
        cpu.outb(0x20, 0x20).await;
    }

    /// The same, whatever the mode of the local APIC may be by now.
    pub async fn try_end_of_interrupt(self, cpu: &Cpu, vector: u8) {
        if vector >= IO_APIC_BASE {
            cpu.store(0xfee0_0000 + u64::from(END_OF_INTERRUPT), 0).await;
            cpu.exit(ExitReason::MsrWrite { index: 0x80b, value: 0 }).await;
        } else {
            cpu.outb(0xa0, 0x20).await;
            cpu.outb(0x20, 0x20).await;
        }
    }

    /// Writes a local APIC register, by its offset in the MMIO page.
    pub async fn write_apic(self, cpu: &Cpu, register: u32, value: u32) {
        match self {
            Self::IoApic { is_x2apic: true, .. } => {
                cpu.write_msr(0x800 + register / 16, value.into()).await;
            }
            Self::Pic | Self::IoApic { .. } => {
                cpu.store(0xfee0_0000 + u64::from(register), value).await;
            }
        }
    }
}

/// A serial port and its driver.
#[derive(Clone, Debug)]
pub struct Serial {
    pub cpu: Cpu,
    base: u16,
    pub irq: u8,
}

/// LSR: a byte waits.
pub const DATA_READY: u8 = 0x01;
/// LSR: the transmitter is empty.
pub const TRANSMITTER_EMPTY: u8 = 0x20;
/// IER: interrupt when a byte waits.
pub const ON_DATA: u8 = 0x01;
/// IER: interrupt when the transmitter empties.
pub const ON_EMPTY: u8 = 0x02;
/// Bytes that an empty transmitter takes.
pub const DEPTH: usize = 16;

impl Serial {
    /// COM1 or COM2, by its number.
    pub fn com(cpu: Cpu, number: u8) -> Self {
        let (base, irq) = if number == 1 { (0x3f8, 4) } else { (0x2f8, 3) };
        Self { cpu, base, irq }
    }

    /// FIFOs on and empty, 8N1, the rate if there is one to set, DTR and RTS and OUT2 up.
    pub async fn initialize(&self, divisor: Option<u8>) {
        self.cpu.outb(self.base + 2, 0x07).await;
        if let Some(divisor) = divisor {
            self.cpu.outb(self.base + 3, 0x83).await;
            self.cpu.outb(self.base, divisor).await;
            self.cpu.outb(self.base + 1, 0).await;
        }
        self.cpu.outb(self.base + 3, 0x03).await;
        self.cpu.outb(self.base + 4, 0x0b).await;
    }

    pub async fn status(&self) -> u8 {
        self.cpu.inb(self.base + 5).await
    }

    pub async fn identify_interrupt(&self) -> u8 {
        self.cpu.inb(self.base + 2).await & 0x0f
    }

    pub async fn enable_interrupts(&self, which: u8) {
        self.cpu.outb(self.base + 1, which).await;
    }

    pub async fn read(&self) -> u8 {
        self.cpu.inb(self.base).await
    }

    pub async fn read_string(&self, count: usize) -> Vec<u8> {
        self.cpu.in_string(self.base, count).await
    }

    pub async fn write(&self, byte: u8) {
        self.cpu.outb(self.base, byte).await;
    }

    /// Up to [`DEPTH`] bytes into an empty transmitter, one by one or as a string.
    pub async fn write_burst(&self, bytes: &[u8], is_string: bool) {
        if is_string && !bytes.is_empty() {
            return self.cpu.out_string(self.base, bytes).await;
        }
        for byte in bytes {
            self.write(*byte).await;
        }
    }

    /// Prints on a console, which never makes its guest wait.
    pub async fn print(&self, text: &[u8], is_string: bool) {
        for burst in text.chunks(DEPTH) {
            let status = self.status().await;
            assert_eq!(status & TRANSMITTER_EMPTY, TRANSMITTER_EMPTY, "a console stalls");
            self.write_burst(burst, is_string).await;
        }
    }
}
