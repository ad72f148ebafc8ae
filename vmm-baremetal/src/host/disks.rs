//! VMs' disks, in memory: what the guests write is dropped at the end.

use crate::start::input::Input;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use metal::carve::Free;
use metal::guest_ram::GuestRam;
use vmm_common::backing::{DiskIndex, Operation, Request, Status};
use vmm_common::memory::GuestMemory;
use vmm_common::plan::DEVICE_HOLE;

/// Where a disk's memory begins.
const PAGE_BYTES: u64 = 4096;

/// The disks of a run. Their memory is as a guest's RAM is: no Rust value lies there.
#[derive(Debug)]
pub struct Disks {
    /// By VM.
    disks: Vec<Vec<GuestRam>>,
}

impl Disks {
    /// Copies what the disks hold to memory of their own, from `free`.
    ///
    /// # Errors
    /// There is not so much memory in one piece, as a message.
    pub fn new(free: &mut Free, input: &Input<'_>) -> Result<Self, String> {
        let mut disk = |vm: usize, content: &[u8]| {
            let bytes = (content.len() as u64).next_multiple_of(PAGE_BYTES);
            let region = free.take(bytes, PAGE_BYTES, u64::MAX);
            let region = region.filter(|_| bytes <= DEVICE_HOLE).ok_or_else(|| {
                let (name, kib) = (&input.plan.vms[vm].name, bytes >> 10);
                format!("VM {name}, disks: no {kib} KiB in one piece for a disk's contents")
            })?;
            let memory = GuestRam::new(region);
            memory.write(0, content);
            Ok::<_, String>(memory)
        };
        let mut of_vm = |(vm, disks): (usize, &Vec<&[u8]>)| {
            disks.iter().map(|content| disk(vm, content)).collect()
        };
        Ok(Self {
            disks: input.disks.iter().enumerate().map(&mut of_vm).collect::<Result<_, _>>()?,
        })
    }

    /// Carries out a request.
    pub fn request(
        &mut self,
        DiskIndex { vm, number }: DiskIndex,
        request: &Request<'_>,
        memory: &GuestRam,
    ) -> Status {
        let disk = &self.disks[vm.0][number];
        let is_done = match request.operation {
            Operation::Read { mut offset, bytes: _ } => request.buffers.iter().all(|buffer| {
                let from = offset;
                offset += u64::from(buffer.bytes);
                disk.copy_to(from, memory, buffer.address, buffer.bytes.into())
            }),
            Operation::Write { mut offset, bytes: _, is_durable: _ } => {
                request.buffers.iter().all(|buffer| {
                    let to = offset;
                    offset += u64::from(buffer.bytes);
                    memory.copy_to(buffer.address, disk, to, buffer.bytes.into())
                })
            }
            Operation::WriteZeroes { offset, bytes, may_unmap: _ } => clear(disk, offset, bytes),
            Operation::Flush | Operation::Discard { .. } => true,
        };
        if is_done { Status::Ok } else { Status::IoError }
    }
}

fn clear(disk: &GuestRam, offset: u64, bytes: u64) -> bool {
    const ZEROES: [u8; 512] = [0; 512];
    (0..bytes / 512).all(|sector| disk.write(offset + sector * 512, &ZEROES))
}
