//! A VM as gdb's protocol reaches it: registers that were gathered when it stopped, its memory, and
//! what it is to do next. Nothing here reaches a backend.

use super::breakpoints::Breakpoints;
use super::description::description;
use super::full_state::{Controls, FullState, Watched};
use super::places::Width;
use super::register_file::{RegisterFile, RegisterNumber, read_one, write_one};
use crate::memory::GuestMemory;
use crate::registers::segment;
use crate::x86::paging::Paging;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use core::convert::Infallible;
use core::num::NonZeroUsize;
use gdbstub::arch::{Arch, RegId, Registers};
use gdbstub::common::{Signal, Tid};
use gdbstub::target::ext::base::BaseOps;
use gdbstub::target::ext::base::multithread as threads;
use gdbstub::target::ext::base::single_register_access as single;
use gdbstub::target::ext::breakpoints as points;
use gdbstub::target::ext::monitor_cmd::{ConsoleOutput, MonitorCmd, MonitorCmdOps};
use gdbstub::target::ext::target_description_xml_override as xml;
use gdbstub::target::ext::thread_extra_info as extra;
use gdbstub::target::{Target, TargetError, TargetResult};

/// No such memory.
const EFAULT: u8 = 14;
/// No such thread or register.
const EINVAL: u8 = 22;

/// What a vCPU does when its VM goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// It runs.
    Continue,
    /// It executes one instruction.
    Step,
    /// It stays where it is.
    Stay,
}

/// One VM.
#[derive(Debug)]
pub struct Subject<M> {
    pub memory: M,
    pub width: Width,
    /// Each vCPU's registers, as of the last stop.
    pub states: Vec<FullState>,
    /// Those that were changed since.
    pub is_dirty: Vec<bool>,
    /// What each vCPU does, in words.
    pub standings: Vec<&'static str>,
    pub breakpoints: Breakpoints,
    /// The action of each vCPU; `others` is that of the rest.
    actions: Vec<Option<Action>>,
    others: Action,
    /// The vCPU that stopped the VM; its page tables lead to breakpoints.
    pub current: usize,
    /// What `monitor` answers.
    pub answer: String,
    /// The VM is to go on.
    pub goes_on: bool,
}

impl<M: GuestMemory> Subject<M> {
    pub fn new(memory: M, vcpus: usize) -> Self {
        Self {
            memory,
            width: Width::default(),
            states: vec![FullState::default(); vcpus],
            is_dirty: vec![false; vcpus],
            standings: vec![""; vcpus],
            breakpoints: Breakpoints::default(),
            actions: vec![None; vcpus],
            others: Action::Continue,
            current: 0,
            answer: String::new(),
            goes_on: false,
        }
    }

    /// What the vCPU does when the VM goes on.
    pub fn action(&self, id: usize) -> Action {
        self.actions[id].unwrap_or(self.others)
    }

    /// All vCPUs run on.
    pub fn run_all(&mut self) {
        self.actions.fill(None);
        self.others = Action::Continue;
    }

    /// The vCPU's action when the VM resumes.
    pub fn controls(&self, id: usize) -> Controls {
        Controls {
            is_stepping: self.action(id) == Action::Step,
            traps_breakpoints: self.breakpoints.has_software(),
            hardware: self.breakpoints.hardware,
        }
    }

    /// Where the linear address lies in RAM, by the page tables of this vCPU.
    pub fn physical(&self, id: usize, linear: u64) -> Option<u64> {
        /// The debugger follows what tables say, whatever the processor has.
        const PHYSICAL_BITS: u8 = 52;
        let cpu = &self.states[id].cpu;
        let paging = Paging {
            cr0: cpu.cr0,
            cr3: cpu.cr3,
            cr4: cpu.cr4,
            efer: cpu.efer,
            pdptes: None,
            physical_bits: PHYSICAL_BITS,
            has_1g: true,
        };
        paging.look_up(&self.memory, linear)
    }

    /// Where this vCPU's next instruction lies in RAM.
    pub fn physical_pc(&self, id: usize) -> Option<u64> {
        let cpu = &self.states[id].cpu;
        let is_64 = cpu.segments[segment::CS].access & 1 << 13 != 0;
        let base = if is_64 { 0 } else { cpu.segments[segment::CS].base };
        self.physical(id, base.wrapping_add(cpu.rip))
    }

    /// Visits the pieces of `len` bytes from `linear` on that lie in one page each; how many bytes
    /// that were.
    fn pieces(
        &mut self,
        (id, linear, len): (usize, u64, usize),
        mut visit: impl FnMut(&mut Self, u64, (usize, usize)) -> bool,
    ) -> usize {
        const PAGE: u64 = 0x1000;
        let mut done = 0;
        while done < len {
            let at = linear.wrapping_add(done as u64);
            let piece = (len - done).min((PAGE - at % PAGE) as usize);
            let Some(physical) = self.physical(id, at) else { break };
            if !visit(self, physical, (done, done + piece)) {
                break;
            }
            done += piece;
        }
        done
    }

    fn id(&self, tid: Tid) -> Result<usize, TargetError<Infallible>> {
        let id = tid.get() - 1;
        if id < self.states.len() { Ok(id) } else { Err(TargetError::Errno(EINVAL)) }
    }
}

/// The thread that stands for the vCPU of this number.
pub fn thread(id: usize) -> Tid {
    Tid::MIN.saturating_add(id)
}

/// The processor, as gdb's protocol knows it.
#[derive(Debug)]
pub enum X86 {}

impl Arch for X86 {
    type Usize = u64;
    type Registers = RegisterFile;
    type BreakpointKind = usize;
    type RegId = RegisterNumber;
}

impl Registers for RegisterFile {
    type ProgramCounter = u64;

    fn pc(&self) -> u64 {
        self.pc()
    }

    fn gdb_serialize(&self, mut write_byte: impl FnMut(Option<u8>)) {
        self.bytes().iter().for_each(|byte| write_byte(Some(*byte)));
    }

    fn gdb_deserialize(&mut self, bytes: &[u8]) -> Result<(), ()> {
        self.set_bytes(bytes);
        Ok(())
    }
}

impl RegId for RegisterNumber {
    fn from_raw_id(id: usize) -> Option<(Self, Option<NonZeroUsize>)> {
        Some((Self(id), None))
    }
}

impl<M: GuestMemory> Target for Subject<M> {
    type Arch = X86;
    type Error = Infallible;

    fn base_ops(&mut self) -> BaseOps<'_, X86, Infallible> {
        BaseOps::MultiThread(self)
    }

    fn guard_rail_implicit_sw_breakpoints(&self) -> bool {
        true
    }

    fn support_breakpoints(&mut self) -> Option<points::BreakpointsOps<'_, Self>> {
        Some(self)
    }

    fn support_monitor_cmd(&mut self) -> Option<MonitorCmdOps<'_, Self>> {
        Some(self)
    }

    fn support_target_description_xml_override(
        &mut self,
    ) -> Option<xml::TargetDescriptionXmlOverrideOps<'_, Self>> {
        Some(self)
    }
}

impl<M: GuestMemory> threads::MultiThreadBase for Subject<M> {
    fn read_registers(&mut self, regs: &mut RegisterFile, tid: Tid) -> TargetResult<(), Self> {
        *regs = RegisterFile::of(&self.states[self.id(tid)?], self.width);
        Ok(())
    }

    fn write_registers(&mut self, regs: &RegisterFile, tid: Tid) -> TargetResult<(), Self> {
        let id = self.id(tid)?;
        regs.store(&mut self.states[id], self.width);
        self.is_dirty[id] = true;
        Ok(())
    }

    fn support_single_register_access(
        &mut self,
    ) -> Option<single::SingleRegisterAccessOps<'_, Tid, Self>> {
        Some(self)
    }

    fn read_addrs(&mut self, start: u64, data: &mut [u8], tid: Tid) -> TargetResult<usize, Self> {
        let whole = (self.id(tid)?, start, data.len());
        let done = self.pieces(whole, |it, physical, (from, to)| {
            let is_ram = it.memory.read(physical, &mut data[from..to]);
            it.breakpoints.hide(physical, &mut data[from..to]);
            is_ram
        });
        if done == 0 && !data.is_empty() { Err(TargetError::Errno(EFAULT)) } else { Ok(done) }
    }

    fn write_addrs(&mut self, start: u64, data: &[u8], tid: Tid) -> TargetResult<(), Self> {
        let mut data = data.to_vec();
        let whole = (self.id(tid)?, start, data.len());
        let done = self.pieces(whole, |it, physical, (from, to)| {
            let is_ram = it.memory.has(physical, (to - from) as u64);
            if is_ram {
                it.breakpoints.keep(physical, &mut data[from..to]);
                it.memory.write(physical, &data[from..to]);
            }
            is_ram
        });
        if done < data.len() { Err(TargetError::Errno(EFAULT)) } else { Ok(()) }
    }

    fn list_active_threads(&mut self, is_active: &mut dyn FnMut(Tid)) -> Result<(), Infallible> {
        (0..self.states.len()).for_each(|id| is_active(thread(id)));
        Ok(())
    }

    fn support_resume(&mut self) -> Option<threads::MultiThreadResumeOps<'_, Self>> {
        Some(self)
    }

    fn support_thread_extra_info(&mut self) -> Option<extra::ThreadExtraInfoOps<'_, Self>> {
        Some(self)
    }
}

impl<M: GuestMemory> single::SingleRegisterAccess<Tid> for Subject<M> {
    fn read_register(
        &mut self,
        tid: Tid,
        number: RegisterNumber,
        to: &mut [u8],
    ) -> TargetResult<usize, Self> {
        let read = read_one(&self.states[self.id(tid)?], self.width, number, to);
        read.ok_or(TargetError::Errno(EINVAL))
    }

    fn write_register(
        &mut self,
        tid: Tid,
        number: RegisterNumber,
        value: &[u8],
    ) -> TargetResult<(), Self> {
        let id = self.id(tid)?;
        if !write_one(&mut self.states[id], self.width, number, value) {
            return Err(TargetError::Errno(EINVAL));
        }
        self.is_dirty[id] = true;
        Ok(())
    }
}

impl<M: GuestMemory> threads::MultiThreadResume for Subject<M> {
    fn resume(&mut self) -> Result<(), Infallible> {
        self.goes_on = true;
        Ok(())
    }

    fn clear_resume_actions(&mut self) -> Result<(), Infallible> {
        self.run_all();
        Ok(())
    }

    fn set_resume_action_continue(
        &mut self,
        tid: Tid,
        _signal: Option<Signal>,
    ) -> Result<(), Infallible> {
        self.set_action(tid, Action::Continue);
        Ok(())
    }

    fn support_single_step(&mut self) -> Option<threads::MultiThreadSingleStepOps<'_, Self>> {
        Some(self)
    }

    fn support_scheduler_locking(
        &mut self,
    ) -> Option<threads::MultiThreadSchedulerLockingOps<'_, Self>> {
        Some(self)
    }
}

impl<M: GuestMemory> Subject<M> {
    fn set_action(&mut self, tid: Tid, action: Action) {
        if let Ok(id) = self.id(tid) {
            self.actions[id] = Some(action);
        }
    }
}

impl<M: GuestMemory> threads::MultiThreadSingleStep for Subject<M> {
    fn set_resume_action_step(
        &mut self,
        tid: Tid,
        _signal: Option<Signal>,
    ) -> Result<(), Infallible> {
        self.set_action(tid, Action::Step);
        Ok(())
    }
}

impl<M: GuestMemory> threads::MultiThreadSchedulerLocking for Subject<M> {
    fn set_resume_action_scheduler_lock(&mut self) -> Result<(), Infallible> {
        self.others = Action::Stay;
        Ok(())
    }
}

impl<M: GuestMemory> extra::ThreadExtraInfo for Subject<M> {
    fn thread_extra_info(&self, tid: Tid, to: &mut [u8]) -> Result<usize, Infallible> {
        let text = self.id(tid).map_or("", |id| self.standings[id]);
        let len = text.len().min(to.len());
        to[..len].copy_from_slice(&text.as_bytes()[..len]);
        Ok(len)
    }
}

impl<M: GuestMemory> points::Breakpoints for Subject<M> {
    fn support_sw_breakpoint(&mut self) -> Option<points::SwBreakpointOps<'_, Self>> {
        Some(self)
    }

    fn support_hw_breakpoint(&mut self) -> Option<points::HwBreakpointOps<'_, Self>> {
        Some(self)
    }

    fn support_hw_watchpoint(&mut self) -> Option<points::HwWatchpointOps<'_, Self>> {
        Some(self)
    }
}

impl<M: GuestMemory> points::SwBreakpoint for Subject<M> {
    fn add_sw_breakpoint(&mut self, linear: u64, _kind: usize) -> TargetResult<bool, Self> {
        let Some(physical) = self.physical(self.current, linear) else { return Ok(false) };
        Ok(self.breakpoints.add(&self.memory, linear, physical))
    }

    fn remove_sw_breakpoint(&mut self, linear: u64, _kind: usize) -> TargetResult<bool, Self> {
        Ok(self.breakpoints.remove(&self.memory, linear))
    }
}

impl<M: GuestMemory> points::HwBreakpoint for Subject<M> {
    fn add_hw_breakpoint(&mut self, linear: u64, _kind: usize) -> TargetResult<bool, Self> {
        Ok(self.breakpoints.add_hardware(linear, 1, Watched::Execute))
    }

    fn remove_hw_breakpoint(&mut self, linear: u64, _kind: usize) -> TargetResult<bool, Self> {
        Ok(self.breakpoints.remove_hardware(linear, 1, Watched::Execute))
    }
}

/// Debug registers cannot watch loads alone.
const fn watched(kind: points::WatchKind) -> Watched {
    match kind {
        points::WatchKind::Write => Watched::Write,
        points::WatchKind::Read | points::WatchKind::ReadWrite => Watched::Access,
    }
}

impl<M: GuestMemory> points::HwWatchpoint for Subject<M> {
    fn add_hw_watchpoint(
        &mut self,
        linear: u64,
        len: u64,
        kind: points::WatchKind,
    ) -> TargetResult<bool, Self> {
        Ok(self.breakpoints.add_hardware(linear, len, watched(kind)))
    }

    fn remove_hw_watchpoint(
        &mut self,
        linear: u64,
        len: u64,
        kind: points::WatchKind,
    ) -> TargetResult<bool, Self> {
        Ok(self.breakpoints.remove_hardware(linear, len, watched(kind)))
    }
}

impl<M: GuestMemory> MonitorCmd for Subject<M> {
    fn handle_monitor_cmd(
        &mut self,
        _command: &[u8],
        mut out: ConsoleOutput<'_>,
    ) -> Result<(), Infallible> {
        out.write_raw(core::mem::take(&mut self.answer).as_bytes());
        Ok(())
    }
}

impl<M: GuestMemory> xml::TargetDescriptionXmlOverride for Subject<M> {
    fn target_description_xml(
        &self,
        annex: &[u8],
        offset: u64,
        length: usize,
        to: &mut [u8],
    ) -> TargetResult<usize, Self> {
        if annex != b"target.xml" {
            return Err(TargetError::Errno(EINVAL));
        }
        let text = description(self.width);
        let rest = text.as_bytes().get(offset as usize..).unwrap_or_default();
        let len = rest.len().min(length).min(to.len());
        to[..len].copy_from_slice(&rest[..len]);
        Ok(len)
    }
}
