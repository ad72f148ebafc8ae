//! Where a VM's debugger is reached.

use alloc::string::{String, ToString};
use core::fmt;
use core::str::FromStr;
use serde::{Deserialize, Serialize};

/// What stands before an address for which the VM waits with its first instruction.
const WAITS: &str = "wait:";
/// What stands before the path of a socket.
const UNIX: &str = "unix:";
/// The longest path of a socket (unix(7): sun_path, less its end).
pub const MAX_SOCKET_PATH_BYTES: usize = 107;
/// What an address may be, for messages.
pub const DEBUGGER_FORM: &str =
    "a TCP port of 127.0.0.1 from 1 to 65535, or unix:PATH; with wait: before it, the VM waits";

/// A VM's debugger.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DebuggerPlan {
    /// Where it is reached. On bare metal by the second serial port, whatever this says.
    pub address: DebuggerAddress,
    /// The VM executes nothing before a debugger lets it.
    pub waits: bool,
}

/// Where a debugger is reached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum DebuggerAddress {
    /// A port of 127.0.0.1.
    Tcp(u16),
    /// A socket in the file system.
    Unix(String),
}

impl FromStr for DebuggerPlan {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let address = text.strip_prefix(WAITS);
        let (address, waits) = (address.unwrap_or(text), address.is_some());
        let address = match address.strip_prefix(UNIX) {
            Some(path) if path.is_empty() || path.contains('\0') => return Err(DEBUGGER_FORM),
            Some(path) if path.len() > MAX_SOCKET_PATH_BYTES => {
                return Err("a socket's path of up to 107 bytes");
            }
            Some(path) => DebuggerAddress::Unix(path.to_string()),
            None => match address.parse() {
                Ok(0) | Err(_) => return Err(DEBUGGER_FORM),
                Ok(port) => DebuggerAddress::Tcp(port),
            },
        };
        Ok(Self { address, waits })
    }
}

/// As gdb's `target remote` takes it.
impl fmt::Display for DebuggerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(port) => write!(f, ":{port}"),
            Self::Unix(path) => f.write_str(path),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_port_or_a_socket_for_which_the_vm_may_wait() {
        let plan = |address, waits| Ok(DebuggerPlan { address, waits });
        assert_eq!("1234".parse(), plan(DebuggerAddress::Tcp(1234), false));
        assert_eq!("wait:1".parse(), plan(DebuggerAddress::Tcp(1), true));
        assert_eq!("unix:a:b".parse(), plan(DebuggerAddress::Unix("a:b".into()), false));
        let socket = DebuggerAddress::Unix("/tmp/s".into());
        assert_eq!("wait:unix:/tmp/s".parse(), plan(socket, true));
        for text in ["", "0", "65536", "-1", "unix:", "wait:", "wait:wait:1", "1 ", "host:1"] {
            assert!(text.parse::<DebuggerPlan>().is_err(), "{text}");
        }
        let long = alloc::format!("unix:{}", "p".repeat(108));
        assert_eq!(long.parse::<DebuggerPlan>(), Err("a socket's path of up to 107 bytes"));
    }
}
