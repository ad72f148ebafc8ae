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
