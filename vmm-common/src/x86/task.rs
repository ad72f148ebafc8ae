//! A hardware task switch (SDM vol. 3, 8.3), where the processor leaves it to software: VMX does,
//! SVM does not have to.
//!
//! The processor has checked the gate and the new task's descriptor (SDM vol. 3, 26.4.2). What
//! can fault before the new task is entered raises its exception in the old one; segments that
//! cannot be loaded raise theirs in the new one.

use super::guest::Guest;
use super::outcome::Exception;
use super::paging::{Access, AccessKind};
use crate::memory::GuestMemory as _;
use crate::registers::{Segment, TableRegister, general, segment};

mod descriptor;
mod state;

use descriptor::Descriptor;
use state::{Image, Width};

/// State that a task switch changes, beyond [`Guest`].
pub trait TaskGuest: Guest {
    /// GDTR.
    fn gdtr(&self) -> TableRegister;

    /// Sets a segment register, LDTR or TR, by [`crate::registers::segment`].
    fn set_segment(&mut self, index: u8, value: Segment);

    /// Sets CR3, drops translations, and loads the entries that PAE paging keeps in the processor.
    fn set_cr3(&mut self, value: u64);

    /// Sets CR0.TS, and clears DR7's local enable bits.
    fn begin_task(&mut self);
}

/// What makes the processor switch.
#[allow(missing_docs)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    Call,
    Return,
    Jump,
    /// A task gate in the IDT.
    Gate,
}

/// A task switch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TaskSwitch {
    /// Of the new task's TSS.
    pub selector: u16,
    /// Why.
    pub cause: Cause,
    /// Where the old task goes on.
    pub next_rip: u64,
    /// The error code of the exception that went through the gate.
    pub error: Option<u32>,
}

/// Why there is no new task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TaskFault {
    /// An exception for whichever task is the current one; it goes on at `rip`.
    #[allow(missing_docs)]
    Raises { exception: Exception, rip: u64 },
    /// A descriptor, a TSS or a stack lies at this guest-physical address, where no RAM is.
    OutsideRam(u64),
}

/// Why an access to memory fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stop {
    Raises(Exception),
    OutsideRam(u64),
}

impl From<Exception> for Stop {
    fn from(exception: Exception) -> Self {
        Self::Raises(exception)
    }
}

/// Flags: nested task, virtual-8086 mode, all that exist, and the one that is always set.
const NT: u32 = 1 << 14;
const VM: u32 = 1 << 17;
const EXISTING: u32 = 0x003f_7fd5;
const ALWAYS: u32 = 1 << 1;
const TR: u8 = segment::TR as u8;

/// Switches; where the new task begins.
///
/// # Errors
/// [`TaskFault`].
pub fn switch_task<G: TaskGuest>(guest: &mut G, switch: &TaskSwitch) -> Result<u64, TaskFault> {
    let rip = guest.rip();
    let descriptor = read_descriptor(guest, switch.selector).map_err(|stop| fault(stop, rip))?;
    let image = leave(guest, switch, &descriptor).map_err(|stop| fault(stop, rip))?;
    let start = u64::from(image.ip);
    enter(guest, switch, &descriptor, &image).map_err(|stop| fault(stop, start))?;
    Ok(start)
}

const fn fault(stop: Stop, rip: u64) -> TaskFault {
    match stop {
        Stop::Raises(exception) => TaskFault::Raises { exception, rip },
        Stop::OutsideRam(address) => TaskFault::OutsideRam(address),
    }
}

/// Saves the old task and reads the new one; nothing of the registers has changed yet.
fn leave<G: TaskGuest>(
    guest: &mut G,
    switch: &TaskSwitch,
    descriptor: &Descriptor,
) -> Result<Image, Stop> {
    let old = guest.segment(TR);
    let new_base = descriptor.base();
    let mut image = Image::read(guest, new_base, Width::of(descriptor.access()))?;
    let mut saved = Image::of(guest, switch.next_rip);
    if switch.cause == Cause::Return {
        saved.flags &= !NT;
    }
    saved.write(guest, old.base, Width::of(old.access))?;
    if matches!(switch.cause, Cause::Jump | Cause::Return) {
        set_busy(guest, old.selector, false)?;
    }
    if switch.cause != Cause::Return {
        set_busy(guest, switch.selector, true)?;
    }
    if matches!(switch.cause, Cause::Call | Cause::Gate) {
        write(guest, new_base, &old.selector.to_le_bytes())?;
        image.flags |= NT;
    }
    Ok(image)
}

/// The new task's registers, then its segments, then what is pushed for it.
fn enter<G: TaskGuest>(
    guest: &mut G,
    switch: &TaskSwitch,
    descriptor: &Descriptor,
    image: &Image,
) -> Result<(), Stop> {
    const BUSY: u32 = 1 << 1;
    let task =
        Segment { access: descriptor.access() | BUSY, ..descriptor.segment(switch.selector) };
    guest.set_segment(TR, task);
    guest.begin_task();
    if let Some(cr3) = image.cr3.filter(|_| !guest.paging().is_off()) {
        guest.set_cr3(cr3.into());
    }
    guest.set_rflags(u64::from(image.flags & EXISTING | ALWAYS));
    for (index, value) in (0..).zip(image.general) {
        guest.set_general(index, value.into());
    }
    load_segments(guest, image)?;
    if let Some(error) = switch.error {
        push(guest, error, Width::of(task.access))?;
    }
    Ok(())
}

fn load_segments<G: TaskGuest>(guest: &mut G, image: &Image) -> Result<(), Stop> {
    if image.flags & VM != 0 {
        for (index, selector) in (0..).zip(image.selectors) {
            guest.set_segment(index, descriptor::of_virtual_8086(selector));
        }
    } else {
        // A segment that cannot be loaded keeps its hidden part, so that the exception can be
        // delivered.
        for (index, selector) in (0..).zip(image.selectors) {
            let segment = guest.segment(index);
            guest.set_segment(index, Segment { selector, ..segment });
        }
    }
    guest.set_segment(segment::LDTR as u8, descriptor::unusable(image.ldt));
    let ldt = descriptor::load_ldt(guest, image.ldt)?;
    guest.set_segment(segment::LDTR as u8, ldt);
    if image.flags & VM != 0 {
        return Ok(());
    }
    let cpl = (image.selectors[segment::CS] & 3) as u8;
    for index in [segment::CS, segment::SS, segment::DS, segment::ES, segment::FS, segment::GS] {
        let loaded = descriptor::load(guest, index, image.selectors[index], cpl)?;
        guest.set_segment(index as u8, loaded);
    }
    Ok(())
}

/// The error code, onto the new task's stack.
fn push<G: TaskGuest>(guest: &mut G, error: u32, width: Width) -> Result<(), Stop> {
    const BIG: u32 = 1 << 14;
    let stack = guest.segment(segment::SS as u8);
    let mask = if stack.access & BIG != 0 { 0xffff_ffff } else { 0xffff };
    let bytes = error.to_le_bytes();
    let bytes = &bytes[..width.bytes()];
    let rsp = guest.general(general::RSP as u8);
    let at = rsp.wrapping_sub(bytes.len() as u64) & mask;
    write(guest, stack.base.wrapping_add(at) & 0xffff_ffff, bytes)?;
    guest.set_general(general::RSP as u8, rsp & !mask | at);
    Ok(())
}

fn set_busy<G: TaskGuest>(guest: &mut G, selector: u16, is_busy: bool) -> Result<(), Stop> {
    const TYPE: u64 = 5;
    const BUSY: u8 = 1 << 1;
    let at = descriptor_address(guest.gdtr().base, selector) + TYPE;
    let mut byte = [0];
    read(guest, at, &mut byte)?;
    let byte = if is_busy { byte[0] | BUSY } else { byte[0] & !BUSY };
    write(guest, at, &[byte])
}

const fn descriptor_address(base: u64, selector: u16) -> u64 {
    base + (selector & 0xfff8) as u64
}

fn read_descriptor<G: TaskGuest>(guest: &mut G, selector: u16) -> Result<Descriptor, Stop> {
    let mut bytes = [0; 8];
    let at = descriptor_address(guest.gdtr().base, selector);
    read(guest, at, &mut bytes)?;
    Ok(Descriptor(u64::from_le_bytes(bytes)))
}

/// Reads as the processor does for itself: not as ring 3, and never from user pages under SMAP.
fn read<G: Guest>(guest: &mut G, linear: u64, to: &mut [u8]) -> Result<(), Stop> {
    each_page(guest, linear, to.len(), AccessKind::Read, |guest, physical, range| {
        guest.memory().read(physical, &mut to[range])
    })
}

fn write<G: Guest>(guest: &mut G, linear: u64, from: &[u8]) -> Result<(), Stop> {
    each_page(guest, linear, from.len(), AccessKind::Write, |guest, physical, range| {
        guest.memory().write(physical, &from[range])
    })
}

fn each_page<G: Guest>(
    guest: &mut G,
    linear: u64,
    len: usize,
    kind: AccessKind,
    mut copy: impl FnMut(&mut G, u64, core::ops::Range<usize>) -> bool,
) -> Result<(), Stop> {
    const PAGE_BYTES: u64 = 4096;
    let access = Access { kind, is_user: false, may_reach_user: false };
    let mut done = 0;
    while done < len {
        let at = linear.wrapping_add(done as u64) & 0xffff_ffff;
        let here = (len - done).min((PAGE_BYTES - at % PAGE_BYTES) as usize);
        let translated = guest.paging().translate(guest.memory(), at, access);
        let physical = translated.map_err(|fault| Exception::page_fault(fault.error, at))?;
        if !copy(guest, physical, done..done + here) {
            return Err(Stop::OutsideRam(physical));
        }
        done += here;
    }
    Ok(())
}
