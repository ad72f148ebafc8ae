//! One behaviour of the local APIC a test. The timer's input clock ticks once a nanosecond.

mod counters;
mod interprocessor;
mod processor;
mod starting;

use super::{GeneralProtection, LocalApic, TscClock};
use crate::time::MachineTime;

const NOW: MachineTime = MachineTime::ZERO;
/// 2.5 ticks a nanosecond, from 1,000.
const TSC: TscClock = TscClock { hz: 2_500_000_000, offset: 1000 };

const ID: u64 = 0x020;
const VERSION: u64 = 0x030;
const TPR: u64 = 0x080;
const PPR: u64 = 0x0A0;
const EOI: u64 = 0x0B0;
const LDR: u64 = 0x0D0;
const DFR: u64 = 0x0E0;
const SVR: u64 = 0x0F0;
const ESR: u64 = 0x280;
const ICR_LOW: u64 = 0x300;
const ICR_HIGH: u64 = 0x310;
const LVT_TIMER: u64 = 0x320;
const LVT_LINT0: u64 = 0x350;
const LVT_LINT1: u64 = 0x360;
const LVT_ERROR: u64 = 0x370;
const INITIAL_COUNT: u64 = 0x380;
const CURRENT_COUNT: u64 = 0x390;
const DIVIDE: u64 = 0x3E0;
const DIVIDE_BY_1: u32 = 0b1011;

fn ns(ns: u64) -> MachineTime {
    MachineTime::from_ns(ns)
}

fn enabled() -> LocalApic {
    enabled_as(3)
}

/// The APIC of processor `id`, which runs.
fn enabled_as(id: u8) -> LocalApic {
    let mut apic = LocalApic::new(id, TSC);
    apic.accept_startup(0x10);
    apic.take_start_event();
    apic.mmio_write(SVR, 0x1FF, NOW);
    apic
}

fn in_x2apic_mode() -> LocalApic {
    let mut apic = enabled();
    apic.set_base(apic.base() | 1 << 10).expect("xAPIC to x2APIC is legal");
    apic
}

/// An APIC whose timer has vector 0xF0, `mode` in LVT bits 18-17 and no divider.
fn with_timer(mode: u32) -> LocalApic {
    let mut apic = enabled();
    apic.mmio_write(DIVIDE, DIVIDE_BY_1, NOW);
    apic.mmio_write(LVT_TIMER, mode << 17 | 0xF0, NOW);
    apic
}

#[test]
fn reset_state_is_virtual_wire_mode() {
    let mut apic = LocalApic::new(0, TSC);
    assert_eq!(apic.base(), 0xFEE0_0900);
    assert_eq!(apic.mmio_read(ID, NOW), 0);
    assert_eq!(apic.mmio_read(VERSION, NOW), 0x0005_0014);
    assert_eq!(apic.mmio_read(SVR, NOW), 0xFF);
    assert_eq!(apic.mmio_read(DFR, NOW), 0xFFFF_FFFF);
    assert_eq!(apic.mmio_read(LVT_LINT0, NOW), 0x700);
    assert_eq!(apic.mmio_read(LVT_LINT1, NOW), 0x400);
    for offset in [LVT_TIMER, 0x330, 0x340, LVT_ERROR] {
        assert_eq!(apic.mmio_read(offset, NOW), 0x1_0000);
    }
    assert!(apic.accepts_external());
    assert!(!apic.has_interrupt());
}

#[test]
fn an_accepted_vector_is_delivered_once_and_blocks_its_class_until_eoi() {
    let mut apic = enabled();
    apic.accept(0x41, false);
    apic.accept(0x4F, false);
    apic.accept(0x52, false);
    assert_eq!(apic.acknowledge(), Some(0x52));
    assert_eq!(apic.acknowledge(), None, "0x4F waits for 0x52");
    apic.mmio_write(EOI, 0, NOW);
    assert_eq!(apic.acknowledge(), Some(0x4F));
    assert_eq!(apic.acknowledge(), None, "0x41 is of the same class");
    apic.mmio_write(EOI, 0, NOW);
    assert_eq!(apic.acknowledge(), Some(0x41));
}

/// IRR has a bit beside that in ISR, and one only (SDM vol. 3, 11.8.4).
#[test]
fn a_vector_that_comes_while_it_is_in_service_is_delivered_once_more() {
    let mut apic = enabled();
    apic.accept(0x41, false);
    assert_eq!(apic.acknowledge(), Some(0x41));
    assert!(apic.accept(0x41, false));
    assert!(!apic.accept(0x41, false), "merged");
    assert_eq!(apic.acknowledge(), None, "in service");
    apic.mmio_write(EOI, 0, NOW);
    assert_eq!(apic.acknowledge(), Some(0x41));
    apic.mmio_write(EOI, 0, NOW);
    assert_eq!(apic.acknowledge(), None);
}

#[test]
fn task_priority_holds_back_its_class_and_those_below() {
    let mut apic = enabled();
    apic.accept(0x45, false);
    apic.mmio_write(TPR, 0x40, NOW);
    assert!(!apic.has_interrupt());
    assert_eq!(apic.cr8(), 4);
    apic.set_cr8(3);
    assert_eq!(apic.mmio_read(TPR, NOW), 0x30);
    assert_eq!(apic.mmio_read(PPR, NOW), 0x30);
    assert_eq!(apic.acknowledge(), Some(0x45));
    assert_eq!(apic.mmio_read(PPR, NOW), 0x40);
}

#[test]
fn the_vector_registers_show_requests_service_and_trigger_mode() {
    let mut apic = enabled();
    apic.accept(0x23, true);
    apic.accept(0xFE, false);
    assert_eq!(apic.mmio_read(0x210, NOW), 1 << 3);
    assert_eq!(apic.mmio_read(0x270, NOW), 1 << 30);
    assert_eq!(apic.mmio_read(0x190, NOW), 1 << 3);
    apic.acknowledge();
    assert_eq!(apic.mmio_read(0x170, NOW), 1 << 30);
    assert_eq!(apic.mmio_read(0x270, NOW), 0);
}

#[test]
fn the_end_of_a_level_is_told_to_the_io_apic_and_that_of_an_edge_is_not() {
    let mut apic = enabled();
    apic.accept(0x30, true);
    apic.accept(0x60, false);
    apic.acknowledge();
    apic.mmio_write(EOI, 0, NOW);
    assert_eq!(apic.take_eoi(), None);
    apic.acknowledge();
    apic.mmio_write(EOI, 0, NOW);
    assert_eq!(apic.take_eoi(), Some(0x30));
    assert_eq!(apic.take_eoi(), None);
}

#[test]
fn software_disable_refuses_vectors_and_masks_the_local_table() {
    let mut apic = enabled();
    apic.mmio_write(LVT_TIMER, 0xF0, NOW);
    apic.accept(0x77, false);
    apic.mmio_write(SVR, 0xFF, NOW);
    assert_eq!(apic.mmio_read(LVT_TIMER, NOW), 0x1_00F0);
    apic.mmio_write(LVT_TIMER, 0xF0, NOW);
    assert_eq!(apic.mmio_read(LVT_TIMER, NOW), 0x1_00F0, "the mask cannot be cleared");
    assert!(!apic.accept(0x88, false));
    assert!(!apic.accepts_external(), "LINT0 is masked with the rest");
    assert_eq!(apic.acknowledge(), Some(0x77), "what was pending is held, not lost");
}

#[test]
fn hardware_disable_resets_and_lets_the_8259a_through() {
    let mut apic = enabled();
    apic.mmio_write(LVT_LINT0, 0x1_0700, NOW);
    apic.accept(0x77, false);
    assert!(!apic.accepts_external());
    apic.set_base(0xFEE0_0000).expect("any state may be disabled");
    assert!(apic.accepts_external());
    assert!(!apic.has_interrupt());
    assert!(!apic.matches(3, false));
    assert_eq!(apic.mmio_read(VERSION, NOW), 0xFFFF_FFFF);
    apic.set_base(0xFEE0_0800).expect("disabled to xAPIC is legal");
    assert_eq!(apic.mmio_read(SVR, NOW), 0xFF);
    assert_eq!(apic.mmio_read(LVT_LINT0, NOW), 0x1_0000);
}

#[test]
fn only_the_manual_s_mode_transitions_are_legal() {
    const OFF: u64 = 0xFEE0_0100;
    const XAPIC: u64 = OFF | 1 << 11;
    const X2APIC: u64 = XAPIC | 1 << 10;
    const INVALID: u64 = OFF | 1 << 10;
    let paths: [(&[u64], bool); 10] = [
        (&[X2APIC], true),
        (&[X2APIC, X2APIC], true),
        (&[X2APIC, OFF], true),
        (&[X2APIC, XAPIC], false),
        (&[X2APIC, INVALID], false),
        (&[OFF, XAPIC], true),
        (&[OFF, X2APIC], false),
        (&[OFF, OFF], true),
        (&[INVALID], false),
        (&[XAPIC | 1], false),
    ];
    for (path, is_legal) in paths {
        let mut apic = LocalApic::new(0, TSC);
        let results = path.iter().map(|&value| apic.set_base(value));
        assert_eq!(results.last(), Some(if is_legal { Ok(()) } else { Err(GeneralProtection) }));
    }
}

#[test]
fn a_one_shot_timer_counts_down_once() {
    let mut apic = with_timer(0b00);
    apic.mmio_write(INITIAL_COUNT, 1000, ns(50));
    assert_eq!(apic.deadline(), Some(ns(1050)));
    assert_eq!(apic.mmio_read(CURRENT_COUNT, ns(51)), 999);
    assert_eq!(apic.mmio_read(CURRENT_COUNT, ns(1049)), 1);
    assert!(!apic.has_interrupt());
    apic.advance(ns(1050));
    assert_eq!(apic.acknowledge(), Some(0xF0));
    assert_eq!(apic.mmio_read(CURRENT_COUNT, ns(2000)), 0);
    assert_eq!(apic.deadline(), None);
}

#[test]
fn a_one_shot_tick_that_was_not_taken_is_one_with_the_next() {
    let mut apic = with_timer(0b00);
    for start in [0, 1000] {
        apic.mmio_write(INITIAL_COUNT, 100, ns(start));
        apic.advance(ns(start + 100));
    }
    assert_eq!(ticks_taken(&mut apic, ns(1100)), 1);
}

#[test]
fn an_initial_count_of_1_expires_and_one_of_0_stops() {
    let mut apic = with_timer(0b00);
    apic.mmio_write(INITIAL_COUNT, 1, ns(7));
    assert_eq!(apic.deadline(), Some(ns(8)));
    apic.mmio_write(INITIAL_COUNT, 0, ns(7));
    assert_eq!(apic.deadline(), None);
    apic.advance(MachineTime::FAR_FUTURE);
    assert!(!apic.has_interrupt());
}

#[test]
fn a_periodic_timer_catches_up_in_one_step_and_no_tick_is_lost() {
    let mut apic = with_timer(0b01);
    apic.mmio_write(INITIAL_COUNT, 10, NOW);
    apic.advance(ns(10));
    assert_eq!(ticks_taken(&mut apic, ns(10)), 1);
    apic.advance(ns(10_005));
    assert_eq!(apic.deadline(), Some(ns(10_010)));
    assert_eq!(apic.mmio_read(CURRENT_COUNT, ns(10_007)), 3);
    apic.advance(ns(10_010));
    assert_eq!(ticks_taken(&mut apic, ns(10_010)), 1000);
    apic.request_timer_tick();
    apic.mmio_write(0x320, 1 << 16 | 1 << 17 | 0xF0, ns(10_011));
    assert!(!apic.is_timer_free());
    assert_eq!(ticks_taken(&mut apic, ns(10_011)), 1, "it was requested before the mask");
    apic.mmio_write(0x320, 1 << 17 | 0xF0, ns(10_012));
    apic.advance(ns(10_020));
    apic.mmio_write(INITIAL_COUNT, 10, ns(10_025));
    let ticks = apic.take_timer_ticks();
    assert_eq!((ticks.count, ticks.period_ns, ticks.is_reprogrammed), (0, 10, true));
}

/// Takes interrupts and ends them until none is left, requesting periodic ticks as an owner does.
fn ticks_taken(apic: &mut LocalApic, now: MachineTime) -> u64 {
    let mut owed = apic.take_timer_ticks().count;
    let mut ticks = 0;
    loop {
        if owed > 0 && apic.is_timer_free() {
            apic.request_timer_tick();
            owed -= 1;
        }
        if apic.acknowledge() != Some(0xF0) {
            return ticks;
        }
        apic.mmio_write(EOI, 0, now);
        ticks += 1;
    }
}

#[test]
fn the_divider_divides_by_1_to_128() {
    for (bits, divisor) in
        [(0b1011, 1), (0b0000, 2), (0b0001, 4), (0b0010, 8), (0b0011, 16), (0b1010, 128)]
    {
        let mut apic = with_timer(0b00);
        apic.mmio_write(DIVIDE, bits, NOW);
        apic.mmio_write(INITIAL_COUNT, 100, NOW);
        assert_eq!(apic.deadline(), Some(ns(100 * divisor)), "{bits:#06b}");
        assert_eq!(apic.mmio_read(CURRENT_COUNT, ns(divisor)), 99);
    }
}

#[test]
fn a_new_divider_keeps_the_running_count() {
    let mut apic = with_timer(0b00);
    apic.mmio_write(INITIAL_COUNT, 100, NOW);
    apic.mmio_write(DIVIDE, 0b0000, ns(40));
    assert_eq!(apic.mmio_read(CURRENT_COUNT, ns(40)), 60);
    assert_eq!(apic.deadline(), Some(ns(160)));
}

#[test]
fn a_masked_timer_counts_silently() {
    let mut apic = with_timer(0b01);
    apic.mmio_write(LVT_TIMER, 0x3_00F0, NOW);
    apic.mmio_write(INITIAL_COUNT, 100, NOW);
    assert_eq!(apic.deadline(), None);
    assert_eq!(apic.mmio_read(CURRENT_COUNT, ns(530)), 70);
    apic.mmio_write(LVT_TIMER, 0x2_00F0, ns(530));
    assert!(!apic.has_interrupt());
    assert_eq!(apic.deadline(), Some(ns(600)));
}

#[test]
fn the_tsc_deadline_fires_when_the_tsc_reaches_it_and_disarms() {
    let mut apic = with_timer(0b10);
    apic.set_tsc_deadline(1000 + 2500, NOW);
    assert_eq!(apic.tsc_deadline(ns(999)), 3500);
    assert_eq!(apic.deadline(), Some(ns(1000)));
    assert!(!apic.has_interrupt());
    assert_eq!(apic.tsc_deadline(ns(1000)), 0);
    assert_eq!(apic.acknowledge(), Some(0xF0));
    apic.mmio_write(EOI, 0, ns(1000));
    apic.set_tsc_deadline(5, ns(1000));
    assert_eq!(apic.acknowledge(), Some(0xF0), "a past deadline fires at once");
}

#[test]
fn counts_and_deadlines_belong_to_their_modes() {
    let mut apic = with_timer(0b10);
    apic.mmio_write(INITIAL_COUNT, 100, NOW);
    assert_eq!(apic.deadline(), None);
    assert_eq!(apic.mmio_read(CURRENT_COUNT, NOW), 0);
    apic.set_tsc_deadline(1 << 40, NOW);
    apic.mmio_write(LVT_TIMER, 0xF0, NOW);
    assert_eq!(apic.deadline(), None, "leaving the mode disarms");
    apic.set_tsc_deadline(1 << 40, NOW);
    assert_eq!(apic.tsc_deadline(NOW), 0);
}

#[test]
fn a_tsc_set_by_the_guest_moves_the_deadline() {
    let mut apic = with_timer(0b10);
    apic.set_tsc_deadline(3500, NOW);
    apic.set_tsc_clock(TscClock { hz: 1_000_000_000, offset: 500u64.wrapping_neg() });
    assert_eq!(apic.deadline(), Some(ns(4000)));
}

#[test]
fn tsc_conversions_do_not_overflow() {
    for hz in [0, 1, 2_500_000_000, u64::MAX] {
        for offset in [0, 1, u64::MAX / 2, u64::MAX] {
            let tsc = TscClock { hz, offset };
            for value in [0, 1, u64::MAX / 2, u64::MAX] {
                let _ = tsc.tsc_at(MachineTime::from_ns(value));
                let _ = tsc.instant_of(value);
            }
        }
    }
    assert_eq!(TSC.tsc_at(ns(2)), 1005);
    assert_eq!(TSC.instant_of(1004), ns(2));
    assert_eq!(TSC.instant_of(1006), ns(3));
    assert_eq!(TSC.instant_of(999), ns(0));
}

#[test]
fn device_messages_match_by_id_broadcast_flat_and_cluster() {
    let mut apic = enabled();
    assert!(apic.matches(3, false) && apic.matches(0xFF, false) && !apic.matches(2, false));
    apic.mmio_write(LDR, 0x24 << 24, NOW);
    assert!(apic.matches(0x04, true) && apic.matches(0x20, true) && !apic.matches(0x10, true));
    apic.mmio_write(DFR, 0x0FFF_FFFF, NOW);
    assert!(apic.matches(0x24, true) && apic.matches(0xFF, true));
    assert!(!apic.matches(0x14, true) && !apic.matches(0x28, true));
    assert!(!apic.matches(0xF4, true), "cluster 15 is no broadcast");
    let x2apic = in_x2apic_mode();
    assert!(x2apic.matches(3, false) && x2apic.matches(1 << 3, true));
    assert!(!x2apic.matches(1 << 2, true) && x2apic.matches(0xFF, false));
}

#[test]
fn errors_are_latched_by_a_write_and_interrupt_once() {
    let mut apic = enabled();
    apic.mmio_write(LVT_ERROR, 0xFE, NOW);
    apic.mmio_write(ICR_LOW, 0x4_000F, NOW);
    assert_eq!(apic.acknowledge(), Some(0xFE));
    apic.accept(0x0F, false);
    apic.mmio_read(0x3D0, NOW);
    assert_eq!(apic.mmio_read(ESR, NOW), 0);
    apic.mmio_write(ESR, 0, NOW);
    assert_eq!(apic.mmio_read(ESR, NOW), 0xE0);
    apic.mmio_write(ESR, 0, NOW);
    assert_eq!(apic.mmio_read(ESR, NOW), 0);
}

#[test]
fn x2apic_registers_are_msrs_and_the_page_is_gone() {
    let mut apic = in_x2apic_mode();
    assert_eq!(apic.msr_read(0x802, NOW), Ok(3));
    assert_eq!(apic.msr_read(0x80D, NOW), Ok(1 << 3));
    assert_eq!(apic.msr_read(0x80F, NOW), Ok(0x1FF));
    assert_eq!(apic.mmio_read(ID, NOW), 0xFFFF_FFFF);
    apic.mmio_write(SVR, 0, NOW);
    assert_eq!(apic.msr_read(0x80F, NOW), Ok(0x1FF));
    assert_eq!(apic.msr_write(0x83F, 0x66, NOW), Ok(()));
    assert_eq!(apic.acknowledge(), Some(0x66));
    assert_eq!(apic.msr_write(0x80B, 0, NOW), Ok(()));
    assert_eq!(apic.msr_write(0x830, 3 << 32 | 0x67, NOW), Ok(()));
    super::bus::carry_commands(core::slice::from_mut(&mut apic), 0);
    assert_eq!(apic.msr_read(0x830, NOW), Ok(3 << 32 | 0x67));
    assert_eq!(apic.acknowledge(), Some(0x67));
}

#[test]
fn x2apic_faults_on_reserved_bits_and_on_registers_that_are_not_there() {
    let mut apic = in_x2apic_mode();
    for index in [0x800, 0x809, 0x80B, 0x80C, 0x80E, 0x82F, 0x831, 0x83A, 0x83F, 0x840, 0x8FF, 0] {
        assert_eq!(apic.msr_read(index, NOW), Err(GeneralProtection), "read {index:#x}");
    }
    let writes: [(u32, u64); 14] = [
        (0x802, 0),
        (0x803, 0),
        (0x808, 0x100),
        (0x80A, 0),
        (0x80B, 1),
        (0x80D, 0),
        (0x80F, 0x1000),
        (0x810, 0),
        (0x828, 1),
        (0x830, 1 << 20),
        (0x832, 1 << 19),
        (0x837, 0x400),
        (0x838, 1 << 32),
        (0x83E, 4),
    ];
    for (index, value) in writes {
        assert_eq!(apic.msr_write(index, value, NOW), Err(GeneralProtection), "write {index:#x}");
    }
    assert_eq!(enabled().msr_read(0x802, NOW), Err(GeneralProtection), "not in xAPIC mode");
}

#[test]
fn a_nimbos_class_kernel_gets_its_ticks_in_x2apic_mode() {
    let mut apic = LocalApic::new(0, TSC);
    apic.set_base(apic.base() | 1 << 10).expect("legal");
    for (index, value) in [
        (0x832, 0x1_0000),
        (0x837, 0xFE),
        (0x80F, 0x1F1),
        (0x83E, 0x0B),
        (0x838, 0xFFFF_FFFF),
        (0x835, 0x1_0000),
        (0x836, 0x1_0000),
        (0x832, 0xF0),
    ] {
        assert_eq!(apic.msr_write(index, value, NOW), Ok(()), "{index:#x}");
    }
    assert_eq!(apic.msr_read(0x839, ns(10_000_000)), Ok(0xFFFF_FFFF - 10_000_000));
    for tick in 1..=100 {
        let now = ns(tick * 10_000_000);
        assert_eq!(apic.msr_write(0x838, 10_000_000, now), Ok(()));
        apic.advance(now.after_ns(10_000_000));
        assert_eq!(apic.acknowledge(), Some(0xF0));
        assert_eq!(apic.msr_write(0x80B, 0, now.after_ns(10_000_000)), Ok(()));
    }
    assert_eq!(apic.acknowledge(), None);
}
