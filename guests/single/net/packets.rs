//! Ethernet, ARP (RFC 826), IPv4 (791), ICMP (792) and UDP (768): as much of them as is needed.

pub type Mac = [u8; 6];
pub type Ip = [u8; 4];

pub const BROADCAST: Mac = [0xFF; 6];

pub const ETHERNET_BYTES: usize = 14;
pub const IP_BYTES: usize = 20;
pub const UDP_BYTES: usize = 8;
const UDP_CHECKSUM_AT: usize = ETHERNET_BYTES + IP_BYTES + 6;

pub const TYPE_IP: u16 = 0x0800;
pub const TYPE_ARP: u16 = 0x0806;
const ARP_REQUEST: u16 = 1;
const ARP_REPLY: u16 = 2;
const ICMP: u8 = 1;
const TCP: u8 = 6;
const UDP: u8 = 17;
pub const ECHO_REPLY: u8 = 0;
pub const UNREACHABLE: u8 = 3;
pub const ECHO: u8 = 8;

/// Who speaks to whom.
#[derive(Clone, Copy)]
pub struct Between {
    pub from: (Mac, Ip),
    pub to: (Mac, Ip),
}

/// What a frame is; ranges are of its bytes.
pub enum Content {
    ArpRequest {
        from: (Mac, Ip),
        wanted: Ip,
    },
    ArpReply {
        from: (Mac, Ip),
    },
    Icmp {
        from: Ip,
        kind: u8,
        data: (usize, usize),
    },
    Udp {
        from_port: u16,
        port: u16,
        data: (usize, usize),
    },
    /// Something else, or with a checksum that is wrong.
    Other,
}

/// A frame being written.
pub struct Writer<'a> {
    bytes: &'a mut [u8],
    pub len: usize,
}

impl<'a> Writer<'a> {
    pub fn new(bytes: &'a mut [u8]) -> Self {
        Self { bytes, len: 0 }
    }

    pub fn put(&mut self, bytes: &[u8]) -> &mut Self {
        store(self.bytes, self.len, bytes);
        self.len += bytes.len();
        self
    }

    pub fn put16(&mut self, value: u16) -> &mut Self {
        self.put(&value.to_be_bytes())
    }

    pub fn ethernet(&mut self, to: Mac, from: Mac, kind: u16) -> &mut Self {
        self.put(&to).put(&from).put16(kind)
    }

    fn ip(&mut self, between: &Between, protocol: u8, bytes: usize) -> &mut Self {
        const NO_FRAGMENT: u16 = 0x4000;
        self.ethernet(between.to.0, between.from.0, TYPE_IP);
        let start = self.len;
        self.put16(0x4500).put16((IP_BYTES + bytes) as u16).put16(0).put16(NO_FRAGMENT);
        self.put(&[64, protocol, 0, 0]).put(&between.from.1).put(&between.to.1);
        let header = self.bytes.get(start..self.len).unwrap_or(&[]);
        let sum = !folded(sum(header));
        store(self.bytes, start + 10, &sum.to_be_bytes());
        self
    }

    /// An ICMP message; `rest` are the four bytes behind its checksum.
    pub fn icmp(&mut self, between: &Between, kind: u8, rest: [u8; 4], data: &[u8]) -> usize {
        self.ip(between, ICMP, 8 + data.len());
        let start = self.len;
        self.put(&[kind, 0, 0, 0]).put(&rest).put(data);
        let message = self.bytes.get(start..self.len).unwrap_or(&[]);
        let sum = !folded(sum(message));
        store(self.bytes, start + 2, &sum.to_be_bytes());
        self.len
    }

    /// A UDP datagram of two pieces.
    pub fn udp(&mut self, between: &Between, ports: (u16, u16), data: [&[u8]; 2]) -> usize {
        let bytes = UDP_BYTES + data[0].len() + data[1].len();
        self.ip(between, UDP, bytes);
        let start = self.len;
        self.put16(ports.0).put16(ports.1).put16(bytes as u16).put16(0).put(data[0]).put(data[1]);
        let datagram = self.bytes.get(start..self.len).unwrap_or(&[]);
        let sum = folded(sum(datagram) + pseudo_header(between.from.1, between.to.1, bytes));
        let sum = if sum == u16::MAX { sum } else { !sum };
        store(self.bytes, start + 6, &sum.to_be_bytes());
        self.len
    }

    /// Of a datagram's frame, the checksum becomes what its sender leaves to the device to
    /// complete: the sum of the pseudo header.
    pub fn leave_checksum(&mut self, between: &Between) {
        let bytes = self.len - ETHERNET_BYTES - IP_BYTES;
        let sum = folded(pseudo_header(between.from.1, between.to.1, bytes));
        store(self.bytes, UDP_CHECKSUM_AT, &sum.to_be_bytes());
    }

    /// An IP packet of TCP's with these bytes, its checksum not computed.
    pub fn tcp(&mut self, between: &Between, segment: &[u8]) -> usize {
        self.ip(between, TCP, segment.len()).put(segment);
        self.len
    }

    pub fn arp_request(&mut self, from: (Mac, Ip), wanted: Ip) -> usize {
        self.arp(ARP_REQUEST, from, (BROADCAST, wanted))
    }

    pub fn arp_reply(&mut self, from: (Mac, Ip), to: (Mac, Ip)) -> usize {
        self.arp(ARP_REPLY, from, to)
    }

    fn arp(&mut self, operation: u16, from: (Mac, Ip), to: (Mac, Ip)) -> usize {
        self.ethernet(to.0, from.0, TYPE_ARP).put16(1).put16(TYPE_IP).put(&[6, 4]);
        let wanted = if operation == ARP_REQUEST { [0; 6] } else { to.0 };
        self.put16(operation).put(&from.0).put(&from.1).put(&wanted).put(&to.1);
        self.len
    }
}

/// Takes a frame apart. `is_summed`: a UDP checksum is left to be computed, or known to be right.
pub fn parse(frame: &[u8], is_summed: bool) -> Content {
    match u16_at(frame, 12) {
        TYPE_ARP => parse_arp(frame),
        TYPE_IP => parse_ip(frame, is_summed).unwrap_or(Content::Other),
        _ => Content::Other,
    }
}

fn parse_arp(frame: &[u8]) -> Content {
    let is_plain = u16_at(frame, 14) == 1
        && u16_at(frame, 16) == TYPE_IP
        && bytes_at(frame, 18) == [6, 4]
        && frame.len() >= 42;
    let from = (bytes_at(frame, 22), bytes_at(frame, 28));
    match u16_at(frame, 20) {
        ARP_REQUEST if is_plain => Content::ArpRequest { from, wanted: bytes_at(frame, 38) },
        ARP_REPLY if is_plain => Content::ArpReply { from },
        _ => Content::Other,
    }
}

fn parse_ip(frame: &[u8], is_summed: bool) -> Option<Content> {
    const MORE_OR_OFFSET: u16 = 0x3FFF;
    let bytes = usize::from(u16_at(frame, 16));
    let [first] = bytes_at(frame, 14);
    let start = ETHERNET_BYTES + usize::from(first & 15) * 4;
    let end = ETHERNET_BYTES + bytes;
    let header = frame.get(ETHERNET_BYTES..start)?;
    let payload = frame.get(start..end)?;
    let is_sound = first >> 4 == 4
        && header.len() >= IP_BYTES
        && folded(sum(header)) == u16::MAX
        && u16_at(frame, 20) & MORE_OR_OFFSET == 0;
    let [protocol] = bytes_at(frame, 23);
    let (from, to) = (bytes_at(frame, 26), bytes_at(frame, 30));
    let sum_of_all = match protocol {
        UDP if is_summed || u16_at(payload, 6) == 0 => u16::MAX,
        UDP => folded(sum(payload) + pseudo_header(from, to, payload.len())),
        _ => folded(sum(payload)),
    };
    if !is_sound || sum_of_all != u16::MAX || payload.len() < 8 {
        return None;
    }
    let data = (start + 8, end);
    Some(match protocol {
        ICMP => {
            let [kind] = bytes_at(payload, 0);
            Content::Icmp { from, kind, data }
        }
        UDP => Content::Udp { from_port: u16_at(payload, 0), port: u16_at(payload, 2), data },
        _ => Content::Other,
    })
}

/// Of a UDP datagram.
fn pseudo_header(from: Ip, to: Ip, bytes: usize) -> u64 {
    sum(&from) + sum(&to) + u64::from(UDP) + bytes as u64
}

/// The sum of 16-bit words, by 32 bits at a time, which comes to the same once it is folded
/// (RFC 1071).
pub fn sum(bytes: &[u8]) -> u64 {
    let mut words = bytes.chunks_exact(4);
    let all = words.by_ref().fold(0, |all, word| {
        all + u64::from(u32::from_be_bytes(word.try_into().unwrap_or([0; 4])))
    });
    let mut rest = [0; 4];
    store(&mut rest, 0, words.remainder());
    all + u64::from(u32::from_be_bytes(rest))
}

pub fn folded(mut sum: u64) -> u16 {
    while sum > 0xFFFF {
        sum = (sum >> 16) + (sum & 0xFFFF);
    }
    sum as u16
}

/// Bytes of a frame, zeros where it is too short.
pub fn bytes_at<const N: usize>(frame: &[u8], at: usize) -> [u8; N] {
    frame.get(at..at + N).and_then(|bytes| bytes.try_into().ok()).unwrap_or([0; N])
}

pub fn u16_at(frame: &[u8], at: usize) -> u16 {
    u16::from_be_bytes(bytes_at(frame, at))
}

pub fn u32_at(frame: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(bytes_at(frame, at))
}

/// Overwrites bytes; those for which there is no room are lost.
pub fn store(bytes: &mut [u8], at: usize, from: &[u8]) {
    let room = bytes.get_mut(at..).unwrap_or(&mut []);
    let len = room.len().min(from.len());
    if let (Some(to), Some(from)) = (room.get_mut(..len), from.get(..len)) {
        to.copy_from_slice(from);
    }
}
