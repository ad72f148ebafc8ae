use super::*;

#[test]
fn boot_state_reaches_the_control_block() {
    let mut boot = CpuState { rip: 0x20_0000, rflags: 2, cr0: 0x11, ..CpuState::default() };
    boot.general[4] = 0x7000;
    boot.segments[1] = Segment { selector: 8, base: 0, limit: u32::MAX, access: 0xc09b };
    boot.segments[2] = Segment { selector: 0x10, base: 0, limit: u32::MAX, access: 0xc0f3 };
    boot.idtr = TableRegister { base: 0x5000, limit: 0xfff };
    let mut vmcb = Vmcb::zeroed();
    set_registers(&mut vmcb, &boot);
    assert_eq!((vmcb.rip, vmcb.rsp, vmcb.cr0), (0x20_0000, 0x7000, 0x11));
    assert_eq!((vmcb.segments[1].attributes, vmcb.cpl), (0xc9b, 3));
    assert_eq!((vmcb.idtr.base, vmcb.idtr.limit), (0x5000, 0xfff));
    assert_eq!((vmcb.efer, vmcb.dr6, vmcb.dr7), (0x1000, 0xffff_0ff0, 0x400));
}
