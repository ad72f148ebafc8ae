//! Blocks of a capture file (pcapng: draft-ietf-opsawg-pcapng, sections 4.1 to 4.3), in this
//! machine's byte order, which their magic shows.

/// Block types.
const SECTION_HEADER: u32 = 0x0a0d_0d0a;
const INTERFACE_DESCRIPTION: u32 = 1;
const ENHANCED_PACKET: u32 = 6;
/// Options (3.5, 4.1 to 4.3).
const END_OF_OPTIONS: u16 = 0;
const IF_NAME: u16 = 2;
const IF_TSRESOL: u16 = 9;
const EPB_FLAGS: u16 = 2;
/// Stamps are in units of 10^-9 s.
const NANOSECONDS: u8 = 9;
/// LINKTYPE_ETHERNET.
const ETHERNET: u16 = 1;
/// Of `epb_flags`: the interface received the frame, here from what is plugged into the port.
const INBOUND: u32 = 1;
/// Bytes of a packet's block but for the frame: head, options, total length.
const PACKET_BYTES: usize = 28 + 12 + 4;

/// What a file begins with: a section, and an Ethernet interface for each name.
pub fn beginning(names: &[String]) -> Vec<u8> {
    let mut all = Vec::new();
    let mut body = Vec::new();
    body.extend(0x1a2b_3c4d_u32.to_ne_bytes());
    body.extend([1_u16, 0].map(u16::to_ne_bytes).as_flattened());
    // The section's length is not stated.
    body.extend(u64::MAX.to_ne_bytes());
    block(SECTION_HEADER, &body, &mut all);
    for name in names {
        body.clear();
        body.extend([ETHERNET, 0].map(u16::to_ne_bytes).as_flattened());
        // Frames are kept whole.
        body.extend(0_u32.to_ne_bytes());
        option(IF_NAME, name.as_bytes(), &mut body);
        option(IF_TSRESOL, &[NANOSECONDS], &mut body);
        option(END_OF_OPTIONS, &[], &mut body);
        block(INTERFACE_DESCRIPTION, &body, &mut all);
    }
    all
}

/// Bytes of the block of a frame of so many bytes.
pub const fn packet_bytes(frame_bytes: usize) -> usize {
    PACKET_BYTES + frame_bytes.next_multiple_of(4)
}

/// Fills `block`, of [`packet_bytes`], but for its frame; where that belongs.
pub fn packet(block: &mut [u8], interface: u32, unix_ns: u64, frame_bytes: usize) -> &mut [u8] {
    let (total, frame) = (block.len() as u32, frame_bytes as u32);
    let (high, low) = ((unix_ns >> 32) as u32, unix_ns as u32);
    let head = [ENHANCED_PACKET, total, interface, high, low, frame, frame];
    let (head_bytes, rest) = block.split_at_mut(28);
    head_bytes.copy_from_slice(head.map(u32::to_ne_bytes).as_flattened());
    let (padded, tail) = rest.split_at_mut(frame_bytes.next_multiple_of(4));
    let (flags, end) = tail.split_at_mut(4);
    flags.copy_from_slice([EPB_FLAGS, 4].map(u16::to_ne_bytes).as_flattened());
    let words = [INBOUND, END_OF_OPTIONS.into(), total];
    end.copy_from_slice(words.map(u32::to_ne_bytes).as_flattened());
    let (frame, padding) = padded.split_at_mut(frame_bytes);
    padding.fill(0);
    frame
}

/// How many of the first `limit` bytes are whole blocks.
pub fn whole_blocks(bytes: &[u8], limit: usize) -> usize {
    let mut whole = 0;
    while let Some(length) = bytes.get(whole + 4..whole + 8).and_then(<[u8]>::first_chunk) {
        let end = whole + u32::from_ne_bytes(*length) as usize;
        if end > limit || end == whole {
            break;
        }
        whole = end;
    }
    whole
}

fn block(kind: u32, body: &[u8], to: &mut Vec<u8>) {
    let total = (body.len() + 12) as u32;
    to.extend([kind, total].map(u32::to_ne_bytes).as_flattened());
    to.extend(body);
    to.extend(total.to_ne_bytes());
}

fn option(code: u16, value: &[u8], to: &mut Vec<u8>) {
    to.extend([code, value.len() as u16].map(u16::to_ne_bytes).as_flattened());
    to.extend(value);
    to.extend(&[0; 3][..value.len().next_multiple_of(4) - value.len()]);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The blocks as types and bodies.
    fn blocks(mut bytes: &[u8]) -> Vec<(u32, Vec<u8>)> {
        let word = |bytes: &[u8]| u32::from_ne_bytes(bytes[..4].try_into().expect("4 bytes"));
        let mut blocks = Vec::new();
        while !bytes.is_empty() {
            let (block, rest) = bytes.split_at(word(&bytes[4..]) as usize);
            assert_eq!(word(&block[block.len() - 4..]) as usize, block.len());
            assert_eq!(block.len() % 4, 0);
            blocks.push((word(block), block[8..block.len() - 4].to_vec()));
            bytes = rest;
        }
        blocks
    }

    #[test]
    fn a_file_begins_with_a_section_and_its_interfaces() {
        let blocks = blocks(&beginning(&["left".into(), "tap-1".into()]));
        let [section, left, tap] = &blocks[..] else { panic!("{blocks:?}") };
        assert_eq!(section.0, 0x0a0d_0d0a);
        assert_eq!(section.1[..8], [0x4d, 0x3c, 0x2b, 0x1a, 1, 0, 0, 0]);
        assert_eq!(section.1[8..], [0xff; 8]);
        let head = [1, 0, 0, 0, 0, 0, 0, 0];
        let resolution = [9, 0, 1, 0, 9, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(*left, (1, [&head[..], b"\x02\0\x04\0left", &resolution].concat()));
        assert_eq!(*tap, (1, [&head[..], b"\x02\0\x05\0tap-1\0\0\0", &resolution].concat()));
    }

    #[test]
    fn a_frame_is_padded_and_has_its_stamp_its_port_and_its_direction() {
        let mut block = vec![0x55; packet_bytes(15)];
        packet(&mut block, 1, 0x1_0203_0405_0607, 15).copy_from_slice(b"fifteen bytes..");
        let [(6, body)] = &blocks(&block)[..] else { panic!("a single packet") };
        let head = [1_u32, 0x0001_0203, 0x0405_0607, 15, 15].map(u32::to_ne_bytes);
        let flags = [2, 0, 4, 0, 1, 0, 0, 0, 0, 0, 0, 0];
        let expected = [head.as_flattened(), b"fifteen bytes..\0", &flags].concat();
        assert_eq!(*body, expected);
    }

    #[test]
    fn what_is_cut_off_ends_at_a_whole_block() {
        let mut bytes = beginning(&[String::from("left")]);
        let first = bytes.len();
        bytes.resize(first + packet_bytes(60), 0);
        packet(&mut bytes[first..], 0, 0, 60);
        let all = bytes.len();
        assert_eq!(whole_blocks(&bytes, all), all);
        assert_eq!(whole_blocks(&bytes, all - 1), first);
        assert_eq!(whole_blocks(&bytes, first - 1), 28);
        assert_eq!((whole_blocks(&bytes, 27), whole_blocks(&[0; 64], 64)), (0, 0));
    }
}
