//! The processor's view of its local APIC besides interrupts.

use super::enabled;

#[test]
fn the_class_that_cr8_alone_holds_back_is_told() {
    let check = |cr8, service: Option<u8>, request: Option<u8>, expected| {
        let mut apic = enabled();
        if let Some(vector) = service {
            apic.accept(vector, false);
            assert_eq!(apic.acknowledge(), Some(vector));
        }
        apic.set_cr8(cr8);
        if let Some(vector) = request {
            apic.accept(vector, false);
        }
        assert_eq!(apic.held_back_class(), expected, "CR8 {cr8}, {service:?}, {request:?}");
    };
    check(15, None, Some(0x31), 3);
    check(3, None, Some(0x31), 3);
    check(2, None, Some(0x31), 0);
    check(0, None, Some(0x31), 0);
    check(15, None, None, 0);
    check(15, Some(0x41), Some(0x31), 0);
    check(15, Some(0x31), Some(0x41), 4);
}

#[test]
fn the_page_is_where_the_base_register_says() {
    let mut apic = enabled();
    assert_eq!(apic.page(), 0xFEE0_0000);
    apic.set_base(0xFED4_0900).expect("the address may be moved");
    assert_eq!(apic.page(), 0xFED4_0000);
}
