use super::*;
use std::io::{Read, Write};
use std::thread;

/// Files of recorders whose ends do not wait for long.
const PATIENCE: Duration = Duration::from_millis(50);

fn pipe() -> (io::PipeReader, File) {
    let (reader, writer) = io::pipe().expect("a pipe");
    (reader, File::from(std::os::fd::OwnedFd::from(writer)))
}

fn text(name: &str, file: File) -> NamedFile {
    NamedFile { name: name.into(), file, form: Form::Text }
}

#[test]
fn what_is_pushed_is_written_whole_and_in_order() {
    let (mut reader, writer) = pipe();
    let mut recorder = Recorder::start(vec![text("a log", writer)], || Ok(())).expect("a thread");
    let all: Vec<u8> = (0..300_000_u32).map(|n| (n % 251) as u8).collect();
    let read = thread::spawn(move || {
        let mut bytes = vec![0; 300_000];
        reader.read_exact(&mut bytes).map(|()| bytes)
    });
    for (index, piece) in all.chunks(7000).enumerate() {
        recorder.push(Slot(0), piece);
        if index % 3 == 0 {
            recorder.hand_over();
        }
    }
    assert_eq!(recorder.finish(Duration::from_secs(60)), []);
    assert_eq!(read.join().expect("it does not panic").expect("all of it"), all);
}

/// A pipe without a reader's reads is a file system whose server is gone: the write never returns.
#[test]
fn a_file_that_takes_nothing_holds_nothing_up_and_what_it_lacks_is_counted() {
    let (reader, mut writer) = pipe();
    rustix::pipe::fcntl_setpipe_size(&writer, 4096).expect("a page is allowed");
    writer.write_all(&[0; 4096]).expect("it is empty");
    let mut recorder = Recorder::start(vec![text("a log", writer)], || Ok(())).expect("a thread");
    recorder.push(Slot(0), &[1; 1000]);
    recorder.hand_over();
    recorder.push(Slot(0), &[2; QUEUE_BYTES + 17]);
    let lacks = 1000 + QUEUE_BYTES + 17;
    let message = format!("a log lacks {lacks} bytes: the file took too few");
    assert_eq!(recorder.finish(PATIENCE), [Incomplete(message)]);
    drop(reader);
}

#[test]
fn an_error_of_one_file_is_reported_and_the_others_are_complete() {
    let full = OpenOptions::new().write(true).open("/dev/full").expect("Linux has it");
    let (mut reader, writer) = pipe();
    let files = vec![text("full", full), text("other", writer)];
    let mut recorder = Recorder::start(files, || Ok(())).expect("a thread");
    recorder.push(Slot(0), b"lost");
    recorder.push(Slot(1), b"kept");
    recorder.hand_over();
    let why = "full is not complete: No space left on device (os error 28)";
    assert_eq!(recorder.finish(Duration::from_secs(60)), [Incomplete(why.into())]);
    let mut kept = [0; 4];
    reader.read_exact(&mut kept).expect("it was written");
    assert_eq!(&kept, b"kept");
}
