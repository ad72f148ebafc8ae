//! Task switches exit before any part of them is done (SDM vol. 3, 26.4.2): software
//! does all of it, including the delivery of an event through a task gate.

use super::handling::TYPE_NMI;
use super::loaded::{BLOCKED_BY_NMI, BLOCKED_BY_STI_OR_MOV_SS, VmxGuest};
use crate::guest::vendor::Event;
use metal::vmx::field::Field;
use vmm_common::x86::task::{Cause, TaskSwitch};

impl VmxGuest<'_> {
    /// Switches tasks, with the blocking and events as the processor would leave them.
    pub(super) fn task_switch(&mut self, switch: TaskSwitch) -> Event {
        const TYPE: u32 = 7 << 8;
        let is_gate = switch.cause == Cause::Gate && self.state.pending.take().is_some();
        let is_nmi = is_gate && self.vmcs.read(Field::IdtVectoring) as u32 & TYPE == TYPE_NMI;
        self.unblock(BLOCKED_BY_STI_OR_MOV_SS);
        if is_nmi {
            self.set_interruptibility(self.state.interruptibility | BLOCKED_BY_NMI);
        } else if switch.cause == Cause::Return {
            self.unblock(BLOCKED_BY_NMI);
        }
        Event::TaskSwitch(switch)
    }
}
