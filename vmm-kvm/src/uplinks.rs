//! The TAP interfaces of this host that networks have as uplinks.
//!
//! A frame for outside goes from the guest's RAM to the kernel in one call. One from outside is
//! read into a buffer here first: which guests it is for, and so which buffers, is in its bytes.
//! There is one such buffer for each TAP; what is behind its frame stays in the TAP's own queue.

use crate::kvm::{GuestRam, Piece, write_pieces};
use crate::sys;
use anyhow::{Context, Result, bail};
use devices::virtio::net::{HEADER_BYTES, MAX_FRAME_BYTES};
use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsRawFd, RawFd};
use vmm_common::backing::{Content, Frame, FromUplink, Offloads, ToUplink};
use vmm_common::plan::{NetworkPlan, Plan};

/// A header, and the longest frame.
const BUFFER_BYTES: usize = HEADER_BYTES + MAX_FRAME_BYTES as usize;

/// The uplinks of a run.
#[derive(Debug, Default)]
pub struct Uplinks {
    /// By network.
    uplinks: Vec<Option<Uplink>>,
    /// What the user has not been told yet.
    troubles: VecDeque<String>,
}

/// What a wait for an uplink is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Awaited {
    /// A frame from outside.
    pub frames: bool,
    /// Room for one that goes there.
    pub room: bool,
}

#[derive(Debug)]
struct Uplink {
    tap: File,
    /// For messages.
    name: String,
    buffer: Box<[u8]>,
    /// Bytes of the frame in `buffer`; 0: there is none.
    held: usize,
    is_full: bool,
    is_gone: bool,
    /// That it refuses frames has been told.
    has_refused: bool,
    awaited: Awaited,
    pieces: Vec<Piece>,
}

impl Uplinks {
    /// Opens the TAPs of the plan's networks.
    ///
    /// # Errors
    /// The first that cannot be had, and what to do about that.
    pub fn open(plan: &Plan) -> Result<Self> {
        let mut troubles = VecDeque::new();
        let mut open = |network: &NetworkPlan| {
            let Some(tap) = &network.tap else { return Ok(None) };
            let name = format!("network {}: TAP {tap}", network.name);
            let is_there = sys::has_interface(tap);
            let file = open_tap(tap, is_there).with_context(|| name.clone())?;
            if !is_there {
                troubles.push_back(format!(
                    "{name} was not there: it is made for this run, and passes nothing before \
                    `ip link set {tap} up`"
                ));
            }
            Ok(Some(Uplink::new(file, name)))
        };
        let uplinks = plan.networks.iter().map(&mut open).collect::<Result<_>>()?;
        Ok(Self { uplinks, troubles })
    }

    /// The descriptors of the TAPs.
    pub fn descriptors(&self) -> impl Iterator<Item = RawFd> {
        self.uplinks.iter().flatten().map(|uplink| uplink.tap.as_raw_fd())
    }

    /// The TAPs for which a wait changes: what it was for, and what it is to be for.
    pub fn take_changes(&mut self) -> impl Iterator<Item = (RawFd, Awaited, Awaited)> {
        self.uplinks.iter_mut().flatten().filter_map(|uplink| {
            let frames = uplink.held == 0 && !uplink.is_gone;
            // A frame that still waits finds it full again before the next wait.
            let room = std::mem::take(&mut uplink.is_full) && !uplink.is_gone;
            let awaited = Awaited { frames, room };
            let before = std::mem::replace(&mut uplink.awaited, awaited);
            (before != awaited).then(|| (uplink.tap.as_raw_fd(), before, awaited))
        })
    }

    /// The next message for the user.
    pub fn take_trouble(&mut self) -> Option<String> {
        self.troubles.pop_front()
    }

    /// See [`vmm_common::backing::Backing::receive_from_uplink`].
    pub fn receive(&mut self, network: usize) -> FromUplink<'_> {
        let Some(uplink) = &mut self.uplinks[network] else { return FromUplink::Gone };
        if uplink.held == 0 && !uplink.is_gone {
            match uplink.tap.read(&mut uplink.buffer) {
                Ok(len) => uplink.held = len,
                Err(error) if is_passing(&error) => {}
                Err(error) => self.troubles.extend(uplink.lose(&error)),
            }
        }
        match (uplink.is_gone, uplink.held) {
            (true, _) => FromUplink::Gone,
            (false, 0) => FromUplink::Nothing,
            (false, len) => FromUplink::Frame(&uplink.buffer[..len]),
        }
    }

    /// The frame that has come and is not finished.
    pub fn held(&self, network: usize) -> Option<&[u8]> {
        let uplink = self.uplinks[network].as_ref()?;
        (uplink.held > 0).then(|| &uplink.buffer[..uplink.held])
    }

    /// See [`vmm_common::backing::Backing::finish_uplink_frame`].
    pub fn finish(&mut self, network: usize) {
        if let Some(uplink) = &mut self.uplinks[network] {
            uplink.held = 0;
        }
    }

    /// See [`vmm_common::backing::Backing::send_to_uplink`].
    pub fn send(&mut self, network: usize, frame: &Frame<'_, GuestRam>) -> ToUplink {
        let Some(uplink) = &mut self.uplinks[network] else { return ToUplink::Gone };
        if uplink.is_gone {
            return ToUplink::Gone;
        }
        let result = uplink.write(frame);
        uplink.is_full = result.as_ref().is_err_and(is_passing);
        match result {
            Ok(()) => ToUplink::Done,
            Err(_) if uplink.is_full => ToUplink::Full,
            Err(error) if error.raw_os_error() == Some(libc::EBADFD) => {
                self.troubles.extend(uplink.lose(&error));
                ToUplink::Gone
            }
            Err(error) => {
                self.troubles.extend(uplink.refuses(&error));
                ToUplink::Refused
            }
        }
    }

    /// See [`vmm_common::backing::Backing::set_uplink_offloads`].
    pub fn set_offloads(&mut self, network: usize, offloads: Offloads) {
        let Some(uplink) = &mut self.uplinks[network] else { return };
        let flags = [
            (offloads.has_checksum, libc::TUN_F_CSUM),
            (offloads.has_tso4, libc::TUN_F_TSO4),
            (offloads.has_tso6, libc::TUN_F_TSO6),
        ];
        let flags = flags.into_iter().filter(|(is_taken, _)| *is_taken);
        let flags = flags.fold(0, |flags, (_, flag)| flags | flag as libc::c_uint);
        // One that has gone says so when it is read.
        let _ = sys::set_tap_offloads(&uplink.tap, flags);
    }
}

impl Uplink {
    fn new(tap: File, name: String) -> Self {
        Self {
            tap,
            name,
            buffer: vec![0; BUFFER_BYTES].into(),
            held: 0,
            is_full: false,
            is_gone: false,
            has_refused: false,
            awaited: Awaited::default(),
            pieces: Vec::new(),
        }
    }

    fn write(&mut self, frame: &Frame<'_, GuestRam>) -> io::Result<()> {
        let header = frame.header_bytes();
        self.pieces.clear();
        self.pieces.push(Piece::of(&header));
        match frame.content {
            Content::Guest { buffers, memory } => {
                memory.add_pieces(buffers.iter().copied(), &mut self.pieces)?;
            }
            Content::Host(bytes) => self.pieces.push(Piece::of(bytes)),
        }
        // The driver takes a frame as a whole.
        write_pieces(&self.tap, &self.pieces).map(drop)
    }

    /// A message, the first time.
    fn lose(&mut self, error: &io::Error) -> Option<String> {
        let is_new = !std::mem::replace(&mut self.is_gone, true);
        self.held = 0;
        let why = match error.raw_os_error() {
            Some(libc::EBADFD) => String::from("its interface was removed"),
            _ => error.to_string(),
        };
        is_new.then(|| format!("{} is gone: {why}; its network goes on without it", self.name))
    }

    /// A message, the first time.
    fn refuses(&mut self, error: &io::Error) -> Option<String> {
        let is_new = !std::mem::replace(&mut self.has_refused, true);
        let why = match error.raw_os_error() {
            Some(libc::EIO) => String::from("its interface is down (`ip link set ... up`)"),
            _ => error.to_string(),
        };
        is_new.then(|| format!("{} refuses frames: {why}; they are dropped", self.name))
    }
}

fn is_passing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

/// Ties `name` to the TUN driver.
fn open_tap(name: &str, is_there: bool) -> Result<File> {
    let device = sys::TUN_DEVICE;
    let tun = match sys::open_tun() {
        Ok(tun) => tun,
        Err(error) => {
            let advice = match error.raw_os_error() {
                Some(libc::ENOENT) => {
                    "as root: `modprobe tun`; without udev: `mkdir -p /dev/net; mknod /dev/net/tun \
                    c 10 200`"
                }
                Some(libc::ENODEV | libc::ENXIO) => "as root: `modprobe tun`",
                Some(libc::EACCES | libc::EPERM) => "as root: `chmod 666 /dev/net/tun`",
                _ => "it must be the TUN driver's",
            };
            bail!("cannot open {device}: {error}; {advice}");
        }
    };
    let Err(error) = sys::attach_tap(&tun, name, HEADER_BYTES) else { return Ok(tun) };
    let make = format!(
        "as root: `ip tuntap add dev {name} mode tap user $USER vnet_hdr`, `ip link set {name} up`"
    );
    let why = match error.raw_os_error() {
        Some(libc::EPERM) if is_there => format!(
            "it is another user's, and this process lacks CAP_NET_ADMIN; \
            as root: `ip tuntap del dev {name} mode tap`, and anew {}",
            make.trim_start_matches("as root: ")
        ),
        Some(libc::EPERM) => format!(
            "there is no such interface, and to make one this process lacks CAP_NET_ADMIN; {make}"
        ),
        Some(libc::EBUSY) => {
            String::from("another process has it; allowed: one at a time, or a TAP of its own")
        }
        Some(libc::EINVAL) if is_there => format!(
            "it is no TAP interface of one queue; allowed: a name that is free, or one made so: \
            {make}"
        ),
        _ => format!("{error}; {make}"),
    };
    bail!("{why}");
}

#[cfg(test)]
mod tests;
