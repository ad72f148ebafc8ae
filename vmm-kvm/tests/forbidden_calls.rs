//! System calls that a confined thread does not need end its process with a message: this program
//! runs itself, confines one of its threads as a run does, and makes such a call there.

use kvm_ioctls::Kvm;
use rustix::process::{Signal, getpid, kill_process};
use std::fs::{self, File, OpenOptions};
use std::io;
use std::net::TcpListener;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use vmm_kvm::confinement::{Confinement, Request, Role};

/// The environment variable that says what the program, run by itself, does.
const ORDER: &str = "FORBIDDEN_CALL";
/// A directory for files that it makes.
const DIRECTORY: &str = "FORBIDDEN_CALL_DIRECTORY";
/// The exit code that shells give a process that SIGSYS ended.
const REFUSED: i32 = 128 + 31;

/// This program again, which runs [`obey`] alone.
fn run(order: &str) -> (Output, PathBuf) {
    let directory = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("forbidden-{order}"));
    let _ = fs::remove_dir_all(&directory);
    fs::create_dir_all(&directory).expect("the target directory can be written to");
    let program = std::env::current_exe().expect("it runs");
    let output = Command::new(program)
        .args(["--exact", "obey", "--nocapture"])
        .env(ORDER, order)
        .env(DIRECTORY, &directory)
        .output();
    (output.expect("it can be run again"), directory)
}

fn new_file(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).open(path)
}

/// Does nothing unless the program was run by itself.
#[test]
fn obey() {
    let Ok(order) = std::env::var(ORDER) else { return };
    let directory = PathBuf::from(std::env::var_os(DIRECTORY).expect("it comes with the order"));
    let kvm = Kvm::new().expect("these tests need /dev/kvm");
    let request = Request { inherited: Vec::new(), directories: vec![directory.clone()] };
    // What is no TAP refuses the requests to one by itself.
    let [tap, other] = [(); 2].map(|()| File::open("/dev/null").expect("Linux has it"));
    let confinement = Confinement::of_process(&request, &[tap.as_raw_fd()]);
    let confinement = confinement.expect("every kernel can do that");
    let confine = |role| confinement.of_thread(role).expect("the kernel has filters");
    match order.as_str() {
        "vcpu-openat" => {
            confine(Role::Vcpu);
            drop(File::open("/etc/passwd"));
        }
        "vcpu-socket" => {
            confine(Role::Vcpu);
            drop(TcpListener::bind("127.0.0.1:0"));
        }
        "vcpu-kill" => {
            confine(Role::Vcpu);
            let _ = kill_process(getpid(), Signal::CONT);
        }
        "vcpu-ioctl" => {
            confine(Role::Vcpu);
            drop(kvm.create_vm());
        }
        "vcpu-offloads" => {
            confine(Role::Vcpu);
            let error = vmm_kvm::sys::set_tap_offloads(&tap, 0).expect_err("it is no TAP");
            assert_eq!(error.raw_os_error(), Some(libc::ENOTTY));
            drop(vmm_kvm::sys::set_tap_offloads(&other, 0));
        }
        "files-sched_getaffinity" => {
            confine(Role::Files);
            drop(vmm_kvm::sys::allowed_cores());
        }
        "main-openat" => {
            confine(Role::Main);
            drop(File::open("/etc/passwd"));
        }
        "main-makes-a-file" => {
            confine(Role::Main);
            let (temporary, report) = (directory.join("temporary"), directory.join("report"));
            new_file(&temporary).expect("there it may");
            fs::rename(&temporary, &report).expect("there it may");
            let elsewhere = new_file(&directory.join("../elsewhere"));
            let is_open = !confinement.shortfalls().is_empty();
            assert!(is_open || elsewhere.is_err(), "files are out of reach elsewhere");
            return;
        }
        other => panic!("{other} is no order"),
    }
    panic!("the call returned");
}

#[test]
fn a_forbidden_call_ends_the_process_and_is_named() {
    let orders = [
        ("vcpu-openat", "a vCPU's thread made the system call openat (number 257)"),
        ("vcpu-socket", "a vCPU's thread made the system call socket (number 41)"),
        ("vcpu-kill", "a vCPU's thread made the system call kill (number 62)"),
        ("vcpu-ioctl", "a vCPU's thread made the system call ioctl (number 16)"),
        ("vcpu-offloads", "a vCPU's thread made the system call ioctl (number 16)"),
        (
            "files-sched_getaffinity",
            "the thread that writes files made the system call sched_getaffinity (number 204)",
        ),
        ("main-openat", "the main thread made the system call openat (number 257)"),
    ];
    for (order, message) in orders {
        let (output, _) = run(order);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(REFUSED), "{order}: {errors}");
        let expected = format!(
            "\nvmm-kvm: {message}, which no run needs: it was refused, and the run is over (see \
             SECURITY.md)\n"
        );
        assert!(errors.ends_with(&expected), "{order}: {errors}");
    }
}

#[test]
fn reports_can_still_be_made_in_their_directory_and_nothing_elsewhere() {
    let (output, directory) = run("main-makes-a-file");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(directory.join("report").exists());
    let _ = fs::remove_file(directory.join("../elsewhere"));
}
