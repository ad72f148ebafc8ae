//! Disks over files of every mode, by io_uring and by plain calls, compared with a disk in memory.

mod shuffled;

use super::{Disks, Progress};
use crate::kvm::GuestRam;
use devices::virtio::Buffer;
use std::fs;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::time::Duration;
use vmm_common::backing::{DiskIndex, Operation, Request, Status, Token};
use vmm_common::index::VmIndex;
use vmm_common::memory::GuestMemory;
use vmm_common::plan::{DiskPlan, ImageSource, Plan, VmPlan, Writes};
use xtask::scratch::Scratch;

const DISK: DiskIndex = DiskIndex { vm: VmIndex(0), number: 0 };
const BYTES: u64 = 256 << 10;
const PATIENCE: Duration = Duration::from_secs(60);

/// An image with a pattern, and a disk over it.
struct Bench {
    scratch: Scratch,
    disks: Disks,
    ram: GuestRam,
}

fn plan_of(image: PathBuf, writes: Writes) -> Plan {
    let kernel = ImageSource::Builtin(String::from("os"));
    let file = image.to_str().expect("the path is text").to_owned();
    let mut vm = VmPlan::plain(0, kernel);
    vm.virtio.disks = vec![DiskPlan { file, bytes: BYTES, writes }];
    Plan {
        slice_ns: 5_000_000,
        on_switch: vmm_common::plan::OnSwitch::Barriers,
        core: None,
        vms: vec![vm],
        links: Vec::new(),
        networks: Vec::new(),
    }
}

fn pattern() -> Vec<u8> {
    (0..BYTES).map(|at| (at / 512 * 7 + at) as u8).collect()
}

impl Bench {
    fn new(writes: impl Fn(&Scratch) -> Writes, has_ring: bool) -> Self {
        let scratch = Scratch::new().expect("a folder for temporary files");
        scratch.write("image", &pattern()).expect("it can be written");
        let mut bench = Self { scratch, disks: Disks::default(), ram: ram() };
        bench.open(writes(&bench.scratch), has_ring);
        bench
    }

    fn open(&mut self, writes: Writes, has_ring: bool) {
        // The locks of the one before end first.
        self.disks = Disks::default();
        let plan = plan_of(self.scratch.path().join("image"), writes);
        self.disks = Disks::open(&plan, 0).expect("it can be opened");
        if !has_ring {
            self.disks.ring = None;
        }
    }

    fn ask(&mut self, operation: Operation, buffers: &[Buffer]) -> Status {
        let request = Request { operation, buffers, token: Token::default() };
        match self.disks.request(DISK, &request, &self.ram) {
            Progress::Done(status) => status,
            Progress::UnderWay => loop {
                if let Some(finished) = self.disks.next_finished() {
                    break finished.status;
                }
                std::thread::yield_now();
            },
        }
    }

    fn read(&mut self, offset: u64, bytes: u64) -> Vec<u8> {
        // In two buffers that do not follow one another.
        let half = bytes / 2;
        let buffers = [(0x1000, half), (0x8_0000, bytes - half)]
            .map(|(address, bytes)| Buffer { address, bytes: bytes as u32 });
        assert_eq!(self.ask(Operation::Read { offset, bytes }, &buffers), Status::Ok);
        let mut got = vec![0; bytes as usize];
        for (buffer, at) in buffers.iter().zip([0, half as usize]) {
            assert!(self.ram.read(buffer.address, &mut got[at..at + buffer.bytes as usize]));
        }
        got
    }

    fn write(&mut self, offset: u64, bytes: &[u8], is_durable: bool) -> Status {
        assert!(self.ram.write(0x2_0000, bytes));
        let len = bytes.len() as u64;
        let buffers = [Buffer { address: 0x2_0000, bytes: len as u32 }];
        self.ask(Operation::Write { offset, bytes: len, is_durable }, &buffers)
    }

    fn image(&self) -> Vec<u8> {
        fs::read(self.scratch.path().join("image")).expect("it is there")
    }
}

fn ram() -> GuestRam {
    GuestRam::new(1 << 20).expect("a megabyte")
}

fn to_overlay(scratch: &Scratch) -> Writes {
    let path = scratch.path().join("overlay");
    Writes::To(path.to_str().expect("the path is text").to_owned())
}

#[test]
fn every_mode_reads_back_what_was_written_at_every_edge() {
    for has_ring in [true, false] {
        let modes: [&dyn Fn(&Scratch) -> Writes; 3] =
            [&|_| Writes::Keep, &|_| Writes::Discard, &to_overlay];
        for writes in modes {
            let mut bench = Bench::new(writes, has_ring);
            let mut expected = pattern();
            for (n, (offset, len)) in [
                (0, 512),
                (4096, 4096),
                (3584, 1024),
                (8192 + 512, 8192),
                (BYTES - 512, 512),
                (100 * 512, 41 * 512),
                (20_480, 4096),
                (20_480 + 512, 512),
            ]
            .into_iter()
            .enumerate()
            {
                let content: Vec<u8> = (0..len).map(|at| (at as u8) ^ n as u8).collect();
                assert_eq!(bench.write(offset, &content, n % 2 == 1), Status::Ok);
                expected[offset as usize..][..content.len()].copy_from_slice(&content);
            }
            let zeroes =
                Operation::WriteZeroes { offset: 512 * 9, bytes: 512 * 30, may_unmap: true };
            assert_eq!(bench.ask(zeroes, &[]), Status::Ok);
            expected[512 * 9..512 * 39].fill(0);
            assert_eq!(bench.ask(Operation::Flush, &[]), Status::Ok);
            assert!(bench.read(0, BYTES) == expected, "{has_ring}");
            assert!(bench.read(512 * 7, 512 * 21) == expected[512 * 7..512 * 28]);
            bench.disks.close(PATIENCE);
            assert_eq!(bench.disks.take_trouble(), None);
        }
    }
}

#[test]
fn only_keep_changes_the_image_and_only_to_remembers() {
    for has_ring in [true, false] {
        let mut kept = Bench::new(|_| Writes::Keep, has_ring);
        assert_eq!(kept.write(1024, &[0xee; 512], false), Status::Ok);
        kept.disks.close(PATIENCE);
        assert_eq!(kept.image()[1024..1536], [0xee; 512]);

        for writes in [&(|_: &Scratch| Writes::Discard) as &dyn Fn(&Scratch) -> _, &to_overlay] {
            let mut bench = Bench::new(writes, has_ring);
            assert_eq!(bench.write(1024, &[0xee; 512], false), Status::Ok);
            bench.disks.close(PATIENCE);
            assert!(bench.image() == pattern());
            let again = writes(&bench.scratch);
            let is_kept = matches!(again, Writes::To(_));
            bench.open(again, has_ring);
            let expected = if is_kept { vec![0xee; 512] } else { pattern()[1024..1536].to_vec() };
            assert_eq!(bench.read(1024, 512), expected);
            assert_eq!(bench.read(0, 1024), pattern()[..1024], "the rest of its cluster");
        }
    }
}

#[test]
fn a_disk_in_use_is_not_opened_for_writing() {
    let bench = Bench::new(|_| Writes::Keep, true);
    let image = bench.scratch.path().join("image");
    let refused = |writes| {
        let error = Disks::open(&plan_of(image.clone(), writes), 0).expect_err("it is in use");
        format!("{error:#}")
    };
    assert!(refused(Writes::Keep).contains("in use by another disk or another run"));
    assert!(refused(Writes::Discard).contains("writes to it (`writes: keep`)"));
    drop(bench);

    let readers = Bench::new(|_| Writes::Discard, true);
    let image = readers.scratch.path().join("image");
    Disks::open(&plan_of(image.clone(), Writes::Refuse), 0).expect("readers share it");
    let error = Disks::open(&plan_of(image, Writes::Keep), 0).expect_err("it is read");
    assert!(format!("{error:#}").contains("needs it alone"), "{error:#}");
}

#[test]
fn overlays_of_something_else_are_refused() {
    let scratch = Scratch::new().expect("a folder for temporary files");
    scratch.write("image", &pattern()).expect("it can be written");
    for (content, words) in [
        (b"a letter".to_vec(), "it is no overlay"),
        (vec![0; 8192], "it is no overlay"),
        (
            [&b"TANDEMOV"[..], &1_u64.to_le_bytes(), &512_u64.to_le_bytes(), &[0; 8192]].concat(),
            "the overlay of an image of 512 bytes, and this has 262144",
        ),
        (
            [&b"TANDEMOV"[..], &2_u64.to_le_bytes(), &BYTES.to_le_bytes(), &[0; 8192]].concat(),
            "it is no overlay",
        ),
    ] {
        scratch.write("overlay", &content).expect("it can be written");
        let plan = plan_of(scratch.path().join("image"), to_overlay(&scratch));
        let error = Disks::open(&plan, 0).expect_err("it is something else");
        assert!(format!("{error:#}").contains(words), "{error:#}");
        let left = fs::read(scratch.path().join("overlay")).expect("it is there");
        assert_eq!(left, content, "it is as it was");
    }
}

#[test]
fn an_overlay_keeps_what_was_flushed_and_no_less() {
    // Without `close`, as after kill -9: the copy of the file at that moment is opened.
    let mut bench = Bench::new(to_overlay, true);
    assert_eq!(bench.write(0, &[1; 4096], false), Status::Ok);
    assert_eq!(bench.ask(Operation::Flush, &[]), Status::Ok);
    assert_eq!(bench.write(8192, &[2; 4096], true), Status::Ok, "written through");
    assert_eq!(bench.write(16384, &[3; 4096], false), Status::Ok, "not flushed");
    let path = bench.scratch.path();
    fs::copy(path.join("overlay"), path.join("crashed")).expect("it can be copied");
    bench.disks = Disks::default();
    fs::rename(path.join("crashed"), path.join("overlay")).expect("it can be renamed");
    bench.open(to_overlay(&bench.scratch), true);
    assert_eq!(bench.read(0, 4096), [1; 4096]);
    assert_eq!(bench.read(8192, 4096), [2; 4096]);
    assert_eq!(bench.read(16384, 4096), pattern()[16384..20480], "as before the write");
}

#[test]
fn a_file_that_is_cut_off_gives_errors_and_is_told_of_once() {
    for has_ring in [true, false] {
        let mut bench = Bench::new(|_| Writes::Keep, has_ring);
        let image = bench.scratch.path().join("image");
        let file = fs::File::options().write(true).open(&image).expect("it is there");
        file.set_len(4096).expect("it can be cut off");
        let buffers = [Buffer { address: 0x1000, bytes: 1024 }];
        let read = |offset| Operation::Read { offset, bytes: 1024 };
        assert_eq!(bench.ask(read(3072), &buffers), Status::Ok, "within what is left");
        assert_eq!(bench.ask(read(3584), &buffers), Status::IoError, "over the end");
        assert_eq!(bench.ask(read(8192), &buffers), Status::IoError, "behind it");
        let trouble = bench.disks.take_trouble().expect("it is told of");
        let path = image.display();
        assert_eq!(
            trouble,
            format!(
                "VM vm0: disk {path}: cannot read: the file ends before; the guest sees errors"
            )
        );
        assert_eq!(bench.disks.take_trouble(), None, "once");
        file.write_all_at(&[9; 1024], 8192).expect("it can be written again");
        assert_eq!(bench.ask(read(8192), &buffers), Status::Ok);
    }
}

#[test]
fn a_full_file_system_is_an_error_of_the_write_alone() {
    for has_ring in [true, false] {
        let mut bench = Bench::new(|_| Writes::Keep, has_ring);
        // A device that is always full stands in for the file system.
        let full = fs::File::options().write(true).open("/dev/full").expect("Linux has it");
        bench.disks.disks[0][0].store = super::Store::Image(full.into());
        assert_eq!(bench.write(0, &[1; 512], false), Status::IoError);
        let trouble = bench.disks.take_trouble().expect("it is told of");
        assert!(trouble.contains("cannot write: No space left on device"), "{trouble}");
    }
}

/// Over a pipe, which stands in for a slow file: a read waits until something is written.
fn over_a_pipe() -> (Bench, std::io::PipeWriter) {
    let mut bench = Bench::new(|_| Writes::Keep, true);
    let (reader, writer) = std::io::pipe().expect("the host has pipes");
    let file = fs::File::from(std::os::fd::OwnedFd::from(reader));
    bench.disks.disks[0][0].store = super::Store::Image(file.into());
    (bench, writer)
}

#[test]
fn a_slow_read_is_under_way_until_it_is_done() {
    let (mut bench, mut writer) = over_a_pipe();
    let operation = Operation::Read { offset: 0, bytes: 1024 };
    let buffers = [Buffer { address: 0x3000, bytes: 1024 }];
    let request = Request { operation, buffers: &buffers, token: Token::default() };
    assert_eq!(bench.disks.request(DISK, &request, &bench.ram), Progress::UnderWay);
    assert_eq!(bench.disks.next_finished(), None);
    // In two parts: the second is asked for once the first has come.
    for part in [[0x11; 512], [0x22; 512]] {
        writer.write_all(&part).expect("it has a reader");
        std::thread::yield_now();
    }
    let finished = loop {
        if let Some(finished) = bench.disks.next_finished() {
            break finished;
        }
        std::thread::yield_now();
    };
    assert_eq!((finished.disk, finished.status), (DISK, Status::Ok));
    let mut got = [0; 1024];
    assert!(bench.ram.read(0x3000, &mut got));
    assert_eq!(got, [[0x11; 512], [0x22; 512]].concat()[..]);
}

#[test]
fn a_file_that_never_answers_does_not_hold_up_the_end() {
    let (mut bench, _writer) = over_a_pipe();
    let operation = Operation::Read { offset: 0, bytes: 512 };
    let buffers = [Buffer { address: 0x3000, bytes: 512 }];
    let request = Request { operation, buffers: &buffers, token: Token::default() };
    assert_eq!(bench.disks.request(DISK, &request, &bench.ram), Progress::UnderWay);
    bench.disks.close(Duration::from_millis(10));
    let trouble = bench.disks.take_trouble().expect("it is told of");
    assert_eq!(trouble, "disks: 1 requests are not done after 10ms");
}
