//! What the kernel leaves undone in frames from a real TAP follows what the drivers take: this
//! program runs itself in a network namespace, and fetches data by TCP as a guest would, frame by
//! frame.

use devices::virtio::net::{Frame, HEADER_BYTES, Offloads};
use std::io::Write;
use std::net::TcpListener;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};
use vmm_common::backing::{FromUplink, ToUplink};
use vmm_common::plan::{NetworkPlan, OnSwitch, Plan};
use vmm_kvm::kvm::GuestRam;
use vmm_kvm::uplinks::Uplinks;

/// The environment variable that says that the program was run by itself.
const INSIDE: &str = "TAP_OFFLOADS";
const HOST: [u8; 4] = [10, 77, 0, 1];
const GUEST: [u8; 4] = [10, 77, 0, 2];
const GUEST_MAC: [u8; 6] = [0x52, 0x54, 0, 0, 0, 2];
/// The address of the TAP's other side, the host's interface.
const HOST_MAC: [u8; 6] = [0x52, 0x54, 0, 0, 0, 1];
const SERVICE: u16 = 5000;
/// Less than the window, and than what a new connection may send at once: ten segments.
const DATA: usize = 10 * 1460;
/// Headers of Ethernet, IPv4 and TCP.
const HEADERS: usize = 14 + 20 + 20;
const HANGS_AFTER: Duration = Duration::from_secs(60);
/// Flags of TCP (RFC 9293, 3.1).
const SYN: u8 = 2;
const ACK: u8 = 16;

#[test]
fn the_kernel_leaves_undone_what_the_drivers_take() {
    xtask::packages::ensure(xtask::packages::IPROUTE).expect("ip is needed");
    let program = std::env::current_exe().expect("it runs");
    let script = format!(
        "ip tuntap add dev tandem0 mode tap vnet_hdr; \
         ip link set tandem0 address 52:54:00:00:00:01 up; \
         ip addr add 10.77.0.1/24 dev tandem0; \
         ip neigh add 10.77.0.2 lladdr 52:54:00:00:00:02 dev tandem0; \
         exec '{}' --exact inside --nocapture",
        program.display()
    );
    let words = ["--net", "sh", "-e", "-c", &script];
    let output = Command::new("unshare").args(words).env(INSIDE, "1").output();
    let output = output.expect("util-linux has it");
    let said = [output.stdout, output.stderr].map(|it| String::from_utf8_lossy(&it).into_owned());
    assert!(output.status.success(), "{}\n{}", said[0], said[1]);
}

/// Does nothing unless the program was run by itself.
#[test]
fn inside() {
    if std::env::var_os(INSIDE).is_none() {
        return;
    }
    let network = NetworkPlan { name: "out".into(), tap: Some("tandem0".into()), pcap: None };
    let plan = Plan {
        slice_ns: 5_000_000,
        on_switch: OnSwitch::Barriers,
        core: None,
        vms: Vec::new(),
        links: Vec::new(),
        networks: vec![network],
    };
    let mut uplinks = Uplinks::open(&plan).expect("the script made it");
    let service = TcpListener::bind((std::net::Ipv4Addr::from(HOST), SERVICE)).expect("it is free");
    let finished = fetch(&mut uplinks, &service, 1001);
    assert!(finished.iter().all(|frame| frame.len() <= HEADER_BYTES + 1514), "no segments");
    assert!(finished.iter().all(|frame| frame[0] & 1 == 0 && frame[1] == 0), "nothing is left");
    uplinks.set_offloads(0, Offloads { has_checksum: true, has_tso4: false, has_tso6: false });
    let without_sums = fetch(&mut uplinks, &service, 1002);
    assert!(without_sums.iter().all(|frame| frame.len() <= HEADER_BYTES + 1514));
    assert!(without_sums.iter().all(|frame| frame[0] & 1 == 1 && frame[1] == 0));
    uplinks.set_offloads(0, Offloads::ALL);
    let segments = fetch(&mut uplinks, &service, 1003);
    let is_long = |frame: &&Vec<u8>| frame.len() > HEADER_BYTES + 1514;
    assert!(segments.iter().any(|frame| is_long(&frame)), "each frame is a single segment");
    for frame in segments.iter().filter(is_long) {
        // To be summed from the TCP header on; TCP over IPv4, in pieces of 1460 bytes.
        let (size, start) = (frame[4..6].to_vec(), frame[6..10].to_vec());
        assert_eq!((frame[0], frame[1]), (1, 1));
        assert_eq!((size, start), (vec![0xb4, 5], vec![34, 0, 16, 0]));
    }
    uplinks.set_offloads(0, Offloads::default());
    let again = fetch(&mut uplinks, &service, 1004);
    assert!(again.iter().all(|frame| !is_long(&frame) && frame[0] & 1 == 0));
}

/// Connects from this port, and returns the frames that bring the data, with their headers.
fn fetch(uplinks: &mut Uplinks, service: &TcpListener, port: u16) -> Vec<Vec<u8>> {
    send(uplinks, &segment(port, SYN, 0, 0));
    let answer = next(uplinks, port);
    assert_eq!(flags(&answer) & (SYN | ACK), SYN | ACK);
    let first = u32::from_be_bytes(answer[50..54].try_into().expect("4 bytes")).wrapping_add(1);
    send(uplinks, &segment(port, ACK, 1, first));
    let (mut stream, _) = service.accept().expect("it has connected");
    stream.write_all(&[0x55; DATA]).expect("it fits the window");
    let mut frames: Vec<Vec<u8>> = Vec::new();
    let mut got = 0;
    while got < DATA {
        let frame = next(uplinks, port);
        let at = u32::from_be_bytes(frame[50..54].try_into().expect("4 bytes")).wrapping_sub(first);
        // What is sent once more, as none of it is acknowledged, is known already.
        if at as usize == got && frame.len() > HEADER_BYTES + HEADERS {
            got += frame.len() - HEADER_BYTES - HEADERS;
            frames.push(frame);
        }
    }
    frames
}

fn flags(frame: &[u8]) -> u8 {
    frame[HEADER_BYTES + 47]
}

/// The next frame of TCP for this port.
fn next(uplinks: &mut Uplinks, port: u16) -> Vec<u8> {
    let begin = Instant::now();
    loop {
        let frame = match uplinks.receive(0) {
            FromUplink::Frame(frame) => frame.to_vec(),
            FromUplink::Nothing => {
                assert!(begin.elapsed() < HANGS_AFTER, "nothing comes");
                thread::sleep(Duration::from_millis(1));
                continue;
            }
            FromUplink::Gone => panic!("it is gone"),
        };
        uplinks.finish(0);
        let content = &frame[HEADER_BYTES..];
        let is_tcp = content[12..14] == [8, 0] && content[23] == 6;
        if is_tcp && content[36..38] == port.to_be_bytes() {
            return frame;
        }
    }
}

/// A segment without data. Its checksum is left to the kernel, which takes it as right.
fn segment(port: u16, flags: u8, sequence: u32, acknowledged: u32) -> Vec<u8> {
    let mut frame = vec![1, 0, 0, 0, 0, 0, 34, 0, 16, 0, 0, 0];
    frame.extend([&HOST_MAC[..], &GUEST_MAC, &[8, 0]].concat());
    let mut ip = [&[0x45, 0, 0, 44, 0, 0, 0x40, 0, 64, 6, 0, 0][..], &GUEST, &HOST].concat();
    let sum: u32 = ip.chunks(2).map(|word| u32::from(word[0]) << 8 | u32::from(word[1])).sum();
    let sum = !(((sum & 0xffff) + (sum >> 16)) as u16);
    ip[10..12].copy_from_slice(&sum.to_be_bytes());
    frame.extend(ip);
    frame.extend([port, SERVICE].map(u16::to_be_bytes).as_flattened());
    frame.extend([sequence, acknowledged].map(u32::to_be_bytes).as_flattened());
    // A header of 24 bytes, the largest window; the option of the largest segment.
    frame.extend([0x60, flags, 0xff, 0xff, 0, 0, 0, 0, 2, 4, 5, 0xb4]);
    frame
}

fn send(uplinks: &mut Uplinks, bytes: &[u8]) {
    let frame: Frame<'_, GuestRam> = Frame::from_outside(bytes).expect("it is a frame");
    assert_eq!(uplinks.send(0, &frame), ToUplink::Done);
}
