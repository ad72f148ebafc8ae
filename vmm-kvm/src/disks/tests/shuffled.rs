//! Requests that are under way at once, whose steps come to be done in any order: what a flush has
//! answered for is in the overlay's file from then on, and a crash leaves no sector with anything
//! that was never written there.
//!
//! A failing run prints its seed; `TANDEM_SEED=N` replays it, `TANDEM_SEEDS` says how many to run.

use super::super::job::{Job, Step};
use super::super::{Engine, plain};
use super::{BYTES, DISK, Disks, PATIENCE, pattern, plan_of, ram, to_overlay};
use crate::kvm::GuestRam;
use devices::virtio::Buffer;
use std::collections::BTreeMap;
use std::collections::VecDeque;
use std::fs;
use std::io;
use std::time::Duration;
use vmm_common::backing::{Operation, Progress, Request, Status, Token};
use vmm_common::memory::GuestMemory;
use vmm_common::plan::Writes;
use xtask::scratch::Scratch;

const SECTOR: u64 = 512;
const SECTORS: u64 = 96;
/// Requests under way at most.
const MOST: usize = 6;

/// Knuth's numbers (MMIX); the high bits are the good ones.
#[derive(Debug)]
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }
}

/// Carries out a step of some job at a time.
#[derive(Debug)]
struct Shuffled {
    jobs: Vec<Job>,
    random: Random,
    /// Steps that may be carried out before it stands still.
    left: u64,
}

impl Engine for Shuffled {
    fn begin(&mut self, job: Job) {
        self.jobs.push(job);
    }

    fn next_done(&mut self) -> Option<(Job, io::Result<()>)> {
        while self.left > 0 && !self.jobs.is_empty() {
            self.left -= 1;
            let at = self.random.below(self.jobs.len() as u64) as usize;
            let step: VecDeque<Step> = self.jobs[at].steps.pop_front().into_iter().collect();
            let result = plain::carry_out(step);
            if result.is_err() || self.jobs[at].steps.is_empty() {
                return Some((self.jobs.swap_remove(at), result));
            }
        }
        None
    }

    fn wait(&mut self, _patience: Duration) -> Option<(Job, io::Result<()>)> {
        self.left = u64::MAX;
        self.next_done()
    }

    fn under_way(&self) -> usize {
        self.jobs.len()
    }
}

/// A request under way.
#[derive(Debug)]
struct Pending {
    operation: Operation,
    sectors: std::ops::Range<u64>,
    /// What its sectors hold then.
    stamp: u64,
    /// The stamps of all sectors that a flush answers for.
    flushed: Option<Vec<u64>>,
}

/// The guest's side: what it knows of each sector, as the stamp of the write that it is from.
struct Guest {
    disks: Disks<Shuffled>,
    ram: GuestRam,
    random: Random,
    next: u64,
    pending: BTreeMap<u16, Pending>,
    /// Of the last write of a sector that was answered.
    answered: Vec<u64>,
    /// What is there whatever happens, or something newer.
    durable: Vec<u64>,
    /// All that a sector may hold after a crash.
    written: Vec<Vec<u64>>,
}

/// A sector written with this stamp; 0 is the image's.
fn content(sector: u64, stamp: u64) -> Vec<u8> {
    let at = (sector * SECTOR) as usize;
    match stamp {
        0 => pattern()[at..at + SECTOR as usize].to_vec(),
        _ => (stamp << 20 | sector).to_le_bytes().repeat(SECTOR as usize / 8),
    }
}

impl Guest {
    fn new(scratch: &Scratch, writes: Writes, seed: u64) -> Self {
        scratch.write("image", &pattern()).expect("it can be written");
        let opened = Disks::open(&plan_of(scratch.path().join("image"), writes), 0);
        let Disks { disks, .. } = opened.expect("it can be opened");
        let mut random = Random(seed);
        random.below(2);
        let engine = Shuffled { jobs: Vec::new(), random: Random(!seed), left: 0 };
        Self {
            disks: Disks { disks, ring: Some(engine), ..Disks::default() },
            ram: ram(),
            random,
            next: 1,
            pending: BTreeMap::new(),
            answered: vec![0; SECTORS as usize],
            durable: vec![0; SECTORS as usize],
            written: vec![vec![0]; SECTORS as usize],
        }
    }

    /// Sectors that no request under way concerns.
    fn free_sectors(&mut self) -> Option<std::ops::Range<u64>> {
        let first = self.random.below(SECTORS);
        let end = (first + 1 + self.random.below(20)).min(SECTORS);
        let is_free =
            self.pending.values().all(|it| it.sectors.end <= first || it.sectors.start >= end);
        is_free.then_some(first..end)
    }

    fn begin(&mut self) {
        let Some(head) = (0..MOST as u16).find(|head| !self.pending.contains_key(head)) else {
            return;
        };
        let Some(sectors) = self.free_sectors() else { return };
        let (offset, bytes) = (sectors.start * SECTOR, (sectors.end - sectors.start) * SECTOR);
        let stamp = self.next;
        self.next += 1;
        let address = 0x1_0000 * (1 + u64::from(head));
        let kind = self.random.below(8);
        let (operation, sectors, flushed) = match kind {
            0..=1 => (Operation::Flush, 0..0, Some(self.answered.clone())),
            2..=3 => (Operation::Read { offset, bytes }, sectors, None),
            _ => {
                let is_durable = kind == 4;
                (Operation::Write { offset, bytes, is_durable }, sectors, None)
            }
        };
        if let Operation::Write { .. } = operation {
            let all: Vec<u8> = sectors.clone().flat_map(|at| content(at, stamp)).collect();
            assert!(self.ram.write(address, &all));
            sectors.clone().for_each(|at| self.written[at as usize].push(stamp));
        }
        let buffers = match operation {
            Operation::Flush => Vec::new(),
            _ => vec![Buffer { address, bytes: bytes as u32 }],
        };
        let token = Token::new(head, address);
        let request = Request { operation, buffers: &buffers, token };
        self.pending.insert(head, Pending { operation, sectors, stamp, flushed });
        match self.disks.request(DISK, &request, &self.ram) {
            Progress::Done(status) => self.ended(head, status),
            Progress::UnderWay => {}
        }
    }

    fn ended(&mut self, head: u16, status: Status) {
        assert_eq!(status, Status::Ok);
        let Pending { operation, sectors, stamp, flushed } =
            self.pending.remove(&head).expect("it is under way, and ends once");
        for at in sectors.clone() {
            match operation {
                Operation::Read { .. } => {
                    let mut got = vec![0; SECTOR as usize];
                    let offset = (at - sectors.start) * SECTOR;
                    assert!(self.ram.read(0x1_0000 * (1 + u64::from(head)) + offset, &mut got));
                    assert!(got == content(at, self.answered[at as usize]), "sector {at} read");
                }
                Operation::Write { is_durable, .. } => {
                    self.answered[at as usize] = stamp;
                    if is_durable {
                        self.durable[at as usize] = stamp;
                    }
                }
                _ => unreachable!("it has sectors"),
            }
        }
        for (durable, flushed) in self.durable.iter_mut().zip(flushed.into_iter().flatten()) {
            *durable = flushed.max(*durable);
        }
    }

    fn go_on(&mut self, steps: u64) {
        self.disks.ring.as_mut().expect("there is one").left = steps;
        while let Some(finished) = self.disks.next_finished() {
            let head = (0..MOST as u16).find(|head| {
                Token::new(*head, 0x1_0000 * (1 + u64::from(*head))) == finished.token
            });
            self.ended(head.expect("a token of ours"), finished.status);
        }
    }

    /// Looks at the file as it stands, as a run after a crash would.
    fn crash(&self, scratch: &Scratch) {
        let after = Scratch::new().expect("a folder for temporary files");
        for name in ["image", "overlay"] {
            fs::copy(scratch.path().join(name), after.path().join(name)).expect("it can be copied");
        }
        let mut bench = super::Bench { disks: Disks::default(), ram: ram(), scratch: after };
        let writes = to_overlay(&bench.scratch);
        bench.open(writes, false);
        for at in 0..SECTORS {
            let got = bench.read(at * SECTOR, SECTOR);
            let allowed = self.written[at as usize].iter();
            let mut allowed = allowed.filter(|stamp| **stamp >= self.durable[at as usize]);
            assert!(allowed.any(|stamp| got == content(at, *stamp)), "sector {at} after a crash");
        }
    }
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect("a number"))
}

#[test]
fn what_a_flush_answers_for_is_there_in_whatever_order_the_steps_are_done() {
    let seeds = match number("TANDEM_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("TANDEM_SEEDS").unwrap_or(15),
    };
    for seed in seeds {
        println!("TANDEM_SEED={seed}");
        let scratch = Scratch::new().expect("a folder for temporary files");
        let mut guest = Guest::new(&scratch, to_overlay(&scratch), seed);
        for _ in 0..120 {
            guest.begin();
            let steps = guest.random.below(3);
            guest.go_on(steps);
            if guest.random.below(8) == 0 {
                guest.crash(&scratch);
            }
        }
        guest.disks.close(PATIENCE);
        while let Some(finished) = guest.disks.next_finished() {
            assert_eq!(finished.status, Status::Ok);
        }
        assert_eq!(guest.disks.take_trouble(), None);
        // The end of the run keeps all that was written, and what was under way.
        for Pending { operation, sectors, stamp, .. } in
            std::mem::take(&mut guest.pending).into_values()
        {
            if let Operation::Write { .. } = operation {
                sectors.for_each(|at| guest.answered[at as usize] = stamp);
            }
        }
        guest.durable.clone_from(&guest.answered);
        guest.crash(&scratch);
    }
}

#[test]
fn a_write_of_part_of_a_cluster_keeps_what_another_one_under_way_has_written_there() {
    for is_first_done in [true, false] {
        let scratch = Scratch::new().expect("a folder for temporary files");
        let mut guest = Guest::new(&scratch, to_overlay(&scratch), 0);
        let ask = |guest: &mut Guest, head: u16, fill: u8, bytes: u64| {
            let address = 0x1_0000 * (1 + u64::from(head));
            assert!(guest.ram.write(address, &vec![fill; bytes as usize]));
            let buffers = [Buffer { address, bytes: bytes as u32 }];
            let operation = Operation::Write { offset: 0, bytes, is_durable: false };
            let request =
                Request { operation, buffers: &buffers, token: Token::new(head, address) };
            assert_eq!(guest.disks.request(DISK, &request, &guest.ram), Progress::UnderWay);
        };
        ask(&mut guest, 0, 0xaa, 4096);
        if is_first_done {
            // Its bytes are there; that it is done is not known yet.
            let job = &mut guest.disks.ring.as_mut().expect("there is one").jobs[0];
            plain::carry_out(std::mem::take(&mut job.steps)).expect("it can be written");
        }
        ask(&mut guest, 1, 0xbb, 512);
        guest.disks.close(PATIENCE);
        let mut bench = super::Bench { disks: Disks::default(), ram: ram(), scratch };
        drop(guest);
        let writes = to_overlay(&bench.scratch);
        bench.open(writes, false);
        assert_eq!(bench.read(512, 3584), [0xaa; 3584]);
        assert_eq!(bench.read(4096, BYTES - 4096), pattern()[4096..]);
    }
}
