//! What an OUT does outside its machine.

use super::{Step, System};
use crate::Instant;
use crate::index::VcpuIndex;
use crate::machine::PortWrite;
use crate::memory::GuestMemory;
use crate::seam::Host;
use crate::vm::Ending;
use devices::power;

impl<M: GuestMemory> System<M> {
    #[inline]
    pub(super) fn after_port_write<H: Host<M>>(
        &mut self,
        index: VcpuIndex,
        write: PortWrite,
        now: Instant,
        host: &mut H,
    ) -> Step {
        match write {
            PortWrite::Done => Step::Continue,
            PortWrite::Serial(access) if access.can_move() => {
                self.after_serial_access(index, access, None, now, host)
            }
            PortWrite::Serial(access) => {
                self.vms[index.vm()].parts(index).1.polling.goes_on(access.com);
                Step::Continue
            }
            PortWrite::Prints(byte) => {
                host.console_output(index.vm(), &[byte]);
                Step::Continue
            }
            PortWrite::LeavesLine => {
                self.look_at_screen(index.vm(), true, host);
                Step::Continue
            }
            PortWrite::Ends(power::Ending::PowerOff { status }) => {
                Step::End(Ending::PowerOff { status })
            }
            PortWrite::Ends(power::Ending::Reset) => Step::End(Ending::Reset),
            PortWrite::Ends(power::Ending::Panicked) => Step::End(Ending::Panicked),
        }
    }
}
