//! Guests of a few instructions, as bytes: flat images for 0x200000, entered in 32-bit protected
//! mode.

/// `mov edx, PORT`
fn load_port(port: u16) -> [u8; 5] {
    let [low, high] = port.to_le_bytes();
    [0xba, low, high, 0, 0]
}

/// `mov ecx, COUNT`
fn load_count(count: u32) -> [u8; 5] {
    let [a, b, c, d] = count.to_le_bytes();
    [0xb9, a, b, c, d]
}

/// `mov edx, 0xf4; xor eax, eax; out dx, eax; hlt`
const POWER_OFF: [u8; 9] = [0xba, 0xf4, 0, 0, 0, 0x31, 0xc0, 0xef, 0xf4];

/// `dec ecx; jnz` back over `bytes` bytes of loop body.
fn end_loop(bytes: usize) -> [u8; 3] {
    [0x49, 0x75, (-(bytes as i32) - 3) as u8]
}

/// `count` writes to COM1's scratch register, then off.
pub fn port_writes(count: u32) -> Vec<u8> {
    const OUT: u8 = 0xee;
    let mut code = load_port(0x3ff).to_vec();
    code.extend(load_count(count));
    code.push(OUT);
    code.extend(end_loop(1));
    code.extend(POWER_OFF);
    code
}

/// `lines` lines of 64 bytes on COM1, one OUT a byte, then off.
pub fn console_lines(lines: u32) -> Vec<u8> {
    // outer: mov al,'x'; mov bl,63; inner: out dx,al; dec bl; jnz inner; mov al,10; out dx,al
    const BODY: [u8; 12] = [0xb0, b'x', 0xb3, 63, 0xee, 0xfe, 0xcb, 0x75, 0xfb, 0xb0, b'\n', 0xee];
    let mut code = load_port(0x3f8).to_vec();
    code.extend(load_count(lines));
    code.extend(BODY);
    code.extend(end_loop(BODY.len()));
    code.extend(POWER_OFF);
    code
}

/// How many times [`line_polls`] finds the line empty in one round before it does something else.
pub const POLLS: u32 = 32;

/// `rounds` rounds of [`POLLS`] reads of COM2's line status and one scratch write, then off.
pub fn line_polls(rounds: u32) -> Vec<u8> {
    // mov edx,0x2fd; mov bl,POLLS; poll: in al,dx; dec bl; jnz poll; mov dl,0xff; out dx,al
    let body =
        [0xba, 0xfd, 0x02, 0, 0, 0xb3, POLLS as u8, 0xec, 0xfe, 0xcb, 0x75, 0xfb, 0xb2, 0xff, 0xee];
    let mut code = load_count(rounds).to_vec();
    code.extend(body);
    code.extend(end_loop(body.len()));
    code.extend(POWER_OFF);
    code
}

/// A line on COM1, then nothing for ever: `mov dx,0x3f8; mov al,'x'; out; mov al,10; out; jmp $`
pub fn one_line_then_spin() -> Vec<u8> {
    let mut code = load_port(0x3f8).to_vec();
    code.extend([0xb0, b'x', 0xee, 0xb0, b'\n', 0xee, 0xeb, 0xfe]);
    code
}

/// A line on COM1, then off.
pub fn one_line_then_off() -> Vec<u8> {
    let mut code = load_port(0x3f8).to_vec();
    code.extend([0xb0, b'x', 0xee, 0xb0, b'\n', 0xee]);
    code.extend(POWER_OFF);
    code
}

/// Where [`disk_reads`] has its requests' header, the data, and the register that it notifies.
pub const DISK_HEADER: u64 = 0x20_4000;
/// A block of data.
pub const DISK_DATA: u64 = 0x21_0000;
/// Bytes of a block.
pub const DISK_BLOCK: usize = 4096;
/// Blocks of the disk.
pub const DISK_BLOCKS: u64 = 4096;
/// QueueNotify of the first virtio device.
pub const DISK_NOTIFY: u64 = 0xfeb0_0050;

/// `count` reads of blocks of a virtio disk, here and there, one notification each and without
/// interrupts, then off.
pub fn disk_reads(count: u32) -> Vec<u8> {
    const BASE: u64 = 0x20_0000;
    const REGISTERS: u64 = 0xfeb0_0000;
    const TABLE: u64 = 0x20_1000;
    const AVAILABLE: u64 = 0x20_2000;
    const USED: u64 = 0x20_3000;
    const STATUS: u64 = DISK_HEADER + 0x10;
    // mov dword [ADDRESS], VALUE
    let store = |address: u64, value: u64| {
        [&[0xc7, 0x05][..], &(address as u32).to_le_bytes(), &(value as u32).to_le_bytes()].concat()
    };
    let mut code = Vec::new();
    for (register, value) in [
        (0x070, 3),
        (0x024, 1),
        (0x020, 1),
        (0x070, 11),
        (0x038, 16),
        (0x080, TABLE),
        (0x090, AVAILABLE),
        (0x0a0, USED),
        (0x044, 1),
        (0x070, 15),
    ] {
        code.extend(store(REGISTERS + register, value));
    }
    code.extend(load_count(count));
    // mov ebx,1
    code.extend([0xbb, 1, 0, 0, 0]);
    // imul ebx,ebx,1103515245; add ebx,12345; mov eax,ebx; shr eax,8; and eax,7ff8h
    let mut body = vec![0x69, 0xdb];
    body.extend(1_103_515_245_u32.to_le_bytes());
    body.extend([0x81, 0xc3, 0x39, 0x30, 0, 0, 0x89, 0xd8, 0xc1, 0xe8, 8, 0x25, 0xf8, 0x7f, 0, 0]);
    // mov [DISK_HEADER+8],eax; inc word [AVAILABLE+2]
    body.push(0xa3);
    body.extend((DISK_HEADER as u32 + 8).to_le_bytes());
    body.extend([0x66, 0xff, 0x05]);
    body.extend((AVAILABLE as u32 + 2).to_le_bytes());
    body.extend(store(DISK_NOTIFY, 0));
    code.extend(&body);
    code.extend(end_loop(body.len()));
    code.extend(POWER_OFF);
    let mut image = code;
    image.resize((DISK_HEADER + 0x1000 - BASE) as usize, 0);
    let mut put = |address: u64, bytes: &[u8]| {
        image[(address - BASE) as usize..][..bytes.len()].copy_from_slice(bytes);
    };
    for (index, (address, bytes, flags)) in (0_u16..).zip([
        (DISK_HEADER, 16_u32, 1_u16),
        (DISK_DATA, DISK_BLOCK as u32, 3),
        (STATUS, 1, 2),
    ]) {
        let at = TABLE + 16 * u64::from(index);
        put(at, &address.to_le_bytes());
        put(at + 8, &bytes.to_le_bytes());
        put(at + 12, &flags.to_le_bytes());
        put(at + 14, &(index + 1).to_le_bytes());
    }
    // No interrupts, please.
    put(AVAILABLE, &1_u16.to_le_bytes());
    image
}
