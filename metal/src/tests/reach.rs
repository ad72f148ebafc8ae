//! Both vendors' control blocks, built from a grant and read back: what they let a guest reach is
//! what was granted, bit for bit.

use super::grant;
use crate::carve::Region;
use crate::frames::{FRAME_BYTES, Frames};
use crate::guest_ram::GuestRam;
use crate::loader::multiboot::Range;
use crate::second_level::{Format, Tables};
use crate::svm::Svm;
use crate::vmx::capabilities::{Capabilities, tests::skylake};
use crate::vmx::control_registers::Split;
use crate::vmx::controls::Controls;
use crate::vmx::ept;
use crate::vmx::field::Field;
use crate::vmx::initial::{self, Places};
use alloc::boxed::Box;
use alloc::vec;
use vmm_common::grant::{Reach, Vendor};
use vmm_common::registers::CpuState;

const MIB: u64 = 1 << 20;

#[derive(Clone)]
#[repr(align(4096))]
struct Page(#[allow(dead_code)] [u8; 4096]);

fn frames(count: usize) -> Frames {
    let begin = Box::leak(vec![Page([0; 4096]); count].into_boxed_slice()).as_mut_ptr() as u64;
    // The memory was leaked for these frames alone.
    Frames::new(Region::of(Range { begin, end: begin + count as u64 * FRAME_BYTES }))
}

/// RAM below the devices' hole, and above it. Nothing is read or written there.
fn ram() -> GuestRam {
    GuestRam::new(Region::of(Range { begin: 4096 * MIB, end: 4096 * MIB + 3600 * MIB }))
}

/// What a VMCS with these fields, bitmaps and tables lets a guest reach.
fn reach_of_vmcs(fields: &[(Field, u64)], bitmaps: &[u64], tables: &Tables) -> Reach {
    let field = |wanted| fields.iter().find(|(field, _)| *field == wanted).expect("it is set").1;
    assert_eq!(field(Field::EptPointer), ept::pointer(tables.root()));
    assert_eq!(field(Field::MsrBitmap) - field(Field::IoBitmapA), 2 * FRAME_BYTES);
    // EPT, unrestricted guest, WBINVD; I/O bitmaps, MSR bitmaps; external interrupts, NMIs, timer.
    assert_eq!(field(Field::SecondaryControls) & 0xc2, 0xc2);
    assert_eq!(field(Field::PrimaryControls) & (1 << 25 | 1 << 28), 1 << 25 | 1 << 28);
    assert_eq!(field(Field::PinControls) & 0x49, 0x49);
    // #DB, #AC, #MC.
    assert_eq!(field(Field::ExceptionBitmap), 0x6_0002);
    let (ports, msr_reads, msr_writes) = crate::vmx::bitmaps::read(bitmaps);
    Reach {
        ram: tables.granted(),
        ports,
        msr_reads,
        msr_writes,
        cr0: !field(Field::Cr0Mask),
        cr4: !field(Field::Cr4Mask),
    }
}

#[test]
fn a_vmcs_lets_a_guest_reach_what_it_is_granted_and_nothing_else() {
    let ram = ram();
    let grant = grant(Vendor::Vmx, ram.granted());
    let capabilities = Capabilities::read(skylake);
    let format = Format { has_2m: true, has_1g: true, ..ept::FORMAT };
    let tables = Tables::new(&mut frames(16), &ram, format).expect("they fit");
    let controls = Controls::new(&capabilities).expect("a Skylake has all");
    let split = Split::new(&capabilities, grant.reach());
    let places = Places {
        bitmaps: 0x5000,
        ept_pointer: ept::pointer(tables.root()),
        virtual_apic: 0x9000,
        vpid: 1,
    };
    let fields = initial::controls(&controls, &split, &places);
    let mut bitmaps = [0; 1024 + 512];
    crate::vmx::bitmaps::fill(&mut bitmaps, grant.reach());
    assert_eq!(reach_of_vmcs(&fields, &bitmaps, &tables), *grant.reach());
}

#[test]
fn a_vmcb_lets_a_guest_reach_what_it_is_granted_and_nothing_else() {
    let mut frames = frames(32);
    let mut svm = Svm::for_tests(&mut frames);
    let ram = ram();
    let grant = grant(Vendor::Svm, ram.granted());
    let boot = CpuState::default();
    let block = crate::svm::ControlBlock::new(&mut svm, &mut frames, &ram, &boot, &grant);
    assert_eq!(block.expect("it fits").reach(&svm), *grant.reach());
}

#[test]
fn what_is_not_granted_to_one_guest_is_not_passed_on_from_another() {
    let mut frames = frames(48);
    let mut svm = Svm::for_tests(&mut frames);
    let (first, second) = (
        GuestRam::new(Region::of(Range { begin: 64 * MIB, end: 80 * MIB })),
        GuestRam::new(Region::of(Range { begin: 80 * MIB, end: 96 * MIB })),
    );
    let boot = CpuState::default();
    for ram in [first, second] {
        let grant = grant(Vendor::Svm, ram.granted());
        let block = crate::svm::ControlBlock::new(&mut svm, &mut frames, &ram, &boot, &grant);
        assert_eq!(block.expect("it fits").reach(&svm), *grant.reach());
    }
}

#[test]
#[should_panic(expected = "assertion")]
fn a_grant_of_other_ram_makes_no_control_block() {
    let mut frames = frames(32);
    let mut svm = Svm::for_tests(&mut frames);
    let other = GuestRam::new(Region::of(Range { begin: 64 * MIB, end: 80 * MIB }));
    let grant = grant(Vendor::Svm, other.granted());
    let boot = CpuState::default();
    let _ = crate::svm::ControlBlock::new(&mut svm, &mut frames, &ram(), &boot, &grant);
}
