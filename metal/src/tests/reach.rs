//! Both vendors' control blocks, built from a grant and read back: what they let a guest reach is
//! what was granted, bit for bit.

use super::{frames, grant};
use crate::carve::Region;
use crate::frames::Frame;
use crate::guest_ram::GuestRam;
use crate::loader::multiboot::Range;
use crate::second_level::{Format, Tables};
use crate::siblings::Siblings;
use crate::svm::Svm;
use crate::vmx::capabilities::{Capabilities, tests::skylake};
use crate::vmx::control_registers::Split;
use crate::vmx::controls::Controls;
use crate::vmx::ept;
use crate::vmx::field::Field;
use crate::vmx::initial::{self, Places};
use crate::vmx::read_back::{self, Parts};
use vmm_common::grant::{Reach, Vendor};
use vmm_common::registers::CpuState;

const MIB: u64 = 1 << 20;

/// RAM below the devices' hole, and above it. Nothing is read or written there.
fn ram() -> GuestRam {
    GuestRam::new(Region::of(Range { begin: 4096 * MIB, end: 4096 * MIB + 3600 * MIB }))
}

/// The fields, bitmaps and tables of a VMCS that is never current, and what they were made from.
struct Vmcs {
    fields: Vec<(Field, u64)>,
    bitmaps: Frame,
    tables: Tables,
    granted: Reach,
}

impl Vmcs {
    fn new() -> Self {
        let (ram, mut frames) = (ram(), frames(32));
        let granted = grant(Vendor::Vmx, ram.granted()).reach().clone();
        let capabilities = Capabilities::read(skylake);
        let format = Format { has_2m: true, has_1g: true, ..ept::FORMAT };
        let tables = Tables::new(&mut frames, &ram, format).expect("they fit");
        let mut bitmaps = frames.take_row(3).expect("they fit");
        crate::vmx::bitmaps::fill(bitmaps.words_mut(), &granted);
        let places = Places {
            bitmaps: bitmaps.address(),
            ept_pointer: ept::pointer(tables.root()),
            virtual_apic: 0x9000,
            vpid: 1,
        };
        let controls = Controls::new(&capabilities, true).expect("a Skylake has all");
        let split = Split::new(&capabilities, &granted);
        let fields = initial::controls(&controls, &split, &places).to_vec();
        Self { fields, bitmaps, tables, granted }
    }

    fn reach(&self) -> Result<Reach, &'static str> {
        let Self { fields, bitmaps, tables, .. } = self;
        let read = |wanted| fields.iter().find(|(field, _)| *field == wanted).expect("it is set").1;
        read_back::reach(read, &Parts { bitmaps, tables })
    }
}

#[test]
fn a_vmcs_lets_a_guest_reach_what_it_is_granted_and_nothing_else() {
    let vmcs = Vmcs::new();
    assert_eq!(vmcs.reach(), Ok(vmcs.granted));
}

#[test]
fn a_bit_that_opens_a_port_or_an_msr_is_read_back() {
    let (mut vmcs, granted) = (Vmcs::new(), Vmcs::new().granted);
    vmcs.bitmaps.words_mut()[0x3f8 / 64] &= !(1 << (0x3f8 % 64));
    assert_eq!(vmcs.reach().map(|reach| reach.ports), Ok(vec![0x3f8]));
    // IA32_APIC_BASE, for reads; IA32_LSTAR's neighbour 0xc0000085, for writes.
    vmcs.bitmaps.words_mut()[1024] &= !(1 << 0x1b);
    vmcs.bitmaps.words_mut()[1024 + 3 * 128 + 2] &= !(1 << 5);
    let reach = vmcs.reach().expect("the controls are as they were");
    let added = |now: &[u32], before: &[u32]| -> Vec<u32> {
        now.iter().filter(|msr| !before.contains(msr)).copied().collect()
    };
    assert_eq!(added(&reach.msr_reads, &granted.msr_reads), [0x1b]);
    assert_eq!(added(&reach.msr_writes, &granted.msr_writes), [0xc000_0085]);
}

#[test]
fn each_control_and_pointer_that_confines_a_guest_is_missed_when_it_is_gone() {
    // EPT, unrestricted guest, WBINVD; I/O bitmaps, MSR bitmaps, secondary controls; external
    // interrupts, NMIs, timer; #DB, #AC, #MC.
    let bits = [
        (Field::SecondaryControls, [1, 6, 7].as_slice()),
        (Field::PrimaryControls, &[25, 28, 31]),
        (Field::PinControls, &[0, 3, 6]),
        (Field::ExceptionBitmap, &[1, 17, 18]),
        (Field::EptPointer, &[6, 12]),
        (Field::IoBitmapA, &[12]),
        (Field::IoBitmapB, &[12]),
        (Field::MsrBitmap, &[12]),
    ];
    for (field, bits) in bits {
        for bit in bits {
            let mut vmcs = Vmcs::new();
            let found = vmcs.fields.iter_mut().find(|(which, _)| *which == field);
            found.expect("it is set").1 ^= 1 << bit;
            assert!(vmcs.reach().is_err(), "{field:?}, bit {bit}");
        }
    }
}

#[test]
fn a_page_more_than_granted_is_read_back() {
    let mut vmcs = Vmcs::new();
    let more = Range { begin: 4096 * MIB, end: 4096 * MIB + 3600 * MIB + 4096 };
    let format = Format { has_2m: true, has_1g: true, ..ept::FORMAT };
    vmcs.tables =
        Tables::new(&mut frames(16), &GuestRam::new(Region::of(more)), format).expect("they fit");
    assert!(vmcs.reach().is_err(), "the VMCS points to the tables of before");
    for (field, value) in &mut vmcs.fields {
        if *field == Field::EptPointer {
            *value = ept::pointer(vmcs.tables.root());
        }
    }
    let (read, granted) = (vmcs.reach().expect("it is whole").ram, vmcs.granted.ram);
    assert_eq!(read[0], granted[0]);
    assert_eq!(read[1].guest.end, granted[1].guest.end + 4096);
}

#[test]
fn a_vmcb_lets_a_guest_reach_what_it_is_granted_and_nothing_else() {
    let mut frames = frames(32);
    let mut svm = Svm::for_tests(&mut frames);
    let ram = ram();
    let grant = grant(Vendor::Svm, ram.granted());
    let boot = CpuState::default();
    let block =
        crate::svm::ControlBlock::new(&mut svm, &mut frames, &ram, &boot, &grant, Siblings::Alone);
    assert_eq!(svm.reach(&block.expect("it fits")).as_ref(), Ok(grant.reach()));
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
        let block = crate::svm::ControlBlock::new(
            &mut svm,
            &mut frames,
            &ram,
            &boot,
            &grant,
            Siblings::Alone,
        );
        assert_eq!(svm.reach(&block.expect("it fits")).as_ref(), Ok(grant.reach()));
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
    let _ = crate::svm::ControlBlock::new(
        &mut svm,
        &mut frames,
        &ram(),
        &boot,
        &grant,
        Siblings::Alone,
    );
}
