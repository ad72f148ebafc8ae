//! Disks as their users have them: each mode over two runs, and files that are not there, in use,
//! cut off, full, read-only or no disks at all.

use crate::harness::{Finished, Scratch, Signal, Tandem, with_mounts};
use std::fs::{self, File};
use std::path::Path;

/// Bytes of an image that the guest `disk` counts on.
pub const IMAGE_BYTES: u64 = 256 << 10;
/// Blocks on which it counts, at the image's begin.
pub const BLOCKS: usize = 32;
/// Bytes of a block.
const BLOCK: usize = 4096;

/// An image of zeros.
pub fn empty_image(scratch: &Scratch) -> String {
    let path = scratch.file("image", vec![0; IMAGE_BYTES as usize]);
    path.to_str().expect("the path is text").to_owned()
}

/// A run of the guest that writes and flushes, over a disk.
pub fn durable(cmdline: &str, image: &str, writes: &str) -> Tandem {
    let disk = format!("{{file: {image}, writes: {writes}}}");
    let words = format!("durable {cmdline}");
    let guest = format!("name: disk, kernel: disk, memory: 8MiB, cmdline: \"{words}\"");
    Tandem::run_text(&format!("vms: [{{{guest}, disks: [{disk}]}}]"))
}

/// What the guest said that the blocks hold.
fn held(run: &Finished) -> Vec<u64> {
    let lines = run.lines_of("disk");
    let holds = lines.iter().filter_map(|line| line.split_once(" holds "));
    let held: Vec<u64> = holds.map(|(_, held)| held.parse().expect("a number")).collect();
    assert_eq!(held.len(), BLOCKS, "{}", run.shown());
    held
}

/// The disk's errors, by the receipt.
fn errors(run: &Finished) -> Option<u64> {
    run.vm("disk")["devices"][0]["counts"]["errors"].as_u64()
}

/// Blocks 1, 2 and 3 as three rounds leave them.
fn three_counted() -> Vec<u64> {
    [0, 1, 2, 3].into_iter().chain([0; BLOCKS - 4]).collect()
}

/// Three rounds; then what a second run finds, and the image.
fn over_two_runs(writes: impl Fn(&Scratch) -> String) -> (Vec<u64>, Vec<u8>) {
    let scratch = Scratch::new();
    let image = empty_image(&scratch);
    let writes = writes(&scratch);
    let well = |cmdline| durable(cmdline, &image, &writes).finish().ended_with(0);
    let first = well("3").complains_of_nothing().adds_up();
    assert_eq!(held(&first), [0; BLOCKS]);
    assert_eq!(errors(&first), None, "{}", first.shown());
    (held(&well("0").complains_of_nothing()), fs::read(&image).expect("it is there"))
}

#[test]
fn a_disk_that_keeps_is_found_as_it_was_left() {
    let (held, image) = over_two_runs(|_| String::from("keep"));
    assert_eq!(held, three_counted());
    for (block, counter) in [(0, 0_u64), (1, 1), (2, 2), (3, 3), (4, 0)] {
        let expected = counter.to_le_bytes().repeat(BLOCK / 8);
        assert!(image[block * BLOCK..][..BLOCK] == expected, "block {block}");
    }
}

#[test]
fn a_disk_that_discards_is_found_as_it_was_before() {
    let (held, image) = over_two_runs(|_| String::from("discard"));
    assert_eq!(held, [0; BLOCKS]);
    assert!(image == vec![0; IMAGE_BYTES as usize]);
}

#[test]
fn an_overlay_survives_the_run_and_its_image_is_not_written() {
    let (held, image) =
        over_two_runs(|scratch| format!("{{to: {}}}", scratch.path("overlay").display()));
    assert_eq!(held, three_counted());
    assert!(image == vec![0; IMAGE_BYTES as usize]);
}

#[test]
fn a_disk_that_refuses_is_read_only_to_its_guest() {
    let scratch = Scratch::new();
    let image = empty_image(&scratch);
    let run = durable("3", &image, "refuse").finish().ended_with(1).adds_up();
    assert_eq!(run.lines_of("disk")[BLOCKS], "durable: an error of a write", "{}", run.shown());
    assert_eq!(errors(&run), Some(1), "{}", run.shown());
    assert!(fs::read(&image).expect("it is there") == vec![0; IMAGE_BYTES as usize]);
}

#[test]
fn two_runs_do_not_write_to_one_image() {
    let scratch = Scratch::new();
    let image = empty_image(&scratch);
    let first = durable("", &image, "keep").start();
    first.shows("durable: flushed 3");
    let overlay = format!("{{to: {}}}", scratch.path("overlay").display());
    for (writes, why) in [
        ("keep", "in use by another disk or another run"),
        ("discard", "writes to it (`writes: keep`)"),
        ("refuse", "writes to it (`writes: keep`)"),
        (&overlay, "writes to it (`writes: keep`)"),
    ] {
        let refused = durable("1", &image, writes).finish().ended_with(3);
        assert!(refused.complains(&image).complains(why).output.is_empty());
    }
    first.receives(Signal::INT);
    first.finish().ended_with(130);
    durable("1", &image, "keep").finish().ended_with(0);
}

#[test]
fn an_image_that_is_cut_off_gives_its_guest_errors() {
    let scratch = Scratch::new();
    let image = empty_image(&scratch);
    let run = durable("", &image, "keep").start();
    run.shows("durable: flushed 3");
    let file = File::options().write(true).open(&image).expect("it is there");
    file.set_len(0).expect("it can be cut off");
    let run = run.finish().ended_with(1).shows("durable: an error of a read").adds_up();
    run.shows(&format!("[VM disk: disk {image}: cannot read: the file ends before"));
}

#[test]
fn an_image_that_is_removed_is_written_all_the_same() {
    let scratch = Scratch::new();
    let image = empty_image(&scratch);
    let run = durable("40", &image, "keep").start();
    run.shows("durable: block 0");
    fs::remove_file(&image).expect("it is there");
    run.finish().ended_with(0).shows("durable: flushed 40").adds_up();
}

/// A run over an image of zeros in a file system of its own, mounted with these options.
fn on_mount(cmdline: &str, writes: &str, options: &str, then: &str) -> Finished {
    let scratch = Scratch::new();
    let folder = scratch.directory("mount");
    let (at, image) = (folder.display(), folder.join("image"));
    let script = format!(
        "mount -t tmpfs -o {options} none '{at}'; truncate -s {IMAGE_BYTES} '{at}/image'; {then} \
         exec \"$@\""
    );
    let script = script.replace("MOUNT", &at.to_string());
    let run = durable(cmdline, image.to_str().expect("the path is text"), writes);
    with_mounts(run, &script).finish()
}

#[test]
fn a_full_file_system_gives_its_guest_errors() {
    let run = on_mount("", "keep", "size=64k", "").ended_with(1).adds_up();
    let run = run.shows("durable: flushed 16").shows("durable: an error of a write");
    run.shows("cannot write: No space left on device");
}

#[test]
fn a_full_file_system_for_an_overlay_gives_its_guest_errors() {
    let scratch = Scratch::new();
    let image = empty_image(&scratch);
    let folder = scratch.directory("mount");
    let script = format!("mount -t tmpfs -o size=64k none '{}'; exec \"$@\"", folder.display());
    let writes = format!("{{to: {}}}", folder.join("overlay").display());
    let run = with_mounts(durable("", &image, &writes), &script).finish();
    let run = run.ended_with(1).shows("durable: an error of a").adds_up();
    run.shows("cannot write: No space left on device");
    assert!(fs::read(&image).expect("it is there") == vec![0; IMAGE_BYTES as usize]);
}

#[test]
fn an_image_on_a_read_only_mount_can_be_read_alone() {
    let read_only = "mount -o remount,ro 'MOUNT';";
    let refused = on_mount("1", "keep", "size=1m", read_only).ended_with(3);
    refused.complains("mount/image").complains("Read-only file system");
    on_mount("1", "discard", "size=1m", read_only).ended_with(0).complains_of_nothing();
}

#[test]
fn a_block_device_is_a_disk() {
    let scratch = Scratch::new();
    let image = empty_image(&scratch);
    let device = scratch.path("device");
    let script = format!(
        "loop=$(losetup --find --show '{image}'); ln -s $loop '{}'; code=0; \"$@\" || code=$?; \
         losetup --detach $loop; exit $code",
        device.display()
    );
    let run = durable("3", device.to_str().expect("the path is text"), "keep");
    run.started_by(["sh", "-e", "-c", &script, "sh"]).finish().ended_with(0).complains_of_nothing();
    let image = fs::read(&image).expect("it is there");
    assert!(image[3 * BLOCK..][..BLOCK] == 3_u64.to_le_bytes().repeat(BLOCK / 8));
}

/// Its writes stay in the host's memory until the flush, which the device refuses: it lies on a
/// file system that is full.
#[test]
fn a_block_device_that_fails_gives_its_guest_errors() {
    let scratch = Scratch::new();
    let folder = scratch.directory("mount");
    let device = scratch.path("device");
    let script = format!(
        "mount -t tmpfs -o size=64k none '{at}'; truncate -s {IMAGE_BYTES} '{at}/image'; \
         loop=$(losetup --find --show '{at}/image'); ln -s $loop '{}'; code=0; \"$@\" || code=$?; \
         losetup --detach $loop; exit $code",
        device.display(),
        at = folder.display()
    );
    let run = durable("", device.to_str().expect("the path is text"), "keep");
    let run = with_mounts(run, &script).finish().ended_with(1).adds_up();
    let run = run.shows("durable: flushed 3").shows("durable: an error of a flush");
    run.shows(&format!("[VM disk: disk {}: cannot", device.display()));
}

#[test]
fn what_is_no_disk_is_refused_with_its_kind() {
    let scratch = Scratch::new();
    let fifo = scratch.path("fifo");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &fifo,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from_raw_mode(0o600),
        0,
    )
    .expect("a FIFO can be made");
    let folder = scratch.directory("folder");
    let check = |path: &Path, kind: &str| {
        let run = durable("1", path.to_str().expect("the path is text"), "discard").finish();
        let run = run.ended_with(2).complains(kind);
        run.complains("allowed: a regular file or a block device");
    };
    check(&fifo, "it is a FIFO");
    check(&folder, "it is a directory");
    check(Path::new("/dev/zero"), "it is a character device");
}
