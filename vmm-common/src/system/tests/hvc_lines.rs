//! Virtio consoles: what is printed and typed, and links between them and serial ports.

use super::Ram;
use crate::Instant;
use crate::backing::Backing;
use crate::diagnosis::Dump;
use crate::index::{Com, VcpuIndex, VmIndex};
use crate::machine::{Machine, VIRTIO_BASE};
use crate::memory::GuestMemory;
use crate::plan::{ImageSource, LinkPlan, OnSwitch, Plan, SerialPlan, VmPlan};
use crate::seam::Host;
use crate::system::{Step, System};
use crate::vm::Ending;
use alloc::collections::VecDeque;
use alloc::rc::Rc;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use core::cell::RefCell;
use devices::link::LinkEnd;
use devices::virtio::console::BUFFER_BYTES;

/// Queues: of port 0, of control messages, of port 1.
const TYPED: u64 = 0;
const PRINTED: u64 = 1;
const NEWS: u64 = 2;
const CONTROL: u64 = 3;
const FROM_LINK: u64 = 4;
const TO_LINK: u64 = 5;
const SIZE: u64 = 32;
const BUFFER: u64 = 0x1000;

/// Where a queue's table is; its rings follow, then its buffers.
const fn base(queue: u64) -> u64 {
    0x4_0000 * queue
}

const fn buffer(queue: u64, n: u16) -> u64 {
    base(queue) + 0x2000 + BUFFER * (n as u64 % SIZE)
}

/// A terminal for each VM.
#[derive(Default)]
struct Terminals {
    printed: Vec<u8>,
    typed: VecDeque<u8>,
}

impl Backing<Ram> for Terminals {}

impl crate::screen::Viewer for Terminals {}

impl Host<Ram> for Terminals {
    fn now(&mut self) -> Instant {
        Instant::from_ns(1)
    }

    fn console_output(&mut self, vm: VmIndex, bytes: &[u8]) {
        assert_eq!(vm, VmIndex(0));
        self.printed.extend(bytes);
    }

    fn console_input(&mut self, vm: VmIndex) -> Option<u8> {
        assert_eq!(vm, VmIndex(0));
        self.typed.pop_front()
    }

    fn vm_ended(&mut self, _vcpu: VcpuIndex, _ending: &Ending, _dump: Option<&Dump>) {}

    fn sibling_ended(&mut self, _vcpu: VcpuIndex, _dump: &Dump) {}

    fn vm_sleeps(&mut self, _vm: VmIndex, _why: &str) {}
}

/// What of each VM is an end of the link; the first one's console is a virtio console, too.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Hvc1,
    Com2,
}
use End::{Com2, Hvc1};

struct World {
    system: System<Ram>,
    host: Terminals,
    rams: Vec<Ram>,
}

impl World {
    fn new(ends: &[End]) -> Self {
        let vm = |(index, end): (usize, &End)| {
            let mut vm = VmPlan::plain(index, ImageSource::Builtin(String::from("os")));
            vm.serial = [SerialPlan::Absent; 4];
            vm.virtio.console.is_console = index == 0;
            match end {
                Hvc1 => vm.virtio.console.links[0] = Some(0),
                Com2 => vm.serial[1] = SerialPlan::Link(0),
            }
            vm
        };
        let link = LinkPlan { name: String::from("wire"), baud: None, is_lossy: false, tap: None };
        let plan = Plan {
            slice_ns: 5_000_000,
            on_switch: OnSwitch::Barriers,
            core: None,
            vms: ends.iter().enumerate().map(vm).collect(),
            links: vec![link],
            networks: Vec::new(),
        };
        let ram = |_| Ram(Rc::new(RefCell::new(vec![0; base(TO_LINK + 1) as usize])));
        let rams: Vec<_> = ends.iter().map(ram).collect();
        let machine =
            |(vm, ram): (&_, &Ram)| (Machine::new(vm, super::surroundings()), ram.clone());
        let machines = plan.vms.iter().zip(&rams).map(machine).collect();
        let mut system = System::new(&plan, machines, 0, Instant::ZERO);
        system.until = Instant::FAR_FUTURE;
        let mut world = Self { system, host: Terminals::default(), rams };
        (0..ends.len()).filter(|vm| ends[*vm] == Hvc1).for_each(|vm| world.start(vm));
        world
    }

    fn machine(&mut self, vm: usize) -> &mut Machine {
        &mut self.system.vms[VmIndex(vm)].machine
    }

    fn store(&mut self, vm: usize, offset: u64, value: u64) {
        if let Some(event) = self.machine(vm).virtio_write(VIRTIO_BASE + offset, 4, value) {
            let vcpu = VcpuIndex::only_of(VmIndex(vm));
            self.system.after_event(vcpu, event, Instant::from_ns(1), &mut self.host);
        }
    }

    /// A driver that knows several ports starts, and opens those that there are.
    fn start(&mut self, vm: usize) {
        const MULTIPORT: u64 = 2;
        for (offset, value) in
            [(0x070, 3), (0x024, 0), (0x020, MULTIPORT), (0x024, 1), (0x020, 1), (0x070, 11)]
        {
            self.store(vm, offset, value);
        }
        for queue in 0..=TO_LINK {
            for (offset, value) in super::queue_stores(queue, SIZE, base(queue)) {
                self.store(vm, offset, value);
            }
        }
        self.store(vm, 0x070, 15);
        for port in 0..2 {
            self.tell(vm, port, 3);
            self.tell(vm, port, 6);
        }
    }

    /// Tells the device that an event of a port's is so.
    fn tell(&mut self, vm: usize, port: u8, event: u8) {
        self.send(vm, CONTROL, &[port, 0, 0, 0, event, 0, 1, 0]);
    }

    /// Makes a buffer available, and notifies.
    fn offer(&mut self, vm: usize, queue: u64, (bytes, flags): (u32, u16)) -> u16 {
        let put = |address: u64, bytes: &[u8]| assert!(self.rams[vm].write(address, bytes));
        let n = (self.rams[vm].word_at(base(queue) + 0x400) >> 16) as u16;
        let slot = u64::from(n) % SIZE;
        let descriptor = base(queue) + 16 * slot;
        put(descriptor, &buffer(queue, n).to_le_bytes());
        put(descriptor + 8, &bytes.to_le_bytes());
        put(descriptor + 12, &flags.to_le_bytes());
        put(base(queue) + 0x404 + 2 * slot, &(slot as u16).to_le_bytes());
        put(base(queue) + 0x402, &(n + 1).to_le_bytes());
        self.store(vm, 0x050, queue);
        n
    }

    fn send(&mut self, vm: usize, queue: u64, bytes: &[u8]) {
        let n = (self.rams[vm].word_at(base(queue) + 0x400) >> 16) as u16;
        assert!(self.rams[vm].write(buffer(queue, n), bytes));
        self.offer(vm, queue, (bytes.len() as u32, 0));
    }

    fn lend(&mut self, vm: usize, queue: u64, bytes: u32) {
        self.offer(vm, queue, (bytes, 2));
    }

    fn returned(&self, vm: usize, queue: u64) -> u16 {
        (self.rams[vm].word_at(base(queue) + 0x800) >> 16) as u16
    }

    /// The bytes written to a buffer that came back.
    fn written(&self, vm: usize, queue: u64, n: u16) -> Vec<u8> {
        let used = self.rams[vm].word_at(base(queue) + 0x804 + 8 * (u64::from(n) % SIZE));
        let at = buffer(queue, n) as usize;
        self.rams[vm].0.borrow()[at..at + (used >> 32) as usize].to_vec()
    }

    /// The driver looks at its interrupt, and acknowledges it.
    fn interrupt(&mut self, vm: usize) -> u64 {
        let status = self.machine(vm).mmio_read(VIRTIO_BASE + 0x060, 4, Instant::ZERO);
        self.store(vm, 0x064, status);
        status
    }

    /// What the first VM's device was left with, before the VM is entered.
    fn work(&mut self) {
        assert!(self.machine(0).has_device_work());
        let mut now = Instant::from_ns(1);
        let step = self.system.do_device_work(VmIndex(0), &mut now, &mut self.host);
        assert!(matches!(step, Step::Continue));
    }

    /// The VM halts, with no interrupt pending.
    fn sleep(&mut self, vm: usize) {
        let vcpu = VcpuIndex::only_of(VmIndex(vm));
        self.system.sleeps(vcpu, Instant::FAR_FUTURE, Instant::ZERO);
    }

    fn is_awake(&self, vm: usize) -> bool {
        self.system.scheduler.is_runnable(VcpuIndex::only_of(VmIndex(vm)))
    }

    fn delivered(&self, end: usize) -> u64 {
        self.system.wires[0].link.statistics(LinkEnd(end)).delivered
    }
}

#[test]
fn what_is_printed_reaches_the_host_in_the_exit_and_messages_are_answered_there() {
    let mut world = World::new(&[Hvc1, Com2]);
    world.interrupt(0);
    world.send(0, PRINTED, b"hello");
    assert_eq!(world.host.printed, b"hello");
    assert_eq!((world.returned(0, PRINTED), world.interrupt(0)), (1, 1));
    world.lend(0, NEWS, 64);
    assert_eq!((world.returned(0, NEWS), world.interrupt(0)), (1, 1));
    assert_eq!(world.written(0, NEWS, 0), [0, 0, 0, 0, 4, 0, 1, 0], "VIRTIO_CONSOLE_CONSOLE_PORT");
    world.lend(0, NEWS, 64);
    // One that is waiting for a buffer goes with the driver's next message.
    let before = world.returned(0, NEWS);
    world.lend(0, NEWS, 64);
    assert_eq!(world.returned(0, NEWS), before + 1);
    assert_eq!(world.written(0, NEWS, before), [&[1, 0, 0, 0, 7, 0, 1, 0][..], b"hvc1"].concat());
}

#[test]
fn what_is_typed_reaches_the_guest_and_wakes_it() {
    let mut world = World::new(&[Hvc1, Com2]);
    world.lend(0, TYPED, 16);
    world.interrupt(0);
    super::route_virtio_interrupt(world.machine(0));
    world.sleep(0);
    world.host.typed.extend(b"ls\r");
    world.system.feed_consoles(Instant::from_ns(1), &mut world.host);
    assert_eq!(world.written(0, TYPED, 0), b"ls\r");
    assert!(world.is_awake(0));
    assert_eq!(world.interrupt(0), 1);
    // Without a buffer it waits for one.
    world.host.typed.extend(b"x");
    world.system.feed_consoles(Instant::from_ns(1), &mut world.host);
    assert_eq!(world.returned(0, TYPED), 1);
    world.lend(0, TYPED, 16);
    assert_eq!(world.written(0, TYPED, 1), b"x");
}

#[test]
fn a_port_that_is_opened_gets_what_was_typed_before_in_that_exit() {
    let mut world = World::new(&[Hvc1, Com2]);
    world.send(0, CONTROL, &[0, 0, 0, 0, 6, 0, 0, 0]);
    world.lend(0, TYPED, 16);
    world.host.typed.extend(b"early");
    world.system.feed_consoles(Instant::from_ns(1), &mut world.host);
    assert_eq!(world.returned(0, TYPED), 0);
    world.tell(0, 0, 6);
    assert_eq!(world.written(0, TYPED, 0), b"early");
}

#[test]
fn a_turn_that_is_over_leaves_the_rest_of_the_output_for_the_next_one() {
    let mut world = World::new(&[Hvc1, Com2]);
    world.system.until = Instant::ZERO;
    world.send(0, PRINTED, &[b'p'; 2 * BUFFER_BYTES + 1]);
    for printed in [BUFFER_BYTES, 2 * BUFFER_BYTES, 2 * BUFFER_BYTES + 1] {
        assert_eq!(world.host.printed.len(), printed);
        world.work();
    }
    assert_eq!(world.returned(0, PRINTED), 1);
}

#[test]
fn bytes_of_a_link_cross_in_the_exit_and_wake_the_other_vm() {
    let mut world = World::new(&[Hvc1, Hvc1]);
    world.lend(1, FROM_LINK, 64);
    world.interrupt(1);
    super::route_virtio_interrupt(world.machine(1));
    world.sleep(1);
    world.send(0, TO_LINK, b"over");
    assert_eq!(world.written(1, FROM_LINK, 0), b"over");
    assert_eq!((world.returned(0, TO_LINK), world.is_awake(1)), (1, true));
    assert_eq!((world.interrupt(1), world.interrupt(0) & 1), (1, 1));
}

#[test]
fn a_driver_that_resets_its_console_drops_its_lines_at_the_other_end() {
    const LINES: u8 = 0b1011_0000;
    let mut world = World::new(&[Hvc1, Com2]);
    let lines = |world: &mut World| {
        let port = world.machine(1).serial_mut(Com::ALL[1]).expect("COM2");
        port.read(6) & 0xf0
    };
    assert_eq!(lines(&mut world), LINES);
    // What it has not got rid of is counted: the serial port's driver is not ready.
    world.send(0, TO_LINK, &[7; 100]);
    world.store(0, 0x070, 0);
    assert_eq!(lines(&mut world), 0, "DTR, RTS");
    let statistics = *world.system.wires[0].link.statistics(LinkEnd(0));
    assert_eq!((statistics.sent, statistics.lost_total()), (100, 100));
    world.start(0);
    assert_eq!(lines(&mut world), LINES);
}

/// More than crosses at once: buffers of 1,024 bytes at both sides.
const MANY: u16 = 20;
const AT_ONCE: u64 = 16 * BUFFER_BYTES as u64;

fn fill(world: &mut World) {
    (0..MANY).for_each(|_| world.lend(1, FROM_LINK, BUFFER_BYTES as u32));
    for n in 0..MANY {
        let n_bytes = [n as u8; BUFFER_BYTES];
        assert!(world.rams[0].write(buffer(TO_LINK, n), &n_bytes));
    }
}

#[test]
fn a_flood_over_a_link_goes_on_in_a_turn_of_a_vm_whose_console_is_at_it() {
    let mut world = World::new(&[Hvc1, Hvc1, Com2]);
    fill(&mut world);
    (0..MANY).for_each(|_| world.send(0, TO_LINK, &[1; BUFFER_BYTES]));
    assert_eq!(world.delivered(0), 0, "a serial port that is not ready holds them");
    assert!(!world.machine(0).has_device_work());
    // No interrupt reaches it; it is woken for the work that is left.
    world.sleep(0);
    let vcpu = VcpuIndex::only_of(VmIndex(2));
    let why = Ending::PowerOff { status: 0 };
    world.system.end_vm(vcpu, why, None, Instant::from_ns(1), &mut world.host);
    let delivered = world.delivered(0);
    assert!((AT_ONCE..=AT_ONCE + BUFFER_BYTES as u64).contains(&delivered), "{delivered}");
    assert!(world.is_awake(0));
    world.work();
    assert_eq!(world.returned(0, TO_LINK), MANY);
    assert_eq!(world.returned(1, FROM_LINK), MANY);
    assert!(!world.machine(0).has_device_work());
}
