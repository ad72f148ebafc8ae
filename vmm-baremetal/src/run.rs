//! A run from plan to receipt, on either vendor's processor.

use crate::guest::confinement;
use crate::guest::vcpu::{Loaded, Vcpu};
use crate::guest::vendor::Processor;
use crate::host::clock::Clock;
use crate::host::console::BareHost;
use crate::host::disks::Disks;
use crate::host::gdb::HostDebugger;
use crate::host::power;
use crate::host::switch_barriers::SwitchBarriers;
use crate::start::input::Input;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use metal::frames::Frames;
use metal::guest_ram::GuestRam;
use metal::siblings::Siblings;
use vmm_common::Instant;
use vmm_common::boot::{Boot, Images};
use vmm_common::console::Display;
use vmm_common::grant::Grant;
use vmm_common::index::{VcpuIndex, VmIndex};
use vmm_common::memory::GuestMemory;
use vmm_common::receipt::Receipt;
use vmm_common::registers::CpuState;
use vmm_common::scheduler::Next;
use vmm_common::seam::{Host, VcpuBackend};
use vmm_common::stop::{Detail, StopRequest, exit_code};
use vmm_common::switch_on::{self, Beginning, HostFacts};
use vmm_common::system::System;
use vmm_common::vm::Ending;

/// Events that the trace keeps, the last ones.
const TRACE_EVENTS: usize = 256;

/// The machine's resources for the run.
#[derive(Debug)]
pub struct Resources {
    /// Each VM's RAM.
    pub ram: Vec<GuestRam>,
    /// VMs' disks.
    pub disks: Disks,
    /// The clock.
    pub clock: Clock,
    /// Unix time at the clock's start, seconds.
    pub epoch_seconds: u64,
    /// EPT maps 4 KiB at a time.
    pub has_small_pages: bool,
    /// What shows the console.
    pub display: Display,
    /// Guests' translations are not tagged by VPID or ASID.
    pub is_untagged: bool,
    /// Bytes of the heap in use.
    pub heap_used: fn() -> usize,
}

/// Runs the plan to its end; the exit code.
///
/// # Errors
/// Why it cannot run, as a message.
pub fn run<P: Processor>(
    mut processor: P,
    input: &Input<'_>,
    mut frames: Frames,
    resources: Resources,
) -> Result<u8, String> {
    let Resources { ram, disks, clock, epoch_seconds, display, is_untagged, heap_used, .. } =
        resources;
    if is_untagged {
        processor.untag();
    }
    let plan = &input.plan;
    let mut vcpus = Vec::new();
    let (mut beginnings, mut grants) = (Vec::new(), Vec::new());
    for (vm, vm_plan) in plan.vms.iter().enumerate() {
        let (images, boot) = &input.boots[vm];
        place(ram[vm], boot, images);
        let facts = HostFacts { epoch_seconds, tsc_hz: clock.hz(), has_tsc_deadline: true };
        let cpuid = |leaf, subleaf| processor.cpuid(leaf, subleaf);
        let (tables, machine) = switch_on::prepare(vm_plan, boot, facts, cpuid);
        let grant = Grant::new(P::VENDOR, ram[vm].granted(), &tables[0]);
        let (first, count) = (vcpus.len(), tables.len());
        for (id, table) in tables.into_iter().enumerate() {
            let after_init = CpuState::after_init();
            let registers = if id == 0 { &boot.registers } else { &after_init };
            let siblings = match vcpus.get(first).map(Vcpu::vendors) {
                None if count == 1 => Siblings::Alone,
                None => Siblings::First,
                Some(sibling) => Siblings::Beside(sibling),
            };
            let vendors = processor.make(&mut frames, ram[vm], registers, &grant, siblings)?;
            let mut vcpu = Vcpu::new(vendors, registers, ram[vm], clock, table);
            if let Some(first) = vcpus.get(first) {
                vcpu.follow_tsc_of(first);
            }
            confinement::check(vcpu.reach(&mut processor), grant.reach())?;
            vcpus.push(vcpu);
            grants.push(grant.clone());
        }
        let tsc = vcpus[first].guest_tsc();
        beginnings.push(Beginning::new(machine, images.clone(), tsc, clock.now()));
    }
    let machines = beginnings.iter().map(Beginning::switch_on).zip(ram).collect();
    let barriers = SwitchBarriers::of(plan, &clock);
    let mut core = Core { barriers, processor, vcpus, has_it: None };
    let mut host = BareHost::new((clock, beginnings), plan, display, disks);
    let mut system = System::new(plan, machines, TRACE_EVENTS, clock.now());
    let mut debugger = HostDebugger::new(plan, &system);
    share_core(&mut system, &mut core, &mut host, &mut debugger);
    debugger.finish(&mut system, &mut host);
    let end = host.clock.now();
    for (vcpu, grant) in core.vcpus.iter().zip(&grants) {
        let reach = confinement::check(vcpu.reach(&mut core.processor), grant.reach())?;
        confinement::report(&reach);
    }
    let (frames, heap) = (frames.taken_bytes(), heap_used());
    power::debug_line(format_args!(
        "tandem-memory: {{\"frames_bytes\":{frames},\"heap_bytes\":{heap}}}"
    ));
    Ok(finish(core, input, system, host, end))
}

/// The processor, its vCPUs, and which of them has it.
struct Core<P: Processor> {
    processor: P,
    vcpus: Vec<Vcpu<P::Vcpu>>,
    barriers: SwitchBarriers,
    has_it: Option<VcpuIndex>,
}

impl<P: Processor> Core<P> {
    /// The vCPU, which has the processor from now on.
    // A call would copy what it returns, at every turn.
    #[inline(always)]
    fn load(&mut self, index: VcpuIndex) -> Loaded<'_, P::Loaded<'_>> {
        let vcpu = index.position();
        match self.has_it.replace(index) {
            Some(before) if before == index => {}
            Some(before) => {
                if before.vm() != index.vm() {
                    self.barriers.execute();
                }
                let before = before.position();
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
fn share_core<P: Processor>(
    system: &mut System<GuestRam>,
    core: &mut Core<P>,
    host: &mut BareHost<'_>,
    debugger: &mut HostDebugger,
) {
    loop {
        if let Some(begin) = host.between_turns() {
            debugger.serve(system, host);
            system.console_had(begin, host.clock.now());
            carry_out_requests(system, core, host);
        }
        if let Some(request) = host.stop_request {
            stop(system, core, host, request);
        }
        if let Some(vcpu) = debugger.next_visit() {
            debugger.visit(vcpu, system, &mut core.load(vcpu), host);
            continue;
        }
        match system.next(host) {
            Next::Run { vcpu, until } => {
                let mut loaded = core.load(vcpu);
                system.turn(vcpu, until, &mut loaded, host);
                debugger.after_turn(system, vcpu);
                if system.vms[vcpu.vm()].ending.as_ref().is_some_and(Ending::is_fault) {
                    host.console.say_dump(vcpu, &loaded.dump());
                    drop(loaded);
                    show(system, core, host);
                }
            }
            Next::Idle { until } => {
                host.idle(until);
                carry_out_requests(system, core, host);
            }
            Next::Done => return,
        }
    }
}

/// What the operator asks of VMs.
fn carry_out_requests<P: Processor>(
    system: &mut System<GuestRam>,
    core: &mut Core<P>,
    host: &mut BareHost<'_>,
) {
    while let Some((vm, request)) = host.console.take_request() {
        if let Err(why) = system.carry_out(vm, request, host) {
            host.console.refused(vm, why);
        }
    }
    show(system, core, host);
}

/// The registers of the other vCPUs of a VM that has ended with a dump of one, or of those that are
/// to be shown.
fn show<P: Processor>(system: &mut System<GuestRam>, core: &mut Core<P>, host: &mut BareHost<'_>) {
    while let Some(vcpu) = system.next_to_show() {
        let mut loaded = core.load(vcpu);
        let registers = loaded.registers();
        let dump = system.sibling_dump(vcpu, registers, host.clock.now());
        host.sibling_ended(vcpu, &dump);
        host.console.say_dump(vcpu, &loaded.dump());
    }
}

/// Ends the VMs that still run, each with its registers if the request asks for them.
fn stop<P: Processor>(
    system: &mut System<GuestRam>,
    core: &mut Core<P>,
    host: &mut BareHost<'_>,
    request: StopRequest,
) {
    for vm in VmIndex::first(system.vms.len()) {
        let (vcpu, detail) = (system.vcpu_to_show(vm), request.detail());
        if system.vms[vm].ending.is_some() || detail == Detail::Nothing {
            system.stop_vm(vcpu, request.why(), None, host);
            continue;
        }
        let mut loaded = core.load(vcpu);
        system.stop_vm(vcpu, request.why(), Some((loaded.registers(), detail)), host);
        let is_halted = system.vms[vm].vcpu(vcpu.id()).is_some_and(|vcpu| vcpu.is_halted);
        if detail == Detail::Line || is_halted {
            drop(loaded);
            show(system, core, host);
            continue;
        }
        host.console.say_dump(vcpu, &loaded.dump());
        drop(loaded);
        show(system, core, host);
    }
}

fn finish<P: Processor>(
    core: Core<P>,
    input: &Input<'_>,
    mut system: System<GuestRam>,
    mut host: BareHost<'_>,
    end: Instant,
) -> u8 {
    let receipt = Receipt::close(&input.plan, &mut system, end);
    let mut closing = receipt.closing_lines(0);
    // A single VM is switched to once.
    if input.plan.vms.len() > 1 {
        closing = format!("{}\n{}", closing.trim_end(), core.barriers.line(receipt.switches));
    }
    let is_output_whole = host.finish(&closing);
    core.processor.off();
    if let Ok(json) = serde_json::to_string(&receipt) {
        power::debug_line(format_args!("tandem-receipt: {json}"));
    }
    exit_code(host.stop_request, receipt.is_success() && is_output_whole)
}

/// Zeros and the pieces of the boot.
fn place(ram: GuestRam, boot: &Boot, images: &Images<'_>) {
    ram.clear();
    for (address, bytes) in boot.contents(images) {
        let is_placed = ram.write(address, bytes);
        assert!(is_placed, "boot::place has checked that every piece lies in RAM");
    }
}
