//! The bare machine, from the loader to the power off.
#![no_std]
#![no_main]

extern crate alloc;

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::panic::PanicInfo;
use core::sync::atomic::{AtomicBool, Ordering};
use metal::barriers::arch_capabilities;
use metal::carve::Free;
use metal::guest_ram::GuestRam;
use metal::io_apic::{IoApic, USUAL_ADDRESS};
use metal::loader::multiboot::Range;
use metal::loader::{Loader, Memory, Needs, Refused};
use metal::local_apic::HostApic;
use metal::svm::Svm;
use metal::vmx::Vmx;
use metal::{cpu, firmware, heap, interrupts, nmi_timer, pci};
use vmm_baremetal::host::acpi::Acpi;
use vmm_baremetal::host::calibration::{self, Rates};
use vmm_baremetal::host::clock::Clock;
use vmm_baremetal::host::console::{refuse, report};
use vmm_baremetal::host::disks::Disks;
use vmm_baremetal::host::emulator::Beneath;
use vmm_baremetal::host::power::{self, MACHINE_REFUSED};
use vmm_baremetal::host::serial::Serial;
use vmm_baremetal::host::{exceptions, multihit, wall_clock};
use vmm_baremetal::run::{self, Resources};
use vmm_baremetal::start::input::{self, Input, Source};
use vmm_common::console::{Ability, Display};
use vmm_common::plan::{MAX_VMS, Plan};
use vmm_common::seed::{CONFIG_ADDRESS, CONFIG_BYTES};
use vmm_common::stop::BAD_PLAN;

/// What the first allocations need, before the plan is read: the memory map's copies, the
/// plan.
const EARLY_HEAP_BYTES: u64 = 2 << 20;
/// Heap for each VM: its machine, its lines.
const HEAP_BYTES_PER_VM: u64 = 192 << 10;
/// Frames for each VM's tables.
const FRAME_BYTES_PER_VM: u64 = 128 << 10;
const LARGE_PAGE: u64 = 1 << 21;
/// "cAMD", the end of AuthenticAMD, and "uine" of HygonGenuine: vendors of SVM.
const SVM_VENDORS: [u32; 2] = [0x444d_4163, 0x656e_6975];
/// "ntel", the end of GenuineIntel.
const INTEL: u32 = 0x6c65_746e;

/// Memory needed besides our own page tables; and where the seed's loader puts a plan.
fn needs(has_small_pages: bool) -> Needs {
    Needs {
        heap_bytes: EARLY_HEAP_BYTES + MAX_VMS as u64 * HEAP_BYTES_PER_VM,
        frame_bytes: MAX_VMS as u64 * FRAME_BYTES_PER_VM,
        has_small_pages,
        plan: Range { begin: CONFIG_ADDRESS, end: CONFIG_ADDRESS + CONFIG_BYTES as u64 },
    }
}

/// Called by `metal` once the processor is in 64-bit mode.
#[unsafe(no_mangle)]
fn hypervisor_main(loader: Loader) -> ! {
    let _serial = Serial::program();
    if !Serial::is_there() {
        report(format_args!("this machine has no COM1 at 3f8h: what guests print is not seen"));
    }
    interrupts::load(exceptions::end);
    let is_intel = cpu::cpuid(0, 0).ecx == INTEL;
    let (display, is_untagged) = (display(&loader), loader.has_word("untagged"));
    let has_small_pages = loader.has_word("small_pages")
        || multihit::needs_small_pages(is_intel, arch_capabilities(), Beneath::find());
    let divided = loader.divide(&needs(has_small_pages));
    let mut memory = or_refuse(divided.map_err(Refused::text), MACHINE_REFUSED);
    let input = or_refuse(input::read(source(&memory), memory.free.bytes()), BAD_PLAN);
    let ram = or_refuse(carve(&mut memory.free, &input.plan), BAD_PLAN);
    let disks = or_refuse(Disks::new(&mut memory.free, &input), BAD_PLAN);
    let acpi = Acpi::find(&firmware::read);
    if let Some(soft_off) = acpi.soft_off {
        power::switch_off_by(soft_off);
    }
    let bus_masters = pci::stop_bus_masters();
    power::debug_line(format_args!("tandem-pci: {bus_masters} bus masters stopped"));
    let io_apics = acpi.io_apics.iter().copied().chain([USUAL_ADDRESS]);
    io_apics.filter_map(IoApic::at).for_each(IoApic::mask_all);
    let resources = Resources {
        ram,
        disks,
        clock: or_refuse(start_clock(&acpi), MACHINE_REFUSED),
        epoch_seconds: wall_clock::unix_seconds(),
        has_small_pages,
        display,
        is_untagged,
        heap_used: heap::used_bytes,
    };
    power::off(or_refuse(start(&input, memory, resources), MACHINE_REFUSED))
}

/// The result of a step of the start; an error ends the run, with a message on the console.
fn or_refuse<T>(made: Result<T, impl AsRef<str>>, code: u8) -> T {
    match made {
        Ok(made) => made,
        Err(why) => refuse(why.as_ref(), code),
    }
}

/// What the kernel's command line says of the console.
fn display(loader: &Loader) -> Display {
    let ability = match () {
        () if loader.has_word("dumb") => Ability::Dumb,
        () if loader.has_word("monochrome") => Ability::Monochrome,
        () => Ability::Colours,
    };
    match loader.has_word("terminal") {
        true => Display::Terminal { columns: 0, ability },
        false => Display::Stream,
    }
}

/// Where the plan is.
const fn source(memory: &Memory) -> Source<'static> {
    match (memory.module, memory.plan) {
        (Some(module), _) => Source::Module(module),
        (None, Some(plan)) => Source::SeedMemory(plan),
        (None, None) => Source::Nothing,
    }
}

/// Each VM's RAM, in one piece.
fn carve(free: &mut Free, plan: &Plan) -> Result<Vec<GuestRam>, String> {
    let mut ram = Vec::new();
    for vm in &plan.vms {
        let region = free.take(vm.memory_bytes, LARGE_PAGE, u64::MAX).ok_or_else(|| {
            let (name, needed, has) = (&vm.name, vm.memory_bytes >> 10, free.bytes() >> 10);
            format!("VM {name}, memory: no {needed} KiB in one piece; {has} KiB are left of all")
        })?;
        ram.push(GuestRam::new(region));
    }
    Ok(ram)
}

/// Measures the counter and the timer, and gets the timer ready.
fn start_clock(acpi: &Acpi) -> Result<Clock, String> {
    let mut apic = HostApic::enable();
    apic.count_down();
    let Rates { tsc_hz, timer_hz } = calibration::measure(acpi, || apic.count())?;
    apic.set_rates(timer_hz, tsc_hz);
    power::debug_line(format_args!("tandem-clock: {tsc_hz} Hz"));
    interrupts::use_apic(&apic);
    if let Some(io_apic) =
        acpi.io_apics.first().copied().or(Some(USUAL_ADDRESS)).and_then(IoApic::at)
    {
        io_apic.deliver_serial();
    }
    Ok(Clock::new(cpu::tsc(), tsc_hz))
}

/// Runs the plan on VMX or SVM, whichever this processor has; the exit code.
fn start(input: &Input<'_>, memory: Memory, resources: Resources) -> Result<u8, String> {
    let mut frames = memory.frames;
    if SVM_VENDORS.contains(&cpu::cpuid(0, 0).ecx) {
        let svm = Svm::enable(&mut frames).map_err(|error| format!("{error}"))?;
        if Beneath::find() == Beneath::Bochs {
            nmi_timer::begin(resources.clock.hz());
        }
        run::run(svm, input, frames, resources)
    } else {
        let mut vmx = Vmx::enable(&mut frames).map_err(|error| format!("{error}"))?;
        if resources.has_small_pages {
            vmx.use_small_pages();
        }
        run::run(vmx, input, frames, resources)
    }
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    static HAS_PANICKED: AtomicBool = AtomicBool::new(false);
    // A panic while this message is written must not start another.
    if HAS_PANICKED.swap(true, Ordering::Relaxed) {
        cpu::halt_for_ever();
    }
    report(format_args!("a bug of the hypervisor, please report it: {info}"));
    power::off(MACHINE_REFUSED)
}
