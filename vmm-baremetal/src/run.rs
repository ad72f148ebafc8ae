//! A run from plan to receipt, on whichever vendor's processor this is.

use crate::guest::vcpu::{Loaded, Vcpu};
use crate::guest::vendor::Processor;
use crate::host::clock::Clock;
use crate::host::console::BareHost;
use crate::host::power;
use crate::start::input::Input;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use metal::frames::Frames;
use metal::guest_ram::GuestRam;
use vmm_common::Instant;
use vmm_common::boot::{Boot, Images};
use vmm_common::cpuid::{self, CpuidFeatures};
use vmm_common::grant::Grant;
use vmm_common::machine::{Machine, Surroundings};
use vmm_common::receipt::Receipt;
use vmm_common::scheduler::Next;
use vmm_common::system::System;
use vmm_common::vm::Ending;

/// Events that the trace keeps, the last ones.
const TRACE_EVENTS: usize = 256;

/// What the machine has for the run.
#[derive(Debug)]
pub struct Resources {
    /// Each VM's RAM.
    pub ram: Vec<GuestRam>,
    /// The clock.
    pub clock: Clock,
    /// Unix time at the clock's start, seconds.
    pub epoch_seconds: u64,
    /// The console is a terminal.
    pub is_terminal: bool,
    /// Guests' translations are not to be told apart by VPID or ASID.
    pub is_untagged: bool,
    /// Bytes of the heap in use.
    pub heap_used: fn() -> usize,
}

/// Runs the plan to its end; the exit code.
///
/// # Errors
/// Why it cannot run, for people.
pub fn run<P: Processor>(
    mut processor: P,
    input: &Input<'_>,
    mut frames: Frames,
    resources: Resources,
) -> Result<u8, String> {
    let Resources { ram, clock, epoch_seconds, is_terminal, is_untagged, heap_used } = resources;
    if is_untagged {
        processor.untag();
    }
    let plan = &input.plan;
    let count = plan.vms.len() as u16;
    let mut vcpus = Vec::new();
    let mut machines = Vec::new();
    for (vm, vm_plan) in plan.vms.iter().enumerate() {
        let (images, boot) = &input.boots[vm];
        place(ram[vm], boot, images);
        let has_local_apic = vm_plan.devices.has_local_apic;
        let features = CpuidFeatures { has_local_apic, has_tsc_deadline: true, tsc_hz: clock.hz() };
        let table = cpuid::table(features, |leaf, subleaf| processor.cpuid(leaf, subleaf));
        let grant = Grant::new(P::VENDOR, ram[vm].granted(), &table);
        let numbers = (vm as u16, count);
        let vendors = processor.make(&mut frames, ram[vm], &boot.registers, &grant, numbers)?;
        let physical_address_bits = cpuid::physical_address_bits(&table);
        let vcpu = Vcpu::new(vendors, &boot.registers, ram[vm], clock, table);
        let tsc = vcpu.guest_tsc();
        let surroundings =
            Surroundings { now: clock.now(), epoch_seconds, tsc, physical_address_bits };
        let mut machine = Machine::new(vm_plan, surroundings);
        machine.set_base_memory_kib(boot.base_memory_kib);
        machines.push(machine);
        vcpus.push(vcpu);
    }
    let mut core = Core { processor, vcpus, has_it: None };
    let focus = plan.vms.iter().position(|vm| vm.has_keyboard).unwrap_or(0);
    let names = plan.vms.iter().map(|vm| vm.name.clone()).collect();
    let mut host = BareHost::new(clock, names, focus, is_terminal);
    let begin = clock.now();
    let mut system = System::new(plan, machines, TRACE_EVENTS, begin);
    share_core(&mut system, &mut core, &mut host);
    let (frames, heap) = (frames.taken_bytes(), heap_used());
    power::debug_line(&format!(
        "tandem-memory: {{\"frames_bytes\":{frames},\"heap_bytes\":{heap}}}"
    ));
    Ok(finish(core.processor, input, system, host, begin))
}

/// The processor, its vCPUs, and which of them has it.
struct Core<P: Processor> {
    processor: P,
    vcpus: Vec<Vcpu<P::Vcpu>>,
    has_it: Option<usize>,
}

impl<P: Processor> Core<P> {
    /// The vCPU, which has the processor from now on.
    fn load(&mut self, vcpu: usize) -> Loaded<'_, P::Loaded<'_>> {
        match self.has_it.replace(vcpu) {
            Some(before) if before == vcpu => {}
            Some(before) => {
                let [vcpu, before] = self
                    .vcpus
                    .get_disjoint_mut([vcpu, before])
                    .expect("they are two of the plan's");
                vcpu.switch(&mut self.processor, Some(before));
            }
            None => self.vcpus[vcpu].switch(&mut self.processor, None),
        }
        self.vcpus[vcpu].loaded(&mut self.processor)
    }
}

/// The loop: which VM is next, switch, turn.
fn share_core<P: Processor>(system: &mut System, core: &mut Core<P>, host: &mut BareHost) {
    loop {
        host.between_turns();
        if host.is_interrupted {
            system.stop("interrupted from the keyboard", host);
        }
        match system.next(host) {
            Next::Run { vcpu, until } => {
                let mut loaded = core.load(vcpu);
                system.turn(vcpu, until, &mut loaded, host);
                if system.vms[vcpu].ending.as_ref().is_some_and(Ending::deserves_dump) {
                    host.say_of(vcpu, &loaded.dump());
                }
            }
            Next::Idle { until } => host.idle(until),
            Next::Done => return,
        }
    }
}

fn finish<P: Processor>(
    processor: P,
    input: &Input<'_>,
    mut system: System,
    mut host: BareHost,
    begin: Instant,
) -> u8 {
    let end = host.clock.now();
    system.ledger.close(end);
    let receipt = Receipt::new(&input.plan, &system, end.ns_since(begin));
    host.finish(&format!("core 0; {receipt}"));
    processor.off();
    if let Ok(json) = serde_json::to_string(&receipt) {
        power::debug_line(&format!("tandem-receipt: {json}"));
    }
    match receipt.vms.iter().all(|vm| vm.is_success) {
        _ if host.is_interrupted => power::INTERRUPTED,
        true => power::SUCCESS,
        false => power::VM_FAILED,
    }
}

/// Zeros and the pieces of the boot.
fn place(ram: GuestRam, boot: &Boot, images: &Images<'_>) {
    ram.clear();
    for (address, bytes) in boot.contents(images) {
        let is_placed = ram.write(address, bytes);
        assert!(is_placed, "boot::place has checked that every piece lies in RAM");
    }
}
