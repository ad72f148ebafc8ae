//! The virtio devices: their windows, and the pins of the I/O APIC that they share.

use super::Machine;
use super::interrupts::{Interrupts, Line};
use crate::plan::{MAX_HVC_LINKS, VirtioKind, VirtioPlan, Writes};
use alloc::format;
use alloc::vec::Vec;
use devices::virtio::block::{Block, SECTOR_BYTES};
use devices::virtio::console::Console;
use devices::virtio::entropy::Entropy;
use devices::virtio::net::Net;
use devices::virtio::{Device, Event, WINDOW_BYTES};

/// Where the first device's registers lie; each further one's follow.
pub const VIRTIO_BASE: u64 = 0xfeb0_0000;
/// Pins of the I/O APIC without a line of the 8259 pair: the devices share them in turn.
const FIRST_PIN: u8 = 16;
const PINS: usize = devices::ioapic::PINS - FIRST_PIN as usize;

/// Of `work`.
const FIRST_HOLD: u32 = 32;

/// The window and the pin of a machine's virtio device.
#[must_use]
pub const fn place(device: usize) -> (u64, u8) {
    (VIRTIO_BASE + device as u64 * WINDOW_BYTES, FIRST_PIN + (device % PINS) as u8)
}

/// What a guest's access asks of a virtio device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeviceEvent {
    /// Its place among the machine's.
    pub device: usize,
    /// What.
    pub event: Event,
}

/// A machine's virtio devices.
#[derive(Debug)]
pub(super) struct Virtio {
    devices: Vec<(VirtioKind, Device)>,
    /// Which of the system's wires ports 1, 2, ... of the console are ends of.
    wires: [Option<usize>; MAX_HVC_LINKS],
    /// Bit n: the level of pin [`FIRST_PIN`] + n as the interrupt controllers have it.
    levels: u8,
    /// Bit n: device n has chains that have not been looked at. Bit 32 + n: it was reset while it
    /// had requests under way.
    work: u64,
}

impl Virtio {
    pub fn new(plan: &VirtioPlan) -> Self {
        let device = |kind| {
            let device = match kind {
                VirtioKind::Disk(number) => {
                    let disk = &plan.disks[number];
                    let is_read_only = disk.writes == Writes::Refuse;
                    let id = format!("tandem-disk{number}");
                    let sectors = disk.bytes / SECTOR_BYTES;
                    Device::Block(Block::new(sectors, is_read_only, id.as_bytes()))
                }
                VirtioKind::Nic(number) => {
                    let nic = &plan.nics[number];
                    let mut net = Net::new(nic.mac);
                    net.set_plugged(nic.is_up);
                    Device::Net(net)
                }
                VirtioKind::Entropy => Device::Entropy(Entropy::new()),
                VirtioKind::Console => Device::Console(Console::new(&plan.console.uses())),
            };
            (kind, device)
        };
        let (devices, wires) = (plan.devices().map(device).collect(), plan.console.links);
        Self { devices, wires, levels: 0, work: 0 }
    }

    /// The device whose window is at `page`, if there is one.
    fn at(&mut self, page: u64) -> Option<(usize, &mut Device)> {
        let number = usize::try_from(page.checked_sub(VIRTIO_BASE)? / WINDOW_BYTES).ok()?;
        self.devices.get_mut(number).map(|(_, device)| (number, device))
    }

    /// The lines of the devices whose driver is there.
    pub fn running_lines(&self) -> impl Iterator<Item = Line> {
        let numbered = self.devices.iter().enumerate();
        let running = numbered.filter(|(_, (_, device))| device.transport().is_running());
        running.map(|(number, _)| Line { pin: place(number).1, irq: None })
    }

    /// Carries the levels of the devices' pins to the interrupt controllers.
    fn sample(&mut self, interrupts: &mut Interrupts) {
        let mut levels = 0;
        for (number, (_, device)) in self.devices.iter().enumerate() {
            levels |= u8::from(device.pin()) << (number % PINS);
        }
        let changed = levels ^ self.levels;
        self.levels = levels;
        for n in (0..PINS as u8).filter(|n| changed & 1 << n != 0) {
            let line = Line { pin: FIRST_PIN + n, irq: None };
            interrupts.set_line(line, levels & 1 << n != 0);
        }
        if changed != 0 {
            interrupts.carry_messages();
        }
    }
}

impl Machine {
    /// A load from a virtio device's window; None if none is at `page`.
    pub(super) fn virtio_read(&mut self, page: u64, offset: u64, size: u8) -> Option<u64> {
        self.virtio.at(page).map(|(_, device)| device.read(offset, size))
    }

    /// A store to a virtio device's window, if one is there, and what it asks for besides.
    pub fn virtio_write(&mut self, address: u64, size: u8, value: u64) -> Option<DeviceEvent> {
        let offset = address % WINDOW_BYTES;
        let (number, device) = self.virtio.at(address - offset)?;
        let event = device.write(offset, size, value);
        self.virtio.sample(&mut self.interrupts);
        event.map(|event| DeviceEvent { device: number, event })
    }

    /// The virtio device with this number, and of which kind it is.
    pub fn virtio_mut(&mut self, device: usize) -> Option<(VirtioKind, &mut Device)> {
        self.virtio.devices.get_mut(device).map(|(kind, device)| (*kind, device))
    }

    /// The virtio devices.
    pub fn virtio(&self) -> impl Iterator<Item = (VirtioKind, &Device)> {
        self.virtio.devices.iter().map(|(kind, device)| (*kind, device))
    }

    /// Carries the pins of virtio devices that have been served.
    pub fn sample_virtio_pins(&mut self) {
        self.virtio.sample(&mut self.interrupts);
    }

    /// The disk with this number.
    pub fn disk_mut(&mut self, number: usize) -> Option<&mut Block> {
        // Disks come first.
        match self.virtio.devices.get_mut(number) {
            Some((VirtioKind::Disk(_), Device::Block(block))) => Some(block),
            Some(_) | None => None,
        }
    }

    /// The network interface that is the device with this number.
    pub fn nic_mut(&mut self, device: usize) -> Option<&mut Net> {
        match self.virtio.devices.get_mut(device) {
            Some((_, Device::Net(net))) => Some(net),
            Some(_) | None => None,
        }
    }

    /// The virtio console.
    pub fn console_mut(&mut self) -> Option<&mut Console> {
        self.virtio.devices.iter_mut().rev().find_map(|(_, device)| match device {
            Device::Console(console) => Some(console),
            Device::Block(_) | Device::Net(_) | Device::Entropy(_) => None,
        })
    }

    /// Which of the system's wires this port of the virtio console is an end of.
    #[must_use]
    pub fn wire_of_hvc(&self, port: usize) -> Option<usize> {
        self.virtio.wires.get(port.checked_sub(1)?).copied().flatten()
    }

    /// The rest of what the driver has made available to its console waits for the next turn.
    pub fn postpone_console(&mut self) {
        let is_it = |(kind, _): &(VirtioKind, Device)| *kind == VirtioKind::Console;
        if let Some(number) = self.virtio.devices.iter().rposition(is_it) {
            self.postpone_device(number);
        }
    }

    /// Whether the guest may not be entered before a device has done something.
    #[must_use]
    #[inline]
    pub const fn has_device_work(&self) -> bool {
        self.virtio.work != 0
    }

    /// The rest of what the driver has made available to a device waits for the next turn.
    pub fn postpone_device(&mut self, device: usize) {
        self.virtio.work |= 1 << device;
        self.interrupts.draw_attention();
    }

    /// The next device that was postponed.
    pub fn take_postponed_device(&mut self) -> Option<usize> {
        let first = self.virtio.work.trailing_zeros();
        (first < FIRST_HOLD).then(|| {
            self.virtio.work &= !(1 << first);
            first as usize
        })
    }

    /// A disk was reset: the guest does not go on while it has requests under way.
    pub fn hold_while_under_way(&mut self, disk: usize) {
        if self.disk_mut(disk).is_some_and(|block| block.under_way() > 0) {
            self.virtio.work |= 1 << (FIRST_HOLD as usize + disk);
            self.interrupts.draw_attention();
        }
    }

    /// Whether a disk has requests under way.
    #[must_use]
    pub fn has_requests_under_way(&self) -> bool {
        self.virtio.devices.iter().any(|(_, device)| match device {
            Device::Block(block) => block.under_way() > 0,
            Device::Net(_) | Device::Entropy(_) | Device::Console(_) => false,
        })
    }

    /// A request of the disk has come back. True if the guest goes on by that.
    pub fn end_hold(&mut self, disk: usize) -> bool {
        let has_more = self.disk_mut(disk).is_some_and(|block| block.under_way() > 0);
        let was_held = self.virtio.work >> FIRST_HOLD != 0;
        if !has_more {
            self.virtio.work &= !(1 << (FIRST_HOLD as usize + disk));
        }
        was_held && self.virtio.work >> FIRST_HOLD == 0
    }
}
