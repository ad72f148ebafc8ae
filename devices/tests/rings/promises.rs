//! What holds of a virtio device whatever its driver writes: what an input means, and the promises.
//!
//! ```text
//! input:  kind, features | stores to registers, up to a stop | RAM from the tables on
//! ```
//!
//! The device runs, is notified, and is served as its owner does. Then: nothing has panicked; no
//! byte of RAM has changed but in the used ring and in buffers that a descriptor lends for writing;
//! a device takes no more chains than a queue has; one that has stopped says so and takes none.

use super::peer::Peer;
use devices::link::LinkPort;
use devices::memory::GuestMemory;
use devices::virtio::block::{Block, Operation, Status};
use devices::virtio::console::{Console, PortUse};
use devices::virtio::entropy::Entropy;
use devices::virtio::net::Net;
use devices::virtio::{Device, Event, feature, total};
use std::cell::RefCell;
use std::ops::Range;

pub const RAM_BYTES: u64 = 1 << 16;
/// Where a driver's queue begins; an input's stores may move it.
pub const TABLE: u64 = 0x1000;
pub const AVAILABLE: u64 = 0x2000;
pub const USED: u64 = 0x3000;
/// Descriptors of a queue at first.
pub const SIZE: u64 = 16;
const SECTORS: u64 = 128;
/// A console's feature: more ports than one.
/// Ends the stores of an input.
pub const STOP: u8 = 0xff;
/// Stores that are worth most of what an input can hold.
const REGISTERS: [u64; 16] = [
    0x014, 0x020, 0x024, 0x030, 0x038, 0x044, 0x050, 0x064, 0x070, 0x080, 0x084, 0x090, 0x094,
    0x0a0, 0x0a4, 0x100,
];

/// RAM that notes where it is written.
pub struct Ram {
    bytes: RefCell<Vec<u8>>,
    written: RefCell<Vec<Range<u64>>>,
}

impl Ram {
    pub fn new(bytes: Vec<u8>) -> Self {
        Self { bytes: RefCell::new(bytes), written: RefCell::new(Vec::new()) }
    }

    fn place(&self, address: u64, len: u64) -> Option<Range<usize>> {
        let end = address.checked_add(len).filter(|end| *end <= RAM_BYTES)?;
        Some(address as usize..end as usize)
    }
}

impl GuestMemory for Ram {
    fn read(&self, address: u64, to: &mut [u8]) -> bool {
        let Some(range) = self.place(address, to.len() as u64) else { return false };
        to.copy_from_slice(&self.bytes.borrow()[range]);
        true
    }

    fn write(&self, address: u64, from: &[u8]) -> bool {
        let Some(range) = self.place(address, from.len() as u64) else { return false };
        self.written.borrow_mut().push(address..address + from.len() as u64);
        self.bytes.borrow_mut()[range].copy_from_slice(from);
        true
    }

    fn has(&self, address: u64, bytes: u64) -> bool {
        self.place(address, bytes).is_some()
    }
}

/// The most queues of a device here.
const QUEUES: usize = 6;

/// A queue as the stores have set it up (4.2.2.2).
#[derive(Clone, Copy)]
struct Rings {
    table: u64,
    used: u64,
    size: u64,
    is_ready: bool,
}

/// The queues of a device, as many as any here has.
struct Queues {
    select: u64,
    rings: [Rings; QUEUES],
}

impl Queues {
    const RESET: Self = {
        let rings = Rings { table: 0, used: 0, size: 256, is_ready: false };
        Self { select: 0, rings: [rings; QUEUES] }
    };

    fn store(&mut self, offset: u64, value: u64) {
        match offset {
            0x030 => self.select = value,
            0x070 if value & 0xff == 0 => *self = Self::RESET,
            _ => {
                let select = usize::try_from(self.select).unwrap_or(usize::MAX);
                if let Some(rings) = self.rings.get_mut(select) {
                    rings.store(offset, value);
                }
            }
        }
    }
}

impl Rings {
    fn store(&mut self, offset: u64, value: u64) {
        match offset {
            0x044 => self.is_ready = value & 1 != 0,
            _ if self.is_ready => {}
            0x038 => self.size = value,
            0x080 => self.table = self.table >> 32 << 32 | value,
            0x084 => self.table = self.table & 0xffff_ffff | value << 32,
            0x0a0 => self.used = self.used >> 32 << 32 | value,
            0x0a4 => self.used = self.used & 0xffff_ffff | value << 32,
            _ => {}
        }
    }
}

/// The queue that an input of this kind sets up, if its device is a network interface.
pub fn net_queue(kind: u8) -> Option<u64> {
    let queue = u64::from(kind >> 4 & 7);
    (kind & 3 == 2 && queue > 0).then(|| (queue - 1) % 3)
}

/// All features that the device offers are accepted.
pub const ALL_FEATURES: u8 = 0x80;

/// Does what an input says, and panics if a promise is broken.
pub fn hold(input: &[u8]) {
    let [kind, rest @ ..] = input else { return };
    let net_queue = net_queue(*kind);
    let mut device = match kind & 3 {
        _ if net_queue.is_some() => Device::Net(Net::new([2, 0, 0, 0, 0, 1])),
        0 => Device::Block(Block::new(SECTORS, false, b"disk")),
        1 => Device::Block(Block::new(SECTORS, true, b"disk")),
        2 => Device::Entropy(Entropy::new()),
        _ => Device::Console(Console::new(&[PortUse::Console, PortUse::Link])),
    };
    let stop = rest.iter().step_by(6).position(|byte| *byte == STOP);
    let (stores, content) = rest.split_at(stop.map_or(rest.len(), |stop| stop * 6));
    let content = content.get(1..).unwrap_or_default();
    let mut bytes = vec![0; RAM_BYTES as usize];
    let len = content.len().min(bytes.len() - TABLE as usize);
    bytes[TABLE as usize..][..len].copy_from_slice(&content[..len]);
    let ram = Ram::new(bytes);
    let mut peer = net_queue.is_some().then(Peer::new);
    // A device with several queues has this one set up.
    let console_queue = if kind & 3 == 3 { u64::from(kind >> 4 & 7) % QUEUES as u64 } else { 0 };
    let queue = net_queue.unwrap_or(console_queue);
    let mut queues = Queues::RESET;
    let offered = if kind & ALL_FEATURES != 0 { device.read(0x010, 4) & 0xff_ffff } else { 0 };
    let features = feature::VERSION_1
        | offered
        | if kind & 4 != 0 { feature::EVENT_IDX } else { 0 }
        | if kind & 8 != 0 { feature::INDIRECT_DESC } else { 0 };
    for (offset, value) in set_up(features, queue) {
        device.write(offset, 4, value);
        queues.store(offset, value);
    }
    let started = device.write(0x070, 4, 15);
    assert_eq!(started, Some(Event::Started), "it is set up by the book");
    serve(&mut device, &ram, &queues, peer.as_mut());
    for store in stores.chunks_exact(6) {
        let [what, size, value @ ..] = store else { unreachable!("six bytes") };
        let offset = REGISTERS[usize::from(what % 16)];
        let value = u32::from_le_bytes(value.try_into().expect("four bytes"));
        let size = if size % 8 == 7 { 1 << (size >> 3 & 3) } else { 4 };
        let event = device.write(offset, size, value.into());
        let _ = device.read(offset, size);
        if size == 4 {
            queues.store(offset, value.into());
        }
        if event.is_some() {
            serve(&mut device, &ram, &queues, peer.as_mut());
        }
    }
}

pub fn set_up(features: u64, queue: u64) -> impl Iterator<Item = (u64, u64)> {
    [
        (0x070, 3),
        (0x024, 0),
        (0x020, features & 0xffff_ffff),
        (0x024, 1),
        (0x020, features >> 32),
        (0x070, 11),
        (0x030, queue),
        (0x038, SIZE),
        (0x080, TABLE),
        (0x090, AVAILABLE),
        (0x0a0, USED),
        (0x044, 1),
    ]
    .into_iter()
}

/// Serves all that is available, and checks what was written.
fn serve(device: &mut Device, ram: &Ram, queues: &Queues, peer: Option<&mut Peer>) {
    let lent: Vec<_> = queues.rings.iter().flat_map(|rings| lent(ram, *rings)).collect();
    ram.written.borrow_mut().clear();
    let mut taken = 0;
    match device {
        Device::Block(block) => {
            while let Some(request) = block.next(ram) {
                taken += 1;
                assert!(taken <= 256, "more chains than a queue has");
                let (operation, token) = (request.operation, request.token);
                let (offset, bytes) = match operation {
                    Operation::Read { offset, bytes } | Operation::Write { offset, bytes, .. } => {
                        assert_eq!(total(request.buffers), bytes, "{operation:?}");
                        (offset, bytes)
                    }
                    Operation::WriteZeroes { offset, bytes, .. }
                    | Operation::Discard { offset, bytes } => (offset, bytes),
                    Operation::Flush => (0, 0),
                };
                let end = offset.checked_add(bytes).expect("it is on the disk");
                assert!(end <= SECTORS * 512 && (offset | bytes) % 512 == 0, "{operation:?}");
                for buffer in request.buffers {
                    assert!(ram.has(buffer.address, buffer.bytes.into()), "{buffer:?}");
                    if let Operation::Read { .. } = operation {
                        ram.write(buffer.address, &vec![0xd5; buffer.bytes as usize]);
                    }
                }
                block.finish(ram, operation, token, Status::Ok);
            }
            block.signal(ram);
            assert_eq!(block.under_way(), 0);
        }
        Device::Net(net) => {
            net.control(ram);
            if let Some(peer) = peer {
                peer.send_to(net, ram);
            }
            while let Some(frame) = net.next(ram) {
                taken += 1;
                assert!(taken <= 256, "more chains than a queue has");
                assert!((14..=65_553).contains(&frame.bytes), "{} bytes", frame.bytes);
                net.finish(ram);
            }
            net.signal(ram);
        }
        Device::Entropy(entropy) => {
            while entropy.serve(ram, |to| to.fill(0xa7)) {
                taken += 1;
                assert!(taken <= 256, "more chains than a queue has");
            }
            entropy.signal(ram);
        }
        Device::Console(console) => serve_console(console, ram),
    }
    for written in ram.written.borrow().iter() {
        assert!(is_within(written, &lent), "{written:x?} is not the device's to write");
    }
    let needs_reset = device.read(0x070, 4) & 64 != 0;
    assert_eq!(needs_reset, device.transport().error().is_some());
    if needs_reset {
        assert_eq!(device.write(0x050, 4, 0), None, "one that has stopped is not notified");
    }
}

/// Takes and gives bytes at both ports.
fn serve_console(console: &mut Console, ram: &Ram) {
    console.control(ram);
    for _ in 0..console.input_space() {
        console.feed(0xc3).expect("there is room");
    }
    let mut taken = 0_u64;
    for port in 0..console.ports() {
        while console.exchange(port, ram) {
            taken += console.output().len() as u64;
            console.take_output();
            while LinkPort::take(&mut console.link_end(port)).is_some() {
                taken += 1;
            }
            // A chain may name all of RAM in each of its buffers.
            assert!(taken <= 256 * 256 * RAM_BYTES, "more bytes than a queue can name");
            if taken > 16 * RAM_BYTES {
                break;
            }
        }
    }
    console.control(ram);
    console.signal(ram);
}

/// What a queue lends to the device for writing: its used ring, and what the descriptors of its
/// table, and of the tables that these name, mark so. Looked for in all of them, in a chain or not.
fn lent(ram: &Ram, Rings { table, used, size, .. }: Rings) -> Vec<Range<u64>> {
    let own = used..used.saturating_add(6 + 8 * size.min(256));
    let mut lent: Vec<_> = std::iter::once(own).collect();
    let descriptors = |table: u64, count: u64| {
        let read = move |index: u64| {
            let mut bytes = [0; 16];
            let at = table.checked_add(16 * index)?;
            ram.read(at, &mut bytes).then_some(bytes)
        };
        (0..count).map_while(read).map(|bytes| {
            let address = u64::from_le_bytes(bytes[..8].try_into().expect("8 bytes"));
            let len = u32::from_le_bytes(bytes[8..12].try_into().expect("4 bytes"));
            (address, u64::from(len), u16::from_le_bytes([bytes[12], bytes[13]]))
        })
    };
    for (address, len, flags) in descriptors(table, size.min(RAM_BYTES / 16)) {
        if flags & 4 != 0 {
            for (address, len, flags) in descriptors(address, (len / 16).min(RAM_BYTES / 16)) {
                if flags & 2 != 0 {
                    lent.push(address..address.saturating_add(len));
                }
            }
        } else if flags & 2 != 0 {
            lent.push(address..address.saturating_add(len));
        }
    }
    lent
}

/// Whether every byte of `range` is in one of `all`.
fn is_within(range: &Range<u64>, all: &[Range<u64>]) -> bool {
    let mut at = range.start;
    while at < range.end {
        let Some(holder) = all.iter().find(|holder| holder.contains(&at)) else { return false };
        at = holder.end;
    }
    true
}
