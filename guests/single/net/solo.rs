//! What needs no peer of this kind: addresses, pings, and a UDP service that sends back.

use super::device::{EVENT_IDX, INDIRECT_DESC, VERSION_1, offered};
use super::nic::{MAC, MRG_RXBUF, STATUS, address, is_link_up};
use super::registers::Window;
use super::station::{Packet, Station};
use super::{Verdict, expect, memory};

/// Where data of pings is made.
pub const DATA_AT: usize = 3 << 20;
/// Bytes of data of a ping, the last as many as a usual frame takes.
const PING_BYTES: [usize; 5] = [0, 1, 56, 999, 1472];
const IDENTIFIER: u8 = 0x4E;
const OWN_PORT: u16 = 4712;

/// Asks for the peer's address, or waits for its question.
pub fn resolve(station: &mut Station) -> Verdict {
    station.until(|station| station.ask_for_address(), |station, _| station.peer.is_some());
    Ok(())
}

/// What is needed is offered, the address is an interface's own, and the link is up.
pub fn features(window: Window) -> Verdict {
    const GROUP: u8 = 1;
    let needed = VERSION_1 | MAC | STATUS | MRG_RXBUF | EVENT_IDX | INDIRECT_DESC;
    expect(offered(window) & needed == needed, "one is missing")?;
    let [first, ..] = address(window);
    expect(first & GROUP == 0, "the address is a group's")?;
    expect(is_link_up(window), "the link is down")
}

/// The peer's machine ends, and the device says that the link is down (5.1.4.2).
pub fn loses_link(station: &mut Station, window: Window) -> Verdict {
    while is_link_up(window) {
        while station.next().is_some() {}
        station.nic.notify();
        station.wait(station.deadline(), false);
    }
    Ok(())
}

fn data(bytes: usize, seed: usize) -> &'static [u8] {
    let data = memory(DATA_AT, bytes);
    for (n, byte) in data.iter_mut().enumerate() {
        *byte = (n * 7 + n / 256 + seed) as u8;
    }
    data
}

/// Pings the peer, and compares what comes back.
pub fn ping(station: &mut Station) -> Verdict {
    for (number, bytes) in PING_BYTES.into_iter().enumerate() {
        let (sent, rest) = (data(bytes, number), [IDENTIFIER, 0, 0, number as u8]);
        let mut is_right = true;
        station.until(
            |station| station.ping(rest, sent),
            |station, packet| {
                let Packet::EchoReply { rest: came, data } = packet else { return false };
                is_right = station.frame.get(data.0..data.1) == Some(sent);
                came == rest
            },
        );
        expect(is_right, "other bytes come back")?;
    }
    Ok(())
}

/// Sends datagrams to a port of the peer, which sends them back.
pub fn echo(station: &mut Station, port: u16) -> Verdict {
    for (number, bytes) in PING_BYTES.into_iter().enumerate().skip(1) {
        let sent = data(bytes, number);
        station.until(
            |station| station.send_datagram((OWN_PORT, port), sent),
            |station, packet| {
                let Packet::Datagram { data } = packet else { return false };
                station.frame.get(data.0..data.1) == Some(sent)
            },
        );
    }
    Ok(())
}
