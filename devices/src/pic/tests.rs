//! One behaviour of the 8259A pair a test; the random comparison with a model is in `tests/`.

use super::PicPair;

const MASTER: u16 = 0x20;
const MASTER_DATA: u16 = 0x21;
const SLAVE: u16 = 0xA0;
const SLAVE_DATA: u16 = 0xA1;

/// A pair initialised as Linux does it, vectors 0x30 and 0x38, everything unmasked.
fn initialized(icw4: u8) -> PicPair {
    let mut pic = PicPair::new();
    for (port, value) in [
        (MASTER, 0x11),
        (MASTER_DATA, 0x30),
        (MASTER_DATA, 0x04),
        (MASTER_DATA, icw4),
        (SLAVE, 0x11),
        (SLAVE_DATA, 0x38),
        (SLAVE_DATA, 0x02),
        (SLAVE_DATA, icw4),
        (MASTER_DATA, 0x00),
        (SLAVE_DATA, 0x00),
    ] {
        pic.write(port, value);
    }
    pic
}

fn pulse(pic: &mut PicPair, irq: u8) {
    pic.set_line(irq, true);
    pic.set_line(irq, false);
}

fn in_service(pic: &mut PicPair, port: u16) -> u8 {
    pic.write(port, 0x0B);
    pic.read(port)
}

fn requested(pic: &mut PicPair, port: u16) -> u8 {
    pic.write(port, 0x0A);
    pic.read(port)
}

#[test]
fn after_firmware_all_is_masked_and_an_unmasked_line_has_the_bios_vector() {
    let mut pic = PicPair::new();
    pic.set_line(4, true);
    assert!(!pic.has_interrupt());
    assert_eq!((pic.read(MASTER_DATA), pic.read(SLAVE_DATA)), (0xFF, 0xFF));
    pic.write(MASTER_DATA, 0xEF);
    assert!(pic.has_interrupt());
    assert_eq!(pic.acknowledge(), 0x08 + 4);
}

#[test]
fn lower_numbers_outrank_higher_ones_and_block_them_until_end_of_interrupt() {
    let mut pic = initialized(0x01);
    pulse(&mut pic, 4);
    pulse(&mut pic, 1);
    assert_eq!(pic.acknowledge(), 0x31);
    assert!(!pic.has_interrupt(), "IRQ4 waits for IRQ1");
    pulse(&mut pic, 0);
    assert_eq!(pic.acknowledge(), 0x30);
    assert_eq!(in_service(&mut pic, MASTER), 0b11);
    pic.write(MASTER, 0x20);
    assert_eq!(in_service(&mut pic, MASTER), 0b10);
    pic.write(MASTER, 0x20);
    assert_eq!(pic.acknowledge(), 0x34);
}

#[test]
fn secondary_lines_come_through_the_cascade() {
    let mut pic = initialized(0x01);
    pulse(&mut pic, 12);
    pulse(&mut pic, 3);
    assert_eq!(requested(&mut pic, MASTER), 0b0000_1100);
    assert_eq!(pic.acknowledge(), 0x38 + 4, "IRQ12 has the rank of IRQ2");
    assert_eq!(in_service(&mut pic, MASTER), 0b100);
    assert_eq!(in_service(&mut pic, SLAVE), 0b1_0000);
    pic.write(SLAVE, 0x60 + 4);
    pic.write(MASTER, 0x60 + 2);
    assert_eq!(pic.acknowledge(), 0x33);
}

#[test]
fn an_edge_is_latched_and_gives_one_interrupt() {
    let mut pic = initialized(0x01);
    pic.set_line(4, true);
    pic.set_line(4, true);
    assert_eq!(pic.acknowledge(), 0x34);
    pic.write(MASTER, 0x20);
    assert!(!pic.has_interrupt(), "still high is not a new edge");
    pic.set_line(4, false);
    pic.set_line(4, true);
    assert!(pic.has_interrupt());
}

#[test]
fn a_level_interrupts_again_until_it_falls() {
    let mut pic = initialized(0x01);
    pic.write(0x4D0, 0xFF);
    assert_eq!(pic.read(0x4D0), 0xF8, "IRQ0 to 2 are always edges");
    pic.write(0x4D1, 0xFF);
    assert_eq!(pic.read(0x4D1), 0xDE, "IRQ8 and 13 are always edges");
    pic.set_line(5, true);
    assert_eq!(pic.acknowledge(), 0x35);
    pic.write(MASTER, 0x20);
    assert_eq!(pic.acknowledge(), 0x35);
    pic.set_line(5, false);
    pic.write(MASTER, 0x20);
    assert!(!pic.has_interrupt());
}

#[test]
fn acknowledging_nothing_is_spurious_irq7_and_leaves_nothing_in_service() {
    let mut pic = initialized(0x01);
    pic.write(0x4D0, 0x20);
    pic.set_line(5, true);
    assert!(pic.has_interrupt());
    pic.set_line(5, false);
    assert_eq!(pic.acknowledge(), 0x37);
    assert_eq!(in_service(&mut pic, MASTER), 0);
}

#[test]
fn masked_lines_are_requested_but_not_delivered() {
    let mut pic = initialized(0x01);
    pic.write(MASTER_DATA, 0x10);
    pulse(&mut pic, 4);
    assert!(!pic.has_interrupt());
    assert_eq!(requested(&mut pic, MASTER), 0x10);
    pic.write(MASTER_DATA, 0x00);
    assert_eq!(pic.acknowledge(), 0x34);
}

#[test]
fn automatic_end_of_interrupt_leaves_nothing_in_service() {
    let mut pic = initialized(0x03);
    pulse(&mut pic, 9);
    assert_eq!(pic.acknowledge(), 0x39);
    assert_eq!(in_service(&mut pic, MASTER), 0);
    assert_eq!(in_service(&mut pic, SLAVE), 0);
}

#[test]
fn rotation_gives_the_line_just_served_the_lowest_priority() {
    let mut pic = initialized(0x01);
    pulse(&mut pic, 3);
    assert_eq!(pic.acknowledge(), 0x33);
    pic.write(MASTER, 0xA0);
    pulse(&mut pic, 3);
    pulse(&mut pic, 7);
    assert_eq!(pic.acknowledge(), 0x37);
    pic.write(MASTER, 0xE7);
    pulse(&mut pic, 0);
    assert_eq!(pic.acknowledge(), 0x30);
    pic.write(MASTER, 0xC0 + 2);
    assert_eq!(pic.acknowledge(), 0x33, "after set priority, IRQ3 is on top");
}

#[test]
fn rotation_on_automatic_end_of_interrupt_can_be_set_and_cleared() {
    let mut pic = initialized(0x03);
    pic.write(MASTER, 0x80);
    pulse(&mut pic, 0);
    assert_eq!(pic.acknowledge(), 0x30);
    pulse(&mut pic, 0);
    pulse(&mut pic, 6);
    assert_eq!(pic.acknowledge(), 0x36);
    pic.write(MASTER, 0x00);
    assert_eq!(pic.acknowledge(), 0x30);
    pulse(&mut pic, 7);
    assert_eq!(pic.acknowledge(), 0x37);
}

#[test]
fn special_mask_mode_lets_lower_lines_interrupt_a_masked_service() {
    let mut pic = initialized(0x01);
    pulse(&mut pic, 1);
    assert_eq!(pic.acknowledge(), 0x31);
    pic.write(MASTER_DATA, 0x02);
    pulse(&mut pic, 6);
    assert!(!pic.has_interrupt());
    pic.write(MASTER, 0x68);
    assert_eq!(pic.acknowledge(), 0x36);
    pic.write(MASTER, 0x20);
    assert_eq!(in_service(&mut pic, MASTER), 0x02, "EOI does not see the masked service");
    pic.write(MASTER, 0x48);
    pic.write(MASTER, 0x20);
    assert_eq!(in_service(&mut pic, MASTER), 0x00);
}

#[test]
fn special_fully_nested_mode_lets_the_secondary_interrupt_itself() {
    for (icw4, can_nest) in [(0x01, false), (0x11, true)] {
        let mut pic = initialized(icw4);
        pulse(&mut pic, 12);
        assert_eq!(pic.acknowledge(), 0x3C);
        pulse(&mut pic, 9);
        assert_eq!(pic.has_interrupt(), can_nest, "ICW4 {icw4:#x}");
    }
}

#[test]
fn poll_names_the_line_and_acknowledges_it() {
    let mut pic = initialized(0x01);
    pic.write(MASTER, 0x0C);
    assert_eq!(pic.read(MASTER) & 0x80, 0);
    pulse(&mut pic, 4);
    pic.write(MASTER, 0x0C);
    assert_eq!(pic.read(MASTER), 0x84);
    assert!(!pic.has_interrupt());
    assert_eq!(in_service(&mut pic, MASTER), 0x10);
    assert_eq!(pic.read(MASTER_DATA), 0x00, "the poll was for one read");
}

#[test]
fn initialisation_clears_the_mask_the_modes_and_the_edges() {
    let mut pic = initialized(0x03);
    pic.write(MASTER_DATA, 0xAA);
    pulse(&mut pic, 4);
    pic.write(MASTER, 0x13);
    assert!(!pic.has_interrupt(), "not before the last word");
    pic.write(MASTER_DATA, 0x50);
    pic.write(MASTER_DATA, 0x01);
    assert_eq!(pic.read(MASTER_DATA), 0x00);
    assert!(!pic.has_interrupt(), "the edge is forgotten");
    pulse(&mut pic, 4);
    assert_eq!(pic.acknowledge(), 0x54);
    assert_eq!(in_service(&mut pic, MASTER), 0x10, "no automatic EOI any more");
}

#[test]
fn initialisation_without_icw4_takes_two_or_three_words() {
    let mut pic = initialized(0x03);
    for value in [0x10u8, 0x60, 0x04] {
        pic.write(if value == 0x10 { MASTER } else { MASTER_DATA }, value);
    }
    pic.write(MASTER_DATA, 0xFE);
    assert_eq!(pic.read(MASTER_DATA), 0xFE);
    pulse(&mut pic, 0);
    assert_eq!(pic.acknowledge(), 0x60);
}

#[test]
fn lines_and_ports_that_do_not_exist_are_ignored() {
    let mut pic = initialized(0x01);
    for irq in [2, 16, 255] {
        pic.set_line(irq, true);
    }
    assert!(!pic.has_interrupt());
    pic.write(0x22, 0xFF);
    assert_eq!(pic.read(0x22), 0xFF);
}
