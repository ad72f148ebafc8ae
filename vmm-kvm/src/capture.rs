//! The captures of networks: each frame, once, as it enters its switch, to a file that Wireshark
//! reads. Checksums and segments that its sender leaves to the device are left in the file, too.

pub mod pcapng;

use crate::outputs::{Recorder, Slot};
use std::time::{SystemTime, UNIX_EPOCH};
use vmm_common::Instant;
use vmm_common::backing::{Content, Frame};
use vmm_common::memory::GuestMemory;
use vmm_common::plan::{NetworkPlan, Plan};

/// The captures of a run.
#[derive(Debug)]
pub struct Captures {
    /// By network.
    files: Vec<Option<Slot>>,
    /// The run's begin, since 1970.
    begin_ns: u64,
}

impl Captures {
    /// Begins the captures of `plan`'s networks, which go to these files, by network; it is `now`
    /// by the run's clock.
    #[must_use]
    pub fn begin(
        plan: &Plan,
        files: Vec<Option<Slot>>,
        now: Instant,
        recorder: &mut Recorder,
    ) -> Self {
        for (index, file) in files.iter().enumerate() {
            if let Some(file) = file {
                recorder.push(*file, &pcapng::beginning(&names(plan, index)));
            }
        }
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let unix_ns = u64::try_from(unix.as_nanos()).unwrap_or(0);
        Self { files, begin_ns: unix_ns.saturating_sub(now.as_ns()) }
    }

    /// Records a frame that enters a network by this port.
    pub fn record<M: GuestMemory>(
        &self,
        (network, port): (usize, usize),
        content: &Content<'_, M>,
        bytes: u32,
        now: Instant,
        recorder: &mut Recorder,
    ) {
        let Some(file) = self.files[network] else { return };
        let (bytes, unix_ns) = (bytes as usize, self.begin_ns + now.as_ns());
        recorder.push_whole(file, pcapng::packet_bytes(bytes), |block| {
            let frame = pcapng::packet(block, port as u32, unix_ns, bytes);
            // Its RAM was there when the frame was taken.
            let _ = content.read_at(0, frame);
        });
    }

    /// Records what has come from outside, with its header in front.
    pub fn record_outside(
        &self,
        place: (usize, usize),
        bytes: &[u8],
        now: Instant,
        recorder: &mut Recorder,
    ) {
        if let Some(frame) = Frame::<crate::kvm::GuestRam>::from_outside(bytes) {
            self.record(place, &frame.content, frame.bytes, now, recorder);
        }
    }
}

/// What is at the ports of a network, in the order of [`vmm_common::system::Network::ports`].
fn names(plan: &Plan, index: usize) -> Vec<String> {
    let NetworkPlan { tap, .. } = &plan.networks[index];
    let at_it = plan.vms.iter().filter(|vm| vm.virtio.nics.iter().any(|nic| nic.network == index));
    at_it.map(|vm| vm.name.clone()).chain(tap.clone()).collect()
}
