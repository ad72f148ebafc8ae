//! Invariant 9: from the first entry to the last exit the shared core allocates nothing.

use devices::lapic::TscClock;
use std::alloc::{GlobalAlloc, Layout, System as SystemAllocator};
use std::cell::Cell;
use vmm_common::Instant;
use vmm_common::backing::Backing;
use vmm_common::diagnosis::Dump;
use vmm_common::index::{VcpuIndex, VmIndex};
use vmm_common::machine::{Machine, Surroundings};
use vmm_common::memory::NoMemory;
use vmm_common::plan::Plan;
use vmm_common::registers::CpuState;
use vmm_common::scheduler::Next;
use vmm_common::seam::{Entry, Exit, ExitReason, Host, TscReading, VcpuBackend};
use vmm_common::seed::{SeedVm, to_plan};
use vmm_common::system::System;
use vmm_common::vm::Ending;

thread_local! {
    /// Allocations of this thread; the test runner has threads of its own.
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

/// The system's allocator, counted.
struct Counting;

// SAFETY: every call goes to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // A thread that ends has no count any more, and needs none.
        let _ = ALLOCATIONS.try_with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's promises are handed on.
        unsafe { SystemAllocator.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promises are handed on.
        unsafe { SystemAllocator.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Every kind of access, over and over; the switched link with both ends on, the timers running.
const PROGRAM: [ExitReason; 16] = [
    ExitReason::PortOut { port: 0x3f9, size: 1, value: 1 },
    ExitReason::PortOut { port: 0x3f8, size: 1, value: 0x41 },
    ExitReason::PortIn { port: 0x3fd, size: 1 },
    ExitReason::PortIn { port: 0x3f8, size: 1 },
    ExitReason::PortOut { port: 0x3f9, size: 1, value: 0 },
    ExitReason::PortOut { port: 0x3f8, size: 1, value: 0x0a },
    ExitReason::PortOut { port: 0x43, size: 1, value: 0x34 },
    ExitReason::PortOut { port: 0x40, size: 1, value: 0x10 },
    ExitReason::PortOut { port: 0x40, size: 1, value: 0x10 },
    ExitReason::PortIn { port: 0x71, size: 1 },
    ExitReason::MmioRead { address: 0xfed0_00f0, size: 8 },
    ExitReason::MmioWrite { address: 0xfee0_0380, size: 4, value: 5000 },
    ExitReason::MmioWrite { address: 0xfec0_0000, size: 4, value: 0x10 },
    ExitReason::MsrRead { index: 0x1b },
    ExitReason::MsrWrite { index: 0x6e0, value: 1 },
    ExitReason::InterruptWindow,
];

struct Guest {
    next: usize,
    exits: usize,
}

impl VcpuBackend for Guest {
    fn enter(&mut self, entry: &Entry) -> Exit {
        const READING: TscReading = TscReading { hz: 2_000_000_000, tsc: 0, at: Instant::ZERO };
        if !entry.wants_tsc {
            self.next = (self.next + 1) % PROGRAM.len();
            self.exits += 1;
        }
        Exit {
            reason: PROGRAM[self.next],
            is_interrupt_flag_set: true,
            is_interruptible: true,
            cr8: 0,
            left_guest: true,
            overhead_ns: 0,
            has_more: false,
            tsc: entry.wants_tsc.then_some(READING),
        }
    }

    fn power_on(&mut self, _registers: &CpuState) {}

    fn start_up(&mut self, _registers: &CpuState) {
        unreachable!("it has no siblings")
    }

    fn registers(&mut self) -> CpuState {
        CpuState::default()
    }
}

#[derive(Default)]
struct Place {
    now_ns: u64,
    console_bytes: usize,
}

impl Backing<NoMemory> for Place {}

impl vmm_common::screen::Viewer for Place {}

impl Host<NoMemory> for Place {
    fn now(&mut self) -> Instant {
        self.now_ns += 100;
        Instant::from_ns(self.now_ns)
    }

    fn console_output(&mut self, _vm: VmIndex, bytes: &[u8]) {
        self.console_bytes += bytes.len();
    }

    fn console_input(&mut self, _vm: VmIndex) -> Option<u8> {
        None
    }

    fn vm_ended(&mut self, _vcpu: VcpuIndex, _ending: &Ending, _dump: Option<&Dump>) {}

    fn sibling_ended(&mut self, _vcpu: VcpuIndex, _dump: &Dump) {}

    fn vm_sleeps(&mut self, _vm: VmIndex, _why: &str) {}
}

fn two_machines() -> (Plan, Vec<(Machine, NoMemory)>) {
    let vm =
        |id| SeedVm { id, memory: 0x100_0000, vcpu_count: 1, io_apic: 1, hpet: 1, local_apic: 1 };
    let plan = to_plan(&[vm(0), vm(1)]);
    let tsc = TscClock { hz: 2_000_000_000, offset: 0 };
    let machine = |plan| {
        let surroundings =
            Surroundings { now: Instant::ZERO, epoch_seconds: 0, tsc, physical_address_bits: 40 };
        (Machine::new(plan, surroundings), NoMemory)
    };
    let machines = plan.vms.iter().map(machine).collect();
    (plan, machines)
}

#[test]
fn the_exit_path_of_the_shared_core_allocates_nothing() {
    const EXITS: usize = 50_000;
    let (plan, machines) = two_machines();
    let mut place = Place::default();
    let mut system = System::new(&plan, machines, 64, Instant::ZERO);
    let mut guests = [Guest { next: 0, exits: 0 }, Guest { next: 0, exits: 0 }];
    let before = ALLOCATIONS.with(Cell::get);
    while guests.iter().map(|guest| guest.exits).sum::<usize>() < EXITS {
        match system.next(&mut place) {
            Next::Run { vcpu, until } => {
                system.turn(vcpu, until, &mut guests[vcpu.vm().0], &mut place);
            }
            Next::Idle { until } => place.now_ns = place.now_ns.max(until.as_ns()),
            Next::Done => break,
        }
    }
    let allocations = ALLOCATIONS.with(Cell::get) - before;
    assert_eq!(allocations, 0, "in {EXITS} exits");
    assert!(guests.iter().all(|guest| guest.exits > EXITS / 4), "both had their turns");
    assert!(place.console_bytes > EXITS / 100, "the console was written to");
}
