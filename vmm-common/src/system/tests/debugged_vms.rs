//! A VM under a debugger that speaks gdb's protocol, as scripted packets.

use super::scripted::{Guest, MS, World};
use super::*;
use crate::debugger::{
    Connection, Controls, Debuggable, Debugger, FullState, MAX_SOFTWARE, OwnException, Width,
};
use crate::plan::{ImageSource, VmPlan};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

const LEFT: VmIndex = VmIndex(0);
const INT3: u8 = 0xcc;
/// `?`: why has it stopped? The answer names the first thread.
const STOPPED: &str = "T05thread:01;";

/// A guest as its debugger reaches it.
struct Debugged<'a> {
    guest: &'a mut Guest,
    seen: &'a mut Seen,
}

/// What a debugger does to a guest.
#[derive(Default)]
struct Seen {
    state: FullState,
    controls: Vec<Controls>,
    delivered: Vec<OwnException>,
}

impl VcpuBackend for Debugged<'_> {
    fn enter(&mut self, entry: &Entry) -> Exit {
        self.guest.enter(entry)
    }

    fn start_up(&mut self, registers: &CpuState) {
        self.guest.start_up(registers);
    }

    fn power_on(&mut self, registers: &CpuState) {
        self.guest.power_on(registers);
    }

    fn registers(&mut self) -> CpuState {
        self.seen.state.cpu
    }
}

impl Debuggable for Debugged<'_> {
    fn full_state(&mut self) -> FullState {
        self.seen.state.clone()
    }

    fn set_full_state(&mut self, state: &FullState) -> bool {
        self.seen.state = state.clone();
        true
    }

    fn control(&mut self, controls: &Controls) {
        self.seen.controls.push(*controls);
    }

    fn deliver(&mut self, exception: OwnException) {
        self.seen.delivered.push(exception);
    }
}

/// Two VMs, of which the first has a debugger.
struct Session {
    world: World,
    debugger: Debugger<Ram>,
    seen: Vec<Seen>,
    said: Vec<u8>,
}

impl Session {
    fn new(script: Vec<ExitReason>, waits: bool) -> Self {
        let vm = |index| VmPlan::plain(index, ImageSource::Builtin(String::new()));
        let world = World::new(vec![vm(0), vm(1)], vec![script, vec![]], (0, 0));
        let debugger = Debugger::new(&world.system, LEFT, Width::Bits64, waits);
        Self { world, debugger, seen: vec![Seen::default(), Seen::default()], said: vec![] }
    }

    /// Serves the debugger, visits for it, and lets a VM run if one can.
    fn turn(&mut self) {
        let Self { world, debugger, seen, said } = self;
        let World { system, place, guests, .. } = world;
        debugger.serve(system, place);
        said.extend(debugger.outbox().map(core::mem::take).unwrap_or_default());
        if matches!(debugger.connection(), Connection::Over(_)) {
            debugger.disconnected();
        }
        if let Some(vcpu) = debugger.next_visit() {
            let at = vcpu.position();
            let mut backend = Debugged { guest: &mut guests[at], seen: &mut seen[at] };
            return debugger.visit(vcpu, system, &mut backend, place);
        }
        if let Next::Run { vcpu, until } = system.next(place) {
            let at = vcpu.position();
            let mut backend = Debugged { guest: &mut guests[at], seen: &mut seen[at] };
            system.turn(vcpu, until, &mut backend, place);
            debugger.after_turn(system, vcpu);
        }
    }

    fn turns(&mut self, count: usize) -> String {
        (0..count).for_each(|_| self.turn());
        self.said.extend(self.debugger.outbox().map(core::mem::take).unwrap_or_default());
        String::from_utf8(core::mem::take(&mut self.said)).expect("replies are text")
    }

    fn sends(&mut self, bytes: &[u8]) -> String {
        self.debugger.receive(bytes);
        self.turns(12)
    }

    /// Sends a packet; what comes back, without its frame.
    fn asks(&mut self, text: &str) -> String {
        let reply = self.sends(&packet(text));
        let reply = reply.strip_prefix('+').unwrap_or(&reply);
        let text = reply.strip_prefix('$').and_then(|it| it.split('#').next());
        expanded(text.unwrap_or(reply))
    }

    fn byte(&self, vm: usize, address: u64) -> u8 {
        let mut byte = [0];
        assert!(self.world.rams[vm].read(address, &mut byte));
        byte[0]
    }

    fn is_held(&self) -> bool {
        self.world.system.is_held(LEFT)
    }
}

/// Without run lengths: a `*` repeats the character before it (gdb manual, "Overview" of the remote
/// protocol).
fn expanded(text: &str) -> String {
    let mut whole = String::new();
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match (character, whole.chars().last()) {
            ('*', Some(last)) => {
                let times = characters.next().map_or(0, |count| count as usize - 29);
                whole.extend(core::iter::repeat_n(last, times));
            }
            _ => whole.push(character),
        }
    }
    whole
}

fn packet(text: &str) -> Vec<u8> {
    let sum = text.bytes().fold(0_u8, |sum, byte| sum.wrapping_add(byte));
    format!("${text}#{sum:02x}").into_bytes()
}

#[test]
fn a_vm_stands_for_gdb_and_goes_on_when_it_leaves() {
    let mut session = Session::new(vec![], false);
    session.turns(4);
    assert!(!session.is_held());
    assert_eq!(session.asks("?"), STOPPED);
    assert!(session.is_held());
    let before = session.world.guests[0].entries.len();
    session.turns(20);
    assert_eq!(session.world.guests[0].entries.len(), before, "it stands");
    assert!(session.world.guests[1].entries.len() > 20, "its neighbour runs");
    assert_eq!(session.asks("D"), "OK");
    session.turns(4);
    assert!(!session.is_held());
    assert!(session.world.guests[0].entries.len() > before);
}

#[test]
fn a_vm_that_waits_executes_nothing_before_gdb_lets_it() {
    let mut session = Session::new(vec![], true);
    session.turns(20);
    assert!(session.is_held());
    let past = |entry: &(u64, Entry)| entry.1.deadline <= Instant::from_ns(entry.0);
    assert!(session.world.guests[0].entries.iter().all(past), "all entries ended at once");
    assert_eq!(session.asks("?"), STOPPED);
    session.sends(&packet("c"));
    assert!(!session.is_held());
    assert!(session.sends(b"\x03").contains("T02thread:01;"), "Ctrl-C stops it");
    assert!(session.is_held());
}

#[test]
fn memory_hides_breakpoints_which_are_one_vms_own() {
    let mut session = Session::new(vec![], true);
    session.asks("?");
    assert_eq!(session.asks("M1000,4:55667788"), "OK");
    assert_eq!(session.asks("Z0,1001,1"), "OK");
    assert_eq!((session.byte(0, 0x1001), session.byte(1, 0x1001)), (INT3, 0));
    assert_eq!(session.asks("m1000,4"), "55667788");
    // What is written there is what comes back, and the breakpoint stays.
    assert_eq!(session.asks("M1000,4:11223344"), "OK");
    assert_eq!((session.byte(0, 0x1001), session.byte(0, 0x1002)), (INT3, 0x33));
    assert_eq!(session.asks("m1000,4"), "11223344");
    assert_eq!(session.asks("z0,1001,1"), "OK");
    assert_eq!(session.byte(0, 0x1001), 0x22);
    // Behind the RAM.
    assert_eq!(session.asks("m200000,4"), "E0e");
    assert_eq!(session.asks("mffffe,4"), "0000", "as much as there is");
}

#[test]
fn a_breakpoint_stops_the_vm_and_another_int3_is_the_guests() {
    let event = ExitReason::Debug(DebugEvent::Breakpoint);
    let mut session = Session::new(vec![ExitReason::Preempted, event, event], true);
    session.asks("?");
    session.asks("Z0,2000,1");
    session.seen[0].state.cpu.rip = 0x2000;
    assert!(session.asks("c").starts_with("T05thread:01;swbreak:;"));
    let controls = session.seen[0].controls.last().expect("it was told");
    assert!(controls.traps_breakpoints && !controls.is_stepping);
    session.seen[0].state.cpu.rip = 0x3000;
    assert_eq!(session.asks("c"), "", "it goes on");
    assert_eq!(session.seen[0].delivered, [OwnException::Breakpoint]);
    assert!(!session.is_held());
}

#[test]
fn a_step_is_one_entry_and_takes_no_interrupt() {
    let step = ExitReason::Debug(DebugEvent::Debug { dr6: crate::debugger::DR6_SINGLE_STEP });
    let mut session = Session::new(vec![ExitReason::Preempted, step], true);
    session.asks("?");
    let before = session.world.guests[0].entries.len();
    assert!(session.asks("vCont;s:1").starts_with("T05thread:01;"));
    assert_eq!(session.world.guests[0].entries.len(), before + 1);
    assert!(session.seen[0].controls.last().expect("it was told").is_stepping);
    assert!(session.is_held());
}

#[test]
fn registers_are_written_back_when_the_vm_goes_on() {
    let mut session = Session::new(vec![], true);
    session.seen[0].state.cpu.general[3] = 0x1122;
    session.asks("?");
    assert_eq!(session.asks("p1"), "2211000000000000", "RBX is gdb's register 1");
    assert_eq!(session.asks("P1=8877665544332211"), "OK");
    assert_eq!(session.asks("p1"), "8877665544332211");
    assert_eq!(session.seen[0].state.cpu.general[3], 0x1122, "not before it goes on");
    session.asks("c");
    assert_eq!(session.seen[0].state.cpu.general[3], 0x1122_3344_5566_7788);
}

#[test]
fn a_thousand_breakpoints_are_hidden_and_all_are_taken_back() {
    let mut session = Session::new(vec![], true);
    session.asks("?");
    for at in 0..1000 {
        assert_eq!(session.asks(&format!("Z0,{:x},1", 0x4000 + 3 * at)), "OK");
    }
    assert_eq!(session.asks("m4000,8"), "0000000000000000");
    assert_eq!((session.byte(0, 0x4000), session.byte(0, 0x4003)), (INT3, INT3));
    for at in 1000..MAX_SOFTWARE as u64 {
        assert_eq!(session.asks(&format!("Z0,{:x},1", 0x4000 + 3 * at)), "OK");
    }
    assert_eq!(session.asks("Z0,80000,1"), "E16", "one more than there may be");
    session.debugger.cut();
    session.turns(8);
    assert!(session.world.rams[0].0.borrow().iter().all(|byte| *byte == 0));
    assert!(!session.is_held());
}

#[test]
fn five_hardware_breakpoints_are_one_too_many() {
    let mut session = Session::new(vec![], true);
    session.asks("?");
    for at in 0..4 {
        assert_eq!(session.asks(&format!("Z2,{:x},8", 0x100 * at)), "OK");
    }
    assert_ne!(session.asks("Z1,700,1"), "OK");
    assert_eq!(session.asks("z2,100,8"), "OK");
    assert_ne!(session.asks("Z2,101,8"), "OK", "no register can watch that");
    assert_eq!(session.asks("Z1,700,1"), "OK");
    session.asks("c");
    let controls = session.seen[0].controls.last().expect("it was told");
    assert_eq!(controls.hardware[1].map(|it| it.address), Some(0x700));
}

#[test]
fn gdb_may_kill_its_vm_and_hears_of_its_end() {
    let mut session = Session::new(vec![], true);
    session.asks("?");
    session.sends(&packet("k"));
    assert_eq!(
        session.world.system.vms[LEFT].ending,
        Some(Ending::Stopped { why: "killed by its debugger" })
    );
    let mut session = Session::new(vec![ExitReason::Preempted, ExitReason::Shutdown], true);
    session.asks("?");
    assert!(session.sends(&packet("c")).contains("X0b"), "SIGSEGV for a triple fault");
}

#[test]
fn a_monitor_command_answers_for_the_vm() {
    let mut session = Session::new(vec![], true);
    session.asks("?");
    let hex = |text: &str| text.bytes().map(|byte| format!("{byte:02x}")).collect::<String>();
    let said = session.sends(&packet(&format!("qRcmd,{}", hex("vms"))));
    assert!(said.contains(&hex("* vm0: held, 1 vCPU\n")), "{said}");
    let said = session.sends(&packet(&format!("qRcmd,{}", hex("wrong"))));
    assert!(said.contains(&hex("no command \"wrong\"")), "{said}");
}

/// Of every seed: bytes that are no packets, packets that are cut and changed. No byte of it may do
/// more than end the connection.
#[test]
fn garbage_ends_at_most_the_connection() {
    const PACKETS: [&str; 22] = [
        "?",
        "g",
        "m1000,40",
        "M1000,2:abcd",
        "Z0,1000,1",
        "z0,1000,1",
        "Z2,1000,8",
        "c",
        "s",
        "vCont;s:1;c",
        "vCont;c:p1.-1",
        "Hg0",
        "Hc-1",
        "p10",
        "P10=0011",
        "qSupported:swbreak+",
        "qXfer:features:read:target.xml:0,ffb",
        "qRcmd,766d73",
        "T1",
        "qfThreadInfo",
        "k",
        "D",
    ];
    for seed in 0..300_u64 {
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut random = |below: u64| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 11) % below
        };
        let mut session = Session::new(vec![], seed % 2 == 0);
        for _ in 0..20 {
            let mut bytes = packet(PACKETS[random(PACKETS.len() as u64) as usize]);
            match random(5) {
                0 => bytes.truncate(random(bytes.len() as u64) as usize),
                1 => {
                    let at = random(bytes.len() as u64) as usize;
                    bytes[at] = random(256) as u8;
                }
                2 => bytes = (0..random(90)).map(|_| random(256) as u8).collect(),
                3 => bytes.push(3),
                _ => {}
            }
            session.debugger.receive(&bytes);
            session.turns(6);
        }
        session.debugger.cut();
        session.turns(10);
        let has_ended = session.world.system.vms[LEFT].ending.is_some();
        assert!(has_ended || !session.is_held(), "seed {seed}: it stands for nobody");
        let is_free = |ram: &Ram| !ram.0.borrow().contains(&INT3);
        assert!(is_free(&session.world.rams[0]), "seed {seed}: a breakpoint is left");
        let now_ns = session.world.place.now_ns.get();
        session.turns(4);
        assert!(session.world.place.now_ns.get() > now_ns + MS, "seed {seed}: its neighbour runs");
    }
}
