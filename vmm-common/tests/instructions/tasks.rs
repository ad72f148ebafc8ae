//! A task switch, field by field (SDM vol. 3, figure 8-2 and table 8-1).

use crate::guest::{NO_PAGING, Ram, TestGuest};
use vmm_common::memory::GuestMemory;
use vmm_common::registers::{Segment, TableRegister, segment};
use vmm_common::x86::task::{Cause, TaskFault, TaskGuest, TaskSwitch, switch_task};
use vmm_common::x86::{Exception, Guest};

const GDT: u64 = 0x100;
const OLD: u64 = 0x1000;
const NEW: u64 = 0x1100;
const OLD_SELECTOR: u16 = 0x18;
const NEW_SELECTOR: u16 = 0x20;
const CODE: u64 = 0x00cf_9b00_0000_ffff;
const DATA: u64 = 0x00cf_9300_0000_ffff;
const NT: u32 = 1 << 14;

#[derive(Clone, Debug)]
struct Task {
    guest: TestGuest,
    system: [Segment; 2],
    is_switched: bool,
}

impl Guest for Task {
    type Memory = Ram;
    fn general(&self, index: u8) -> u64 {
        self.guest.general(index)
    }
    fn set_general(&mut self, index: u8, value: u64) {
        self.guest.set_general(index, value);
    }
    fn rip(&self) -> u64 {
        self.guest.rip
    }
    fn rflags(&self) -> u64 {
        self.guest.rflags
    }
    fn set_rflags(&mut self, value: u64) {
        self.guest.rflags = value;
    }
    fn segment(&self, index: u8) -> Segment {
        match usize::from(index) {
            6.. => self.system[usize::from(index) - segment::LDTR],
            index => self.guest.segments[index],
        }
    }
    fn code_bits(&self) -> u8 {
        32
    }
    fn cpl(&self) -> u8 {
        0
    }
    fn paging(&self) -> vmm_common::x86::paging::Paging {
        NO_PAGING
    }
    fn vector(&self, _: u8) -> u128 {
        0
    }
    fn set_vector(&mut self, _: u8, _: u128) {}
    fn memory(&self) -> &Ram {
        &self.guest.ram
    }
}

impl TaskGuest for Task {
    fn gdtr(&self) -> TableRegister {
        TableRegister { base: GDT, limit: 0x27 }
    }
    fn set_segment(&mut self, index: u8, value: Segment) {
        match usize::from(index) {
            6.. => self.system[usize::from(index) - segment::LDTR] = value,
            index => self.guest.segments[index] = value,
        }
    }
    fn set_cr3(&mut self, _: u64) {
        panic!("paging is off");
    }
    fn begin_task(&mut self) {
        self.is_switched = true;
    }
}

fn word(task: &Task, at: u64) -> u32 {
    let mut bytes = [0; 4];
    assert!(task.guest.ram.read(at, &mut bytes));
    u32::from_le_bytes(bytes)
}

fn set(task: &mut Task, at: u64, value: u64, bytes: usize) {
    assert!(task.guest.ram.write(at, &value.to_le_bytes()[..bytes]));
}

const fn tss(base: u64, access: u64, limit: u64) -> u64 {
    limit | base << 16 | access << 40
}

/// A task of ours, and another that begins at 0x5000.
fn task() -> Task {
    let mut task = Task {
        guest: TestGuest { rip: 0x4000, rflags: 0x202, ..TestGuest::new(0, 0x2000) },
        system: [Segment { access: 0x1_0000, ..Segment::default() }, Segment::default()],
        is_switched: false,
    };
    task.guest.general = [1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0];
    task.system[1] = Segment { selector: OLD_SELECTOR, base: OLD, limit: 0x67, access: 0x8b };
    for (index, selector) in [0x10, 8, 0x10, 0x10, 0, 0].into_iter().enumerate() {
        task.guest.segments[index].selector = selector;
    }
    let table = [0, CODE, DATA, tss(OLD, 0x8b, 0x67), tss(NEW, 0x89, 0x67)];
    for (at, descriptor) in (GDT..).step_by(8).zip(table) {
        set(&mut task, at, descriptor, 8);
    }
    set(&mut task, NEW + 0x20, 0x5000, 4);
    set(&mut task, NEW + 0x24, 2, 4);
    for register in 0..8 {
        set(&mut task, NEW + 0x28 + 4 * register, 0x1800 + register, 4);
    }
    for (at, selector) in (NEW + 0x48..).step_by(4).zip([0x10, 8, 0x10, 0x10, 0, 0]) {
        set(&mut task, at, selector, 4);
    }
    task
}

const fn by(cause: Cause) -> TaskSwitch {
    TaskSwitch { selector: NEW_SELECTOR, cause, next_rip: 0x4007, error: None }
}

#[test]
fn a_call_nests_and_saves_the_old_task() {
    let mut task = task();
    assert_eq!(switch_task(&mut task, &by(Cause::Call)), Ok(0x5000));
    assert_eq!((word(&task, OLD + 0x20), word(&task, OLD + 0x24)), (0x4007, 0x202));
    let saved = (0..8).map(|register| word(&task, OLD + 0x28 + 4 * register));
    assert!(saved.eq(1..=8));
    let selectors = (0..6).map(|index| word(&task, OLD + 0x48 + 4 * index));
    assert!(selectors.eq([0x10, 8, 0x10, 0x10, 0, 0]));
    assert_eq!(word(&task, NEW), OLD_SELECTOR.into());
    assert_eq!(task.guest.rflags, 2 | u64::from(NT));
    assert!((0..8).all(|register| task.guest.general[register] == 0x1800 + register as u64));
    assert_eq!(
        task.system[1],
        Segment { selector: NEW_SELECTOR, base: NEW, limit: 0x67, access: 0x8b }
    );
    let code = Segment { selector: 8, base: 0, limit: u32::MAX, access: 0xc09b };
    assert_eq!(task.guest.segments[segment::CS], code);
    assert_eq!(task.guest.segments[segment::FS].access, 0x1_0000);
    assert!(task.is_switched);
    // Both are busy.
    assert_eq!([0x18, 0x20].map(|at| word(&task, GDT + at + 4) >> 8 & 0xff), [0x8b, 0x8b]);
}

#[test]
fn a_jump_leaves_the_old_task_free_and_a_return_ends_its_nesting() {
    let mut jumped = task();
    assert_eq!(switch_task(&mut jumped, &by(Cause::Jump)), Ok(0x5000));
    assert_eq!([0x18, 0x20].map(|at| word(&jumped, GDT + at + 4) >> 8 & 0xff), [0x89, 0x8b]);
    assert_eq!(jumped.guest.rflags, 2);
    let mut returned = task();
    returned.guest.rflags |= u64::from(NT);
    set(&mut returned, GDT + 0x20, tss(NEW, 0x8b, 0x67), 8);
    assert_eq!(switch_task(&mut returned, &by(Cause::Return)), Ok(0x5000));
    assert_eq!(word(&returned, OLD + 0x24) & NT, 0);
    assert_eq!([0x18, 0x20].map(|at| word(&returned, GDT + at + 4) >> 8 & 0xff), [0x89, 0x8b]);
}

#[test]
fn an_exceptions_error_code_is_pushed_in_the_new_task() {
    let mut task = task();
    let switch = TaskSwitch { error: Some(0x200), ..by(Cause::Gate) };
    assert_eq!(switch_task(&mut task, &switch), Ok(0x5000));
    assert_eq!((task.guest.general[4], word(&task, 0x1800)), (0x1800, 0x200));
}

#[test]
fn a_segment_that_cannot_be_loaded_raises_its_exception_in_the_new_task() {
    let raised = |offset: u64, selector: u64, descriptor: u64| {
        let mut task = task();
        set(&mut task, NEW + offset, selector, 4);
        set(&mut task, GDT + 0x10, descriptor, 8);
        match switch_task(&mut task, &by(Cause::Jump)) {
            Err(TaskFault::Raises { exception: Exception { vector, error, .. }, rip }) => {
                assert_eq!(rip, 0x5000);
                (vector, error)
            }
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(raised(0x4c, 0x10, DATA), (10, Some(0x10))); // CS is data
    assert_eq!(raised(0x50, 0, DATA), (10, Some(0))); // SS is null
    assert_eq!(raised(0x54, 0x30, DATA), (10, Some(0x30))); // DS beyond the limit
    assert_eq!(raised(0x54, 0x10, DATA & !(1 << 47)), (12, Some(0x10))); // SS not present
    assert_eq!(raised(0x60, 0x10, DATA), (10, Some(0x10))); // LDT is data
}

#[test]
fn a_16_bit_task_has_words_and_no_fs_and_gs() {
    let mut task = task();
    set(&mut task, GDT + 0x20, tss(NEW, 0x81, 0x2b), 8);
    for (at, value) in (NEW + 0xe..)
        .step_by(2)
        .zip([0x5000, 2, 1, 2, 3, 4, 0x1800, 6, 7, 8, 0x10, 8, 0x10, 0x10, 0])
    {
        set(&mut task, at, value, 2);
    }
    assert_eq!(switch_task(&mut task, &by(Cause::Call)), Ok(0x5000));
    assert_eq!(task.guest.general[..8], [1, 2, 3, 4, 0x1800, 6, 7, 8]);
    assert_eq!(task.system[1].access, 0x83);
}

#[test]
fn a_tss_where_no_ram_is_is_told() {
    let mut task = task();
    set(&mut task, GDT + 0x20, tss(0x8000, 0x89, 0x67), 8);
    assert_eq!(switch_task(&mut task, &by(Cause::Call)), Err(TaskFault::OutsideRam(0x8000)));
    assert!(!task.is_switched);
}
