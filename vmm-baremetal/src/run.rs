//! A run from plan to receipt, on whichever vendor's processor this is.

use crate::clock::Clock;
use crate::frames::Frames;
use crate::hardware::Hardware;
use crate::host::BareHost;
use crate::input::Input;
use crate::ram::GuestRam;
use crate::state::{Extensions, SwitchedState};
use crate::svm::Svm;
use crate::svm::vcpu::SvmVcpu;
use crate::vcpu::Vcpu;
use crate::vmx::Vmx;
use crate::vmx::vcpu::VmxVcpu;
use crate::{cpu, power};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use vmm_common::Instant;
use vmm_common::boot::{Boot, Images};
use vmm_common::cpuid::{CpuidResult, Permitted};
use vmm_common::receipt::Receipt;
use vmm_common::registers::CpuState;
use vmm_common::scheduler::Next;
use vmm_common::stop::exit_code;
use vmm_common::switch_on::{self, HostFacts};
use vmm_common::system::System;
use vmm_common::vm::Ending;

/// Events that the trace keeps, the last ones.
const TRACE_EVENTS: usize = 256;

/// A processor in VMX operation or with SVM enabled.
pub trait Processor {
    /// Its control block for a vCPU.
    type Vcpu: Hardware;

    /// What CPUID says of the processor, less what a guest of it cannot have.
    fn cpuid(&self, leaf: u32, subleaf: u32) -> CpuidResult;

    /// A control block for vCPU `number` (from 0) of `count`, whose guest has this RAM and these
    /// registers, and may set what is `permitted`.
    ///
    /// # Errors
    /// Why there can be none, for people.
    fn make(
        &mut self,
        frames: &mut Frames,
        ram: GuestRam,
        boot: &CpuState,
        permitted: Permitted,
        number: u16,
        count: u16,
    ) -> Result<Self::Vcpu, String>;

    /// Makes vCPUs without a VPID or ASID of their own from now on.
    fn untag(&mut self);

    /// Leaves VMX operation, or disables SVM.
    fn off(self);
}

impl Processor for Vmx {
    type Vcpu = VmxVcpu;

    fn cpuid(&self, leaf: u32, subleaf: u32) -> CpuidResult {
        self.cpuid(leaf, subleaf)
    }

    fn make(
        &mut self,
        frames: &mut Frames,
        ram: GuestRam,
        boot: &CpuState,
        permitted: Permitted,
        number: u16,
        _count: u16,
    ) -> Result<VmxVcpu, String> {
        // VPID 0 is the host's.
        VmxVcpu::new(self, frames, ram, boot, permitted, number + 1)
            .map_err(|error| format!("{error}"))
    }

    fn untag(&mut self) {
        self.untag();
    }

    fn off(self) {
        self.disable();
    }
}

impl Processor for Svm {
    type Vcpu = SvmVcpu;

    fn cpuid(&self, leaf: u32, subleaf: u32) -> CpuidResult {
        cpu::cpuid(leaf, subleaf)
    }

    fn make(
        &mut self,
        frames: &mut Frames,
        ram: GuestRam,
        boot: &CpuState,
        permitted: Permitted,
        number: u16,
        count: u16,
    ) -> Result<SvmVcpu, String> {
        SvmVcpu::new(self, frames, ram, boot, permitted, number.into(), count.into())
            .map_err(|_| no_frames())
    }

    fn untag(&mut self) {
        self.untag();
    }

    fn off(mut self) {
        self.disable();
    }
}

fn no_frames() -> String {
    String::from("the VMs' tables do not fit into the hypervisor's memory")
}

/// What the machine has for the run.
#[derive(Debug)]
pub struct Resources {
    /// The hypervisor's own frames.
    pub frames: Frames,
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
    resources: Resources,
) -> Result<u8, String> {
    let Resources { mut frames, ram, clock, epoch_seconds, is_terminal, is_untagged, heap_used } =
        resources;
    if is_untagged {
        processor.untag();
    }
    let plan = &input.plan;
    let extensions = Extensions::enable();
    let count = plan.vms.len() as u16;
    let mut vcpus = Vec::new();
    let mut machines = Vec::new();
    for (vm, vm_plan) in plan.vms.iter().enumerate() {
        let (images, boot) = &input.boots[vm];
        place(ram[vm], boot, images);
        let facts = HostFacts { epoch_seconds, tsc_hz: clock.hz(), has_tsc_deadline: true };
        let cpuid = |leaf, subleaf| processor.cpuid(leaf, subleaf);
        let (table, machine) = switch_on::prepare(vm_plan, boot, facts, cpuid);
        let permitted = Permitted::by(&table);
        let (registers, number) = (&boot.registers, vm as u16);
        let hardware = processor.make(&mut frames, ram[vm], registers, permitted, number, count)?;
        let state =
            SwitchedState::new(extensions, permitted.xcr0, &mut frames).map_err(|_| no_frames())?;
        let vcpu = Vcpu::new(hardware, state, registers.general, ram[vm], clock, table);
        let machine = machine.switch_on(vcpu.guest_tsc(), clock.now());
        machines.push((machine, ram[vm]));
        vcpus.push(vcpu);
    }
    let mut host = BareHost::new(clock, plan, is_terminal);
    let begin = clock.now();
    let mut system = System::new(plan, machines, TRACE_EVENTS, begin);
    share_core(&mut system, &mut vcpus, &mut host);
    let (frames, heap) = (frames.taken_bytes(), heap_used());
    power::debug_line(&format!(
        "tandem-memory: {{\"frames_bytes\":{frames},\"heap_bytes\":{heap}}}"
    ));
    Ok(finish(processor, input, system, host, begin))
}

/// The loop: who is next, switch, turn.
fn share_core<H: Hardware>(
    system: &mut System<GuestRam>,
    vcpus: &mut [Vcpu<H>],
    host: &mut BareHost,
) {
    let mut loaded: Option<usize> = None;
    loop {
        host.between_turns();
        if let Some(request) = host.stop_request {
            system.stop(request.why(), host);
        }
        match system.next(host) {
            Next::Run { vcpu, until } => {
                if loaded != Some(vcpu) {
                    if let Some(before) = loaded {
                        vcpus[before].unload();
                    }
                    vcpus[vcpu].load();
                    loaded = Some(vcpu);
                }
                system.turn(vcpu, until, &mut vcpus[vcpu], host);
                if system.vms[vcpu].ending.as_ref().is_some_and(Ending::deserves_dump) {
                    host.console.say_dump(vcpu, &vcpus[vcpu].dump());
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
    mut system: System<GuestRam>,
    mut host: BareHost,
    begin: Instant,
) -> u8 {
    let end = host.clock.now();
    let receipt = Receipt::close(&input.plan, &mut system, begin, end);
    host.finish(&receipt.closing_lines(0));
    processor.off();
    if let Ok(json) = serde_json::to_string(&receipt) {
        power::debug_line(&format!("tandem-receipt: {json}"));
    }
    exit_code(host.stop_request, receipt.is_success())
}

/// Zeros and the pieces of the boot.
fn place(ram: GuestRam, boot: &Boot, images: &Images<'_>) {
    ram.clear();
    for (address, bytes) in boot.contents(images) {
        let is_placed = ram.write(address, bytes);
        assert!(is_placed, "boot::place has checked that every piece lies in RAM");
    }
}
