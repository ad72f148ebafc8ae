//! The control queues (5.3.6.2): which ports there are, and which are open at which side.

use super::console_port::{Port, PortUse};
use super::{CONTROL_RECEIVE, CONTROL_TRANSMIT, Console, MULTIPORT};
use crate::memory::GuestMemory;
use crate::virtio::{RingError, total};

/// Bytes of a message: port, event, value. A name follows.
const MESSAGE_BYTES: usize = 8;
/// Bytes of a port's name.
const NAME_BYTES: usize = 4;

/// Events.
const DEVICE_READY: u16 = 0;
const PORT_ADD: u16 = 1;
const PORT_READY: u16 = 3;
const CONSOLE_PORT: u16 = 4;
const PORT_OPEN: u16 = 6;
const PORT_NAME: u16 = 7;

/// What the driver is to be told of a port.
#[derive(Clone, Copy)]
enum News {
    Added,
    IsConsole,
    Name,
    Open(bool),
}

impl Console {
    /// Takes the driver's messages, and tells it what it does not know yet, as far as it has
    /// buffers.
    pub fn control(&mut self, memory: &impl GuestMemory) {
        if !self.transport.has(MULTIPORT) {
            return;
        }
        while self.transport.pop(CONTROL_TRANSMIT, memory, &mut self.chain) {
            let mut message = [0; MESSAGE_BYTES];
            if !self.chain.take(memory, &mut message) {
                return self.transport.fail(RingError::TooShort);
            }
            self.handle(message);
            self.transport.push(CONTROL_TRANSMIT, memory, self.chain.head(), 0);
        }
        while let Some((number, news)) = self.news()
            && self.transport.pop(CONTROL_RECEIVE, memory, &mut self.chain)
        {
            let (message, len) = message(number, news);
            if total(self.chain.writable()) < len as u64 {
                return self.transport.fail(RingError::TooShort);
            }
            self.chain.write(memory, 0, &message[..len]);
            self.transport.push(CONTROL_RECEIVE, memory, self.chain.head(), len as u32);
            self.ports[number].is_told(news);
        }
    }

    /// A message of the driver's. One for a port that is not there, or of another kind, has no
    /// effect.
    fn handle(&mut self, message: [u8; MESSAGE_BYTES]) {
        let [id @ .., _, _, _, _] = message;
        let [_, _, _, _, event @ .., _, _] = message;
        let is_set = message[6] | message[7] != 0;
        let event = u16::from_le_bytes(event);
        if event == DEVICE_READY {
            let is_there = |port: &&mut Port| is_set && port.of != PortUse::Absent;
            self.ports.iter_mut().filter(is_there).for_each(|port| port.is_to_add = true);
            return;
        }
        let Some(port) = self.ports.get_mut(u32::from_le_bytes(id) as usize) else { return };
        match event {
            PORT_READY => {
                (port.is_ready, port.is_to_describe) = (is_set, is_set);
                port.is_peer_told = false;
            }
            PORT_OPEN => port.is_open = is_set,
            _ => {}
        }
    }

    /// What the driver is to be told next.
    fn news(&self) -> Option<(usize, News)> {
        let ports = self.ports.iter().enumerate();
        ports.filter(|(_, port)| port.of != PortUse::Absent).find_map(|(number, port)| {
            let news = port.news()?;
            Some((number, news))
        })
    }
}

impl Port {
    fn news(&self) -> Option<News> {
        if self.is_to_add {
            return Some(News::Added);
        }
        if !self.is_ready {
            return None;
        }
        if self.is_to_describe {
            return Some(if self.of == PortUse::Console { News::IsConsole } else { News::Name });
        }
        // At the end the guest gets the bytes first: its reader would see the end of file.
        let is_due = self.has_peer || self.arrived.bytes().is_empty();
        (self.has_peer != self.is_peer_told && is_due).then_some(News::Open(self.has_peer))
    }

    const fn is_told(&mut self, news: News) {
        match news {
            News::Added => self.is_to_add = false,
            News::IsConsole | News::Name => self.is_to_describe = false,
            News::Open(is_open) => self.is_peer_told = is_open,
        }
    }
}

/// The message, and how long it is. A port's name is its key in the config: `hvc1`.
fn message(number: usize, news: News) -> ([u8; MESSAGE_BYTES + NAME_BYTES], usize) {
    let (event, value, len) = match news {
        News::Added => (PORT_ADD, 1, MESSAGE_BYTES),
        News::IsConsole => (CONSOLE_PORT, 1, MESSAGE_BYTES),
        News::Name => (PORT_NAME, 1, MESSAGE_BYTES + NAME_BYTES),
        News::Open(is_open) => (PORT_OPEN, u16::from(is_open), MESSAGE_BYTES),
    };
    let mut message = [0; MESSAGE_BYTES + NAME_BYTES];
    message[0] = number as u8;
    message[4..6].copy_from_slice(&event.to_le_bytes());
    message[6..8].copy_from_slice(&u16::to_le_bytes(value));
    message[8..11].copy_from_slice(b"hvc");
    message[11] = b'0' + number as u8;
    (message, len)
}
