//! TAP interfaces of the kernel's TUN driver (Linux, Documentation/networking/tuntap.rst).

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;

/// The driver's device.
pub const TUN_DEVICE: &str = "/dev/net/tun";
/// The request by which the driver learns what may be left undone in frames that are read.
pub const SET_OFFLOADS: u64 = libc::TUNSETOFFLOAD;

/// The driver, with no interface yet; reads and writes never wait.
pub fn open_tun() -> io::Result<File> {
    let mut options = File::options();
    options.read(true).write(true).custom_flags(libc::O_NONBLOCK).open(TUN_DEVICE)
}

/// Whether the network namespace has an interface of this name.
pub fn has_interface(name: &str) -> bool {
    let Ok(name) = CString::new(name) else { return false };
    // SAFETY: the name is a C string that lives through the call.
    unsafe { libc::if_nametoindex(name.as_ptr()) != 0 }
}

/// Ties the TAP interface `name`, of less than IFNAMSIZ bytes, to `tun`; makes it if there is none.
/// Frames pass with a header of `header_bytes` (struct virtio_net_hdr).
pub fn attach_tap(tun: &File, name: &str, header_bytes: usize) -> io::Result<()> {
    let mut request = libc::ifreq {
        ifr_name: [0; libc::IFNAMSIZ],
        ifr_ifru: libc::__c_anonymous_ifr_ifru {
            ifru_flags: (libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_VNET_HDR) as libc::c_short,
        },
    };
    if name.len() >= libc::IFNAMSIZ {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from as libc::c_char;
    }
    // SAFETY: the request is a whole ifreq of ours, which the driver reads and fills.
    let result = unsafe { libc::ioctl(tun.as_raw_fd(), libc::TUNSETIFF, &mut request) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    let bytes = header_bytes as libc::c_int;
    // SAFETY: the driver reads an int of ours.
    let result = unsafe { libc::ioctl(tun.as_raw_fd(), libc::TUNSETVNETHDRSZ, &bytes) };
    if result < 0 { Err(io::Error::last_os_error()) } else { set_tap_offloads(tun, 0) }
}

/// What the kernel may leave undone in frames that are read: TUN_F_... .
pub fn set_tap_offloads(tap: &File, offloads: libc::c_uint) -> io::Result<()> {
    let offloads = libc::c_ulong::from(offloads);
    // SAFETY: the argument is a number.
    let result = unsafe { libc::ioctl(tap.as_raw_fd(), libc::TUNSETOFFLOAD, offloads) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
