//! What Tandem costs, as ratios to floors measured in the same run on the same machine.
//!
//! A *floor* is the least that any program on KVM pays: a bare loop over KVM_RUN. The *duo* is the
//! floor for two VMs: both vCPUs in one thread, rings in memory, switching when a guest finds the
//! line empty or halts. Both are here, and run the same guest images as Tandem does. Rounds are
//! interleaved, medians are compared, everything is pinned to one core.
//!
//! The bare machine has no floor: what it costs is counted in instructions ([`baremetal`]).

pub mod bare;
pub mod baremetal;
pub mod code;
pub mod disks;
pub mod duo;
pub mod handover;
pub mod images;
pub mod lines;
pub mod measure;
pub mod networks;
pub mod process;
pub mod readers;
pub mod tandem;
