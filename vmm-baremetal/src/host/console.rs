//! The bare machine as the loop's host: clock, serial console, keyboard.

use super::clock::Clock;
use super::disks::Disks;
use super::power;
use super::random::Random;
use super::serial::Serial;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use metal::guest_ram::GuestRam;
use metal::port::Port;
use metal::screen::Screen;
use metal::{cpu, host_serial, interrupts, nmi_timer};
use vmm_common::Instant;
use vmm_common::backing::{Backing, DiskIndex, Progress, Request};
use vmm_common::console::{Console, ConsoleSettings, Display};
use vmm_common::control::Change;
use vmm_common::diagnosis::Dump;
use vmm_common::index::{VcpuIndex, VmIndex};
use vmm_common::plan::Plan;
use vmm_common::screen::{Picture, Viewer};
use vmm_common::seam::Host;
use vmm_common::stop::StopRequest;
use vmm_common::switch_on::Beginning;
use vmm_common::vm::Ending;

/// How often keys are polled, while guests run and while none can.
const LOOK_NS: u64 = 2_000_000;
/// Output kept for a port that is slower than the guests.
const OUTPUT_BYTES: usize = 1 << 20;
/// Keys kept for guests that do not read them yet. The port must not stay full, or Ctrl-A would
/// be lost.
const TYPED_AHEAD_BYTES: usize = 64 << 10;
/// Polls of the port for what is queued, at most: some seconds.
const PATIENCE: u32 = 4_000_000;
/// Bytes that an empty transmitter takes: its FIFO.
const FIFO_BYTES: usize = 16;

/// The machine.
#[derive(Debug)]
pub struct BareHost<'a> {
    /// The clock that all times are of.
    pub clock: Clock,
    /// Lines and keyboard.
    pub console: Console,
    /// Why the run should end now.
    pub stop_request: Option<StopRequest>,
    beginnings: Vec<Beginning<'a>>,
    serial: Serial,
    disks: Disks,
    random: Random,
    /// Non-maskable interrupts that the console has reported.
    said_nmis: u64,
    /// Overruns of COM1 that it has reported.
    said_overruns: u64,
    next_look: Instant,
    /// The same, by the time-stamp counter.
    next_look_tsc: u64,
}

impl<'a> BareHost<'a> {
    /// A host for the VMs of `plan`, with these beginnings.
    #[must_use]
    pub fn new(
        (clock, beginnings): (Clock, Vec<Beginning<'a>>),
        plan: &Plan,
        display: Display,
        disks: Disks,
    ) -> Self {
        host_serial::COM1.enable();
        let settings = ConsoleSettings {
            display,
            has_command_keys: true,
            output_bytes: OUTPUT_BYTES,
            typed_ahead_bytes: TYPED_AHEAD_BYTES,
        };
        let mut console = Console::new(plan, settings);
        console.begin();
        Self {
            clock,
            console,
            stop_request: None,
            beginnings,
            serial: Serial::again(),
            disks,
            random: Random::new(cpu::tsc()),
            said_nmis: 0,
            said_overruns: 0,
            next_look: Instant::ZERO,
            next_look_tsc: 0,
        }
    }

    /// Between turns: polls keys, if that is due, and sends output to the port. Returns when that
    /// began, if it was due.
    #[inline]
    pub fn between_turns(&mut self) -> Option<Instant> {
        // Each turn asks: no conversion to nanoseconds.
        (cpu::tsc() >= self.next_look_tsc).then(|| self.look())
    }

    #[inline(never)]
    fn look(&mut self) -> Instant {
        let now = self.clock.now();
        self.next_look = now.after_ns(LOOK_NS);
        self.next_look_tsc = self.clock.tsc_of(self.next_look);
        host_serial::COM1.serve();
        while let Some(key) = host_serial::COM1.take() {
            self.stop_request = self.stop_request.or(self.console.typed(&[key]));
        }
        self.say_overruns();
        self.say_nmis();
        self.console.show_prompts(now);
        self.send();
        now
    }

    /// The line status says that the port dropped input, or there was no room for it.
    fn say_overruns(&mut self) {
        let overruns = host_serial::COM1.overruns();
        if overruns != self.said_overruns {
            self.said_overruns = overruns;
            self.console.say("[keys are lost: COM1 received more than was taken from it in time]");
        }
    }

    /// Reports non-maskable interrupts, by which hardware signals faults; port 0x61 (system control
    /// port B) says which. No guest gets them.
    fn say_nmis(&mut self) {
        const STATUS: Port = Port::new(0x61);
        let nmis = nmi_timer::others();
        if nmis != self.said_nmis {
            self.said_nmis = nmis;
            let status = STATUS.read();
            self.console.say(&format!("[{nmis} non-maskable interrupts; port 61h: {status:#04x}]"));
        }
    }

    /// No guest can run before `until`: sleeps until then, but polls keys.
    pub fn idle(&mut self, until: Instant) {
        self.between_turns();
        self.send();
        let until = until.min(self.next_look);
        if self.clock.now() < until {
            interrupts::arm_timer(self.clock.tsc_of(until));
            cpu::wait_for_interrupt();
        }
    }

    /// Prints all that is left, how much was left out, and `text`; false if something was left out.
    pub fn finish(&mut self, text: &str) -> bool {
        self.console.finish();
        self.send_all();
        let omissions: Vec<String> = self.console.omissions().collect();
        for omission in &omissions {
            self.console.say(omission);
        }
        self.console.say(text);
        self.send_all();
        self.serial.drain();
        omissions.is_empty()
    }

    /// Sends what the port accepts without waiting; its interrupts send what follows.
    fn send(&mut self) {
        let waiting = self.console.waiting();
        let mut sent = 0;
        if host_serial::COM1.waiting() == 0 {
            for bytes in waiting.chunks(FIFO_BYTES) {
                if !self.serial.can_send() {
                    break;
                }
                for byte in bytes {
                    self.serial.put(*byte);
                }
                sent += bytes.len();
            }
        }
        sent += host_serial::COM1.put(&waiting[sent..]);
        self.console.written(sent);
        if sent > 0 && host_serial::COM1.waiting() > 0 {
            host_serial::COM1.enable();
        }
    }

    /// Sends everything, waiting for the port.
    fn send_all(&mut self) {
        for _ in 0..PATIENCE {
            if host_serial::COM1.waiting() == 0 {
                break;
            }
            host_serial::COM1.serve();
        }
        while let bytes @ [_, ..] = self.console.waiting() {
            for byte in bytes {
                self.serial.send(*byte);
            }
            let sent = bytes.len();
            self.console.written(sent);
        }
    }
}

impl Backing<GuestRam> for BareHost<'_> {
    fn disk(&mut self, disk: DiskIndex, request: &Request<'_>, memory: &GuestRam) -> Progress {
        Progress::Done(self.disks.request(disk, request, memory))
    }

    fn random(&mut self, to: &mut [u8]) {
        self.random.fill(to);
    }
}

impl Viewer for BareHost<'_> {
    fn input_unread(&mut self, VmIndex(vm): VmIndex, byte: u8) {
        self.console.give_back(vm, byte);
    }

    fn screen_output(&mut self, VmIndex(vm): VmIndex, text: &str) {
        self.console.print_screen(vm, text);
    }

    fn screen_is_not_shown(&mut self, VmIndex(vm): VmIndex) {
        self.console.say_screen_is_not_shown(vm);
    }

    fn screen_wanted(&mut self) -> Option<VmIndex> {
        self.console.take_wanted_screen().map(VmIndex)
    }

    fn whole_screen(&mut self, VmIndex(vm): VmIndex, picture: &Picture) {
        self.console.print_whole_screen(vm, picture);
    }
}

impl Host<GuestRam> for BareHost<'_> {
    fn now(&mut self) -> Instant {
        self.clock.now()
    }

    fn console_output(&mut self, VmIndex(vm): VmIndex, bytes: &[u8]) {
        self.console.print(vm, bytes);
    }

    fn has_console_input(&mut self) -> bool {
        self.console.has_keys()
    }

    fn console_input(&mut self, VmIndex(vm): VmIndex) -> Option<u8> {
        self.console.take_key(vm)
    }

    fn sibling_ended(&mut self, vcpu: VcpuIndex, dump: &Dump) {
        self.console.say_dump(vcpu, &format!("{dump}"));
    }

    fn vm_sleeps(&mut self, vm: VmIndex, why: &str) {
        self.console.vm_sleeps(vm, why);
    }

    fn beginning(&self, VmIndex(vm): VmIndex) -> Option<&Beginning<'_>> {
        self.beginnings.get(vm)
    }

    fn vm_changed(&mut self, vm: VmIndex, change: Change) {
        self.console.vm_changed(vm, change);
    }

    fn vm_ended(&mut self, vcpu: VcpuIndex, ending: &Ending, dump: Option<&Dump>) {
        self.console.vm_ended(vcpu, ending, dump.map(|dump| format!("{dump}")).as_deref());
        self.send();
    }
}

/// Prints why nothing can run, and ends with `code`.
pub fn refuse(why: &str, code: u8) -> ! {
    for line in why.lines() {
        report(format_args!("{line}"));
    }
    power::off(code)
}

/// Prints a line of Tandem's own, on COM1 and on the screen, without allocating.
pub fn report(line: fmt::Arguments<'_>) {
    use fmt::Write;
    // An absent port or screen accepts everything.
    let _ = writeln!(Serial::again(), "tandem: {line}");
    let _ = writeln!(Screen, "tandem: {line}");
}
