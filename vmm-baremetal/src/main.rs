//! The bare machine, from the loader to the power off.
#![no_std]
#![no_main]

extern crate alloc;

mod boot;

use core::panic::PanicInfo;
use linked_list_allocator::LockedHeap;
use vmm_baremetal::carve::Free;
use vmm_baremetal::clock::{self, Clock};
use vmm_baremetal::frames::Frames;
use vmm_baremetal::host::refuse;
use vmm_baremetal::input::{self, Source};
use vmm_baremetal::local_apic::HostApic;
use vmm_baremetal::multiboot::{Information, LOADED_MAGIC, Range};
use vmm_baremetal::ram::GuestRam;
use vmm_baremetal::run::{self, Resources};
use vmm_baremetal::serial::Serial;
use vmm_baremetal::svm::Svm;
use vmm_baremetal::vmx::Vmx;
use vmm_baremetal::{cpu, interrupts, paging, power, wall_clock};
use vmm_common::plan::MAX_VMS;
use vmm_common::seed::{CONFIG_ADDRESS, CONFIG_BYTES};

#[global_allocator]
static HEAP: LockedHeap = LockedHeap::empty();

/// What the first allocations need, before it is known what is to run: the memory map's copies, the
/// plan.
const EARLY_HEAP_BYTES: u64 = 2 << 20;
/// Heap for each VM: its machine, its lines.
const HEAP_BYTES_PER_VM: u64 = 96 << 10;
/// Frames for each VM's tables.
const FRAME_BYTES_PER_VM: u64 = 128 << 10;
const PAGE: u64 = 0x1000;
const LARGE_PAGE: u64 = 1 << 21;
const GIB: u64 = 1 << 30;
const BELOW_4_GIB: u64 = 1 << 32;

unsafe extern "C" {
    static image_begin: u8;
    static text_end: u8;
    static rodata_end: u8;
    static image_end: u8;
    static stack_guard: u8;
}

#[unsafe(no_mangle)]
extern "C" fn hypervisor_main(magic: u32, information: u32) -> ! {
    let _serial = Serial::program();
    interrupts::load();
    if magic != LOADED_MAGIC {
        refuse("not started by a multiboot 1 loader", power::MACHINE_REFUSED);
    }
    // SAFETY: the first 4 GiB are mapped, and the loader's structures lie there.
    let word = |at: u64| unsafe { (at as *const u32).read_unaligned() };
    let information_at = u64::from(information);
    let information = Information::read(information, word);
    let image = paging::Image {
        text: Range { begin: &raw const image_begin as u64, end: &raw const text_end as u64 },
        rodata: Range { begin: &raw const text_end as u64, end: &raw const rodata_end as u64 },
        stack_guard: &raw const stack_guard as u64,
    };
    let module = information.module.unwrap_or_default();
    // Where a module brings the plan, nobody looks there, and the memory is whole.
    let seed_bytes = if information.module.is_none() { CONFIG_BYTES as u64 } else { 0 };
    let seed = Range { begin: CONFIG_ADDRESS, end: CONFIG_ADDRESS + seed_bytes };
    let reserved = [
        Range { begin: 0, end: 0x10_0000 },
        Range { begin: image.text.begin, end: &raw const image_end as u64 },
        Range { begin: module.begin, end: module.end.next_multiple_of(PAGE) },
        Range { begin: information_at, end: information_at + PAGE },
        seed,
    ];
    let top = information.ram().iter().map(|range| range.end).max().unwrap_or(0);
    let own_bytes = EARLY_HEAP_BYTES + MAX_VMS as u64 * HEAP_BYTES_PER_VM;
    let own = information.first_gap(&reserved, own_bytes);
    let Some(own) = own else {
        refuse("less than 8 MiB of memory below 4 GiB is free", power::MACHINE_REFUSED);
    };
    // SAFETY: free memory, as the loader's map and our reservations say, and mapped.
    unsafe { HEAP.lock().init(own.begin as *mut u8, own_bytes as usize) };
    let mut free = Free::new(information.ram(), &reserved);
    free.remove(own);
    // A directory for each GiB of memory: in our tables, and again in those of the VM that has it.
    let frame_bytes = (2 * top.div_ceil(GIB) + 8) * PAGE + MAX_VMS as u64 * FRAME_BYTES_PER_VM;
    let Some(range) = free.take(frame_bytes, PAGE, BELOW_4_GIB) else {
        refuse("no memory below 4 GiB for page tables", power::MACHINE_REFUSED);
    };
    // SAFETY: taken from what is free, and mapped.
    let mut frames = unsafe { Frames::new(range.begin, range.end) };
    let Ok(root) = paging::build(&image, top, &mut frames) else {
        refuse("no memory for page tables", power::MACHINE_REFUSED);
    };
    // SAFETY: the tables map all that is in use where it is.
    unsafe { cpu::set_cr3(root) };

    let source = match (information.module, top > seed.end) {
        (Some(module), _) => Source::Module(bytes_at(module)),
        (None, true) => Source::SeedMemory(bytes_at(seed)),
        (None, false) => Source::Nothing,
    };
    let input = match input::read(source, free.bytes()) {
        Ok(input) => input,
        Err(why) => refuse(&why, power::BAD_PLAN),
    };
    let mut ram = alloc::vec::Vec::new();
    for vm in &input.plan.vms {
        match free.take(vm.memory_bytes, LARGE_PAGE, u64::MAX) {
            // SAFETY: taken from what is free, and mapped.
            Some(range) => ram.push(unsafe { GuestRam::new(range.begin, vm.memory_bytes) }),
            None => {
                let (name, needed, has) = (&vm.name, vm.memory_bytes >> 10, free.bytes() >> 10);
                let why = alloc::format!(
                    "VM {name}, memory: no {needed} KiB in one piece; {has} KiB are left of all"
                );
                refuse(&why, power::BAD_PLAN);
            }
        }
    }
    let clock = start_clock();
    let epoch_seconds = wall_clock::unix_seconds();
    let is_terminal = information.has_word("terminal", word);
    let heap_used = || HEAP.lock().used();
    let is_untagged = information.has_word("untagged", word);
    let resources =
        Resources { frames, ram, clock, epoch_seconds, is_terminal, is_untagged, heap_used };
    start(&input, resources)
}

/// Measures the counter and the timer, and gets the timer ready.
fn start_clock() -> Clock {
    let mut apic = HostApic::new();
    apic.count_down();
    let (tsc_hz, timer_hz) = clock::measure(|| apic.count());
    apic.set_rates(timer_hz, tsc_hz);
    interrupts::use_apic(&apic);
    Clock::new(cpu::tsc(), tsc_hz)
}

/// VMX or SVM, whichever this processor has.
fn start(input: &input::Input<'_>, mut resources: Resources) -> ! {
    /// "cAMD", the end of AuthenticAMD, and "uine" of HygonGenuine.
    const SVM_VENDORS: [u32; 2] = [0x444d_4163, 0x656e_6975];
    let code = if SVM_VENDORS.contains(&cpu::cpuid(0, 0).ecx) {
        match Svm::enable(&mut resources.frames, interrupts::arm_timer) {
            Ok(svm) => run::run(svm, input, resources),
            Err(error) => refuse(&alloc::format!("{error}"), power::MACHINE_REFUSED),
        }
    } else {
        match Vmx::enable(&mut resources.frames, interrupts::handle) {
            Ok(vmx) => run::run(vmx, input, resources),
            Err(error) => refuse(&alloc::format!("{error}"), power::MACHINE_REFUSED),
        }
    };
    match code {
        Ok(code) => power::off(code),
        Err(why) => refuse(&why, power::MACHINE_REFUSED),
    }
}

fn bytes_at(range: Range) -> &'static [u8] {
    let len = (range.end - range.begin) as usize;
    // SAFETY: mapped memory that was reserved for what lies there; nobody writes it.
    unsafe { core::slice::from_raw_parts(range.begin as *const u8, len) }
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    use core::fmt::Write;
    // A port that is not there takes everything; there is nobody else to tell.
    let _ = writeln!(Serial::again(), "\ntandem: our own bug, please report it: {info}");
    power::off(power::MACHINE_REFUSED)
}
